"""A harness that catches no bug proves nothing: each planted bug is caught by name, by a checker whose matter it is.

Here the faults are named that bring each about; `docs/planted-bugs.md` says what sweeps take that draw them."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from msgspec.structs import replace

from jepsen_like.checking import Judgement
from jepsen_like.simulated.plant_table import END, PLANTS, Row, Search, markdown, measure_plants, search
from jepsen_like.simulated.run import draw
from jepsen_like.simulated.sweep import run_plan
from jepsen_like.workloads.workload import Options
from raftcache.testing.plants import ALL_PLANTS

WITHIN_SEEDS = 5
LEADER_CUT_OFF = "partition-leader:leader"


class Case(NamedTuple):
    """What brings a bug about, and which checker must complain of it, with some such words; `first` is the seed to
    begin with, where the dice of the first ones do not."""

    workload: str
    faults: str
    checker: str
    complaint: str
    ack: str = "quorum"
    tight: bool = False
    first: int = 0


CASES = {
    "ack-before-quorum": Case("set", LEADER_CUT_OFF, "set", "is lost"),
    "no-undo": Case("set", LEADER_CUT_OFF, "invariants", "differ in their states"),
    "read-without-proof": Case("register", LEADER_CUT_OFF, "linearizability", "no order of its operations"),
    "lease-from-receive-time": Case("register", "late-answers:leader", "invariants", "has the lease of", tight=True),
    "ignore-min-version": Case("replica-reads", "slow", "staleness", "with minVersion"),
    "retry-counts-twice": Case("counter", "partition-one", "counter", "one idempotency key was answered twice"),
    "window-per-batch": Case("loss-window", "kill-cut-off,partition-leader:leader", "loss-window", "the window allows"),
    "stale-receipts": Case("receipts", "slow", "receipts", "still pending after healing", ack="primary"),
    "truncate-on-overlap": Case("set", "slow", "invariants", "have not synced it", ack="durable"),
    "vote-twice": Case("register", "kill:leader", "invariants", "both lead term"),
    "speculative-snapshot": Case("set", "kill-cut-off", "invariants", "differ in their states", first=64),
}


def test_every_plant_that_must_be_caught_has_a_case_and_is_known() -> None:
    assert tuple(CASES) == PLANTS and set(PLANTS) <= ALL_PLANTS.keys()


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_caught(plant: str) -> None:
    case = CASES[plant]
    options = Options(ack=case.ack, seconds=12.0, processes=6, rate=12.0, liveness_bound_s=5.0)
    told: list[str] = []
    for seed in range(case.first, case.first + WITHIN_SEEDS):
        drawn = draw(case.workload, seed, options, case.faults)
        plan = replace(drawn, nodes=3, shards=1, majority_healed=False, slow_network=False, tight=case.tight)
        found = [each for each in run_plan(plan, plant).verdicts if each.judgement is Judgement.FAIL]
        told += [f"{each.checker}: {complaint.text}" for each in found for complaint in each.complaints]
        if any(text.startswith(case.checker) and case.complaint in text for text in told):
            return
    raise AssertionError(f"{plant} was not noticed by {case.checker}: {told[:5]}")


# -- the table -----------------------------------------------------------------------------------


def test_a_bug_is_searched_for_seed_by_seed() -> None:
    [row] = measure_plants(["ack-before-quorum"], ["set"], max_seeds=3, jobs=1)
    assert row.seed is not None and row.tried == row.seed + 1 and "set" in row.checkers and row.why
    assert search(Search(plant="stale-receipts", workload="ttl", max_seeds=1)) == Row(
        plant="stale-receipts", workload="ttl", tried=1
    )


def test_the_table_shows_seeds_and_who_saw_it() -> None:
    rows = [
        Row(plant="no-undo", workload="set", tried=2, seed=1, checkers=("invariants",), why="a | b"),
        Row(plant="no-undo", workload="ttl", tried=2, seed=1, checkers=("ttl", "invariants"), why="gone"),
        Row(plant="vote-twice", workload="set", tried=9),
        Row(plant="stale-receipts", workload="set", tried=3, seed=2, checkers=(END,), why="stuck"),
    ]
    text = markdown(rows)
    assert "| `no-undo` | 2 | 2 |" in text and "| `vote-twice` | >9 |  |" in text
    assert "| `no-undo` | ttl | 2 | ttl, invariants | gone |" in text
    assert "| `vote-twice` | none | over 9 |" in text and f"| set | 3 | {END} | stuck |" in text
