"""Handing leadership over (Ongaro's thesis, section 3.10).

The leader stops taking commands, proposes what it has executed, waits until the target has everything and all of it is
committed, and tells it to campaign at once. From then on it proposes nothing, for what it appends now may not be in the
winner's log. Where the target does not take over within one election timeout, the leader goes on, but without a lease
(`lease`): the target may yet hear of it, and be elected at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftcache.consensus.messages import TIMEOUT_NOW

if TYPE_CHECKING:
    from raftcache.consensus.engine import PeerNode
    from raftcache.consensus.group import Group


@dataclass(slots=True)
class _Handover:
    target: PeerNode
    deadline: float
    asked: bool = False


class Transfer:
    """At most one handover at a time."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._handover: _Handover | None = None

    @property
    def active(self) -> bool:
        """Whether leadership is being handed over: no commands meanwhile."""
        return self._handover is not None

    @property
    def asked(self) -> bool:
        """Whether the target was told to campaign: no proposals either."""
        return self._handover is not None and self._handover.asked

    def start(self, node_id: str | None) -> bool:
        """Begin to hand over to `node_id`, or to whoever has come furthest. False where nobody can take over."""
        group = self._g
        candidates = [n for n in group.voters if node_id in (None, n.member.node) and group.host.reaches(n.member)]
        if not group.is_leader or self.active or not candidates:
            return False
        target = max(candidates, key=lambda node: (group.engine.match_index(node), node.id))
        self._handover = _Handover(target, group.runtime.now() + group.settings.election_min)
        return True

    def poll(self) -> None:
        """Tell the target once it is ready; give up at the deadline."""
        handover, group = self._handover, self._g
        if handover is None:
            return
        if group.runtime.now() > handover.deadline:
            self._handover = None
            return
        if not handover.asked:
            group.propose_rest()
        if self._handover is not handover:  # It could not be proposed, and leadership is gone.
            return
        if not handover.asked and group.engine.match_index(handover.target) == group.last_index == group.commit_index:
            handover.asked = True
            group.lease.forfeit()
            group.post(handover.target, TIMEOUT_NOW, group.term)

    def stop(self) -> None:
        """Leadership is gone, one way or the other."""
        self._handover = None
