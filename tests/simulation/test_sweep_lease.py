"""Faults aimed at leases, beside every other fault, with clocks as wrong as leases allow for: 20 seeds of 20 virtual
seconds. `scripts/sim --lease --seeds 1000` is the long sweep."""

from __future__ import annotations

import pytest

from raftcache.testing.plants import LEASE_PLANTS, planted
from raftcache.testing.simulation import run_seed

SEEDS, PARTS = 20, 4
SECONDS = 20.0
PLANT_WITHIN_SEEDS = 25
FIRST_SEED = {
    "lease-after-transfer": 6,
    "lease-from-receive-time": 2,
    "lease-without-margin": 25,
    "no-restart-silence": 20,
}
"""Where to begin looking for those that the dice of the first seeds do not bring about, or late."""
AIMED = {"lease-after-transfer": "transfer-unheard", "no-restart-silence": "restart-within-lease"}
"""Of those that all faults together hardly ever bring about, the one fault that does."""


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_holds(part: int) -> None:
    results = [run_seed(seed, SECONDS, lease=True) for seed in range(part, SEEDS, PARTS)]
    broken = {result.seed: result.violation for result in results if result.violation}
    assert not broken
    assert all(result.leases_used for result in results), "a run that proves nothing"


@pytest.mark.parametrize("plant", sorted(LEASE_PLANTS))
def test_a_planted_bug_is_caught(plant: str) -> None:
    first = FIRST_SEED.get(plant, 0)
    fault = AIMED.get(plant)
    with planted(plant):
        seeds = range(first, first + PLANT_WITHIN_SEEDS)
        found = any(run_seed(seed, 40.0, lease=True, fault=fault).violation for seed in seeds)
    assert found, f"{plant} was not noticed"
