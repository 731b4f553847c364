"""How old the state of a replica may be: counted from a stamp of its own that a leader sent back.

A follower that counted from when it heard of its leader last would be wrong: what it hears may have been under way for
long, and its leader may have been deposed meanwhile, by a majority that this follower was not part of. Only the
follower's own clock tells how long ago something was, and only a quorum tells who led then. So

1. every ACK carries the follower's clock as it is sent: its *stamp*;
2. the leader notes when the stamp came. Once a quorum has answered something that the leader sent *after* that
   (`Replication.quorum_at` counts from the send), it led when the stamp came, and so no later leader had committed
   anything when the stamp was given;
3. from then on the leader's appends carry the stamp back, next to its commit index, which covers everything that was
   acknowledged before the stamp: by this leader, for what it acknowledged is below its commit index; and by earlier
   ones, once this leader has committed an entry of its own term, for that lies behind all of theirs;
4. when the follower has applied up to that commit index, its state is no older than the stamp. Nothing is compared
   but two readings of one clock; the time between them may have been longer by what a clock may be off.

The stamps of a follower may be as many as its answers, one a heartbeat at rest and thousands a second under load. Two
are kept at the leader, the oldest that waits and the newest; when the oldest is confirmed, the newest takes its place.
The follower keeps two of the echoes in the same way, for while it has not applied what they came with. So at rest the
state of a follower is taken for two to three heartbeats old: each of stamp, confirmation and echo waits for one.

At a leader that has committed in its own term, the state is as new as its newest proof of leadership: `quorum_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftcache.consensus.api import MemberId

if TYPE_CHECKING:
    from raftcache.consensus.group import Group

NO_STAMP = 0.0
"""In an append: no stamp is confirmed yet."""


@dataclass(slots=True)
class Ladder:
    """Stamps that are good once something has reached their mark: the oldest that waits, the newest, the best.

    Stamps and marks both rise, or what is kept is older than it had to be."""

    waiting: tuple[float, float] | None = None
    newest: tuple[float, float] | None = None
    good: float = NO_STAMP

    def add(self, mark: float, stamp: float) -> None:
        """`stamp` is good once `reach(mark)` or more was said."""
        if self.waiting is None:
            self.waiting = (mark, stamp)
        else:
            self.newest = (mark, stamp)

    def reach(self, mark: float) -> float:
        """Everything up to `mark` is reached. Returns the newest good stamp."""
        if self.waiting is not None and self.waiting[0] <= mark:
            self.good = max(self.good, self.waiting[1])
            self.waiting, self.newest = self.newest, None
            if self.waiting is not None and self.waiting[0] <= mark:
                self.good = max(self.good, self.waiting[1])
                self.waiting = None
        return self.good


class Staleness:
    """Both halves of one replica: the leader's and the follower's."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._since = group.runtime.now()
        self._stamps: dict[MemberId, Ladder] = {}
        self._echoes = Ladder()

    # -- leader ----------------------------------------------------------------------------------

    def leadership_gained(self) -> None:
        """Stamps were given to a leader of one term."""
        self._stamps.clear()

    def forget(self, member: MemberId) -> None:
        """A member that started again may have started its clock again."""
        self._stamps.pop(member, None)

    def retain(self, members: set[MemberId]) -> None:
        """Forget the stamps of all others."""
        self._stamps = {member: stamps for member, stamps in self._stamps.items() if member in members}

    def stamped(self, member: MemberId, stamp: float) -> None:
        """An ACK of this term came."""
        self._stamps.setdefault(member, Ladder()).add(self._g.runtime.now(), stamp)

    def echo(self, member: MemberId) -> float:
        """What an append to `member` carries back."""
        stamps = self._stamps.get(member)
        if stamps is None or not self._has_committed():
            return NO_STAMP
        return stamps.reach(self._g.replication.quorum_at)

    def _has_committed(self) -> bool:
        """Whether this leader's commit index covers what earlier leaders had acknowledged."""
        journal, commit = self._g.journal, self._g.engine.commit_index()
        return journal.holds(commit, self._g.engine.term())

    # -- follower --------------------------------------------------------------------------------

    def stamp(self) -> float:
        """What an ACK carries."""
        return self._g.runtime.now()

    def echoed(self, commit: int, stamp: float) -> None:
        """A leader's append came with its commit index and a stamp of ours. One that this start of the process cannot
        have given is not looked at."""
        if self._since <= stamp <= self._g.runtime.now():
            self._echoes.reach(self._g.engine.applied_index())
            self._echoes.add(commit, stamp)

    def staleness_ms(self) -> int | None:
        """How long ago it can have been, at most, that something was committed which is not applied here; None while
        that is not known, or where this replica has stopped for good. Rounded up."""
        group = self._g
        if group.halted:
            return None
        stamp = self._echoes.reach(group.engine.applied_index())
        if group.is_leader and self._has_committed() and group.applied_index >= group.commit_index:
            stamp = max(stamp, group.replication.quorum_at if group.voters else group.runtime.now())
        return None if stamp == NO_STAMP else max(0, group.longest_ms(group.runtime.now() - stamp))
