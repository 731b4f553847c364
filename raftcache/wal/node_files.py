"""What a node keeps beside its groups: their replica numbers, and the mark of its run. The names of all these, too.

    replicas   sealed (see `sealed`), the body is [[group id, number, intent], ...]
    run        sealed, the body is [boot id, clean, always]

A group's *intent* is what was begun with its files and is not finished; "" where nothing is. It is written together
with the number, so whatever moment a process ends at, the next one knows whether the files that it finds are those of
the number that it finds, or are still to go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import TMP_SUFFIX, Files
from raftcache.wal.sealed import read_sealed, write_sealed

VOTES, NUMBERS, RUN, DAMAGED = "votes", "replicas", "run", "damaged"
RESERVED = frozenset((VOTES, NUMBERS, RUN, DAMAGED))
"""The names beside the groups' folders; no group has such an id."""

SETTLED: Final = ""
SET_ASIDE: Final = "set aside"
REMOVE: Final = "remove"
FOUND: Final = "found"
"""Intents: the files stay as they are; go to `damaged/`; are removed; are being written, and count for nothing yet."""

NUMBERS_WAY_OUT = (
    "Without it this node cannot tell under which names its replicas have voted. Restore the file as it was last, or "
    "stop the node and empty its whole data directory: it comes back as a new incarnation, and refills from the others."
)

_NUMBERS_MAGIC, _RUN_MAGIC = b"rcachnum", b"rcachrun"
_VERSION = 2


class Replica(NamedTuple):
    """A group's replica number on this node, and what was begun with its files."""

    number: int = 0
    intent: str = SETTLED


class RunMark(NamedTuple):
    """What a process says of itself: the boot that it runs under, whether it has ended with everything synced, and
    whether it synced everything before it acknowledged it."""

    boot_id: str
    clean: bool
    always: bool


def group_names(files: Files, root: str) -> list[str]:
    """The groups that have a folder."""
    there = files.listdir(root) if files.exists(root) else []
    return [name for name in there if name not in RESERVED and not name.endswith(TMP_SUFFIX)]


def read_numbers(files: Files, root: str) -> dict[str, Replica]:
    """The replica numbers by group. Raises `WalDamaged`, also where the file is missing; OSError."""
    path = f"{root}/{NUMBERS}"
    if not files.exists(path):
        raise WalDamaged(path, 0, "the file of replica numbers is missing", NUMBERS_WAY_OUT)
    rows = read_sealed(files, path, _NUMBERS_MAGIC, _VERSION, "replica numbers", NUMBERS_WAY_OUT)
    return {group_id: Replica(number, intent) for group_id, number, intent in rows}


def write_numbers(files: Files, root: str, numbers: Mapping[str, Replica]) -> None:
    """Replace the file, synced. Raises OSError."""
    rows = [[group_id, *numbers[group_id]] for group_id in sorted(numbers)]
    write_sealed(files, f"{root}/{NUMBERS}", _NUMBERS_MAGIC, _VERSION, rows)


def read_run(files: Files, root: str) -> RunMark | None:
    """The mark of the last process, or of the one that runs; None where there is none. Raises `WalDamaged`, OSError."""
    path = f"{root}/{RUN}"
    if not files.exists(path):
        return None
    return RunMark(*read_sealed(files, path, _RUN_MAGIC, _VERSION, "run"))


def write_run(files: Files, root: str, mark: RunMark) -> None:
    """Replace the file, synced. Raises OSError."""
    write_sealed(files, f"{root}/{RUN}", _RUN_MAGIC, _VERSION, list(mark))
