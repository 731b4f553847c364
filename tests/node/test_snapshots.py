"""Snapshots on demand, on one node and on many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from node.clusters import core, created, leader_of, run, run_until, the_shard, write
from raftcache.errors import RaftcacheError, Unavailable
from raftcache.metadata.state import METADATA_GROUP
from raftcache.node.snapshots import ABSENT, Rows, take_on_nodes, take_snapshots

TAKEN = {"index": 12, "keys": 1000, "bytes": 52000, "seconds": 0.25}


def test_a_node_reports_each_of_its_groups() -> None:
    cluster = created()
    shard_id = the_shard(cluster).id
    leader = leader_of(cluster, shard_id)
    assert leader is not None
    for number in range(20):
        write(cluster, leader, b"k%d" % number, b"x")
    run(cluster, 1.0)
    told: list[Rows] = []
    take_snapshots(core(cluster, leader).host, [], told.append)
    assert run_until(cluster, lambda: bool(told), 5)
    rows = {row["group"]: row for row in told[0]}
    assert set(rows) == {shard_id, METADATA_GROUP}
    group = core(cluster, leader).host.groups[shard_id]
    assert rows[shard_id]["keys"] == 20
    assert rows[shard_id]["index"] == group.status().snapshot_index > 0
    assert rows[shard_id]["bytes"] > 0 and rows[shard_id]["seconds"] >= 0
    assert len(told) == 1


def test_a_group_that_is_not_here_is_an_error_and_named_once() -> None:
    cluster = created()
    node = cluster.running()[0].node_id
    told: list[Rows] = []
    take_snapshots(core(cluster, node).host, ["none", "none", METADATA_GROUP], told.append)
    assert run_until(cluster, lambda: bool(told), 5)
    assert [row["group"] for row in told[0]] == ["none", METADATA_GROUP]
    assert told[0][0]["error"] == ABSENT and "error" not in told[0][1]


class Nodes:
    """Answers to calls, given by hand."""

    def __init__(self) -> None:
        self.waiting: dict[str, Callable[[bytes | RaftcacheError], None]] = {}
        self.bodies: list[Any] = []
        self.told: list[Rows] = []

    def call(
        self, node: str, method: str, body: bytes, deadline: float, done: Callable[[bytes | RaftcacheError], None]
    ) -> None:
        assert (method, deadline) == ("snapshot", 9.0)
        self.bodies.append(msgspec.json.decode(body))
        self.waiting[node] = done

    def answer(self, node: str, *rows: dict[str, Any]) -> None:
        self.waiting.pop(node)(msgspec.json.encode({"taken": rows}))


def test_many_nodes_are_asked_at_once_and_answered_together_in_order() -> None:
    nodes = Nodes()
    take_on_nodes(nodes.call, ["n0", "n1", "n2"], ["7c1f"], 9.0, nodes.told.append)
    assert nodes.bodies == [{"groups": ["7c1f"]}] * 3
    nodes.answer("n2", {"group": "7c1f", **TAKEN})
    nodes.waiting.pop("n1")(Unavailable("it does not answer"))
    assert nodes.told == []
    nodes.answer("n0", {"group": "7c1f", "error": "the disk is full"})
    fields = ("node", "group", "index", "error")
    assert [tuple(row[field] for field in fields) for row in nodes.told[0]] == [
        ("n0", "7c1f", None, "the disk is full"),
        ("n1", None, None, "it does not answer"),
        ("n2", "7c1f", 12, None),
    ]


def test_a_group_that_some_node_holds_is_missed_at_none() -> None:
    nodes = Nodes()
    take_on_nodes(nodes.call, ["n0", "n1"], ["7c1f", "none"], 9.0, nodes.told.append)
    nodes.answer("n0", {"group": "7c1f", **TAKEN}, {"group": "none", "error": ABSENT})
    nodes.answer("n1", {"group": "7c1f", "error": ABSENT}, {"group": "none", "error": ABSENT})
    rows = nodes.told[0]
    assert [(row["node"], row["group"], row["error"]) for row in rows] == [
        ("n0", "7c1f", None),
        ("n0", "none", ABSENT),
        ("n1", "none", ABSENT),
    ]


def test_no_nodes_no_rows() -> None:
    nodes = Nodes()
    take_on_nodes(nodes.call, [], [], 9.0, nodes.told.append)
    assert nodes.told == [[]]
