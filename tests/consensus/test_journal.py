"""The journal: Raft's rule for appends, members read from the log, and what is held in memory.

The properties drive a journal over `MemoryLog` next to a model that is a plain list.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from raftcache.consensus import MemberId
from raftcache.consensus.journal import MEMBERSHIP, REGULAR, Journal, TakenBack, pack_members
from raftcache.wal.api import Entry, SnapshotMeta
from raftcache.wal.memory import MemoryLog, MemoryVotes

A, B, C, D = (MemberId(node, "i0") for node in "abcd")
FOUNDERS = (A, B, C)


def meta_of(index: int, term: int, members: tuple[MemberId, ...] = FOUNDERS) -> SnapshotMeta:
    """A snapshot of `index`."""
    return SnapshotMeta("g", index, term, tuple(str(member) for member in members))


def opened(log: MemoryLog | None = None, snapshot: SnapshotMeta | None = None) -> Journal:
    """A journal that was founded with a, b and c; nothing is applied."""
    return Journal(log or MemoryLog(), MemoryVotes(), snapshot or meta_of(0, 0))


def regular(text: str) -> bytes:
    """The data of a regular entry."""
    return bytes([REGULAR]) + text.encode()


def change(*members: MemberId) -> bytes:
    """The data of a membership entry."""
    return bytes([MEMBERSHIP]) + pack_members(members)


def filled(*terms: int) -> Journal:
    """A journal whose entries 1, 2, … are of these terms."""
    journal = opened()
    for index, term in enumerate(terms, 1):
        journal.add(regular(f"{term}.{index}"), index, term)
    return journal


def shape(journal: Journal) -> list[tuple[int, int]]:
    """Index and term of the entries, without the base."""
    return [(entry.index, entry.term) for entry in journal[1:]]


# -- Raft's rule -----------------------------------------------------------------------------------


def test_a_matching_entry_is_kept_with_all_that_follows() -> None:
    journal = filled(1, 1, 2)
    journal.deleteEntriesFrom(1)
    journal.add(regular("1.1"), 1, 1)
    journal.add(regular("1.2"), 2, 1)
    assert shape(journal) == [(1, 1), (2, 1), (3, 2)]


def test_a_conflicting_entry_takes_its_suffix_with_it() -> None:
    journal = filled(1, 1, 1, 1)
    journal.add(regular("new"), 3, 2)
    assert shape(journal) == [(1, 1), (2, 1), (3, 2)]
    assert journal[-1].data == regular("new")


def test_the_log_below_is_cut_as_well() -> None:
    log = MemoryLog()
    journal = opened(log)
    for index in (1, 2, 3):
        journal.add(regular("old"), index, 1)
    journal.add(regular("new"), 2, 2)
    assert log.entries() == journal[1:]


def test_an_applied_entry_is_not_taken_back() -> None:
    journal = filled(1, 1, 1)
    journal.applied_index = lambda: 2
    with pytest.raises(TakenBack, match="applied"):
        journal.add(regular("new"), 2, 2)
    assert shape(journal) == [(1, 1), (2, 1), (3, 1)]
    journal.add(regular("new"), 3, 2)
    assert shape(journal) == [(1, 1), (2, 1), (3, 2)]


def test_a_hole_is_refused() -> None:
    with pytest.raises(AssertionError, match="hole"):
        filled(1).add(regular("far"), 3, 1)


# -- members ---------------------------------------------------------------------------------------


def test_members_follow_what_is_appended_and_what_is_taken_back() -> None:
    journal, told = filled(1), list[tuple[MemberId, ...]]()
    journal.on_members = lambda: told.append(journal.members())
    journal.add(change(A, B, C, D), 2, 1)
    assert (journal.members(), journal.change_index) == ((A, B, C, D), 2)
    journal.add(regular("other"), 2, 2)
    assert (journal.members(), journal.change_index) == (FOUNDERS, 0)
    assert told == [(A, B, C, D), FOUNDERS]


def test_a_suffix_without_a_change_tells_nobody() -> None:
    journal, told = filled(1, 1), list[int]()
    journal.on_members = lambda: told.append(1)
    journal.add(regular("other"), 2, 2)
    assert told == []


def test_members_are_those_as_of_an_index() -> None:
    journal = filled(1)
    journal.add(change(A, B), 2, 1)
    journal.add(regular("between"), 3, 1)
    journal.add(change(A, B, D), 4, 1)
    assert [journal.members_at(index) for index in (1, 2, 3, 4)] == [FOUNDERS, (A, B), (A, B), (A, B, D)]


def test_a_snapshot_makes_the_members_as_of_its_index_the_base() -> None:
    journal = filled(1)
    journal.add(change(A, B), 2, 1)
    journal.add(change(A, B, D), 3, 1)
    journal.covered_by(meta_of(2, 1, (A, B)))
    assert (journal.members(), journal.members_at(2), journal.start_index) == ((A, B, D), (A, B), 2)
    journal.add(regular("other"), 3, 2)
    assert (journal.members(), journal.change_index) == ((A, B), 0), "the change below is not lost with its entry"


def test_starting_over_takes_the_snapshots_members() -> None:
    journal, told = filled(1), list[tuple[MemberId, ...]]()
    journal.add(change(A, B), 2, 1)
    journal.on_members = lambda: told.append(journal.members())
    journal.restart_at(meta_of(9, 3, (A, D)))
    assert told == [(A, D)]
    assert (journal.change_index, journal.start_index, shape(journal)) == (0, 9, [])
    assert (journal[0].index, journal[0].term) == (9, 3)
    journal.add(regular("next"), 10, 3)
    assert journal.holds(9, 3) and journal.holds(10, 3) and not journal.holds(10, 2) and not journal.holds(11, 3)


def test_opening_reads_the_changes_behind_the_snapshot_only() -> None:
    log = MemoryLog()
    journal = opened(log)
    journal.add(change(A, B), 1, 1)
    journal.add(change(A, B, D), 2, 1)
    again = opened(log, meta_of(1, 1, (A, B)))
    assert (again.members(), again.change_index, again.members_at(1)) == ((A, B, D), 2, (A, B))
    assert opened(log, meta_of(2, 1, (A, B, D))).change_index == 0


# -- memory ----------------------------------------------------------------------------------------


def test_trimming_waits_until_twice_the_tail_is_held() -> None:
    journal = filled(*[1] * 20)
    journal.trim(20, 100)
    assert len(shape(journal)) == 20
    journal.trim(20, 20)
    assert journal.held_bytes <= 2 * 20
    assert shape(journal)[-1] == (20, 1)


def test_trimming_leaves_the_log_on_disk_alone() -> None:
    log = MemoryLog()
    journal = opened(log)
    for index in range(1, 21):
        journal.add(regular("entry"), index, 1)
    journal.trim(10, 1)
    assert journal[0].index == 10
    assert log.base_index == 0
    assert shape(opened(log)) == [(index, 1) for index in range(1, 21)]


def test_a_prefix_is_dropped_as_far_as_a_snapshot_covers_it() -> None:
    log = MemoryLog()
    journal = opened(log)
    for index in range(1, 11):
        journal.add(regular("entry"), index, 1)
    journal.covered_by(meta_of(6, 1))
    assert journal.drop_oldest(9) is None, "nothing is left to be done"
    assert log.base_index == journal[0].index == 6


class JournalMachine(RuleBasedStateMachine):
    """A journal and a list of all entries that it should know of, kept or not."""

    @initialize()
    def found(self) -> None:
        self.log = MemoryLog()
        self.journal = opened(self.log)
        self.journal.applied_index = lambda: self.applied
        self.entries: list[Entry] = []
        self.members: dict[int, tuple[MemberId, ...]] = {}
        self.applied = self.term = self.snapshot = 0

    @rule(size=st.integers(0, 30), newer=st.booleans())
    def append(self, size: int, newer: bool) -> None:
        self.term += newer
        self._add(Entry(bytes([REGULAR]) + b"x" * size, len(self.entries) + 1, self.term))

    @rule(members=st.lists(st.sampled_from((A, B, C, D)), min_size=1, unique=True))
    def append_change(self, members: list[MemberId]) -> None:
        self._add(Entry(change(*members), len(self.entries) + 1, self.term))
        self.members[len(self.entries)] = tuple(members)

    @rule(back=st.integers(1, 6))
    def overlap(self, back: int) -> None:
        """The last entries come once more: those still held, for the engine refuses others."""
        for entry in self.entries[max(self.journal[0].index, len(self.entries) - back) :]:
            self.journal.deleteEntriesFrom(entry.index - self.journal[0].index)
            self.journal.add(*entry)

    @rule(back=st.integers(0, 6))
    def conflict(self, back: int) -> None:
        self.term += 1
        index = max(self.applied, len(self.entries) - back) + 1
        del self.entries[index - 1 :]
        self.members = {at: members for at, members in self.members.items() if at < index}
        self._add(Entry(bytes([REGULAR]) + b"conflict", index, self.term))

    def _add(self, entry: Entry) -> None:
        self.journal.add(*entry)
        self.entries.append(entry)

    @rule(count=st.integers(1, 6))
    def apply(self, count: int) -> None:
        self.applied = min(len(self.entries), self.applied + count)

    @rule(tail_bytes=st.integers(1, 60), behind=st.integers(0, 3))
    def trim(self, tail_bytes: int, behind: int) -> None:
        wanted_from = max(0, self.applied - behind)
        base = self.journal[0].index
        self.journal.trim(wanted_from, tail_bytes)
        assert self.journal[0].index <= max(base, wanted_from), "what is not applied, or is to be sent, stays"
        if self.journal[0].index < wanted_from:
            assert self.journal.held_bytes <= 2 * tail_bytes + 100, "else no more than one entry over the bound"

    @rule(tail_bytes=st.integers(1, 60))
    def compact(self, tail_bytes: int) -> None:
        if self.applied > self.snapshot and self.applied >= self.journal[0].index:
            members = self.journal.members_at(self.applied)
            self.snapshot = self.applied
            self.journal.covered_by(meta_of(self.applied, self.entries[self.applied - 1].term, members))
            self.journal.drop_oldest(min(self.applied, self.journal.tail_start(tail_bytes)))

    @invariant()
    def holds_a_suffix_of_the_entries(self) -> None:
        base = self.journal[0].index
        assert self.journal[1:] == self.entries[base:]
        assert base == 0 or self.journal[0].term == self.entries[base - 1].term
        assert self.log.entries() == self.entries[self.log.base_index :]

    @invariant()
    def counts_what_it_holds(self) -> None:
        assert self.journal.held_bytes == sum(len(entry.data) for entry in self.journal)

    @invariant()
    def knows_the_members(self) -> None:
        for at in range(max(self.snapshot, self.journal[0].index), len(self.entries) + 1):
            newest = max((index for index in self.members if index <= at), default=0)
            assert self.journal.members_at(at) == self.members.get(newest, FOUNDERS)
        assert self.journal.members() == self.journal.members_at(len(self.entries))


JournalMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
TestJournalAgainstAList = JournalMachine.TestCase


@given(sizes=st.lists(st.integers(0, 40), max_size=12))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_after_starting_over_the_bytes_of_the_new_entries_are_counted(sizes: list[int]) -> None:
    journal = filled(1, 1, 1)
    journal.restart_at(meta_of(9, 2))
    for index, size in enumerate(sizes, 10):
        journal.add(bytes([REGULAR]) + b"x" * size, index, 2)
    assert journal.held_bytes == sum(len(entry.data) for entry in journal)
