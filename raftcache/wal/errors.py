"""What can go wrong with a group's files. Damage is always told, never repaired by guessing."""

from __future__ import annotations

import errno

WAY_OUT = (
    "Nothing of it is served: the node sets this replica aside, under damaged/, and has it refilled by the others, as "
    "a new member. Nothing needs to be done."
)


class LogWriteFailed(OSError):
    """The operating system refused a write. The log is as it was flushed last; what was buffered is dropped."""

    @classmethod
    def wrap(cls, path: str, error: OSError) -> LogWriteFailed:
        """The same failure under this name, with the file in the message."""
        return cls(error.errno or errno.EIO, f"writing failed: {error.strerror or error}", path)


class Damaged(Exception):
    """A file is not what was written. `path`, `offset` (bytes), `reason` and the way out are in the message too."""

    def __init__(self, path: str, offset: int, reason: str, way_out: str = WAY_OUT) -> None:
        super().__init__(f"{path}: {reason} at byte {offset}. {way_out}")
        self.path = path
        self.offset = offset
        self.reason = reason
        self.way_out = way_out


class WalDamaged(Damaged):
    """The log, or a file with votes or replica numbers."""


class SnapshotDamaged(Damaged):
    """A snapshot, on disk or as it arrived from a leader."""
