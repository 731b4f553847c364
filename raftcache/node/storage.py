"""Where a node keeps its groups: one folder each, and each group's replica number.

A replica that was removed or wiped has forgotten what it voted and acknowledged, so it must never answer under its old
name again. To *renew* it takes four steps, each on the disk before the next:

    1. The number is raised, and what is to become of the files is written beside it, in the same file.
    2. The files are moved to `damaged/<group>.<old number>`, or removed.
    3. The group's term and vote are forgotten.
    4. What was written in step 1 is crossed out.

Before step 1 nothing has happened: the old number, with the old files whole. After it, whoever comes next does steps 2
to 4 (again) before anybody can open the group, be it the next process or, after an error, the next call. So nobody ever
meets emptied files under the old number, or old files under the new one. *Founding* a group writes the same kind of
note, under the number as it is: until it is crossed out, what there is of the group counts for nothing and is removed.

**Suspicion.** A process that ends in order syncs all and says so in the mark of its run. Where the last one did not,
had not synced before it acknowledged (`always`), and the machine has been booted since, acknowledged entries may be
gone. Then every group gets its mark of suspicion before this process writes a mark of its own. Where the machine has
*not* been booted since, nothing is gone, but what the last process left unsynced still is: such a group is synced when
it is opened. While one of them was not, this run does not end clean either; nor does it count as `always`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from raftcache.identity import UnsupportedFormat
from raftcache.wal.api import GroupStorage, SnapshotMeta
from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import Files, remove_leftovers
from raftcache.wal.node_files import (
    DAMAGED,
    FOUND,
    NUMBERS,
    REMOVE,
    RUN,
    SET_ASIDE,
    SETTLED,
    VOTES,
    Replica,
    RunMark,
    group_names,
    read_numbers,
    read_run,
    write_numbers,
    write_run,
)
from raftcache.wal.storage import memory_storage, open_storage
from raftcache.wal.suspicion import FileSuspicion
from raftcache.wal.votes import VoteTable

FORMAT_1_VOTE, FORMAT_1_REMOVED = "vote", "removed"
"""What only format 1 has: a file of votes in each group's folder, and a folder of marks beside the groups."""

_FORGETFUL = (
    "%s: the last run did not end clean, and the machine has been booted since. Its %d groups may lack what they have "
    "acknowledged; the vote of each counts only beside enough others until it has caught up with a leader"
)

log = logging.getLogger(__name__)


class NodeStorage(Protocol):
    """All that a node keeps of its groups. The calls for one group come one at a time, on any thread."""

    def open(self, group_id: str) -> GroupStorage:
        """Open or create. May run off the loop. Raises Damaged, OSError."""

    def held(self) -> frozenset[str]:
        """The groups of which this node keeps something."""

    def replica(self, group_id: str) -> int:
        """This node's replica number of a group; 0 until it was renewed for the first time."""

    def renew(self, group_id: str, *, keep: bool) -> int:
        """Raise the number, then move the group's files aside (`keep`) or remove them. The group must be closed.

        Returns the new number. Raises OSError; called again, it goes on where it stopped. Of what was moved aside the
        latest of each group is kept.
        """

    def found(self, group_id: str, meta: SnapshotMeta, blocks: Iterable[bytes], term: int) -> None:
        """Create a group's storage that starts from a snapshot, in `term`. Synced when it returns. Raises OSError, and
        what `blocks` raises; the group is not there then."""

    def close(self) -> None:
        """After every group was closed in order: syncs what is not yet, and marks the end as clean. Never raises."""


class _FileStorage:
    def __init__(self, files: Files, root: str, segment_bytes: int, boot_id: str, always: bool) -> None:
        self._files, self._root, self._segment_bytes = files, root, segment_bytes
        self._boot_id, self._always = boot_id, always
        self._unsynced: set[str] = set()
        self._unsure = False
        self._lock = threading.Lock()
        self._opened: dict[str, GroupStorage] = {}
        self._prepare_root()
        self._numbers = read_numbers(files, root)
        self._votes = VoteTable(files, f"{root}/{VOTES}", group_names(files, root))
        for group_id, replica in self._numbers.items():
            if replica.intent != SETTLED:
                log.warning("%s/%s: what was begun with it is finished now: %s", root, group_id, replica.intent)
                self._finish(group_id)
        self._unsynced = self._left_unsynced()
        self._write_run(clean=False)

    # -- start and end ---------------------------------------------------------------------------

    def _prepare_root(self) -> None:
        """In a new root the numbers are the first file: where they are missing beside anything else, they are lost."""
        files, root = self._files, self._root
        files.makedirs(root)
        files.sync_dir(os.path.dirname(root) or ".")
        remove_leftovers(files, root)
        names = files.listdir(root)
        _refuse_format_1(files, root, names)
        if not names:
            write_numbers(files, root, {})

    def _left_unsynced(self) -> set[str]:
        """The groups with something that the last process may have left unsynced. Those that may have lost it are
        marked as suspect, durably."""
        last, groups = self._last_run(), group_names(self._files, self._root)
        if last.clean or last.always:
            return set()
        if last.boot_id == self._boot_id != "":
            return set(groups)
        for group_id in groups:
            FileSuspicion(self._files, self._folder(group_id)).mark()
        if groups:
            log.warning(_FORGETFUL, self._root, len(groups))
        return set()

    def _last_run(self) -> RunMark:
        """What is not known of the last process is taken for the worst."""
        try:
            last = read_run(self._files, self._root)
        except WalDamaged as damage:
            log.warning("the mark of the last run cannot be read, so it counts as unclean: %s", damage.reason)
            last = None
        return last or RunMark("", False, False)

    def _write_run(self, clean: bool) -> None:
        write_run(self._files, self._root, RunMark(self._boot_id, clean, self._always and not self._unsynced))

    def _is_synced(self, group_id: str) -> None:
        """The group keeps nothing unsynced of an earlier process any more."""
        with self._lock:
            if group_id in self._unsynced:
                self._unsynced.discard(group_id)
                if self._always and not self._unsynced:
                    self._write_run(clean=False)

    def close(self) -> None:
        """Sync what is not yet, and mark the end as clean."""
        try:
            for storage in self._opened.values():
                _sync(storage)
            if self._unsynced:
                log.info("%s: %d groups were not opened, so their last end counts", self._root, len(self._unsynced))
            else:
                self._write_run(clean=True)
        except OSError as error:
            log.error("%s: this run does not end clean, for syncing failed: %s", self._root, error)

    # -- groups ----------------------------------------------------------------------------------

    def _folder(self, group_id: str) -> str:
        return f"{self._root}/{group_id}"

    def open(self, group_id: str) -> GroupStorage:
        """Open or create."""
        with self._lock:
            if self._unsure:
                self._write_numbers(self._numbers)
        if self._replica(group_id).intent != SETTLED:
            self._finish(group_id)
        storage = self._open_folder(group_id)
        self._opened[group_id] = storage
        self._is_synced(group_id)
        return storage

    def _open_folder(self, group_id: str) -> GroupStorage:
        return open_storage(
            self._files,
            self._folder(group_id),
            group_id,
            segment_bytes=self._segment_bytes,
            boot_id=self._boot_id,
            table=self._votes,
        )

    def held(self) -> frozenset[str]:
        """The groups of which this node keeps something."""
        return frozenset(group_names(self._files, self._root))

    def replica(self, group_id: str) -> int:
        """This node's replica number of a group."""
        return self._replica(group_id).number

    def _replica(self, group_id: str) -> Replica:
        return self._numbers.get(group_id, Replica())

    def _note(self, group_id: str, replica: Replica) -> None:
        """Write a group's number and intent, durably. Where that fails, this process goes by the old ones."""
        with self._lock:
            self._write_numbers({**self._numbers, group_id: replica})

    def _write_numbers(self, numbers: dict[str, Replica]) -> None:
        """A failed write leaves the file old or new, nobody knows which; before a group is opened it is written again,
        for the next process must not let files go which this one has used."""
        self._unsure = True
        write_numbers(self._files, self._root, numbers)
        self._numbers, self._unsure = numbers, False

    def renew(self, group_id: str, *, keep: bool) -> int:
        """Raise the number, then let the files go. Once begun, it is finished as it was begun."""
        self._opened.pop(group_id, None)
        replica = self._replica(group_id)
        if replica.intent not in (SET_ASIDE, REMOVE):
            self._note(group_id, Replica(replica.number + 1, SET_ASIDE if keep else REMOVE))
        self._finish(group_id)
        return self.replica(group_id)

    def found(self, group_id: str, meta: SnapshotMeta, blocks: Iterable[bytes], term: int) -> None:
        """Create a group's storage that starts from a snapshot."""
        replica = self._replica(group_id)
        self._opened.pop(group_id, None)
        if replica.intent in (SET_ASIDE, REMOVE):
            self._finish(group_id)
        self._note(group_id, Replica(replica.number, FOUND))
        try:
            self._clear(group_id)
            storage = self._open_folder(group_id)
            _fill(storage, meta, blocks, term)
            _sync(storage)
        except Exception:
            with suppress(OSError):
                self._finish(group_id)
            raise
        self._note(group_id, Replica(replica.number, SETTLED))

    def _finish(self, group_id: str) -> None:
        """Do what is noted, as often as it takes, and cross it out."""
        number, intent = self._replica(group_id)
        if intent == SET_ASIDE:
            self._move_aside(group_id, number - 1)
        self._clear(group_id)
        self._note(group_id, Replica(number, SETTLED))

    def _clear(self, group_id: str) -> None:
        """Remove a group's files, its term and its vote."""
        self._files.remove_tree(self._folder(group_id))
        self._files.sync_dir(self._root)
        self._votes.forget(group_id, self._set_aside_votes)
        self._is_synced(group_id)

    def _move_aside(self, group_id: str, number: int) -> None:
        """What was set aside earlier goes only where there is something to replace it."""
        files, damaged = self._files, f"{self._root}/{DAMAGED}"
        files.makedirs(damaged)
        files.sync_dir(self._root)
        if files.exists(self._folder(group_id)):
            for name in files.listdir(damaged):
                if name.rpartition(".")[0] == group_id:
                    files.remove_tree(f"{damaged}/{name}")
            files.rename(self._folder(group_id), f"{damaged}/{group_id}.{number}")
        files.sync_dir(damaged)

    def _set_aside_votes(self, path: str) -> None:
        damaged = f"{self._root}/{DAMAGED}"
        self._files.makedirs(damaged)
        self._files.rename(path, f"{damaged}/{VOTES}")
        self._files.sync_dir(damaged)


class _MemoryStorage:
    def __init__(self) -> None:
        self._groups: dict[str, GroupStorage] = {}
        self._numbers: dict[str, int] = {}

    def open(self, group_id: str) -> GroupStorage:
        """Open or create."""
        return self._groups.setdefault(group_id, memory_storage(group_id))

    def held(self) -> frozenset[str]:
        """The groups opened and not renewed since."""
        return frozenset(self._groups)

    def replica(self, group_id: str) -> int:
        """This node's replica number of a group."""
        return self._numbers.get(group_id, 0)

    def renew(self, group_id: str, *, keep: bool) -> int:
        """Raise the number and forget the group; in memory nothing can be kept of it."""
        self._groups.pop(group_id, None)
        self._numbers[group_id] = self.replica(group_id) + 1
        return self._numbers[group_id]

    def found(self, group_id: str, meta: SnapshotMeta, blocks: Iterable[bytes], term: int) -> None:
        """Create a group's storage that starts from a snapshot."""
        storage = memory_storage(group_id)
        _fill(storage, meta, blocks, term)
        self._groups[group_id] = storage

    def close(self) -> None:
        """Nothing outlives the process."""


def _fill(storage: GroupStorage, meta: SnapshotMeta, blocks: Iterable[bytes], term: int) -> None:
    """Make a new group's storage start from a snapshot, and let go of its files."""
    storage.votes.save(term, None)
    writer = storage.snapshots.writer(meta)
    try:
        for block in blocks:
            writer.add_block(block)
        writer.commit()
    except Exception:
        writer.abort()
        raise
    storage.log.reset(meta.index, meta.term)
    storage.log.close()


def _sync(storage: GroupStorage) -> None:
    """Bring a group's log and vote to the disk. Raises OSError."""
    work = storage.log.sync_work()
    if work is not None:
        work.run()
        storage.log.synced(work)
    vote_work = storage.votes.sync_work()
    if vote_work is not None:
        vote_work()


def _refuse_format_1(files: Files, root: str, names: list[str]) -> None:
    """Raise UnsupportedFormat for what an earlier release has written."""
    if {NUMBERS, RUN, VOTES} & set(names):
        return
    if FORMAT_1_REMOVED in names or any(files.exists(f"{root}/{name}/{FORMAT_1_VOTE}") for name in names):
        raise UnsupportedFormat(root, 1)


def storage_in(files: Files, root: str, segment_bytes: int, boot_id: str, always: bool) -> NodeStorage:
    """Groups in folders under `root`. `boot_id` changes whenever the machine may have lost power ("": nobody knows),
    `always` says that this process syncs what it acknowledges. Raises `WalDamaged` where the replica numbers are not
    whole, UnsupportedFormat, OSError."""
    return _FileStorage(files, root, segment_bytes, boot_id, always)


def storage_in_memory() -> NodeStorage:
    """Groups that live as long as the process, which is as long as their node's incarnation."""
    return _MemoryStorage()
