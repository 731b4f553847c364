"""Hazards 22, 23 and 24: what the proposer is told.

22. PYSYNCOBJ 554-571: a command proposed at a follower is forwarded to the leader, and the answer is matched by a
    number that starts at 1 in every process. An answer lost with its link is waited for for ever; a restarted
    follower takes the answer to an earlier life's command for its own.
23. 1497: installing a snapshot moves `raftLastApplied` over entries that somebody waits for: no answer, ever.
24. 1246: a forwarded command whose leader changes is reported as `LEADER_CHANGED`, which reads like a failure;
    the command may be committed.

Expected: propose at the leader only; the state machine sees its leadership end before anything of a later term is
applied or installed, and answers its waiters itself: outcome unknown.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pysyncobj import FAIL_REASON

from raftcache.errors import NotLeader

from .laboratory import Laboratory
from .stock import StockLab


def test_stock_22_a_forwarded_command_waits_for_ever(stock: Callable[..., StockLab]) -> None:
    lab = stock()
    lab.elect("n0")
    lab.hold("n0", "n1")
    lab.propose("n1", b"forwarded")
    lab.run(0.05)
    lab.reconnect("n0", "n1")
    lab.release("n0", "n1")
    lab.run(60)
    assert all(lab.state(name) == [b"forwarded"] for name in lab.names), "it is done everywhere"
    assert lab.outcomes == {}, "and nobody was told"


def test_stock_22_an_answer_from_an_earlier_life_is_taken_for_this_ones(
    stock: Callable[..., StockLab],
) -> None:
    """n1 forwards, dies, comes back and forwards again: both commands are its first, so both bear number 1. The
    answer to the first arrives late (hazard 29: over the old connection)."""
    lab = stock()
    lab.elect("n0")
    lab.hold("n0", "n1")
    lab.propose("n1", b"first life")
    lab.run(0.05)
    late = [m for m in lab.network.queue("n0", "n1") if pickle.loads(m)["type"] == "apply_command_response"]
    lab.crash("n1")
    lab.start("n1")
    lab.release("n0", "n1")
    lab.hold("n1", "n0")
    lab.run(0.12)
    lab.propose("n1", b"second life")
    lab.run(0.02)
    lab.reconnect("n0", "n1")
    lab._receive("n0", "n1", late[0])
    lab.release("n1", "n0")
    lab.run(1)
    assert lab.outcomes[b"second life"] == FAIL_REASON.SUCCESS
    assert b"second life" not in lab.payloads("n0"), "the leader has never seen it"


@pytest.mark.parametrize("name", ["n1", "n2"])
def test_guarded_22_24_a_follower_refuses_definitely(guarded: Callable[..., Any], name: str) -> None:
    lab = guarded()
    lab.elect("n0")
    with pytest.raises(NotLeader) as refusal:
        lab.group(name).propose(b"forwarded")
    assert refusal.value.details["leader"] == "n0"
    lab.run(5)
    assert lab.payloads("n0") == []


def waiter_meets_a_snapshot(lab: Laboratory) -> None:
    """n0's write reaches n1 and n2, but n0 is paused before it hears so. n1 takes over, commits it, compacts."""
    lab.elect("n0")
    lab.propose("n0", b"waited for")
    lab.run_until(lambda: b"waited for" in lab.payloads("n1"), 1)
    lab.pause("n0")
    lab.elect("n1")
    lab.propose_all("n1", [b"m%d" % i for i in range(10)])
    lab.run(0.5)
    lab.compact("n1")
    lab.reconnect("n0", "n1")
    lab.reconnect("n0", "n2")
    lab.resume("n0")
    lab.run(30)


def test_stock_23_a_snapshot_skips_those_who_wait(stock: Callable[..., StockLab]) -> None:
    lab = stock()
    waiter_meets_a_snapshot(lab)
    assert lab.state("n0") == lab.state("n1"), "n0 has it, by a snapshot"
    assert b"waited for" in lab.state("n0")
    assert b"waited for" not in lab.outcomes


def test_guarded_23_leadership_ends_before_a_snapshot_is_installed(guarded: Callable[..., Any]) -> None:
    lab = guarded(log_tail_bytes=1)
    waiter_meets_a_snapshot(lab)
    events = lab.events["n0"]
    assert lab.snapshots_installed("n0") == 1
    assert events.index("lost 1") < next(i for i, event in enumerate(events) if event.startswith("install"))
    assert lab.state("n0") == lab.state("n1")


def test_stock_24_reports_a_committed_command_as_leader_changed(stock: Callable[..., StockLab]) -> None:
    lab = stock()
    lab.eagerness.update(n1=1.0, n2=0.5)
    lab.elect("n0")
    lab.propose("n1", b"forwarded")
    lab.hold("n0", "n1")
    lab.run(0.3)
    assert b"forwarded" in lab.state("n0")
    lab.drop("n0", "n1")
    lab.pause("n0")
    lab.elect("n2")
    lab.run(1)
    assert lab.outcomes[b"forwarded"] == FAIL_REASON.LEADER_CHANGED
    assert lab.state("n2") == [b"forwarded"]


def test_guarded_24_leadership_is_lost_before_a_later_term_is_applied(guarded: Callable[..., Any]) -> None:
    """A deposed leader tells its machine first, which answers "outcome unknown"; then the entry is applied."""
    lab = guarded()
    lab.elect("n0")
    lab.hold("n1", "n0")
    lab.hold("n2", "n0")
    lab.propose("n0", b"unsure")
    lab.run(0.1)
    lab.pause("n0")
    lab.elect("n1")
    lab.heal()
    lab.run(1)
    events = lab.events["n0"]
    assert events.index("lost 1") < events.index("apply 1 unsure")
    assert lab.acked == []
    assert lab.state("n0") == [b"unsure"]
