"""The engine's journal, on top of our log: Raft's rule for appends, and membership read from the log.

The list *is* the journal, since the engine indexes and slices it at every step: element 0 is the base, the
entry before the first one kept (it is only ever used as `prevLog`), and the rest are entries without holes.

Raft, section 5.3: "if an existing entry conflicts with a new one (same index but different terms), delete the
existing entry and all that follow it". The engine instead deletes whatever follows the place of an append, even
where it matches, and acknowledged entries vanish until they are sent again (hazard 3). So `deleteEntriesFrom`
drops nothing here, and `add` decides entry by entry: a matching one is skipped, a conflicting one takes its
suffix with it.

Who is a member follows from the log alone: the newest membership entry in it, committed or not, and below that
the members in the snapshot (Ongaro's thesis, section 4.1; hazards 5 and 27). The journal says whenever that
may have changed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgpack

from raftcache.consensus.api import MemberId
from raftcache.wal.api import Entry, Log, SnapshotMeta, VoteStore

REGULAR, NO_OP, MEMBERSHIP = 0, 1, 2
"""The first byte of an entry's data: the engine's command types. Only these three are ever written."""

NO_OP_DATA = bytes([NO_OP])


def pack_members(members: tuple[MemberId, ...]) -> bytes:
    """The payload of a membership entry: the whole new set, so that one entry says it all."""
    return msgpack.packb([str(member) for member in members])  # type: ignore[no-any-return]


def unpack_members(data: bytes) -> tuple[MemberId, ...]:
    """The inverse, from an entry's data with its kind byte."""
    return tuple(MemberId.parse(text) for text in msgpack.unpackb(data[1:]))


class TakenBack(Exception):
    """The leader's log contradicts what this replica has applied: only a majority that lost power can do that. The
    replica's state is not the group's any more, and no undo goes back that far."""


class Journal(list[Entry]):
    """What the engine calls `raftLog`. The camel-case methods are the engine's names."""

    def __init__(self, log: Log, votes: VoteStore, snapshot: SnapshotMeta | None) -> None:
        super().__init__([Entry(NO_OP_DATA, log.base_index, log.base_term), *log.entries()])
        self._log = log
        self._votes = votes
        self.term, self.voted_for = votes.load()
        self._base_members: tuple[MemberId, ...] = ()
        self._changes: list[tuple[int, tuple[MemberId, ...]]] = []
        self.start_index = log.base_index
        self.on_members: Callable[[], None] = lambda: None
        self.on_cut: Callable[[int], None] = lambda _first_dropped: None
        self.applied_index: Callable[[], int] = lambda: 0
        self._unflushed = False
        self.appended_bytes = log.size_bytes
        self.held_bytes = sum(len(entry.data) for entry in self)
        if snapshot is not None:
            self._base_members = tuple(MemberId.parse(text) for text in snapshot.members)
            self.start_index = snapshot.index
        for entry in self[1:]:
            self._note(entry)

    # -- membership ------------------------------------------------------------------------------

    def _note(self, entry: Entry) -> bool:
        if entry.data[0] != MEMBERSHIP or entry.index <= self.start_index:
            return False
        self._changes.append((entry.index, unpack_members(entry.data)))
        return True

    def members(self) -> tuple[MemberId, ...]:
        """The members in force: of the newest membership entry, else of the snapshot."""
        return self._changes[-1][1] if self._changes else self._base_members

    def members_at(self, index: int) -> tuple[MemberId, ...]:
        """The members as of `index`, which is not below the snapshot's."""
        for at, members in reversed(self._changes):
            if at <= index:
                return members
        return self._base_members

    @property
    def change_index(self) -> int:
        """The index of the newest membership entry; 0 where the snapshot's members are in force."""
        return self._changes[-1][0] if self._changes else 0

    # -- what the engine calls -------------------------------------------------------------------

    def add(self, data: bytes, index: int, term: int) -> None:
        """Append, unless the entry is there already; drop a conflicting suffix first."""
        offset = index - self[0].index
        if offset < len(self):
            if self[offset].term == term:
                return
            self._drop_suffix(offset)
        assert offset == len(self), "a hole in the log"
        entry = Entry(data, index, term)
        self._log.append(entry)
        self.append(entry)
        self._unflushed = True
        self.appended_bytes += len(data)
        self.held_bytes += len(data)
        if self._note(entry):
            self.on_members()

    def _drop_suffix(self, offset: int) -> None:
        first = self[offset].index
        if first <= self.applied_index():
            raise TakenBack(f"entry {first} would be taken back, and up to {self.applied_index()} all are applied")
        self.held_bytes -= sum(len(entry.data) for entry in self[offset:])
        del self[offset:]
        self.on_cut(first)
        kept = [change for change in self._changes if change[0] < first]
        if len(kept) != len(self._changes):
            self._changes = kept
            self.on_members()
        self._log.truncate_suffix(first)  # Last, for it may fail, and what is in memory must be of one piece then.

    def deleteEntriesFrom(self, _offset: int) -> None:
        """Nothing: `add` decides what conflicts."""

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:
        """Keep term and vote. They are put on disk off the loop; what reflects them waits (`gate`)."""
        self._votes.save(term, voted_for)
        self.term, self.voted_for = term, voted_for

    def getCurrentTerm(self) -> int:
        """The term last saved."""
        return self.term

    def getVotedForNodeId(self) -> str | None:
        """The vote given in that term."""
        return self.voted_for

    def setRaftCommitIndex(self, _index: int) -> None:
        """Not kept: after a restart the commit index is the snapshot's, and a leader tells the rest. A kept one
        above the surviving log would apply what was never committed (hazard 25)."""

    def getRaftCommitIndex(self) -> int:
        """The snapshot's index."""
        return self.start_index

    def onOneSecondTimer(self) -> None:
        """Nothing is due once a second."""

    # -- what the group calls --------------------------------------------------------------------

    def flush(self) -> None:
        """Hand what was appended to the operating system. Raises `LogWriteFailed`."""
        if self._unflushed:
            self._log.flush()
            self._unflushed = False

    def vote_synced(self) -> bool:
        """Whether the newest term and vote are on disk."""
        return self._votes.synced()

    @property
    def synced_index(self) -> int:
        """Everything up to it is on disk."""
        return self._log.synced_index

    def term_at(self, index: int) -> int:
        """The term of the entry at `index`, which must be kept."""
        return self[index - self[0].index].term

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry at `index` is kept and is of `term`."""
        offset = index - self[0].index
        return 0 <= offset < len(self) and self[offset].term == term

    def tail_start(self, tail_bytes: int) -> int:
        """The last index that can be dropped so that about `tail_bytes` of entries stay."""
        kept = 0
        for entry in reversed(self):
            kept += len(entry.data)
            if kept > tail_bytes:
                return entry.index
        return self[0].index

    def size_bytes(self) -> int:
        """What the log takes up."""
        return self._log.size_bytes

    def covered_by(self, snapshot: SnapshotMeta) -> None:
        """A snapshot was put in place: its members are the base from now on."""
        self._base_members = self.members_at(snapshot.index)
        self._changes = [change for change in self._changes if change[0] > snapshot.index]
        self.start_index = snapshot.index

    def drop_oldest(self, last_dropped: int) -> Callable[[], None] | None:
        """Forget a whole segment up to `last_dropped`, which a snapshot covers. Returns the rest of the work, for off
        the loop, or None where there is no such segment any more."""
        work = self._log.drop_oldest(min(last_dropped, self.start_index))
        self._let_go(self._log.base_index)
        return work

    def trim(self, last_dropped: int, tail_bytes: int) -> None:
        """Hold entries up to `last_dropped`, all of them applied, in memory no longer than it takes to keep about
        `tail_bytes`. The log on disk still has them, for a restart; a peer that lacks them gets a snapshot."""
        if self.held_bytes > 2 * tail_bytes:
            self._let_go(min(last_dropped, self.tail_start(tail_bytes)))

    def _let_go(self, base: int) -> None:
        count = base - self[0].index
        if count > 0:
            self.held_bytes -= sum(len(entry.data) for entry in self[:count])
            del self[:count]

    def restart_at(self, snapshot: SnapshotMeta) -> None:
        """A leader's snapshot was installed: the log starts over behind it."""
        self._log.reset(snapshot.index, snapshot.term)
        self[:] = [Entry(NO_OP_DATA, snapshot.index, snapshot.term)]
        self.on_cut(snapshot.index + 1)
        self.held_bytes = len(NO_OP_DATA)
        self._unflushed = False
        self._changes = []
        self._base_members = tuple(MemberId.parse(text) for text in snapshot.members)
        self.start_index = snapshot.index
        self.on_members()

    def close(self) -> None:
        """Flush and let go of the files."""
        self._log.close()
