"""`suite`: what it runs, and what it says of all of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from jepsen_like.checkers.observed import unknown
from jepsen_like.checking import Complaint, Judgement, Verdict, verdict
from jepsen_like.cli import main, suite
from jepsen_like.cluster import DriverError
from jepsen_like.nemeses.table import NEMESES
from jepsen_like.real_plan import RealPlan, planned_faults
from jepsen_like.simulated.run import Plan
from jepsen_like.simulated.sweep import Told
from jepsen_like.sweep_report import SweepReport
from jepsen_like.workloads.registry import WORKLOADS, make

PASSED = [verdict("set", "all there", ())]
FAILED = [verdict("set", "1 lost", [Complaint("e1 is lost")])]


class Runs:
    """In place of the simulation and of real processes."""

    def __init__(self) -> None:
        self.simulated: list[Plan] = []
        self.real: list[RealPlan] = []
        self.verdicts: list[Verdict] = PASSED
        self.failing: set[int] = set()
        self.errors: dict[int, BaseException] = {}
        """By seed."""

    def run_all(self, plans: list[Plan], jobs: int) -> SweepReport:
        self.simulated += plans
        report = SweepReport()
        for plan in plans:
            judgement = Judgement.FAIL if plan.seed in self.failing else Judgement.PASS
            report.add(
                Told(plan=plan, judgement=judgement, why=["x"], virtual_s=1.0, operations=1, succeeded=1, struck=1)
            )
        return report

    def perform(self, plan: RealPlan, folder: Path) -> tuple[None, list[Verdict]]:
        assert folder.is_dir()
        self.real.append(plan)
        if plan.seed in self.errors:
            raise self.errors[plan.seed]
        return None, self.verdicts


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(suite.simulate, "run_all", made.run_all)
    monkeypatch.setattr(suite.run, "perform", made.perform)
    return made


def suited(tmp_path: Path, *words: str) -> int:
    return main.main(["suite", *words, "--out", str(tmp_path / "runs")])


def test_short_is_every_workload_over_a_few_seeds_and_a_few_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, runs: Runs
) -> None:
    assert suited(tmp_path, "short", "--first-seed", "3") == 0
    assert {(plan.workload, plan.seed) for plan in runs.simulated} == {
        (name, seed) for name in WORKLOADS for seed in range(3, 3 + suite.SHORT_SEEDS)
    }
    assert [(plan.workload, plan.faults) for plan in runs.real] == [run[:2] for run in suite.SHORT_RUNS]
    out = capsys.readouterr().out.splitlines()
    assert out[-1].startswith("PASS after ") and out[-2].startswith("PASS  set under ")
    assert not (tmp_path / "runs").exists(), "nobody needs what passed"


def test_the_worst_decides(capsys: pytest.CaptureFixture[str], tmp_path: Path, runs: Runs) -> None:
    runs.verdicts = FAILED
    assert suited(tmp_path, "short") == 1
    out = capsys.readouterr().out
    assert "FAIL  set under pause,kill-all, seed 0: set: 1 lost" in out
    assert "again: python -m jepsen_like run --workload set --nemesis pause,kill-all" in out
    assert len(list((tmp_path / "runs").iterdir())) == len(suite.SHORT_RUNS)
    runs.verdicts = [unknown("set", "nothing to judge")]
    assert suited(tmp_path, "short") == 2
    runs.failing = {1}
    assert suited(tmp_path, "short") == 1


def test_a_cluster_that_does_not_come_up_is_no_pass(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, runs: Runs
) -> None:
    runs.errors = {0: DriverError("waited 60 s for the ready file in vain")}
    assert suited(tmp_path, "short", "-o", "json") == 2
    document = json.loads(capsys.readouterr().out)
    assert document["judgement"] == "unknown" and len(document["processes"]) == len(suite.SHORT_RUNS)
    assert "in vain" in document["processes"][0]["line"]


def test_without_processes_there_is_the_simulation_alone(tmp_path: Path, runs: Runs) -> None:
    assert suited(tmp_path, "short", "--no-processes", "--seeds", "2") == 0
    assert len(runs.simulated) == 2 * len(WORKLOADS) and not runs.real


def test_long_goes_on_until_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runs: Runs
) -> None:
    hours = iter([0.0, 0.0, 1800.0, 3601.0, 3601.0])
    monkeypatch.setattr(suite.time, "monotonic", lambda: next(hours))
    assert suited(tmp_path, "long", "--hours", "1", "--seeds", "2", "--first-seed", "10") == 0
    assert {plan.seed for plan in runs.simulated} == {10, 11, 12, 13}
    assert [plan.seed for plan in runs.real] == [10, 12]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_what_was_found_until_an_interrupt_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, runs: Runs, error: BaseException
) -> None:
    runs.errors = {3: error}
    assert suited(tmp_path, "long", "--hours", "1", "--seeds", "1") == 130
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if line.startswith("PASS  ")]) == 3
    assert "|set           | 3    |" in out


def test_what_long_draws_can_be_run() -> None:
    drawn = [suite.long_plan(seed) for seed in range(300)]
    for plan in drawn:
        make(plan.workload, plan.options)
        assert planned_faults(plan, [f"n{number}" for number in range(plan.nodes)], plan.shards)
    assert {plan.workload for plan in drawn} == set(WORKLOADS)
    assert {name for plan in drawn for name in plan.faults} == set(NEMESES)


def test_what_short_runs_has_faults() -> None:
    for plan in suite.short_plans(0):
        names = {fault.name for fault in planned_faults(plan, ["n0", "n1", "n2"], plan.shards)}
        assert names == set(plan.faults)
