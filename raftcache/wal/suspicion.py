"""The mark of a replica that may have forgotten what it acknowledged.

An empty file in the group's directory. It is made before anything is repaired, synced, and goes when the replica
holds a commit index that a leader has sent after its start: from then on everything that was ever committed with its
help is in its log again, or in that of those who elected the leader.
"""

from __future__ import annotations

import logging

from raftcache.wal.files import Files

SUSPECT = "suspect"

_logger = logging.getLogger("raftcache.wal")


class FileSuspicion:
    """See `wal.api.Suspicion`."""

    def __init__(self, files: Files, directory: str) -> None:
        self._files, self._path = files, f"{directory}/{SUSPECT}"
        self.active = files.exists(self._path)

    def mark(self) -> None:
        """Begin to suspect, durably. Raises OSError."""
        if not self.active:
            self._files.write_atomic(self._path, b"", sync=True)
            self.active = True

    def lift(self) -> None:
        """Suspect no more. The removal is not synced: a power loss brings no more than the mark back."""
        if not self.active:
            return
        self.active = False
        try:
            self._files.remove(self._path)
        except OSError as error:
            _logger.warning("%s: stays until the next start: %s", self._path, error)


class NoSuspicion:
    """See `wal.api.Suspicion`. In memory nothing outlives what could be forgotten."""

    active = False

    def lift(self) -> None:
        """Nothing was suspected."""
