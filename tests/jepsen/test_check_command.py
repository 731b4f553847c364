"""`python -m jepsen_like check`: what it prints, and how it ends."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jepsen_like.check import run_check
from jepsen_like.history import Event, Header, History, encode_history

DATA = Path(__file__).parent / "data"
RIGHT, WRONG = DATA / "etcd_002.log", DATA / "etcd_004.log"


def events(value: int) -> list[Event]:
    return [
        Event(kind="invoke", process=0, name="write", key="a:k", value=1, time_ms=0),
        Event(kind="ok", process=0, name="write", key="a:k", version="v1.1.1", time_ms=1),
        Event(kind="invoke", process=0, name="read", key="a:k", time_ms=2),
        Event(kind="ok", process=0, name="read", key="a:k", value=value, version=f"v1.1.{value}", time_ms=3),
    ]


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / "ours.jsonl"
    path.write_bytes(encode_history(History(Header(workload="register"), events(1))))
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.jsonl"
    path.write_bytes(encode_history(History(Header(workload="register"), events(2))).replace(b"\n", b"\r\n"))
    return path


def told(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, list[str], str]:
    """The exit code, the lines on standard output without the seconds, and the error stream."""
    code = run_check([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, [re.sub(r"\t\d+\.\d{3}$", "\tS", line) for line in out.splitlines()], err


def test_each_file_has_its_line(capsys: pytest.CaptureFixture[str], ours: Path, broken: Path) -> None:
    assert told(capsys, RIGHT, ours) == (0, [f"{RIGHT}\tlinearizable\tS", f"{ours}\tlinearizable\tS"], "")
    code, lines, err = told(capsys, RIGHT, WRONG, ours, broken)
    assert (code, err) == (1, "")
    assert [line.split("\t")[1] for line in lines] == [
        "linearizable",
        "not linearizable",
        "linearizable",
        "not linearizable",
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "1: neither a history in JSON lines nor a log of Jepsen's etcd test"),
        (b"hello\n", "1: neither a history in JSON lines nor a log of Jepsen's etcd test"),
        (b"\nINFO jepsen.util - 0 :invoke :read\n", "2: not an event"),
        (b'{"raftcache_history":1}\n\n{"kind":"what"}\n', "3: "),
        (b'{"raftcache_history":2}\n', "1: histories of format 2 are not known"),
        (
            b'{"raftcache_history":1}\n\n{"kind":"invoke","process":0,"name":"read","time_ms":0}\n\n'
            b'{"kind":"invoke","process":0,"name":"read","time_ms":0}\n{"kind":"ok","process":3,"name":"","time_ms":0}\n',
            "5: process 0 invoked read before its last operation was answered",
        ),
    ],
)
def test_what_cannot_be_read_is_named_by_file_and_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    code, lines, err = told(capsys, path, RIGHT)
    assert (code, lines) == (2, [f"{path}\tunknown\tS", f"{RIGHT}\tlinearizable\tS"])
    assert err.startswith(f"{path}:{complaint}") and err.count("\n") == 1


def test_a_file_that_is_not_there_is_unknown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert told(capsys, path) == (2, [f"{path}\tunknown\tS"], f"{path}: No such file or directory\n")
    assert told(capsys, path, WRONG)[0] == 1, "a broken promise weighs more"


def test_no_answer_is_no_pass(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "counter.jsonl"
    path.write_bytes(
        encode_history(History(Header(), [Event(kind="invoke", process=0, name="incr", key="c", time_ms=0)]))
    )
    code, lines, err = told(capsys, path)
    assert (code, lines) == (2, [f"{path}\tunknown\tS"])
    assert err == f"{path}: no answer on 1 of 1 keys: key c (incr is not modelled)\n"


def test_the_explanation_follows_the_line(capsys: pytest.CaptureFixture[str], ours: Path, broken: Path) -> None:
    code, lines, _ = told(capsys, "--explain", broken, ours)
    assert code == 1
    assert lines == [
        f"{broken}\tnot linearizable\tS",
        "    1 of 1 keys are not linearizable: key a:k",
        "    a:k: the longest partial linearization has 1 operations:",
        "        #0 process 0 write 1 as v1.1.1",
        "    Whichever of these comes next, an answer is wrong:",
        "        #1 process 0 read -> 2 as v1.1.2",
        f"{ours}\tlinearizable\tS",
        "    1 keys are linearizable",
    ]


@pytest.mark.parametrize("args", [[], ["--timeout", "0", "f"], ["--timeout", "soon", "f"], ["--what", "f"]])
def test_bad_usage_is_2(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    code, lines, err = told(capsys, *args)
    assert (code, lines) == (2, []) and "usage:" in err


def test_the_module_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jepsen_like.check", "--timeout", "60", str(WRONG)], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout.startswith(f"{WRONG}\tnot linearizable\t") and not done.stderr
