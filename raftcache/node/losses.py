"""The lost-write report of one node as documents, and that of the whole cluster, gathered over its nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from raftcache.errors import BadRequest, RaftcacheError
from raftcache.frontends.backend import LostReport, LostRow
from raftcache.node.snapshots import Call
from raftcache.shard.losses import Losses

LOST_ROWS_LIMIT = 1_000
"""The newest lost writes that one answer lists."""


class LostWritesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of the RPC `lost_writes`: one namespace, or null for all."""

    namespace: str | None = None


class LostRows(msgspec.Struct):
    """What one node knows: its newest lost writes, newest first, and how many there were in all."""

    lost: list[LostRow]
    total: int


_decode_wanted = msgspec.json.Decoder(LostWritesBody).decode
_decode_rows = msgspec.json.Decoder(LostRows).decode


def lost_rows(losses: Losses, namespace: str | None) -> LostRows:
    """The answer of one node. A key that is no UTF-8 is shown with its odd bytes as `\\xff`."""
    writes, total = losses.report(namespace)
    rows = [
        LostRow(each.namespace, each.key.decode("utf-8", "backslashreplace"), str(each.version), each.acked_ms)
        for each in writes
    ]
    return LostRows(rows, total)


def serve_lost_writes(losses: Losses, body: bytes, reply: Callable[[bytes | RaftcacheError], None]) -> None:
    """Answer the RPC `lost_writes`."""
    try:
        wanted = _decode_wanted(body)
    except msgspec.MsgspecError as error:
        reply(BadRequest(f"lost_writes: {error}"))
    else:
        reply(msgspec.json.encode(lost_rows(losses, wanted.namespace)))


class _Gathered:
    """The answers of a known number of nodes."""

    def __init__(self, count: int, done: Callable[[LostReport], None]) -> None:
        self._left, self._done = count, done
        self._rows: list[LostRow] = []
        self._total = 0
        self._silent: list[str] = []
        if not count:
            self._finish()

    def put(self, node_id: str, answer: bytes | RaftcacheError) -> None:
        if isinstance(answer, RaftcacheError):
            self._silent.append(node_id)
        else:
            rows = _decode_rows(answer)
            self._rows += rows.lost
            self._total += rows.total
        self._left -= 1
        if not self._left:
            self._finish()

    def _finish(self) -> None:
        rows = sorted(self._rows, key=lambda row: (row.acked_ms, row.version), reverse=True)[:LOST_ROWS_LIMIT]
        self._done(LostReport(rows, self._total, sorted(self._silent)))


def gather_lost_writes(
    call: Call, nodes: Sequence[str], namespace: str | None, deadline: float, done: Callable[[LostReport], None]
) -> None:
    """Ask each of `nodes` for its report; `done` gets the newest of all, and who did not answer."""
    body = msgspec.json.encode(LostWritesBody(namespace))
    gathered = _Gathered(len(nodes), done)
    for node_id in nodes:
        call(node_id, "lost_writes", body, deadline, partial(gathered.put, node_id))
