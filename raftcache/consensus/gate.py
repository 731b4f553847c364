"""The gate: messages wait here until what they reflect is on disk.

Raft allows no message that speaks of a term or a vote before both are safe (Ongaro's thesis, section 3.8; hazard 25):
a replica that forgets a vote votes twice, and one that forgets a term takes entries from a leader that it has already
deposed. The file with terms and votes is written off the loop and shared by all groups of the node, so everything
that this replica has to say waits, in its order, until the newest term and vote are synced. No message is let
through ahead of another: links promise order, and the rules of replication count on it.

A group that is synced always (`fsync: always`, and the metadata group) also waits here for its log. Its followers
acknowledge only what they have synced, and its leader sends only what it has synced, so that by the time a majority
acknowledges an entry the leader may count itself, and committed means durable.

Every group waits for a change of its members to be on disk, for who forgets one counts another majority: of two members
to which a third was added, one that has lost power and the change would elect the other with its vote, without what the
first and the third have acknowledged since. Waiting, what follows a change commits only where a majority of the new
members remembers it.

What waits for a link that has broken meanwhile is dropped: it was under way on that link, as far as anybody can tell.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from raftcache.consensus.messages import Message

if TYPE_CHECKING:
    from raftcache.consensus.group import Group

HELD_LIMIT = 20_000
"""Messages of one group that wait for the disk; beyond it the newest is dropped, as a broken link drops it."""


class _Held(NamedTuple):
    log_index: int
    outbox: list[tuple[str, Message]]


class Gate:
    """Of one replica; `always` says whether its messages wait for the log, too."""

    def __init__(self, group: Group, always: bool) -> None:
        self._g = group
        self.always = always
        self.dropped = 0
        self._held: deque[_Held] = deque()
        self._count = 0

    def pass_on(self, outbox: list[tuple[str, Message]]) -> None:
        """Send at once what reflects nothing unsynced; keep the rest, and see to it that it is synced."""
        held = _Held(self.must_sync(), outbox)
        if not self._held and self._is_open(held):
            self._g.host.enqueue(outbox)
        elif self._count + len(outbox) > HELD_LIMIT:
            self.dropped += len(outbox)
        else:
            self._held.append(held)
            self._count += len(outbox)

    def must_sync(self) -> int:
        """How far the log must be synced before anything more is said."""
        return self._g.last_index if self.always else min(self._g.journal.change_index, self._g.last_index)

    def _is_open(self, held: _Held) -> bool:
        journal = self._g.journal
        return journal.vote_synced() and journal.synced_index >= min(held.log_index, self._g.last_index)

    @property
    def held(self) -> int:
        """Messages that wait for the disk."""
        return self._count

    def release(self) -> None:
        """Something was synced: send what waited for it."""
        while self._held and self._is_open(self._held[0]):
            outbox = self._held.popleft().outbox
            self._count -= len(outbox)
            self._g.host.enqueue(outbox)

    def forget(self, node_id: str) -> None:
        """The link to a node broke."""
        if self._held:
            self._held = deque(
                _Held(held.log_index, [each for each in held.outbox if each[0] != node_id]) for held in self._held
            )
            self._count = sum(len(held.outbox) for held in self._held)

    def clear(self) -> None:
        """This replica has nothing to say any more."""
        self._held.clear()
        self._count = 0
