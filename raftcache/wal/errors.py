"""What can go wrong with a group's files. Damage is always told, never repaired by guessing."""

from __future__ import annotations

import errno

WAY_OUT = (
    "The group is not started from it. Move the group's directory away: the replica comes back empty, as a new "
    "member, and refills from the leader."
)


class LogWriteFailed(OSError):
    """The operating system refused a write. The log is as it was flushed last; what was buffered is dropped."""

    @classmethod
    def wrap(cls, path: str, error: OSError) -> LogWriteFailed:
        """The same failure under this name, with the file in the message."""
        return cls(error.errno or errno.EIO, f"writing failed: {error.strerror or error}", path)


class Damaged(Exception):
    """A file is not what was written. `path`, `offset` (bytes) and `reason` are in the message too."""

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path}: {reason} at byte {offset}. {WAY_OUT}")
        self.path = path
        self.offset = offset
        self.reason = reason


class WalDamaged(Damaged):
    """The log, or the file with term and vote."""


class SnapshotDamaged(Damaged):
    """A snapshot, on disk or as it arrived from a leader."""
