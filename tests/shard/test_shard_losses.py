"""The lost-write report: what was acknowledged and is lost, once the term is closed, and the bound until then."""

from __future__ import annotations

import logging

import pytest
from shard_harness import POLICIES, Bench, VirtualRuntime
from test_shard_receipts import depose, write

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import LossWindow, Namespace
from raftcache.commands.types import RAW, AckLevel, Delete, Incr, MultiSet, Set, Version
from raftcache.shard import losses as losses_module
from raftcache.shard.history import History
from raftcache.shard.losses import Bounds, Losses, loss_bound
from raftcache.shard.pipeline import PendingBatch
from raftcache.shard.snapshot import prepare
from raftcache.store.effects import PUT

INF = float("inf")


def losses_of(bench: Bench) -> Losses:
    return bench.replica._losses


def test_what_was_acknowledged_and_undone_is_lost_once_the_term_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench().lead()
    write(bench, b"kept")
    bench.settle()
    bench.runtime.now_s = 200.0
    version = write(bench, b"lost")
    bench.runtime.turn()
    bench.runtime.now_s = 205.0
    bench.group.lose("n1")
    losses = losses_of(bench)
    assert losses.report() == ([], 0) and losses.waiting == 1, "it may still have survived"
    bench.group.leading = True
    with caplog.at_level(logging.WARNING, "raftcache.shard"):
        depose(bench, bench.group.applied)
    [row], total = losses.report()
    assert (row.namespace, row.key, row.version, row.acked_ms) == ("default", b"lost", version, 1_200_000)
    assert total == 1 and losses.counts == {"default": 1} and losses.waiting == 0
    [record] = [each.getMessage() for each in caplog.records if "acknowledged" in each.getMessage()]
    assert "of 1 acknowledged writes" in record and "1 are lost (default: 1)" in record and "term 1" in record


def test_what_commits_under_the_successor_is_not_lost() -> None:
    bench = Bench().lead()
    write(bench, b"first")
    bench.runtime.turn()
    write(bench, b"second")
    bench.runtime.turn()
    write(bench, b"never proposed")
    depose(bench, 2)
    assert [row.key for row in losses_of(bench).report()[0]] == [b"never proposed", b"second"]
    assert losses_of(bench).counts == {"default": 2}


def test_what_was_not_acknowledged_is_not_lost() -> None:
    bench = Bench().lead()
    bench.send(Set(b"k", b"v", ack=AckLevel.QUORUM))
    bench.send(Set(b"safe:k", b"v"))
    bench.send(Incr(b"strict:n"))
    bench.send(Delete(b"nothing"))
    bench.runtime.turn()
    depose(bench, bench.group.applied)
    assert losses_of(bench).report() == ([], 0) and losses_of(bench).resolved == {"7c1f": (1,)}


def test_items_of_a_multi_key_write_count_each_by_its_own_namespace() -> None:
    bench = Bench().lead()
    bench.send(MultiSet((Set(b"a", b"1"), Set(b"brief:b", b"2"), Set(b"safe:c", b"3"))))
    depose(bench, bench.group.applied)
    losses = losses_of(bench)
    assert losses.counts == {"default": 1, "brief": 1}
    assert [(row.namespace, row.key) for row in losses.report()[0]] == [("brief", b"b"), ("default", b"a")]
    assert losses.report("brief")[1] == 1 and [row.key for row in losses.report("brief")[0]] == [b"b"]
    assert losses.report("safe") == ([], 0)


def test_keys_of_a_deleted_namespace_go_by_its_name() -> None:
    bench = Bench().lead()
    write(bench, b"brief:k")
    bench.policies = Namespaces(2, tuple(space for space in POLICIES.by_name.values() if space.name != "brief"))
    depose(bench, bench.group.applied)
    assert [(row.namespace, row.key) for row in losses_of(bench).report()[0]] == [("brief", b"k")]


def test_the_close_may_come_with_a_snapshot() -> None:
    bench, other = Bench().lead(), Bench(node_id="n1")
    write(bench, b"lost")
    bench.group.lose("n1")
    other.group.term = 1
    other.lead()
    bench.replica.install(prepare("7c1f", other.replica.snapshot_blocks()), 1, 2)
    assert losses_of(bench).counts == {"default": 1}


def test_counts_are_exact_where_keys_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses_module, "LOST_KEYS_LIMIT", 3)
    losses = Losses(VirtualRuntime())
    batches = []
    for first in (1, 3, 5):
        batch = PendingBatch(first)
        batch.effects = [(PUT, b"k%d" % seq, b"", RAW, 0, 1) for seq in (first, first + 1)]
        for seq in (first, first + 1):
            batch.note_acked(1, seq, 0.0)
        batches.append(batch)
    losses.undone("s", 4, batches, POLICIES)
    losses.closed("s", History(term=5, seq=1, closed={4: 2}))
    assert losses.counts == {"default": 4}
    assert [row.version for row in losses.report()[0]] == [Version("s", 4, 6), Version("s", 4, 5), Version("s", 4, 4)]


def test_a_term_that_is_not_closed_yet_stays_open() -> None:
    losses = Losses(VirtualRuntime())
    losses.undone("s", 4, [], POLICIES)
    losses.closed("s", History(term=4, seq=9, closed={3: 2}))
    losses.closed("other", History(term=5, seq=9, closed={4: 2}))
    assert losses.resolved == {}
    losses.closed("s", History(term=6, seq=1))
    assert losses.resolved == {"s": (4,)}


def test_what_will_not_be_learnt_here_is_counted_as_that() -> None:
    bench = Bench().lead()
    write(bench)
    bench.group.lose("n1")
    losses = losses_of(bench)
    losses.abandon("7c1f")
    assert losses.unresolved == {"default": 1} and losses.waiting == 0 and losses.report() == ([], 0)


# -- the bound -------------------------------------------------------------------------------------


def test_a_new_leader_puts_down_what_the_one_before_may_have_lost() -> None:
    bench = Bench().lead()
    assert losses_of(bench).bounds.total() == {}, "there was nobody before"
    depose(bench, bench.group.applied)
    bench.group.gain()
    bench.group.commit()
    bounds = losses_of(bench).bounds
    bound = dict.fromkeys(("default", "strict", "brief", "shown"), 10_000.0)
    assert bounds.total() == bound
    bounds.reported({"7c1f": (1,)})
    assert bounds.total() == bound, "term 2 was led by another"
    bounds.reported({"7c1f": (2,)})
    assert bounds.total() == {}


def test_one_that_leads_again_knows_its_own_losses() -> None:
    bench = Bench().lead()
    write(bench)
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    bench.group.gain()
    bench.group.commit()
    assert losses_of(bench).counts == {"default": 1} and losses_of(bench).bounds.total() == {}


def test_a_report_may_come_before_the_new_leader_serves() -> None:
    bounds = Bounds()
    bounds.reported({"s": (4,)})
    bounds.changed("s", 4, {"default": 10.0})
    assert bounds.total() == {}


def test_bounds_add_up_over_leaders_and_shards_and_are_themselves_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses_module, "UNREPORTED_LIMIT", 2)
    bounds = Bounds()
    for term in (1, 2, 3):
        bounds.changed("s", term, {"default": 10.0})
    bounds.changed("t", 1, {"default": 5.0, "b": INF})
    bounds.reported({"s": (2, 3)})
    assert bounds.total() == {"default": 15.0, "b": INF}, "the oldest of three stands for good"


def test_namespaces_that_acknowledge_only_what_is_committed_have_no_bound() -> None:
    spaces = Namespaces(1, (Namespace("default", 1, ack=AckLevel.QUORUM), Namespace("v", 2, ack=AckLevel.DURABLE)))
    assert loss_bound(spaces, (0, 1)) == {}


def test_the_bound_of_a_namespace_is_its_shards_share_of_the_window() -> None:
    lifted = Namespace("b", 2, loss_window=LossWindow(writes=None))
    spaces = Namespaces(1, (Namespace("default", 1, loss_window=LossWindow(writes=10)), lifted))
    assert [loss_bound(spaces, (place, 3)) for place in range(3)] == [
        {"default": 4.0, "b": INF},
        {"default": 3.0, "b": INF},
        {"default": 3.0, "b": INF},
    ]
