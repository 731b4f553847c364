"""How a replica is doing, for people, metrics and the controller; and what it knows of the others' clocks."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from raftcache.consensus.api import GroupStatus, MemberId, PeerStatus
from raftcache.wal.api import covered_index

if TYPE_CHECKING:
    from raftcache.consensus.engine import PeerNode
    from raftcache.consensus.group import Group

LAG_SAMPLES = 512
"""How many (index, time) marks a leader keeps to turn a follower's lag in entries into milliseconds."""


class Vitals:
    """Of one replica."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._marks: deque[tuple[int, float]] = deque(maxlen=LAG_SAMPLES)
        self._wall_offsets: dict[MemberId, float] = {}

    # -- clocks ----------------------------------------------------------------------------------

    def note_wall(self, node: PeerNode, wall_ms: int) -> None:
        """A peer said what its wall clock shows."""
        self._wall_offsets[node.member] = wall_ms - self._g.runtime.now() * 1000

    def retain(self, members: set[MemberId]) -> None:
        """Forget the clocks of all others."""
        self._wall_offsets = {member: offset for member, offset in self._wall_offsets.items() if member in members}

    def median_wall_ms(self) -> int:
        """The median of the voters' wall clocks, as far as they have been heard of."""
        now_ms = self._g.runtime.now() * 1000
        clocks = [float(self._g.runtime.wall_ms())]
        clocks += [now_ms + self._wall_offsets[m] for m in self._g.members if m in self._wall_offsets]
        clocks.sort()
        return int(clocks[(len(clocks) - 1) // 2])

    # -- lag -------------------------------------------------------------------------------------

    def leadership_gained(self) -> None:
        """Marks of an earlier leadership mean nothing now."""
        self._marks.clear()

    def mark(self) -> None:
        """Note how long the leader's log is now."""
        if not self._marks or self._marks[-1][0] < self._g.last_index:
            self._marks.append((self._g.last_index, self._g.runtime.now()))

    def _lag_ms(self, match: int) -> float:
        for index, at in self._marks:
            if index > match:
                return max(0.0, (self._g.runtime.now() - at) * 1000)
        return 0.0

    # -- status ----------------------------------------------------------------------------------

    def status(self) -> GroupStatus:
        """The whole picture; `peers` is empty where this replica does not lead."""
        group = self._g
        return GroupStatus(
            group_id=group.group_id,
            member=group.member,
            members=group.members,
            is_leader=group.is_leader,
            leader=group.leader,
            term=group.term,
            commit_index=group.commit_index,
            applied_index=group.applied_index,
            last_index=group.last_index,
            first_index=group.journal[0].index + 1,
            log_bytes=group.journal.size_bytes(),
            snapshot_index=covered_index(group.storage.snapshots.latest()),
            synced_index=group.journal.synced_index,
            durable_index=group.durable_index,
            suspect=group.suspect,
            peers=[self._peer(node) for node in group.voters] if group.is_leader else [],
        )

    def _peer(self, node: PeerNode) -> PeerStatus:
        match = self._g.engine.match_index(node)
        return PeerStatus(
            member=node.member,
            match_index=match,
            lag_entries=max(0, self._g.last_index - match),
            lag_ms=self._lag_ms(match),
            connected=self._g.host.reaches(node.member),
            snapshot_sending=self._g.sends.sending_to(node),
        )
