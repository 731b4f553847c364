"""Terms and votes: one file for all groups of a node, replaced as a whole and synced before it counts.

    sealed (see `sealed`), the body is [[[group id, term, voted for or nil], ...], [lost group id, ...]]

All groups share the file so that one sync serves the elections of all of them. `save` changes the table in memory;
`sync_work` brings the table to the disk, off the loop, in the state of the moment in which it gets to run. Writers go
one at a time, and one that finds its changes written by another has nothing left to do.

Forgetting a vote is voting twice, so a file that cannot be read is never taken for an empty one: every group is
refused. A node gets over that group by group, as each is renewed (it is a new member then, which never voted). The
first renewal sets the file aside and starts a new one, which lists the groups that are *lost*: those that were there
and have not been renewed yet. They stay refused, also by later processes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import Files
from raftcache.wal.sealed import read_sealed, write_sealed

_MAGIC = b"rcachvot"
_VERSION = 2


def read_votes(files: Files, path: str) -> tuple[dict[str, tuple[int, str | None]], frozenset[str]]:
    """Terms and votes by group, and the groups whose vote is lost. Raises `WalDamaged`, OSError."""
    rows, lost = read_sealed(files, path, _MAGIC, _VERSION, "votes")
    return {group_id: (term, voted_for) for group_id, term, voted_for in rows}, frozenset(lost)


class VoteTable:
    """The file and what is in it. `save` and `load` are for the loop, the rest runs on any thread."""

    def __init__(self, files: Files, path: str, groups: Iterable[str] = ()) -> None:
        """`groups` are those of which the node keeps something: with any of them the file must be there. Damage is
        remembered, and raised by `require`. Raises OSError."""
        self._files, self._path = files, path
        self._groups = frozenset(groups)
        self._table: dict[str, tuple[int, str | None]] = {}
        self._lost: frozenset[str] = frozenset()
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._version = self._synced_version = 0
        self._saved_in: dict[str, int] = {}
        self.damage: WalDamaged | None = None
        try:
            self._load()
        except WalDamaged as damage:
            self.damage = damage

    def _load(self) -> None:
        if not self._files.exists(self._path):
            if self._groups:
                raise WalDamaged(self._path, 0, "the file of votes is missing, though groups are kept")
            self._write()
            return
        self._table, self._lost = read_votes(self._files, self._path)

    def require(self, group_id: str) -> None:
        """Raise `WalDamaged` where this group's vote is forgotten."""
        if self.damage is not None:
            raise self.damage
        if group_id in self._lost:
            raise WalDamaged(self._path, 0, f"the vote of group {group_id!r} was lost with an earlier, damaged file")

    def view(self, group_id: str) -> FileVotes:
        """One group's term and vote. Raises `WalDamaged`."""
        self.require(group_id)
        return FileVotes(self, group_id)

    def load(self, group_id: str) -> tuple[int, str | None]:
        """`(term, voted_for)`; `(0, None)` where nothing was saved."""
        return self._table.get(group_id, (0, None))

    def save(self, group_id: str, term: int, voted_for: str | None) -> None:
        """Keep both, in memory."""
        with self._lock:
            self._table[group_id] = (term, voted_for)
            self._version += 1
            self._saved_in[group_id] = self._version

    def synced(self, group_id: str) -> bool:
        """Whether what was saved last for a group is on disk."""
        return self._saved_in.get(group_id, 0) <= self._synced_version

    def sync_work(self) -> Callable[[], None] | None:
        """What would bring everything saved so far to the disk."""
        if self._version == self._synced_version:
            return None
        return partial(self.write_up_to, self._version)

    def write_up_to(self, version: int) -> None:
        """Write and sync the table, unless that version is on disk already. Raises OSError."""
        with self._writing:
            if self._synced_version < version:
                self._write()

    def forget(self, group_id: str, set_aside: Callable[[str], None]) -> None:
        """Forget a group, durably. A damaged file goes to `set_aside` first. Raises OSError."""
        with self._writing:
            if self.damage is not None:
                if self._files.exists(self._path):
                    set_aside(self._path)
                self._lost, self.damage = self._groups, None
            with self._lock:
                self._lost -= {group_id}
                self._table.pop(group_id, None)
                self._saved_in.pop(group_id, None)
                self._version += 1
            self._write()

    def _write(self) -> None:
        with self._lock:
            version = self._version
            rows = [[group_id, term, voted_for] for group_id, (term, voted_for) in self._table.items()]
        write_sealed(self._files, self._path, _MAGIC, _VERSION, [rows, sorted(self._lost)])
        self._synced_version = version


class FileVotes:
    """See `wal.api.VoteStore`. One group's part of the table."""

    def __init__(self, table: VoteTable, group_id: str) -> None:
        self._table, self._group_id = table, group_id

    def load(self) -> tuple[int, str | None]:
        """`(term, voted_for)`; `(0, None)` where nothing was saved."""
        return self._table.load(self._group_id)

    def save(self, term: int, voted_for: str | None) -> None:
        """Keep both: on disk once a `sync_work` has run."""
        self._table.save(self._group_id, term, voted_for)

    def synced(self) -> bool:
        """Whether what was saved last for this group is on disk."""
        return self._table.synced(self._group_id)

    def sync_work(self) -> Callable[[], None] | None:
        """What would write and sync the shared file; None where nothing is unsynced."""
        return self._table.sync_work()
