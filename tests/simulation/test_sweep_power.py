"""Machines that lose power and disks that fail, beside every other fault: 30 seeds of 20 virtual seconds.

`scripts/sim --power --seeds 1000` is the long sweep.
"""

from __future__ import annotations

import pytest

from raftcache.testing.plants import planted
from raftcache.testing.simulation import run_seed

SEEDS, PARTS = 30, 6
SECONDS = 20.0
PLANT_WITHIN_SEEDS = 25


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_holds(part: int) -> None:
    results = [run_seed(seed, SECONDS, power=True) for seed in range(part, SEEDS, PARTS)]
    broken = {result.seed: result.violation for result in results if result.violation}
    assert not broken
    assert all(result.durable for result in results), "a run that proves nothing"
    assert sum(result.power_losses for result in results), "a part that proves nothing"


def test_no_fault_strikes_once_everything_is_repaired() -> None:
    """Seed 187: a fault that was to strike in a moment did so while the cluster was judged by how it had healed."""
    assert not run_seed(187, power=True).violation


@pytest.mark.parametrize("plant", ("cut-before-sync", "reply-before-sync"))
def test_a_planted_bug_is_caught(plant: str) -> None:
    with planted(plant):
        found = any(run_seed(seed, 40.0, power=True).violation for seed in range(PLANT_WITHIN_SEEDS))
    assert found, f"{plant} was not noticed"
