"""The command line: what is refused, what is listed, and how commands end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jepsen_like.checkers.registry import CHECKERS
from jepsen_like.cli import listing, main
from jepsen_like.cluster import DriverError
from jepsen_like.nemeses.table import NEMESES
from jepsen_like.simulated.faults import FAULTS
from jepsen_like.workloads.registry import WORKLOADS
from raftcache.testing.plants import ALL_PLANTS

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "required: COMMAND"),
        ("what", "invalid choice: 'what'"),
        ("run --workload nothing", "no workload 'nothing'; there are register, counter"),
        ("run --nemesis kill,fire", "no nemesis 'fire'; there are kill, kill-all"),
        ("run --nemesis kill:everybody", "kill:everybody: no target 'everybody'"),
        ("run --nemesis power-all", "no nemesis 'power-all'"),
        ("run --ack most", "invalid choice: 'most'"),
        ("run --seconds 0", "must be from 1 to 86400, got 0"),
        ("run --seconds nan", "must be from 1 to 86400, got nan"),
        ("run --seconds soon", "not a number: soon"),
        ("run --seed -1", "must be from 0 to"),
        ("run --seed x", "not a whole number: x"),
        ("run --window 10,20", "not MS,WRITES,BYTES: 10,20"),
        ("run --window 10,0,none", "must be from 1"),
        ("run --shape mine", "no shape 'mine'"),
        ("sim --workload register,what", "no workload 'what'"),
        ("sim --plant nobody", "no plant 'nobody'; there are ack-before-log"),
        ("sim --nemesis torn-log", "no simulated nemesis 'torn-log'"),
        ("sim --seeds 0", "must be from 1"),
        ("replay", "required: SEED"),
        ("suite medium", "invalid choice: 'medium'"),
        ("suite long --hours 0", "must be from 0.01"),
        ("table --ack all", "invalid choice: 'all'"),
        ("check", "required: FILE"),
    ],
)
def test_bad_usage_is_2_and_says_what_is_wrong(capsys: pytest.CaptureFixture[str], line: str, complaint: str) -> None:
    assert main.main(line.split()) == 2
    out, err = capsys.readouterr()
    assert complaint in err and not out


@pytest.mark.parametrize("command", main.COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: main.Command) -> None:
    assert main.main([command.name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: python -m jepsen_like {command.name} ") and "Exit codes: 0 only for a pass" in out


def test_everything_is_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = listing.listing()
    assert found["workloads"].keys() == WORKLOADS.keys()
    assert found["nemeses"].keys() == NEMESES.keys() | FAULTS.keys()
    assert found["checkers"].keys() == CHECKERS.keys()
    assert found["plants"].keys() == ALL_PLANTS.keys()
    assert all(text and "\n" not in text for entries in found.values() for text in entries.values())
    assert found["nemeses"]["power-all"].endswith("(simulation only)")
    assert found["nemeses"]["torn-log"].endswith("(real processes only)")
    assert main.main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for entries in found.values() for name in entries)
    assert main.main(["list", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == found


def raising(error: BaseException) -> Callable[[object], int]:
    def execute(args: object) -> int:
        raise error

    return execute


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DriverError("no ready file"), 2, "jepsen_like: no ready file\n"),
        (FileExistsError("runs/1 is not empty"), 2, "jepsen_like: runs/1 is not empty\n"),
        (ValueError("out of range"), 2, "jepsen_like: out of range\n"),
        (KeyboardInterrupt(), 130, "jepsen_like: interrupted; what it had started is stopped\n"),
        (asyncio.CancelledError(), 130, "jepsen_like: interrupted; what it had started is stopped\n"),
    ],
)
def test_errors_are_a_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    failing = [command._replace(execute=raising(error)) for command in main.COMMANDS]
    monkeypatch.setattr(main, "COMMANDS", failing)
    assert main.main(["list"]) == code
    assert capsys.readouterr().err == said


def test_check_is_one_of_its_commands() -> None:
    command = [sys.executable, "-m", "jepsen_like", "check", str(DATA / "etcd_004.log")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.startswith(f"{DATA / 'etcd_004.log'}\tnot linearizable\t")
