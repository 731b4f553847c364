"""Quotas and invalidation under faults: `test_sweep` holds them in every run; here bugs are put in, to see that it
notices."""

from __future__ import annotations

import pytest

from raftcache.testing.memory_plants import MEMORY_PLANTS
from raftcache.testing.plants import planted
from raftcache.testing.simulation import run_seed

PLANT_WITHIN_SEEDS = 6
SECONDS = 25.0


@pytest.mark.parametrize("plant", sorted(MEMORY_PLANTS))
def test_a_planted_bug_is_caught(plant: str) -> None:
    with planted(plant):
        found = any(run_seed(seed, SECONDS).violation for seed in range(PLANT_WITHIN_SEEDS))
    assert found, f"{plant} was not noticed"
