"""`run` over the cluster in miniature, once on real processes: what is told, what is kept, how it ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from jepsen_like.cli import main, run, saving
from jepsen_like.history import NEMESIS, Event, History, read_history
from jepsen_like.nemeses.api import Ground
from jepsen_like.real_plan import RealPlan, header_of
from jepsen_like.real_run import Conducted, RealRun, Watch
from jepsen_like.running import Ran
from jepsen_like.workloads.registry import make
from jepsen_like.workloads.workload import Options
from tests.jepsen.driven import Driven
from tests.jepsen.fake_target import SHARD, FakeTarget

SLICE_MS = 10.0
BRIEF = ["--seconds", "4", "--liveness-bound", "2", "--seed", "5"]


class Conductor:
    """In place of real processes."""

    def __init__(self, bugs: tuple[str, ...] = (), trouble: tuple[str, ...] = ()) -> None:
        self.bugs, self.trouble = bugs, list(trouble)
        self.asked: list[RealPlan] = []

    async def conduct(self, asked: RealPlan, folder: Path, watch: Watch) -> Conducted:
        self.asked.append(asked)
        node = folder / "data" / "n0"
        node.mkdir(parents=True)
        (node / "log").write_text("hello\n")
        (folder / "up.log").write_text("started\n")
        driven = Driven(asked.workload, asked.options, FakeTarget(bugs=self.bugs))
        for event in driven.ran.events:
            if event.process == NEMESIS and event.name == "isolate-leader" and event.kind == "invoke":
                event.details["target"] = "leader"
        header = header_of(asked, make(asked.workload, asked.options), [SHARD], "2026-01-01T00:00:00+00:00")
        return Conducted(History(header, driven.ran.events), self.trouble)


def ran(monkeypatch: pytest.MonkeyPatch, conductor: Conductor, *words: str) -> int:
    monkeypatch.setattr(run, "conduct", conductor.conduct)
    return main.main(["run", *BRIEF, *words])


def test_a_run_is_kept_with_history_page_document_and_logs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, conductor = tmp_path / "run", Conductor()
    assert ran(monkeypatch, conductor, "--workload", "set", "--out", str(folder)) == 0
    history, out = read_history(folder / saving.HISTORY), capsys.readouterr().out
    document = json.loads((folder / saving.DOCUMENT).read_bytes())
    assert (history.header.seed, history.header.nemeses) == (5, ["kill", "partition-leader"])
    assert "python" in history.header.versions and history.header.options["shards"] == [SHARD]
    assert document["judgement"] == "pass" and document["verdicts"][0]["checker"] == "run"
    assert (folder / saving.PAGE).read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in (folder / saving.LOGS).iterdir()) == ["n0.log", "up.log"]
    assert not (folder / saving.CLUSTER).exists(), "it passed"
    assert out.startswith("PASS  set under kill, partition-leader, seed 5") and f"kept in {folder}" in out
    [replay] = [line for line in out.splitlines() if line.startswith("replay: ")]
    assert run.plan_of(main.parser().parse_args(replay.split()[4:])) == conductor.asked[0]


def test_a_broken_promise_is_1_and_the_files_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert ran(monkeypatch, Conductor(("lose-acked",)), "--workload", "set", "--out", str(folder)) == 1
    assert (folder / saving.CLUSTER / "data" / "n0" / "log").exists()
    assert capsys.readouterr().out.startswith("FAIL  set under ")


def test_trouble_on_the_way_is_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    conductor = Conductor(trouble=("a traceback in n0/log: KeyError",))
    assert ran(monkeypatch, conductor, "--workload", "set", "--out", str(tmp_path / "run")) == 1


def test_the_document_alone_is_printed_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ran(monkeypatch, Conductor(), "--workload", "set", "--out", str(tmp_path / "run"), "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True


def test_without_a_place_runs_get_folders_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert ran(monkeypatch, Conductor(), "--workload", "set") == 0
    kept = sorted((tmp_path / saving.FOLDER).iterdir())
    assert len(kept) == 2 and all(path.name.endswith("-set-5") for path in kept)


def test_the_bar_counts_each_event_once() -> None:
    counts, events = run.Counts(), [
        Event(kind="invoke", process=0, name="read", time_ms=0),
        Event(kind="invoke", process=NEMESIS, name="kill", time_ms=1),
        Event(kind="ok", process=0, name="read", time_ms=2),
    ]  # fmt: skip
    counts.take(events)
    counts.take(events)
    assert (counts.tally().ok, counts.tally().unknown, counts.broken) == (1, 0, ["kill"])
    events += [Event(kind="info", process=NEMESIS, name="kill", time_ms=3), events[0]]
    events += [Event(kind="info", process=0, name="read", time_ms=4)]
    counts.take(events)
    assert (counts.tally().ok, counts.tally().unknown, counts.broken) == (1, 1, [])


# -- a run by itself ---------------------------------------------------------------------------------


async def executed(run: RealRun, target: FakeTarget) -> Ran:
    """Time goes on in the miniature a little at a time, since some of what is waited for is asyncio's."""
    task = asyncio.get_running_loop().create_task(run.execute([]))
    while not task.done():
        await asyncio.sleep(0)
        until_ms = target.now_ms() + SLICE_MS
        target.run(lambda until_ms=until_ms: target.now_ms() >= until_ms)
    return await task


def real_run(target: FakeTarget, tmp_path: Path) -> RealRun:
    asked = RealPlan(workload="register", seed=1, options=Options(seconds=2.0, liveness_bound_s=1.0))
    ground = Ground(cluster=None)  # type: ignore[arg-type]  # Nothing is planned, so nothing looks at it.
    return RealRun(ground, target, make(asked.workload, asked.options), asked)


def test_a_run_ends_once_its_faults_are_over(tmp_path: Path) -> None:
    target = FakeTarget()

    async def play() -> Ran:
        return await executed(real_run(target, tmp_path), target)

    ended = asyncio.run(play())
    assert list(ended.phases)[-1] == "end" and ended.trouble == []
    assert target.timers == 0


def test_a_nemesis_that_fails_is_trouble(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = FakeTarget()

    async def broken(planned: object) -> None:
        raise RuntimeError("no such layer")

    async def play() -> Ran:
        run = real_run(target, tmp_path)
        monkeypatch.setattr(run._director, "play", broken)
        return await executed(run, target)

    assert asyncio.run(play()).trouble == ["the nemesis failed: RuntimeError('no such layer')"]


# -- real processes ----------------------------------------------------------------------------------


def test_on_real_processes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """How quickly a machine elects and serves is not judged here."""
    words = ["--workload", "register", "--nemesis", "kill,partition-leader", "--shards", "1", "--rate", "10"]
    code = main.main(["run", *words, "--seconds", "8", "--liveness-bound", "2", "--out", str(tmp_path / "run")])
    capsys.readouterr()
    document = json.loads((tmp_path / "run" / saving.DOCUMENT).read_bytes())
    judged = {each["checker"]: each["judgement"] for each in document["verdicts"]}
    assert code == {"pass": 0, "fail": 1, "unknown": 2}[document["judgement"]]
    assert (judged["run"], judged["linearizability"]) == ("pass", "pass")
    assert document["operations"]["ok"] > 0
    logs = sorted(path.name for path in (tmp_path / "run" / saving.LOGS).iterdir())
    assert logs == ["n0.log", "n1.log", "n2.log", "up.log"]
    assert main.main(["check", str(tmp_path / "run" / saving.HISTORY)]) == 0
