"""The engine's transport: its messages on their way out. (On their way in they pass `Group.receive`.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pysyncobj.transport import Transport

if TYPE_CHECKING:
    from raftcache.consensus.engine import PeerNode
    from raftcache.consensus.group import Group


class GroupTransport(Transport):  # type: ignore[misc]
    """Takes each kind of message to the module that knows its hazards. What is not listed never leaves: commands
    are proposed at the leader only (hazard 22), and utility messages are not used."""

    def __init__(self, group: Group) -> None:
        super().__init__(None, None, [])
        self._group = group

    def send(self, node: PeerNode, message: dict[str, Any]) -> bool:
        """Translate one of the engine's messages and put it into the group's outbox."""
        kind = message["type"]
        if kind == "append_entries":
            self._group.replication.send_append(node, message)
        elif kind == "next_node_idx":
            self._group.replication.send_ack(node, message)
        elif kind == "request_vote":
            self._group.election.send_request_vote(
                node, message["term"], message["last_log_index"], message["last_log_term"]
            )
        elif kind == "response_vote":
            self._group.election.send_vote(node, message["term"])
        return True

    def connected(self, node: PeerNode) -> None:
        """A link to `node` is up."""
        self._onNodeConnected(node)

    def disconnected(self, node: PeerNode) -> None:
        """The link to `node` is gone."""
        self._onNodeDisconnected(node)

    def destroy(self) -> None:
        """Nothing to let go of."""
