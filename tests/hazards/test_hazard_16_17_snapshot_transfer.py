"""Hazards 16 and 17: a snapshot on its way to a follower.

16. PYSYNCOBJ 1021-1024: a snapshot chunk is not answered before the last. With a fallback time that is worth its
    name the leader of two takes the receiving follower for dead in mid-transfer and steps down.
17. 1022: whatever snapshot is complete is installed. Two refusals in flight make the leader send the same one
    twice, with entries between; the second throws the follower back behind entries that it has acknowledged.

Expected: every chunk is answered; a snapshot that is not newer than what was applied is dropped.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from .laboratory import Laboratory


def slow_transfer(lab: Laboratory) -> None:
    """n2 is dead and n1 comes back far behind, on a link that carries one message a step: the snapshot has
    hundreds. n0 must lead through all of it."""
    lab.elect("n0")
    lab.pause("n1")
    lab.propose_all("n0", [random.Random(i).randbytes(1000) for i in range(40)])
    lab.run(1)
    lab.isolate("n1")
    lab.compact("n0")
    lab.return_quietly("n1")
    lab.throttle("n0", "n1", 1)
    lab.crash("n2")
    lab.run(1.5)


def test_stock_16_steps_down_while_it_sends_a_snapshot(stock: Callable[..., Laboratory]) -> None:
    lab = stock(leaderFallbackTimeout=1.0, logCompactionBatchSize=64)
    slow_transfer(lab)
    assert lab.network.queue("n0", "n1"), "the transfer still goes on"
    assert lab.leaders() == []


def test_guarded_16_leads_while_it_sends_a_snapshot(guarded: Callable[..., Any]) -> None:
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=64)
    slow_transfer(lab)
    assert lab.group("n0").status().peers[0].snapshot_sending, "the transfer still goes on"
    assert lab.leaders() == ["n0"]
    lab.throttle("n0", "n1", 100)
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 20)
    assert lab.leaders_of_term == {lab.term("n0"): {"n0"}}


def refused_twice(lab: Laboratory) -> None:
    """n1 comes back behind n0's snapshot and refuses two heartbeats before n0 hears of the first refusal."""
    lab.elect("n0")
    lab.pause("n1")
    lab.propose_all("n0", [b"s%d" % i for i in range(10)])
    lab.run(0.5)
    lab.isolate("n1")
    lab.compact("n0")
    lab.propose_all("n0", [b"t%d" % i for i in range(10)])
    lab.run(0.5)
    lab.hold("n1", "n0")
    lab.return_quietly("n1")
    lab.run(0.25)
    lab.hold("n0", "n1")


def test_stock_17_installs_an_old_snapshot_over_newer_state(stock: Callable[..., Any]) -> None:
    lab = stock()
    refused_twice(lab)
    refusals = lab.queued("n1", "n0")
    assert [answer["reset"] for answer in refusals[:2]] == [True, True]
    for _ in range(2):
        lab.deliver("n1", "n0", 1)
        lab.run(0.12)
    furthest, end = 0, 0
    while lab.network.queue("n0", "n1"):
        lab.deliver("n0", "n1", 1)
        lab.tick("n1")
        if lab.applied_index("n1") < furthest:
            break
        furthest, end = lab.applied_index("n1"), lab.last_index("n1")
    assert lab.applied_index("n1") < furthest, "the state went back"
    assert lab.last_index("n1") < end, "and so did the log, behind what was acknowledged"


def test_guarded_17_drops_a_snapshot_that_is_not_newer(guarded: Callable[..., Any]) -> None:
    """The same script, and then every snapshot chunk that ever passed is delivered once more."""
    lab = guarded(log_tail_bytes=1)
    chunks: list[bytes] = []
    lab.watch = lambda source, target, frame: (
        chunks.append(frame) if (source, target) == ("n0", "n1") and lab.carries_snapshot(frame) else None
    )
    refused_twice(lab)
    lab.release("n1", "n0")
    lab.release("n0", "n1")
    lab.run(2)
    assert lab.state("n1") == lab.state("n0")
    assert lab.snapshots_installed("n1") == 1
    assert chunks
    applied, end = lab.group("n1").applied_index, lab.last_index("n1")
    for frame in chunks:
        lab._receive("n0", "n1", frame)
    lab.run(1)
    assert lab.snapshots_installed("n1") == 1
    assert (lab.group("n1").applied_index, lab.last_index("n1")) >= (applied, end)
    assert lab.state("n1") == lab.state("n0")
