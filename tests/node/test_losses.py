"""The lost-write report of a cluster: what nodes say by RPC and to each other, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from node.clusters import core, created, leader_of, run, run_until, succeeded, the_shard, write
from raftcache.commands.types import (
    MULTI_KEY_LIMIT,
    RECEIPT_WAIT_LIMIT_MS,
    Failure,
    Fate,
    Receipt,
    ReceiptList,
    Receipts,
    Set,
    Version,
    Written,
    decode_reply,
)
from raftcache.errors import BadRequest, NotLeader, RaftcacheError, Unavailable
from raftcache.frontends.backend import LostReport
from raftcache.metadata.watch import WatchHub
from raftcache.node import losses as losses_module
from raftcache.node.losses import LostRows, gather_lost_writes
from raftcache.node.metrics import loss_metrics
from raftcache.node.rpc_methods import NodeMethods, encode_receipts
from raftcache.testing.cluster import SimCluster

BOUND = {"default": 10_000.0, "shown": 10_000.0}
"""Of the namespaces that acknowledge at `primary`: their whole windows, for there is one shard."""


NONE = {"default": 0.0, "safe": 0.0, "vault": 0.0, "shown": 0.0}
"""A counter of losses before the first one."""


def deposed() -> tuple[SimCluster, str, str, list[Version]]:
    """A leader that was cut off with three acknowledged writes, and is back behind another: the cluster, that node, the
    shard, and the three."""
    cluster = created()
    shard_id = the_shard(cluster).id
    old = leader_of(cluster, shard_id)
    assert old is not None
    cluster.network.isolate(old)
    versions: list[Version] = []
    process = cluster.processes[old]
    for number in range(3):
        process.runtime.deliver(
            lambda number=number: process.core.shards[shard_id].submit(
                Set(b"k%d" % number, b"x"), lambda reply: versions.append(cast(Written, reply).version)
            )
        )
    assert run_until(cluster, lambda: len(versions) == 3, 0.5)
    assert run_until(cluster, lambda: leader_of(cluster, shard_id) not in (None, old), 5)
    return cluster, old, shard_id, versions


def metrics(cluster: SimCluster, node_id: str) -> dict[str, dict[str, float]]:
    """By metric, its values by namespace, "" for none."""
    return {
        metric.name: {sample.labels.get("namespace", ""): sample.value for sample in metric.samples}
        for metric in loss_metrics(core(cluster, node_id).losses, core(cluster, node_id).view.namespaces)
    }


def test_the_old_leader_reports_exactly_and_the_bound_of_the_new_one_is_struck_out() -> None:
    cluster, old, shard_id, versions = deposed()
    new = leader_of(cluster, shard_id)
    assert new is not None
    assert metrics(cluster, new)["raftcache_lost_writes_upper_bound"] == BOUND
    assert metrics(cluster, old)["raftcache_lost_writes_undecided"] == {"": 3.0}
    run(cluster, 2.0)
    still = metrics(cluster, new)["raftcache_lost_writes_upper_bound"]
    assert still == BOUND, "the old one is still away"
    cluster.network.heal()
    assert run_until(cluster, lambda: metrics(cluster, new)["raftcache_lost_writes_upper_bound"] == {}, 5)
    assert metrics(cluster, old)["raftcache_lost_writes"] == NONE | {"default": 3.0}
    assert metrics(cluster, old)["raftcache_lost_writes_undecided"] == {"": 0.0}
    rows, total = core(cluster, old).losses.report()
    assert total == 3 and {row.version for row in rows} == set(versions)
    assert metrics(cluster, new)["raftcache_lost_writes"] == NONE


def test_the_bound_stays_where_the_old_leader_was_killed() -> None:
    cluster = created()
    shard_id = the_shard(cluster).id
    old = leader_of(cluster, shard_id)
    assert old is not None
    cluster.kill(old)
    assert run_until(cluster, lambda: leader_of(cluster, shard_id) is not None, 5)
    new = leader_of(cluster, shard_id)
    assert new is not None and new != old
    cluster.start(old)
    run(cluster, 5.0)
    assert metrics(cluster, new)["raftcache_lost_writes_upper_bound"] == BOUND


def test_each_namespace_has_a_count_before_its_first_loss() -> None:
    cluster = created()
    shown = metrics(cluster, "n0")
    assert shown["raftcache_lost_writes"] == shown["raftcache_lost_writes_unresolved"] == NONE


def test_what_a_removed_replica_has_not_learnt_is_unresolved() -> None:
    cluster, old, shard_id, _ = deposed()
    core(cluster, old)._shards.drop(shard_id)
    assert metrics(cluster, old)["raftcache_lost_writes_unresolved"] == NONE | {"default": 3.0}
    assert metrics(cluster, old)["raftcache_lost_writes_undecided"] == {"": 0.0}


# -- over RPC --------------------------------------------------------------------------------------


class Call:
    """An RPC as a handler sees it."""

    def __init__(self, body: bytes) -> None:
        self.body, self.deadline = body, 99.0
        self.answers: list[bytes | RaftcacheError] = []

    def reply(self, body: bytes) -> None:
        self.answers.append(body)

    def fail(self, error: RaftcacheError) -> None:
        self.answers.append(error)


def rpc(cluster: SimCluster, node_id: str, method: str, body: bytes) -> Call:
    process = cluster.processes[node_id]
    methods = NodeMethods(process.core, WatchHub(process.core.view, process.runtime), lambda _on: None).table()
    call = Call(body)
    methods[method](cast(Any, call))
    run_until(cluster, lambda: bool(call.answers), 1.0)
    return call


def test_receipts_over_rpc() -> None:
    cluster = created()
    shard_id = the_shard(cluster).id
    leader = leader_of(cluster, shard_id)
    assert leader is not None
    reply = write(cluster, leader, b"k", b"x")
    assert succeeded(reply)
    version = cast(Written, reply).version
    [answer] = rpc(cluster, leader, "receipts", encode_receipts(shard_id, Receipts((version,), 500))).answers
    assert isinstance(answer, bytes)
    listed = decode_reply(answer)
    assert isinstance(listed, ReceiptList) and cast(Receipt, listed.items[0]).fate == Fate.COMMITTED
    follower = next(node_id for node_id in cluster.ids if node_id != leader)
    [answer] = rpc(cluster, follower, "receipts", encode_receipts(shard_id, Receipts((version,)))).answers
    assert isinstance(answer, bytes)
    refused = decode_reply(answer)
    assert isinstance(refused, Failure) and (refused.code, refused.details["leader"]) == ("not_leader", leader)
    [answer] = rpc(cluster, leader, "receipts", encode_receipts("ffff", Receipts((version,)))).answers
    assert isinstance(answer, NotLeader)


def test_receipts_over_rpc_are_bounded() -> None:
    cluster = created()
    node_id, shard_id = cluster.ids[0], the_shard(cluster).id
    version = Version(shard_id, 1, 1)
    for body in (
        b"\xc1",
        encode_receipts(shard_id, Receipts((version,) * (MULTI_KEY_LIMIT + 1))),
        encode_receipts(shard_id, Receipts((version,), RECEIPT_WAIT_LIMIT_MS + 1)),
        encode_receipts(shard_id, Receipts((version,), -1)),
    ):
        [answer] = rpc(cluster, node_id, "receipts", body).answers
        assert isinstance(answer, BadRequest)


def test_the_report_over_rpc() -> None:
    cluster, old, _, versions = deposed()
    cluster.network.heal()
    assert run_until(cluster, lambda: core(cluster, old).losses.counts.total() == 3, 5)

    def rows(body: bytes) -> LostRows:
        [answer] = rpc(cluster, old, "lost_writes", body).answers
        assert isinstance(answer, bytes)
        return msgspec.json.decode(answer, type=LostRows)

    found = rows(b"{}")
    assert found.total == 3 and [row.version for row in found.lost] == [str(v) for v in reversed(versions)]
    assert {row.key for row in found.lost} == {"k0", "k1", "k2"}
    assert rows(b'{"namespace": "safe"}') == LostRows([], 0)
    [answer] = rpc(cluster, old, "lost_writes", b"[]").answers
    assert isinstance(answer, BadRequest)


def test_the_reports_of_all_nodes_are_one() -> None:
    def answer(*rows: tuple[str, int], beyond: int = 0) -> bytes:
        lost = [["default", key, "vs.1.1", acked_ms] for key, acked_ms in rows]
        return msgspec.json.encode({"lost": lost, "total": len(rows) + beyond})

    told: list[LostReport] = []
    waiting: dict[str, Callable[[bytes | RaftcacheError], None]] = {}
    bodies: list[bytes] = []

    def call(node: str, method: str, body: bytes, deadline: float, done: Any) -> None:
        assert (method, deadline) == ("lost_writes", 9.0)
        bodies.append(body)
        waiting[node] = done

    gather_lost_writes(call, ["n0", "n1", "n2"], "default", 9.0, told.append)
    waiting["n1"](Unavailable("away"))
    waiting["n0"](answer(("c", 30), ("a", 10), beyond=5))
    assert told == []
    waiting["n2"](answer(("b", 20)))
    [report] = told
    assert [row.key for row in report.lost] == ["c", "b", "a"]
    assert (report.total, report.unreachable) == (8, ["n1"])
    assert set(bodies) == {b'{"namespace":"default"}'}
    gather_lost_writes(call, [], None, 9.0, told.append)
    assert told[1] == LostReport([], 0, [])


def test_one_answer_lists_only_so_many(monkeypatch: Any) -> None:
    monkeypatch.setattr(losses_module, "LOST_ROWS_LIMIT", 2)
    rows = [["default", str(number), "vs.1.1", number] for number in range(4)]
    body = msgspec.json.encode({"lost": rows, "total": 4})
    told: list[LostReport] = []
    gather_lost_writes(lambda _n, _m, _b, _d, done: done(body), ["n0"], None, 9.0, told.append)
    assert [row.key for row in told[0].lost] == ["3", "2"] and told[0].total == 4
