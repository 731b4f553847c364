"""A log on a disk that fails and loses power, beside a model that says what may be found then.

The model knows every state that the log has had since everything was last synced. After a loss of power the log must
be a first part of *one* of these states (so log matching holds, and what was cut for good stays cut), and must reach
at least as far as it had said to be synced.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import NamedTuple

from wal_helpers import GROUP, LOG, SEGMENT_BYTES, entry, was_killed

from raftcache.testing.files import FakeFiles, Kind
from raftcache.wal.api import Entry
from raftcache.wal.errors import LogWriteFailed
from raftcache.wal.log import FileLog
from raftcache.wal.syncing import FileSyncWork


class State(NamedTuple):
    """All entries behind a base, also those whose segments were dropped since."""

    base: tuple[int, int]
    entries: tuple[Entry, ...]

    @property
    def last_index(self) -> int:
        return self.base[0] + len(self.entries)

    def term_at(self, index: int) -> int | None:
        if index == self.base[0]:
            return self.base[1]
        place = index - self.base[0] - 1
        return self.entries[place].term if 0 <= place < len(self.entries) else None

    def up_to(self, index: int) -> State:
        return State(self.base, self.entries[: index - self.base[0]])

    def has(self, log: FileLog, found: list[Entry]) -> bool:
        """Whether what a start has found is a part of this state that ends with it or before."""
        if self.term_at(log.base_index) != log.base_term:
            return False
        start = log.base_index - self.base[0]
        return list(self.entries[start : start + len(found)]) == found


class Work(NamedTuple):
    work: FileSyncWork
    number: int
    cuts: int


class Rig:
    """`seed` decides all that the steps leave open."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.files = FakeFiles()
        self.files.drops_pages = self.rng.random() < 0.5
        self.state = State((0, 0), ())
        self.possible: list[tuple[int, State]] = [(0, self.state)]
        self.number = self.cuts = self.covered = self.floor = 0
        self.term, self.covered_term = 1, 0
        self.works: list[Work] = []
        self.failed = False
        self.losses = self.cut_tails = 0
        self.log = self.open(strict=True)
        self.files.sync_dir("g")  # As opening the group does.

    def open(self, *, strict: bool) -> FileLog:
        return FileLog(self.files, LOG, GROUP, SEGMENT_BYTES, strict=strict, covered_index=self.covered)

    # -- the model -------------------------------------------------------------------------------

    def becomes(self, state: State) -> None:
        self.number += 1
        self.state = state
        self.possible.append((self.number, state))

    def all_synced(self, since: int | None = None) -> None:
        since = self.number if since is None else since
        self.possible = [each for each in self.possible if each[0] >= since]

    def memory(self) -> list[Entry]:
        """The newest entries, all unsynced ones among them; how far back beyond is left to chance."""
        kept = self.rng.choice((0, 1, 3, len(self.state.entries)))
        synced = self.log.synced_index - self.state.base[0]
        start = max(0, min(len(self.state.entries) - kept, synced))
        return list(self.state.entries[start:])

    # -- steps -----------------------------------------------------------------------------------

    def step(self, name: str, number: int) -> None:
        """Do one step, or mend where an earlier one has failed."""
        if name == "fail":
            kind: Kind = self.rng.choice(("write", "sync", "sync_dir", "create", "rename", "remove", "truncate"))
            self.files.fail_next(kind, OSError(5, "I/O error"), partial=number)
        elif self.failed:
            self.mend()
        else:
            try:
                getattr(self, name)(number)
            except LogWriteFailed:
                self.failed = True
        if not self.failed:
            self.floor = self.log.synced_index

    def append(self, number: int) -> None:
        for _ in range(1 + number % 4):
            new = entry(self.state.last_index + 1, self.term, 10 + number)
            self.becomes(State(self.state.base, (*self.state.entries, new)))
        for each in self.state.entries[-1 - number % 4 :]:
            self.log.append(each)
        self.log.flush()

    def sync(self, number: int) -> None:
        self.sync_begin(number)
        self.sync_end(number)

    def sync_begin(self, _number: int) -> None:
        work = self.log.sync_work()
        if work is not None and len(self.works) < 3:
            self.works.append(Work(work, self.number, self.cuts))

    def sync_end(self, _number: int) -> None:
        """The oldest work that is under way runs, and is reported."""
        if not self.works:
            return
        work, number, cuts = self.works.pop(0)
        try:
            work.run()
        except OSError:
            self.log.sync_failed()
            self.failed = True
            return
        self.log.synced(work)
        if cuts == self.cuts:
            assert self.log.synced_index >= work.index
            self.all_synced(number)

    def cut(self, number: int) -> None:
        first = max(self.state.last_index + 1 - number % 9, self.log.base_index + 1, self.covered + 1)
        if first > self.state.last_index:
            return
        below = first <= self.log.synced_index
        self.floor = min(self.floor, first - 1)
        self.cuts += 1
        self.term += 1
        self.becomes(self.state.up_to(first - 1))
        self.log.truncate_suffix(first)
        if below:
            self.all_synced()

    def snapshot(self, number: int) -> None:
        """A snapshot covers a part of the log, and some of what it covers is dropped."""
        covered = self.state.last_index - number % 9
        if covered > max(self.covered, self.log.base_index):
            self.covered, self.covered_term = covered, self.state.term_at(covered) or 0
        self.log.truncate_prefix(self.covered - number % 3)

    def reset(self, number: int) -> None:
        """A leader's snapshot replaces the log."""
        self.cuts += 1
        self.term += 1
        self.floor = 0
        self.covered, self.covered_term = max(self.covered, 1, self.state.last_index + number % 9 - 4), self.term
        before = self.state
        self.becomes(State((self.covered, self.term), ()))
        try:
            self.log.reset(self.covered, self.term)
        except LogWriteFailed:
            self.becomes(before)
            raise
        if self.log.sync_work() is None:
            self.all_synced()

    def kill(self, _number: int) -> None:
        """A new process finds all that was flushed."""
        self.files.restart()
        self.works.clear()
        self.log = self.open(strict=True)
        found = self.log.entries()
        assert self.state.has(self.log, found)
        assert self.log.last_index == self.state.last_index
        self.floor = self.log.synced_index
        if self.log.sync_work() is None:
            self.all_synced()

    def mend(self) -> None:
        """Some of the attempts fail as well."""
        self.works.clear()
        self.cuts += 1
        with suppress(OSError):
            self.log.mend_work(self.memory())()
            self.failed = False
            assert (self.log.last_index, self.log.last_term) == (
                self.state.last_index,
                self.state.term_at(self.state.last_index),
            )
            assert self.log.synced_index == self.log.last_index
            assert self.state.has(self.log, self.log.entries())
            self.all_synced()

    # -- the end of a machine --------------------------------------------------------------------

    def killed_in(self, name: str, number: int, operation: int) -> bool:
        """Whether a step was killed at one of its changes; else it has been done."""
        self.files.kill_at(operation, torn_bytes=number)
        killed = was_killed(lambda: self.step(name, number))
        self.files.spare()
        return killed

    def lose_power(self) -> None:
        """Lose it, find the log again, and go on from there."""
        floor, possible = self.floor, [state for _, state in self.possible]
        self.files.lose_power(self.rng)
        self.works.clear()
        self.failed = False
        self.log = self.open(strict=False)
        found = self.log.entries()
        self.losses += 1
        self.cut_tails += self.log.cut_at_start
        fitting = [state for state in possible if state.has(self.log, found)]
        assert fitting, f"found {found} behind {self.log.base_index}, none of {possible}"
        started_over = fitting[-1].base != self.state.base and self.covered >= floor
        assert self.log.last_index >= floor or started_over
        assert self.log.base_index <= max(self.covered, fitting[-1].base[0])
        self.term += 1
        self.cuts += 1
        self.becomes(fitting[-1].up_to(self.log.last_index))
        self.all_synced()
        self.fit_snapshot()

    def fit_snapshot(self) -> None:
        """What opening the group does (`storage`)."""
        if self.log.last_index < self.covered or self.state.term_at(self.covered) != self.covered_term:
            self.becomes(State((self.covered, self.covered_term), ()))
            self.log.reset(self.covered, self.covered_term)
            self.all_synced()
        self.floor = self.log.synced_index
