"""One seed is one run, whatever the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from raftcache.testing.simulation import run_seed

SEED = 42
PROGRAM = f"from raftcache.testing.simulation import run_seed; print(run_seed({SEED}, 30.0).trace)"


def test_the_same_seed_gives_the_same_trace() -> None:
    assert run_seed(SEED, 30.0).trace == run_seed(SEED, 30.0).trace


def test_another_seed_gives_another_trace() -> None:
    assert run_seed(SEED, 20.0).trace != run_seed(SEED + 1, 20.0).trace


@pytest.mark.parametrize("hash_seed", ("0", "77"))
def test_the_trace_does_not_depend_on_hash_randomisation(hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == run_seed(SEED, 30.0).trace
