"""Sweeps: a plan is one run, another process does the same, a sample is run twice, and what broke is made smaller."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from msgspec.structs import replace

from jepsen_like.checking import Judgement
from jepsen_like.simulated import sweep as sweeping
from jepsen_like.simulated.run import AIMED, Outcome, Plan, draw
from jepsen_like.simulated.sweep import Job, run_job, run_plan, shrink, smaller_than, sweep
from jepsen_like.workloads.workload import Options

PROGRAM = """
import logging
from jepsen_like.simulated.run import draw, simulate
logging.disable(logging.CRITICAL)
print(simulate(draw("register", 4, seconds=6.0)).trace)
"""


def short(seed: int, workload: str = "register") -> Plan:
    return draw(workload, seed, seconds=6.0)


def test_one_plan_is_one_run_in_any_process() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    first, other = run_plan(short(4)), run_plan(short(5))
    assert run.stdout.strip() == first.trace != other.trace
    assert first.judgement is Judgement.PASS and first.virtual_s > 6


def test_seeds_draw_other_plans_and_what_is_given_stays() -> None:
    plans = [draw("register", seed) for seed in range(60)]
    assert plans == [draw("register", seed) for seed in range(60)]
    for field in ("nodes", "shards", "fsync", "slow_network", "tight", "majority_healed"):
        assert len({getattr(plan, field) for plan in plans}) > 1, field
    assert len({plan.options.ack for plan in plans}) == 3 and len({plan.faults for plan in plans}) > 30
    assert 30 < sum(any(name in plan.faults for name in AIMED) for plan in plans) < 60
    given = Options(ack="durable", seconds=7.0)
    assert draw("register", 3, given, "kill,pause:leader").options == given
    assert draw("register", 3, given, "kill,pause:leader").faults == ("kill", "pause:leader")
    assert not any("power-all" in plan.faults for plan in plans)
    assert any("power-all" in draw("durable", seed).faults for seed in range(60))


def test_every_tenth_run_is_run_twice() -> None:
    told = list(sweep([short(seed) for seed in range(2)], jobs=1))
    assert [each.judgement for each in told] == [Judgement.PASS] * 2 and all(each.same for each in told)
    assert all(each.operations > each.succeeded > 0 for each in told)
    assert sweeping.TWICE_EVERY == 10


def test_runs_of_one_plan_that_differ_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = iter("ab")

    def run(plan: Plan, plant: str = "") -> Outcome:
        return Outcome(
            plan=plan, history=HISTORY, verdicts=[], trace=next(traces), virtual_s=1.0, trouble=[], struck=0
        )

    monkeypatch.setattr(sweeping, "run_plan", run)
    told = run_job(Job(plan=short(0), twice=True))
    assert told.judgement is Judgement.FAIL and not told.same and "differ" in told.why[-1]


HISTORY = run_plan(replace(short(0), options=Options(seconds=5.0, processes=2, rate=1.0))).history


# -- shrinking -----------------------------------------------------------------------------------

LARGE = Plan(
    workload="register",
    seed=1,
    options=Options(seconds=40.0, processes=8),
    faults=("kill", "pause", "slow"),
    nodes=5,
    shards=3,
    slow_network=True,
)


def test_what_fails_is_made_shorter_with_fewer_faults_and_fewer_clients() -> None:
    found = shrink(LARGE, lambda plan: "pause" in plan.faults and plan.options.processes >= 4)
    assert found.faults == ("pause",) and not found.majority_healed and not found.slow_network
    assert (found.options.seconds, found.options.processes, found.nodes, found.shards) == (5.0, 4, 3, 1)


def test_a_budget_ends_it_and_what_still_fails_is_kept() -> None:
    tried: list[Plan] = []

    def fails(plan: Plan) -> bool:
        tried.append(plan)
        return False

    assert shrink(LARGE, fails, tries=4) == LARGE and len(tried) == 4
    assert shrink(LARGE, lambda plan: True, tries=1) == next(smaller_than(LARGE))


def test_a_planted_bug_stays_caught_while_its_run_is_made_smaller() -> None:
    small = Options(seconds=12.0, processes=6, rate=12.0, liveness_bound_s=5.0)
    drawn = draw("set", 0, small, "clock,partition-leader:leader")
    plan = replace(drawn, nodes=3, shards=1, majority_healed=False, slow_network=False)

    def fails(candidate: Plan) -> bool:
        return run_plan(candidate, "ack-before-quorum").judgement is Judgement.FAIL

    assert fails(plan)
    found = shrink(plan, fails, tries=3)
    assert fails(found) and len(found.faults) == 1 and found != plan
    assert run_plan(found).judgement is Judgement.PASS, "without the bug it passes"


def test_a_defect_ends_a_run_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def heal(*_arguments: Any) -> None:
        raise AssertionError("a hole in the log")

    monkeypatch.setattr("jepsen_like.simulated.run.SimDirector.heal", heal)
    outcome = run_plan(short(0))
    assert outcome.judgement is Judgement.FAIL and "AssertionError: a hole in the log" in outcome.trouble[0]
