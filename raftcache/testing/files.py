"""A file system in memory that fails, is killed and loses power when a test says so.

It tells three states of a file apart, as a machine does: what was written (`write` returned: a killed process
leaves it, for the page cache outlives the process), what was synced (a power loss leaves it), and a name that a
`sync_dir` covered. Every change counts as one operation, so that a test can first count and then kill at each.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from typing import Literal, NamedTuple

from raftcache.wal.files import Files

Kind = Literal["create", "open", "write", "truncate", "sync", "rename", "remove", "makedirs", "sync_dir"]


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


class _Inode:
    """The content of a file, and as of its last sync."""

    __slots__ = ("data", "synced")

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""

    def after_power_loss(self, rng: random.Random) -> None:
        """Keep the synced content and a random part of what was appended since; of a cut, either side."""
        data = bytes(self.data)
        if data.startswith(self.synced):
            data = data[: rng.randint(len(self.synced), len(data))]
        elif rng.random() < 0.5:
            data = self.synced
        self.data, self.synced = bytearray(data), data


class FakeAppendFile:
    """An open file of `FakeFiles`. It dies with the process that opened it."""

    def __init__(self, files: FakeFiles, path: str, inode: _Inode) -> None:
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
        del self._inode.data[size:]

    def size(self) -> int:
        """Bytes in the file."""
        self._check()
        return len(self._inode.data)

    def sync(self) -> None:
        """The content as it is now survives a power loss."""
        self._check()
        self._files.count("sync", self._path)
        self._inode.synced = bytes(self._inode.data)

    def close(self) -> None:
        """Let go of the file."""
        self.closed = True


class FakeFiles(Files):
    """One machine's disk. Deterministic: no state outside of it, no clock, no randomness but what it is given."""

    def __init__(self) -> None:
        self.process = 0
        self.operations = 0
        self.recorded: list[Operation] | None = None
        self._names: dict[str, _Inode] = {}
        self._synced_names: dict[str, _Inode] = {}
        self._directories: set[str] = {"", "/", "."}
        self._failures: list[_Failure] = []
        self._kill: tuple[int, int] | None = None
        self._dead = False

    # -- hooks for tests -------------------------------------------------------------------------

    def record(self) -> list[Operation]:
        """Start to list the changes, for a test that then kills at each of them."""
        self.recorded = []
        return self.recorded

    def fail_next(self, kind: Kind, error: OSError, *, partial: int = 0) -> None:
        """Make the next change of this kind raise `error`, a write after it took `partial` bytes."""
        self._failures.append(_Failure(kind, error, partial))

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

    def power_loss(self, rng: random.Random) -> None:
        """Restart with what was synced, and with what else happened to reach the disk, as `rng` has it."""
        names: dict[str, _Inode] = {}
        for name in sorted(self._names.keys() | self._synced_names.keys()):
            now, synced = self._names.get(name), self._synced_names.get(name)
            kept = now if now is synced or rng.random() < 0.5 else synced
            if kept is not None:
                names[name] = kept
        for inode in {id(inode): inode for inode in names.values()}.values():
            inode.after_power_loss(rng)
        self._names, self._synced_names = names, dict(names)
        self.restart()

    def corrupt(self, path: str, offset: int, mask: int = 0xFF) -> None:
        """Flip bits of one byte."""
        self._inode(path).data[offset] ^= mask

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

    # -- Files -----------------------------------------------------------------------------------

    def _inode(self, path: str) -> _Inode:
        try:
            return self._names[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such file", path) from None

    def create(self, path: str) -> FakeAppendFile:
        """Open an empty file, whatever was there before."""
        if os.path.dirname(path) not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        self.count("create", path)
        inode = self._names.setdefault(path, _Inode())
        inode.data.clear()
        return FakeAppendFile(self, path, inode)

    def open_append(self, path: str) -> FakeAppendFile:
        """Open an existing file at its end."""
        self.count("open", path)
        return FakeAppendFile(self, path, self._inode(path))

    def read(self, path: str) -> bytes:
        """The whole file."""
        return bytes(self._inode(path).data)

    def read_range(self, path: str, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`."""
        return bytes(self._inode(path).data[offset : offset + count])

    def size(self, path: str) -> int:
        """Bytes in the file."""
        return len(self._inode(path).data)

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, atomically."""
        inode = self._inode(source)
        self.count("rename", target)
        del self._names[source]
        self._names[target] = inode

    def remove(self, path: str) -> None:
        """Remove one file."""
        self._inode(path)
        self.count("remove", path)
        del self._names[path]

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory of that name."""
        return path in self._names or path in self._directories

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        there = [*self._names, *(self._directories - {"", "/", "."})]
        return sorted(os.path.basename(name) for name in there if os.path.dirname(name) == path)

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it. Directories survive everything but `remove_tree`."""
        self.count("makedirs", path)
        while path not in self._directories:
            self._directories.add(path)
            path = os.path.dirname(path)

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it, file by file."""
        for name in sorted(self._names):
            if name.startswith(path + "/"):
                self.remove(name)
        gone = {name for name in self._directories if name == path or name.startswith(path + "/")}
        self._directories -= gone

    def sync_dir(self, path: str) -> None:
        """The names in a directory, as they are now, survive a power loss."""
        self.count("sync_dir", path)
        for name in {*self._names, *self._synced_names}:
            if os.path.dirname(name) == path:
                self._synced_names.pop(name, None)
                if name in self._names:
                    self._synced_names[name] = self._names[name]
