"""What nodes have reported of their replicas: the newest word of each, and the highest identity ever named.

A report is worth something for seconds. An identity is worth something for ever: a replica number is raised on disk
before anything is wiped, so who once named a higher one will never answer to a lower one again; and an incarnation that
was followed by another never comes back.
"""

from __future__ import annotations

from typing import NamedTuple

from raftcache.clock import Clock
from raftcache.consensus.api import MemberId
from raftcache.metadata.reports import NodeReport, ReplicaReport
from raftcache.metadata.state import MetadataState


class _Seen(NamedTuple):
    at: float
    report: ReplicaReport


class HeldReplicas:
    """The table of one process, by group and node. Strangers' groups and nodes are left out, which bounds it."""

    def __init__(self, clock: Clock, age_s: float) -> None:
        """A report older than `age_s` seconds is not fresh."""
        self._clock, self._age_s = clock, age_s
        self._seen: dict[str, dict[str, _Seen]] = {}
        self._identities: dict[str, dict[str, MemberId]] = {}
        self._incarnations: dict[str, str] = {}

    def note_incarnation(self, node_id: str, incarnation: str, state: MetadataState) -> None:
        """A node that the state knows was heard from under this incarnation just now."""
        if state.node(node_id) is not None:
            self._incarnations[node_id] = incarnation

    def is_gone(self, group_id: str, member: MemberId) -> bool:
        """Whether `member` is known to be gone for good: its node was heard from under another incarnation, or has
        named a higher number of that group."""
        if self._incarnations.get(member.node, member.incarnation) != member.incarnation:
            return True
        newest = self._identities.get(group_id, {}).get(member.node, member)
        return newest.incarnation == member.incarnation and newest.replica > member.replica

    def take(self, report: NodeReport, state: MetadataState) -> None:
        """Take in what a node that the state knows says of its replicas."""
        now = self._clock.now()
        for replica in report.replicas:
            if replica.member.node == report.node and state.wanted(replica.group_id):
                self._seen.setdefault(replica.group_id, {})[report.node] = _Seen(now, replica)
                self._note_identity(replica.group_id, replica.member)
        known = set(state.group_ids())
        for table in (self._seen, self._identities):
            for group_id in [each for each in table if each not in known]:
                del table[group_id]

    def _note_identity(self, group_id: str, member: MemberId) -> None:
        by_node = self._identities.setdefault(group_id, {})
        known = by_node.get(member.node)
        if known is None or known.incarnation != member.incarnation or known.replica < member.replica:
            by_node[member.node] = member

    def fresh(self) -> dict[str, list[ReplicaReport]]:
        """The reports that say something about now, by group."""
        oldest = self._clock.now() - self._age_s
        return {
            group_id: [seen.report for seen in by_node.values() if seen.at >= oldest]
            for group_id, by_node in self._seen.items()
        }

    def identities(self) -> dict[str, list[MemberId]]:
        """The highest identity of each node, by group."""
        return {group_id: list(by_node.values()) for group_id, by_node in self._identities.items()}
