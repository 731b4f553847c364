"""Snapshots on demand: of the groups of one node, and of many nodes through one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from raftcache.consensus.compaction import SnapshotTaken
from raftcache.consensus.host import Host
from raftcache.errors import RaftcacheError

Rows = list[dict[str, Any]]
"""One a group: `{"group", "index", "keys", "bytes", "seconds"}`, or `{"group", "error"}`. A call for many nodes adds
`"node"`; a node that did not answer has one row, `{"node", "error"}`."""

Call = Callable[[str, str, bytes, float, Callable[[bytes | RaftcacheError], None]], None]
"""`call(node id, method, body, deadline, done)`: one RPC."""

ABSENT = "no replica of it is open on this node"
_BLANK = dict.fromkeys(("node", "group", "index", "keys", "bytes", "seconds", "error"))


class SnapshotBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of the RPC `snapshot`: group ids, none for all that the node holds a replica of."""

    groups: list[str] = []


class _Gathered:
    """Answers of a known number, told when all are there."""

    def __init__(self, count: int, done: Callable[[Rows], None]) -> None:
        self._rows: list[Rows] = [[] for _ in range(count)]
        self._left, self._done = count, done
        if not count:
            done([])

    def put(self, place: int, rows: Rows) -> None:
        self._rows[place] = rows
        self._left -= 1
        if not self._left:
            self._done([row for rows in self._rows for row in rows])


def take_snapshots(host: Host, wanted: Sequence[str], done: Callable[[Rows], None]) -> None:
    """Take snapshots of `wanted` groups here, or of all; all at once, for each has its pauses. `done` is told once."""
    group_ids = list(dict.fromkeys(wanted)) or list(host.groups)
    gathered = _Gathered(len(group_ids), done)
    for place, group_id in enumerate(group_ids):
        group = host.groups.get(group_id)
        if group is None:
            gathered.put(place, [{"group": group_id, "error": ABSENT}])
        else:
            group.take_snapshot(partial(_taken, gathered, place, group_id))


def _taken(gathered: _Gathered, place: int, group_id: str, outcome: SnapshotTaken | str) -> None:
    if isinstance(outcome, str):
        gathered.put(place, [{"group": group_id, "error": outcome}])
    else:
        gathered.put(place, [{"group": group_id, **outcome._asdict()}])


def take_on_nodes(
    call: Call, nodes: Sequence[str], groups: Sequence[str], deadline: float, done: Callable[[Rows], None]
) -> None:
    """Have each of `nodes` take snapshots of `groups`, or of all that it holds. `done` gets rows with every field. A
    node that does not hold a group has no row for it, if another one does."""
    body = msgspec.json.encode(SnapshotBody(list(groups)))
    gathered = _Gathered(len(nodes), lambda rows: done(_whole(rows)))
    for place, node_id in enumerate(nodes):
        call(node_id, "snapshot", body, deadline, partial(_answered, gathered, place, node_id))


def _answered(gathered: _Gathered, place: int, node_id: str, answer: bytes | RaftcacheError) -> None:
    if isinstance(answer, RaftcacheError):
        gathered.put(place, [{"node": node_id, "error": answer.message}])
        return
    rows: Rows = msgspec.json.decode(answer)["taken"]
    gathered.put(place, [{"node": node_id, **row} for row in rows])


def _whole(rows: Rows) -> Rows:
    held = {row.get("group") for row in rows if row.get("error") != ABSENT}
    return [_BLANK | row for row in rows if row.get("error") != ABSENT or row["group"] not in held]
