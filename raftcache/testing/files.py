"""A file system in memory that fails, is killed and loses power when a test says so.

It tells three states of a file apart, as a machine does: what was written (`write` returned: a killed process
leaves it, for the page cache outlives the process), what was synced (a power loss leaves it), and a name that a
`sync_dir` covered; `disk` has the details. Every change counts as one operation, so that a test can first count and
then kill at each.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Literal, NamedTuple

from raftcache.testing.disk import Directory, Disk, Inode, NameChange
from raftcache.wal.files import Files

Kind = Literal["create", "open", "write", "truncate", "sync", "rename", "remove", "makedirs", "sync_dir"]

CHANGES: tuple[Kind, ...] = ("create", "write", "truncate", "sync", "rename", "remove", "makedirs", "sync_dir")
"""What a full disk, or one that is read-only, can refuse."""


class Killed(BaseException):
    """The process was killed here. No `Exception`, so that no handler of the code under test goes on."""


class Operation(NamedTuple):
    """One change, as `recorded` lists it. `size` is the number of bytes of a write, else 0."""

    kind: Kind
    path: str
    size: int


class _Failure(NamedTuple):
    kind: Kind
    error: OSError
    partial: int


class FakeAppendFile:
    """An open file of `FakeFiles`. It dies with the process that opened it."""

    def __init__(self, files: FakeFiles, path: str, inode: Inode) -> None:
        self._files = files
        self._path = path
        self._inode = inode
        self._process = files.process
        self.closed = False

    def _check(self) -> None:
        if self._process != self._files.process:
            raise Killed(f"{self._path} was opened by a process that is gone")
        if self.closed:
            raise OSError(errno.EBADF, "the file is closed", self._path)

    def write(self, data: bytes) -> None:
        """Append all of `data`, or the part of it that a failure or a kill lets through."""
        self._check()
        self._files.count("write", self._path, len(data), lambda size: self._append(data[:size]))
        self._append(data)

    def _append(self, data: bytes) -> None:
        self._inode.data += data

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        self._check()
        self._files.count("truncate", self._path)
        self._inode.truncate(size)

    def size(self) -> int:
        """Bytes in the file."""
        self._check()
        return len(self._inode.data)

    def sync(self) -> None:
        """The content as it is now survives a power loss."""
        self._check()
        self._files.sync_inode(self._path, self._inode)

    def close(self) -> None:
        """Let go of the file."""
        self.closed = True


class FakeFiles(Files):
    """One machine's disk. Deterministic: no state outside of it, no clock, no randomness but what it is given."""

    def __init__(self) -> None:
        self.process = 0
        self.operations = 0
        self.recorded: list[Operation] | None = None
        self.drops_pages = False
        """Whether a failed sync also takes from the page cache what it could not write, as some file systems do."""
        self._disk = Disk()
        self._boots = 1
        self._failures: list[_Failure] = []
        self._broken: dict[Kind, OSError] = {}
        self._kill: tuple[int, int] | None = None
        self._dead = False

    # -- hooks for tests -------------------------------------------------------------------------

    @property
    def boot_id(self) -> str:
        """What the machine calls its present boot; a loss of power starts another."""
        return f"boot-{self._boots}"

    def record(self) -> list[Operation]:
        """Start to list the changes, for a test that then kills at each of them."""
        self.recorded = []
        return self.recorded

    def fail_next(self, kind: Kind, error: OSError, *, partial: int = 0) -> None:
        """Make the next change of this kind raise `error`, a write after it took `partial` bytes."""
        self._failures.append(_Failure(kind, error, partial))

    def break_disk(self, error: OSError, *kinds: Kind) -> None:
        """Make every change of these kinds raise `error`, until `heal`: a full disk, a read-only one."""
        self._broken |= dict.fromkeys(kinds, error)

    def heal(self) -> None:
        """The disk works again; nothing that was to fail does."""
        self._broken.clear()
        self._failures.clear()

    def kill_at(self, operation: int, torn_bytes: int = 0) -> None:
        """Kill the process at the change that comes as number `operation` from now, counted from 1.

        The change does not happen, but for the first `torn_bytes` of a write. Whatever the dead process tries
        afterwards raises `Killed` as well, until `restart`.
        """
        self._kill = (self.operations + operation, torn_bytes)

    def spare(self) -> None:
        """Take back a `kill_at` that has not come yet."""
        self._kill = None

    def restart(self) -> None:
        """The process is gone and a new one starts: open files are dead, everything written is there."""
        self.process += 1
        self._failures.clear()
        self._kill = None
        self._dead = False

    def lose_power(self, rng: random.Random) -> None:
        """Restart under another boot id with what was synced, and with what else happened to reach the disk, as `rng`
        has it."""
        self._disk.lose_power(rng)
        self._boots += 1
        self.restart()

    def corrupt(self, path: str, offset: int, mask: int = 0xFF) -> None:
        """Flip bits of one byte, in the page cache and on the disk."""
        inode = self._disk.file(path)
        inode.data[offset] ^= mask
        if offset < inode.clean:
            inode.disk = bytes(inode.data[: inode.clean]) + inode.disk[inode.clean :]

    def count(self, kind: Kind, path: str, size: int = 0, torn: Callable[[int], None] = lambda size: None) -> None:
        """Count one change, and raise instead where a test wants that. `torn` does a part of a write."""
        if self._dead:
            raise Killed(f"{kind} {path}: the process is dead")
        self.operations += 1
        if self.recorded is not None:
            self.recorded.append(Operation(kind, path, size))
        if self._kill is not None and self.operations == self._kill[0]:
            self._dead = True
            torn(self._kill[1])
            raise Killed(f"{kind} {path}")
        for failure in self._failures:
            if failure.kind == kind:
                self._failures.remove(failure)
                torn(failure.partial)
                raise failure.error
        if kind in self._broken:
            raise self._broken[kind]

    def sync_inode(self, path: str, inode: Inode) -> None:
        """Sync a file's content, or fail to."""
        try:
            self.count("sync", path)
        except OSError:
            inode.fail_sync(self.drops_pages)
            raise
        inode.sync()

    # -- Files -----------------------------------------------------------------------------------

    def create(self, path: str) -> FakeAppendFile:
        """Open an empty file, whatever was there before."""
        directory, name = self._disk.place(path)
        self.count("create", path)
        inode = directory.names.get(name)
        if isinstance(inode, Inode):
            inode.truncate(0)
        else:
            inode = Inode()
            self._disk.change(NameChange(directory, name, inode))
        return FakeAppendFile(self, path, inode)

    def open_append(self, path: str) -> FakeAppendFile:
        """Open an existing file at its end."""
        self.count("open", path)
        return FakeAppendFile(self, path, self._disk.file(path))

    def read(self, path: str) -> bytes:
        """The whole file."""
        return bytes(self._disk.file(path).data)

    def read_range(self, path: str, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`."""
        return bytes(self._disk.file(path).data[offset : offset + count])

    def size(self, path: str) -> int:
        """Bytes in the file."""
        return len(self._disk.file(path).data)

    def rename(self, source: str, target: str) -> None:
        """Give a file or a directory another name, atomically."""
        node = self._disk.find(source)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", source)
        if isinstance(node, Directory) and self._disk.find(target) is not None:
            raise OSError(errno.ENOTEMPTY, "the name is not free", target)
        there = self._disk.place(target)
        self.count("rename", target)
        self._disk.change(NameChange(*self._disk.place(source), None), NameChange(*there, node))

    def remove(self, path: str) -> None:
        """Remove one file."""
        self._disk.file(path)
        self.count("remove", path)
        self._disk.change(NameChange(*self._disk.place(path), None))

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory of that name."""
        return self._disk.find(path) is not None

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        return sorted(self._disk.directory(path).names)

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it."""
        self.count("makedirs", path)
        self._disk.make_directories(path)

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it, file by file."""
        if not self.exists(path):
            return
        for name in self.listdir(path):
            below = f"{path}/{name}"
            (self.remove_tree if isinstance(self._disk.find(below), Directory) else self.remove)(below)
        self._disk.change(NameChange(*self._disk.place(path), None))

    def sync(self, path: str) -> None:
        """The content of a file as it is now survives a power loss."""
        inode = self._disk.find(path)
        if isinstance(inode, Inode):
            self.sync_inode(path, inode)

    def sync_dir(self, path: str) -> None:
        """The names in a directory, as they are now, survive a power loss."""
        directory = self._disk.directory(path)
        self.count("sync_dir", path)
        self._disk.sync_names(directory)
