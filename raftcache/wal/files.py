"""The one door to the disk. Everything in `wal` takes a `Files`: the machine's, or a fake one that crashes on demand.

All calls are synchronous and unbuffered: what `write` took has been handed to the operating system, and a killed
process does not lose it. Only what `sync` and `sync_dir` covered survives a power loss. Errors are OSErrors.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import Protocol

TMP_SUFFIX = ".tmp"
"""The end of a name that is not yet in place. Such a file is garbage after a restart."""


class AppendFile(Protocol):
    """An open file that grows at its end."""

    def write(self, data: bytes) -> None:
        """Append all of `data`. After an OSError any prefix of it may be in the file."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes; the next write goes there."""

    def size(self) -> int:
        """Bytes in the file."""

    def sync(self) -> None:
        """Return when the content is on the disk."""

    def close(self) -> None:
        """Let go of the file. Harmless when done twice."""


class Files(Protocol):
    """A file system, as far as raftcache needs one. Paths are text with `/`."""

    def create(self, path: str) -> AppendFile:
        """Open an empty file, whatever was there before."""

    def open_append(self, path: str) -> AppendFile:
        """Open an existing file at its end."""

    def read(self, path: str) -> bytes:
        """The whole file."""

    def read_range(self, path: str, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`; fewer only at the end of the file."""

    def size(self, path: str) -> int:
        """Bytes in the file."""

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, atomically; a file of that name is replaced. A directory moves with all that is
        in it, to a name that is free."""

    def remove(self, path: str) -> None:
        """Remove one file."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory of that name."""

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it, where they are missing."""

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it; nothing happens where there is none."""

    def sync_dir(self, path: str) -> None:
        """Return when the directory's names are on the disk."""

    def sync(self, path: str) -> None:
        """Return when a file's content is on the disk, however it was opened; nothing happens where there is none.
        On any thread."""

    def write_atomic(self, path: str, data: bytes, *, sync: bool, sync_name: bool = True) -> None:
        """Replace a file as a whole: whoever looks finds the old content or the new one, also after a kill.

        With `sync` that holds for power loss too, and the new content is on the disk when this returns, unless
        `sync_name` leaves the sync of the directory to the caller: then either content may be found.
        """
        handle = self.create(path + TMP_SUFFIX)
        try:
            handle.write(data)
            if sync:
                handle.sync()
        finally:
            handle.close()
        self.rename(path + TMP_SUFFIX, path)
        if sync and sync_name:
            self.sync_dir(os.path.dirname(path))


class OsAppendFile:
    """A file descriptor opened with O_APPEND, so that a cut moves the place of the next write as well."""

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str, flags: int) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)

    def write(self, data: bytes) -> None:
        """One system call, unless the operating system takes less than all (a signal, or the disk's last bytes)."""
        written = os.write(self._fd, data)
        if written != len(data):
            self._write_rest(memoryview(data)[written:])

    def _write_rest(self, rest: memoryview) -> None:
        while rest:
            written = os.write(self._fd, rest)
            if written == 0:
                raise OSError(errno.EIO, "nothing was written", self._path)
            rest = rest[written:]

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        """Return when the content is on the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Let go of the file. Harmless when done twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class OsFiles(Files):
    """The machine's file system. Files and directories are the owner's alone (0600, 0700)."""

    def create(self, path: str) -> OsAppendFile:
        """Open an empty file, whatever was there before."""
        return OsAppendFile(path, os.O_CREAT | os.O_TRUNC)

    def open_append(self, path: str) -> OsAppendFile:
        """Open an existing file at its end."""
        return OsAppendFile(path, 0)

    def read(self, path: str) -> bytes:
        """The whole file."""
        with open(path, "rb", buffering=0) as handle:
            return handle.readall()

    def read_range(self, path: str, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`."""
        with open(path, "rb") as handle:
            handle.seek(offset)
            return handle.read(count)

    def size(self, path: str) -> int:
        """Bytes in the file."""
        return os.stat(path).st_size

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, atomically."""
        os.replace(source, target)

    def remove(self, path: str) -> None:
        """Remove one file."""
        os.unlink(path)

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory of that name."""
        return os.path.exists(path)

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        return sorted(os.listdir(path))

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it, where they are missing."""
        os.makedirs(path, mode=0o700, exist_ok=True)

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it."""
        if os.path.exists(path):
            shutil.rmtree(path)

    def sync(self, path: str) -> None:
        """Return when a file's content is on the disk."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def sync_dir(self, path: str) -> None:
        """Return when the directory's names are on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def remove_leftovers(files: Files, directory: str) -> None:
    """Remove what an earlier process was writing when it ended: files that never got their name."""
    for name in files.listdir(directory):
        if name.endswith(TMP_SUFFIX):
            files.remove(f"{directory}/{name}")
