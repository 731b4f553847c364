"""`sim` and `replay`: what is run, what is told of it, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from jepsen_like.checking import Judgement
from jepsen_like.cli import main, saving, simulate
from jepsen_like.history import read_history
from jepsen_like.simulated.run import Plan
from jepsen_like.simulated.sweep import Told, run_plan

SMALL = ["--seconds", "3", "--processes", "2", "--rate", "5", "--nodes", "3", "--shards", "1", "--nemesis", "kill"]
QUICK = [*SMALL, "--no-slow-network", "--no-majority-healed", "--ack", "quorum", "--liveness-bound", "3"]


class Swept:
    """In place of the simulation: what became of each seed is given."""

    def __init__(self, judgements: dict[int, Judgement]) -> None:
        self.judgements = judgements
        self.asked: list[Plan] = []
        self.shrinking: list[Plan] = []

    def sweep(self, plans: list[Plan], jobs: int, plant: str) -> Iterator[Told]:
        for plan in reversed(plans):
            self.asked.append(plan)
            yield self.told(plan)

    def told(self, plan: Plan) -> Told:
        judgement = self.judgements.get(plan.seed, Judgement.PASS)
        why = [] if judgement is Judgement.PASS else ["linearizability: key a is not"]
        return Told(
            plan=plan, judgement=judgement, why=why, virtual_s=50.0, operations=200, succeeded=150, struck=3, lost=1
        )

    def shrink(self, plan: Plan, fails: object) -> Plan:
        self.shrinking.append(plan)
        return replace(plan, faults=("kill",))


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> Swept:
    made = Swept({})
    monkeypatch.setattr(simulate, "sweep", made.sweep)
    monkeypatch.setattr(simulate, "shrink", made.shrink)
    return made


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    code = main.main(["sim", *words])
    return code, capsys.readouterr().out.splitlines()


def test_all_seeds_of_all_workloads_are_run(capsys: pytest.CaptureFixture[str], swept: Swept) -> None:
    code, lines = told(capsys, "--workload", "set,counter", "--seeds", "3", "--first-seed", "7", "--jobs", "2")
    assert code == 0
    assert sorted((plan.workload, plan.seed) for plan in swept.asked) == [
        (name, seed) for name in ("counter", "set") for seed in (7, 8, 9)
    ]
    [row] = [line.replace("|", " ").split() for line in lines if line.startswith("|set")]
    assert row[:5] == ["set", "3", "3", "0", "0"]


def test_what_is_named_is_not_drawn(capsys: pytest.CaptureFixture[str], swept: Swept) -> None:
    told(capsys, "--seeds", "5", *QUICK)
    assert {(plan.faults, plan.nodes, plan.shards, plan.majority_healed) for plan in swept.asked} == {
        (("kill",), 3, 1, False)
    }
    assert {(plan.options.processes, plan.options.seconds, plan.options.ack) for plan in swept.asked} == {
        (2, 3.0, "quorum")
    }
    assert len({plan.fsync for plan in swept.asked}) > 1, "the rest is"


def test_majority_healed_is_a_nemesis_like_others(capsys: pytest.CaptureFixture[str], swept: Swept) -> None:
    told(capsys, "--seeds", "5", "--nemesis", "kill,majority-healed")
    assert {(plan.faults, plan.majority_healed) for plan in swept.asked} == {(("kill",), True)}
    swept.asked.clear()
    told(capsys, "--seeds", "2", "--nemesis", "none")
    assert {plan.faults for plan in swept.asked} == {()}


def test_a_broken_promise_is_shown_made_smaller_and_1(capsys: pytest.CaptureFixture[str], swept: Swept) -> None:
    swept.judgements = {1: Judgement.FAIL, 2: Judgement.UNKNOWN}
    code, lines = told(capsys, "--seeds", "4", "--plant", "no-undo")
    assert code == 1
    assert "FAIL  register seed 1: linearizability: key a is not" in lines
    assert "UNKNOWN  register seed 2: linearizability: key a is not" in lines
    assert "    python -m jepsen_like replay 1 --workload register --plant no-undo" in lines
    assert lines[-2:] == [
        "seed 1, made smaller:",
        "    python -m jepsen_like replay 1 --workload register --nemesis kill --plant no-undo",
    ]
    assert [plan.seed for plan in swept.shrinking] == [1]


def test_what_is_unknown_is_no_pass(capsys: pytest.CaptureFixture[str], swept: Swept) -> None:
    swept.judgements = {0: Judgement.UNKNOWN}
    assert told(capsys, "--seeds", "2")[0] == 2
    assert swept.shrinking == []


def test_it_may_end_with_the_first_broken_promise(capsys: pytest.CaptureFixture[str], swept: Swept) -> None:
    swept.judgements = {1: Judgement.FAIL}
    assert told(capsys, "--seeds", "4", "--until-broken", "--no-shrink")[0] == 1
    assert [plan.seed for plan in swept.asked] == [3, 2, 1] and swept.shrinking == []


def test_the_document_has_it_all(capsys: pytest.CaptureFixture[str], swept: Swept) -> None:
    swept.judgements = {1: Judgement.FAIL}
    code, [line] = told(capsys, "--seeds", "2", "-o", "json")
    document = json.loads(line)
    assert (code, document["judgement"]) == (1, "fail")
    assert document["workloads"]["register"] == {
        "runs": 2, "pass": 1, "unknown": 0, "fail": 1, "operations": 400, "succeeded": 300, "faults": 6, "lost": 2,
        "virtual_s": 100.0,
    }  # fmt: skip
    [wrong] = document["wrong"]
    assert (wrong["seed"], wrong["replay"]) == (1, "python -m jepsen_like replay 1 --workload register")


def test_a_seed_is_replayed_to_the_letter_and_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    args = main.parser().parse_args(["replay", "3", "--workload", "counter", *QUICK, "--out", str(tmp_path / "run")])
    plan = simulate.plan_of(args, "counter", 3)
    code = args.execute(args)
    out, folder = capsys.readouterr().out, tmp_path / "run"
    history, document = read_history(folder / saving.HISTORY), json.loads((folder / saving.DOCUMENT).read_bytes())
    assert history.events == run_plan(plan).history.events
    assert code == {"pass": 0, "fail": 1, "unknown": 2}[document["judgement"]]
    assert (history.header.seed, history.header.target, history.header.ack) == (3, "simulation", "quorum")
    assert (folder / saving.PAGE).read_text().startswith("<!DOCTYPE html>")
    assert "has opened" in (folder / saving.LOGS / "simulation.log").read_text()
    assert f"kept in {folder}" in out and document["replay"] in out


def test_a_replay_keeps_its_hands_off_other_folders(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    assert main.main(["replay", "1", "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
