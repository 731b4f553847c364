"""What is in a snapshot file. Reads all of it, a piece at a time, and verifies every checksum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from raftcache.cli.output import Failed
from raftcache.metadata.replica import SNAPSHOT_HEADER
from raftcache.metadata.state import METADATA_GROUP, decode_state
from raftcache.shard.snapshot import count_rows
from raftcache.wal.api import SnapshotMeta
from raftcache.wal.files import Files, OsFiles
from raftcache.wal.snapshot_format import MAX_HEADER_BYTES, READ_CHUNK_BYTES, decode_blocks, decode_meta


class _Counted(Iterator[bytes]):
    """A stream of blocks that counts what went through it."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks = self.raw_bytes = 0
        self._stream = blocks

    def __next__(self) -> bytes:
        block = next(self._stream)
        self.blocks += 1
        self.raw_bytes += len(block)
        return block


def describe(path: str, files: Files | None = None) -> dict[str, Any]:
    """The meta, the sizes, and what the state says of itself. Raises SnapshotDamaged, Failed where the content does not
    make a state, OSError."""
    files = files or OsFiles()
    meta = decode_meta(files.read_range(path, 0, MAX_HEADER_BYTES), path)
    blocks = _Counted(decode_blocks(_pieces(files, path), path))
    try:
        state = _state(meta, blocks)
    except ValueError as error:
        raise Failed(f"{path}: every checksum is right, but the content makes no state: {error}") from error
    head = {"group": meta.group_id, "index": meta.index, "term": meta.term, "members": list(meta.members)}
    sizes = {"file_bytes": files.size(path), "blocks": blocks.blocks, "raw_bytes": blocks.raw_bytes}
    return {**head, **state, **sizes, "checksums": "whole"}


def _state(meta: SnapshotMeta, blocks: Iterator[bytes]) -> dict[str, Any]:
    if meta.index == 0:
        return _first_members(blocks)
    return _metadata(blocks) if meta.group_id == METADATA_GROUP else _shard(meta.group_id, blocks)


def _first_members(blocks: Iterator[bytes]) -> dict[str, Any]:
    """What every group starts from holds no state, and no key."""
    if next(blocks, None) is not None:
        raise ValueError("it has blocks, though it is of no entry")
    return {"keys": 0}


def _shard(shard_id: str, blocks: Iterator[bytes]) -> dict[str, Any]:
    history, keys, replies = count_rows(shard_id, blocks)
    newest = f"{history.term}.{history.seq}"
    return {"keys": keys, "reply_records": replies, "newest_version": newest, "closed_terms": len(history.closed)}


def _metadata(blocks: Iterator[bytes]) -> dict[str, Any]:
    whole = b"".join(blocks)
    if not whole.startswith(SNAPSHOT_HEADER):
        raise ValueError(f"it starts with {whole[:20]!r}")
    state = decode_state(whole[len(SNAPSHOT_HEADER) :])
    return {"epoch": state.epoch, "nodes": [node.id for node in state.nodes], "shards": [s.id for s in state.shards]}


def _pieces(files: Files, path: str) -> Iterator[bytes]:
    offset = 0
    while piece := files.read_range(path, offset, READ_CHUNK_BYTES):
        yield piece
        offset += len(piece)
