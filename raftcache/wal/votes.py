"""The term and the vote of one group, in one small file that is replaced as a whole.

Forgetting a vote is voting twice, so a file that cannot be read is never taken for an empty one.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

import msgpack

from raftcache.wal.errors import LogWriteFailed, WalDamaged
from raftcache.wal.files import Files

_MAGIC = b"rcachvot"
_VERSION = 1
_HEADER = Struct(">8sHI")
"""Magic, version, crc32 of the body. The body is msgpack `[group id, term, voted for or nil]`."""


class FileVotes:
    """See `wal.api.VoteStore`. A killed process loses nothing; the content is not synced."""

    def __init__(self, files: Files, path: str, group_id: str) -> None:
        self._files = files
        self._path = path
        self._group_id = group_id

    def load(self) -> tuple[int, str | None]:
        """`(term, voted_for)`; `(0, None)` where nothing was saved. Raises `WalDamaged`."""
        if not self._files.exists(self._path):
            return 0, None
        data = self._files.read(self._path)
        if len(data) < _HEADER.size:
            raise WalDamaged(self._path, len(data), "the file is cut short")
        magic, version, checksum = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        if magic != _MAGIC or version != _VERSION:
            raise WalDamaged(self._path, 0, f"no file of votes in format version {_VERSION}")
        if crc32(body) != checksum:
            raise WalDamaged(self._path, _HEADER.size, "the checksum of term and vote does not match")
        group_id, term, voted_for = msgpack.unpackb(body)
        if group_id != self._group_id:
            raise WalDamaged(self._path, _HEADER.size, f"votes of group {group_id!r}, not {self._group_id!r}")
        return term, voted_for

    def save(self, term: int, voted_for: str | None) -> None:
        """Keep both, atomically. Raises `LogWriteFailed`; what was saved before holds then."""
        body = msgpack.packb([self._group_id, term, voted_for])
        data = _HEADER.pack(_MAGIC, _VERSION, crc32(body)) + body
        try:
            self._files.write_atomic(self._path, data, sync=False)
        except OSError as error:
            raise LogWriteFailed.wrap(self._path, error) from error
