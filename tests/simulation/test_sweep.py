"""The simulation sweep: 200 seeds of 14 virtual seconds with every fault, in parts that run side by side.

`scripts/sim --seeds 1000` is the long sweep.
"""

from __future__ import annotations

import pytest

from raftcache.testing.simulation import run_seed

SEEDS, PARTS = 200, 25
SECONDS = 14.0
"""Faults begin after six or so."""


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_holds(part: int) -> None:
    results = [run_seed(seed, SECONDS) for seed in range(part, SEEDS, PARTS)]
    broken = {result.seed: result.violation for result in results if result.violation}
    assert not broken
    assert sum(result.commits for result in results) > 500, "a part that proves nothing"
    assert sum(result.leader_changes for result in results) > 5, "a part that proves nothing"
    assert all(sum(counts) for counts in zip(*((r.policy_changes, r.judged) for r in results), strict=True))


@pytest.mark.parametrize("seed", (6, 17, 49, 123, 338, 1000, 1007, 1058, 1087, 2058, 2190, 10077, 10129, 171))
def test_seeds_that_once_broke_a_promise(seed: int) -> None:
    """6: a paused front end sent a write after its deadline. 17: an ack of a removed member stopped the leader. 49: a
    restarted node did not open a replica that its group still counted on. 10077, 10129: a dead incarnation of a node
    that was not wanted any more stayed a member for ever. The others were the simulation's own:
    cancelled timers that ran after a pause, links whose news came out of order, clients that gave up too late."""
    assert run_seed(seed, 40.0).violation == ""


def test_writes_that_were_acknowledged_are_lost_and_reported_in_some_runs() -> None:
    """Receipts and the lost-write report are judged in every run; one in which nothing was lost shows little of it."""
    assert any(run_seed(seed, SECONDS).lost_writes for seed in range(25))
