"""What a machine's disk holds, and what is left of it after a loss of power.

Two things are told apart for every file: its content as processes see it, in the page cache, and its content as of
the last sync. The same for every directory's names. A loss of power keeps what was synced, and of the rest as little
and as mixed a part as real file systems do:

* *Content.* A cut that was not synced has happened or not. Of what was appended since the sync, any part may be
  there, cut at any byte, with zeros where pages were never written and garbage where blocks were allocated first; and
  what stood there before a cut may show again.
* *Names.* Each creation, renaming and removal that no sync of the directory has covered is there or not: a journaling
  file system keeps their order, so that a first part of them is there, others keep any of them. A file whose
  directory is gone is gone.
* *Failed syncs.* The kernel marks the pages as clean all the same. What was unsynced then may be lost even after a
  later sync has succeeded.
"""

from __future__ import annotations

import errno
import random
from typing import NamedTuple

NEW, OLD, ZEROS, GARBAGE = "new", "old", "zeros", "garbage"


class Inode:
    """The content of a file. The first `clean` bytes are on the disk as they are in `data`."""

    __slots__ = ("clean", "data", "disk", "lost")

    def __init__(self) -> None:
        self.data = bytearray()
        self.disk = b""
        self.clean = 0
        self.lost: list[tuple[int, int]] = []

    def truncate(self, size: int) -> None:
        """Cut the content to `size` bytes."""
        del self.data[size:]
        self.clean = min(self.clean, size)
        self.lost = [(start, min(end, size)) for start, end in self.lost if start < size]

    def sync(self) -> None:
        """The content is on the disk, but for what an earlier sync has lost."""
        self.disk = bytes(self.data)
        self.clean = len(self.disk)

    def fail_sync(self, drops_pages: bool) -> None:
        """What was unsynced may never reach the disk; with `drops_pages` nobody sees it any more either."""
        start, end = self.clean, len(self.data)
        if start < end:
            self.lost.append((start, end))
            if drops_pages:
                self.data[start:end] = self.disk[start:end].ljust(end - start, b"\0")

    def lose_power(self, rng: random.Random) -> None:
        """Keep what was synced, and a random part of the rest."""
        kept = self.data[: self.clean] + self._unsynced(rng)
        for start, end in self.lost:
            end = min(end, len(kept))
            if start < end and rng.random() < 0.5:
                kept[start:end] = self._piece(rng.choice((OLD, ZEROS, GARBAGE)), start, end, rng)
        self.data = kept
        self.lost = []
        self.sync()

    def _unsynced(self, rng: random.Random) -> bytes:
        """What is found behind the clean part."""
        old, new = len(self.disk), len(self.data)
        if self.clean == new:
            return self.disk[new:] if rng.random() < 0.5 else b""
        if rng.random() < 0.5:
            return bytes(self.data[self.clean : rng.randint(self.clean, new)])
        size = rng.choice((new, old, rng.randint(self.clean, max(new, old))))
        place, found = self.clean, b""
        while place < size:
            end = rng.randint(place + 1, size)
            found += self._piece(rng.choice((NEW, NEW, NEW, OLD, ZEROS, GARBAGE)), place, end, rng)
            place = end
        return found

    def _piece(self, kind: str, start: int, end: int, rng: random.Random) -> bytes:
        if kind == GARBAGE:
            return rng.randbytes(end - start)
        source = {NEW: bytes(self.data[start:end]), OLD: self.disk[start:end], ZEROS: b""}[kind]
        return source.ljust(end - start, b"\0")


class Directory:
    """Names, as processes see them and as of the last sync."""

    __slots__ = ("names", "synced")

    def __init__(self) -> None:
        self.names: dict[str, Inode | Directory] = {}
        self.synced: dict[str, Inode | Directory] = {}


class NameChange(NamedTuple):
    """A name that leads to `node` from now on, or to nothing."""

    directory: Directory
    name: str
    node: Inode | Directory | None

    def apply(self, names: dict[str, Inode | Directory]) -> None:
        """Make it so in one of the directory's two tables."""
        names.pop(self.name, None)
        if self.node is not None:
            names[self.name] = self.node


class Disk:
    """A tree of directories and files. Directories at its root count as synced once made, like a mount point."""

    def __init__(self) -> None:
        self.root = Directory()
        self._unsynced: list[list[NameChange]] = []

    def find(self, path: str) -> Inode | Directory | None:
        """What a path leads to."""
        node: Inode | Directory | None = self.root
        for name in _parts(path):
            node = node.names.get(name) if isinstance(node, Directory) else None
        return node

    def file(self, path: str) -> Inode:
        """The file of that name. Raises FileNotFoundError."""
        node = self.find(path)
        if not isinstance(node, Inode):
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return node

    def directory(self, path: str) -> Directory:
        """The directory of that name. Raises FileNotFoundError."""
        node = self.find(path)
        if not isinstance(node, Directory):
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        return node

    def place(self, path: str) -> tuple[Directory, str]:
        """The directory that a path's last name is in, and that name. Raises FileNotFoundError."""
        *above, name = _parts(path)
        return self.directory("/".join(above)), name

    def change(self, *changes: NameChange) -> None:
        """Change names, all of these or none."""
        for each in changes:
            each.apply(each.directory.names)
        self._unsynced.append(list(changes))

    def make_directories(self, path: str) -> None:
        """Make a directory and those above it, where they are missing."""
        above = self.root
        for name in _parts(path):
            below = above.names.get(name)
            if not isinstance(below, Directory):
                below = Directory()
                self.change(NameChange(above, name, below))
                if above is self.root:
                    self.sync_names(above, name)
            above = below

    def sync_names(self, directory: Directory, only: str | None = None) -> None:
        """The names in a directory, or one of them, are on the disk."""
        left = []
        for operation in self._unsynced:
            covered = [each for each in operation if each.directory is directory and only in (None, each.name)]
            for each in covered:
                each.apply(directory.synced)
            left.append([each for each in operation if each not in covered])
        self._unsynced = [operation for operation in left if operation]

    def lose_power(self, rng: random.Random) -> None:
        """Keep what was synced, and a random part of the rest, as `rng` has it."""
        operations, self._unsynced = self._unsynced, []
        if rng.random() < 0.5:
            kept = operations[: rng.randint(0, len(operations))]
        else:
            kept = [operation for operation in operations if rng.random() < 0.5]
        for operation in kept:
            for each in operation:
                each.apply(each.directory.synced)
        self._restore(self.root, rng, set())

    def _restore(self, directory: Directory, rng: random.Random, seen: set[int]) -> None:
        directory.names = dict(directory.synced)
        for _, node in sorted(directory.names.items(), key=lambda item: item[0]):
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, Directory):
                self._restore(node, rng, seen)
            else:
                node.lose_power(rng)


def _parts(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]
