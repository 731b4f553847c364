"""Small files that are replaced as a whole: votes, replica numbers.

    magic 8s | version u16 | crc32 u32 of all that is around it | msgpack body

A file that cannot be read is damage, never an empty one.
"""

from __future__ import annotations

from struct import Struct
from typing import Any
from zlib import crc32

import msgpack

from raftcache.wal.errors import WAY_OUT, WalDamaged
from raftcache.wal.files import Files

_LABEL = Struct(">8sH")
_CRC = Struct(">I")


def write_sealed(files: Files, path: str, magic: bytes, version: int, document: Any) -> None:
    """Replace the file, synced. Raises OSError: the old content or the new one holds then."""
    label, body = _LABEL.pack(magic, version), msgpack.packb(document)
    files.write_atomic(path, label + _CRC.pack(crc32(body, crc32(label))) + body, sync=True)


def read_sealed(files: Files, path: str, magic: bytes, version: int, what: str, way_out: str = WAY_OUT) -> Any:
    """The document; `what` says in errors what it is of. Raises `WalDamaged`, OSError."""
    data = files.read(path)
    start = _LABEL.size + _CRC.size
    if len(data) < start:
        raise WalDamaged(path, len(data), f"the file of {what} is cut short", way_out)
    label, body = data[: _LABEL.size], data[start:]
    if label != _LABEL.pack(magic, version):
        raise WalDamaged(path, 0, f"no file of {what} in format version {version}", way_out)
    if _CRC.unpack_from(data, _LABEL.size)[0] != crc32(body, crc32(label)):
        raise WalDamaged(path, _LABEL.size, f"the checksum of the {what} does not match", way_out)
    return msgpack.unpackb(body)
