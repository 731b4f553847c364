"""Hazard 1: a snapshot chunk commits a deposed leader's own tail.

PYSYNCOBJ 1021-1035: after *any* `append_entries` the follower raises its commit index to the smaller of the
leader's and the end of its own log. For a plain append that was checked against `prevLogIdx`; for a snapshot
chunk (and for its empty filler) nothing was checked. A leader that was paused, whose tail nobody else has, gets
the first chunk of its successor's snapshot, applies its own tail and acknowledges writes that are lost.

Expected: nothing but an append that was found to match may move the commit index, and never past its own end.
"""

from __future__ import annotations

from collections.abc import Callable

from .laboratory import Laboratory

MINOR = [b"minor-%d" % i for i in range(5)]


def paused_leader_meets_a_snapshot(lab: Laboratory) -> None:
    """n0 leads and appends five writes that reach nobody; n1 takes over, writes on, and compacts its log. Then
    n0 wakes and gets n1's snapshot, one message at a time."""
    lab.elect("n0")
    lab.propose(lab.leader(), b"base")
    lab.run(0.3)
    lab.hold("n0", "n1", "n2")
    lab.propose_all("n0", MINOR)
    lab.run(0.02)
    lab.drop("n0", "n1")
    lab.drop("n0", "n2")
    lab.pause("n0")
    lab.elect("n1")
    lab.propose_all("n1", [b"major-%d-" % i + bytes(200) for i in range(30)])
    lab.run(0.5)
    lab.compact("n1")
    lab.hold("n1", "n0")
    lab.release("n0", "n1", "n2")
    lab.reconnect("n0", "n1")
    lab.reconnect("n0", "n2")
    lab.resume("n0")
    for _ in range(60):
        lab.deliver("n1", "n0", 1)
        lab.run(0.05)
    assert lab.settle()


def test_stock_acknowledges_lost_writes_on_a_snapshot_chunk(stock: Callable[..., Laboratory]) -> None:
    lab = stock(logCompactionBatchSize=64)
    paused_leader_meets_a_snapshot(lab)
    assert set(MINOR) <= set(lab.acked), "the deposed leader reported success"
    assert set(MINOR) <= set(lab.lost()), "for writes that no replica has"


def test_guarded_commits_nothing_on_a_snapshot_chunk(guarded: Callable[..., Laboratory]) -> None:
    lab = guarded(snapshot_chunk_bytes=64, snapshot_window_chunks=1, log_tail_bytes=1)
    paused_leader_meets_a_snapshot(lab)
    assert not set(MINOR) & set(lab.acked)
    assert not set(MINOR) & set(lab.history["n0"]), "not even applied for a moment"
    assert lab.lost() == []
    assert lab.snapshots_installed("n0") == 1, "the scenario must go by a snapshot"
    assert lab.state("n0") == lab.state("n1")


def test_guarded_commits_no_further_than_the_append_at_hand(guarded: Callable[..., Laboratory]) -> None:
    """The other half of the hazard, which stock does not have: it drops what follows an append, we keep it
    (hazard 3). Two of n0's five writes reached the others, so n1's first batch matches them and n0 keeps the
    other three for now. n1's commit index lies behind them, and must not commit them."""
    lab = guarded(append_limit_bytes=150)
    writes = [b"w%d-" % i + bytes(100) for i in range(5)]
    lab.elect("n0")
    lab.hold("n0", "n1", "n2")
    lab.propose_all("n0", writes[:2])
    lab.run(0.02)
    lab.release("n0", "n1", "n2")
    assert lab.run_until(lambda: len(lab.payloads("n1")) == len(lab.payloads("n2")) == 2, 0.02)
    lab.hold("n1", "n0")
    lab.hold("n2", "n0")
    lab.propose_all("n0", writes[2:])
    lab.pause("n0")
    for name in ("n1", "n2"):
        lab.reconnect("n0", name)
    lab.elect("n1")
    lab.propose_all("n1", [b"x%d-" % i + bytes(100) for i in range(6)])
    lab.run(0.5)
    lab.reconnect("n0", "n1")
    lab.one_by_one = True
    lab.resume("n0")
    for _ in range(60):
        lab.deliver("n1", "n0", 1)
        lab.run(0.03)
        assert not set(writes[2:]) & set(lab.state("n0"))
    assert lab.settle()
    assert lab.lost() == []
    assert lab.state("n0") == lab.state("n1")
    assert set(writes[:2]) < set(lab.state("n0"))
