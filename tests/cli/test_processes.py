"""Real processes: how nodes are started and stopped, and that none outlives its supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raftcache.cli.main import build_parser
from raftcache.supervisor.layout import DataDir
from raftcache.supervisor.processes import LOG_LIMIT_BYTES, Processes

ENDLESS = "print('hello', flush=True); import signal; signal.pause()"
LIFELINE = """
import signal, sys
from raftcache.supervisor.lifeline import die_with_parent
die_with_parent(int(sys.argv[1]), int(sys.argv[2]))
print("alive", flush=True)
signal.pause()
"""
SHORT_LIVED_PARENT = f"""
import os, subprocess, sys
arguments = [sys.executable, "-c", {LIFELINE!r}, str(os.getpid()), sys.argv[1]]
child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=sys.stdout, pass_fds=(int(sys.argv[1]),))
child.stdout.readline()
print("started", flush=True)
os.kill(os.getpid(), 9)
"""


def start_node(parent_pid: int, pipe: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", LIFELINE, str(parent_pid), str(pipe)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(pipe,))


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def test_a_node_dies_when_the_pipe_closes(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    with start_node(os.getpid(), reading) as node:
        assert node.stdout is not None and node.stdout.readline() == b"alive\n"
        assert node.poll() is None
        os.close(writing)
        assert node.wait() == -signal.SIGKILL
    os.close(reading)


def test_a_node_that_lost_its_parent_already_does_not_start(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    with start_node(1, reading) as node:
        assert node.stdout is not None and node.stdout.read() == b""
        assert node.wait() == -signal.SIGKILL
    os.close(reading)
    os.close(writing)


def test_a_node_dies_with_a_killed_parent_though_the_pipe_stays_open(pipe: tuple[int, int]) -> None:
    """The writing end stays open here, so only the kernel can have told the node.

    The node holds its parent's standard output as well, so that the end of that is the end of both.
    """
    reading, writing = pipe
    command = [sys.executable, "-c", SHORT_LIVED_PARENT, str(reading)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(reading,)) as parent:
        try:
            assert parent.communicate(timeout=60) == (b"started\n", None)
        finally:
            os.close(writing)
        assert parent.returncode == -signal.SIGKILL
    os.close(reading)


class Endless(Processes):
    """Runs a program that does nothing, in place of a node."""

    program = ENDLESS

    def _command(self, config: Path, first_incarnation: str) -> list[str]:
        return [sys.executable, "-c", self.program]


def test_start_and_stop(tmp_path: Path) -> None:
    data_dir, gone = DataDir(tmp_path), []
    for node_id in ("n0", "n1", "n2"):
        data_dir.node_dir(node_id).mkdir()

    async def scenario() -> None:
        ended = asyncio.Event()

        def exited(node_id: str, returncode: int) -> None:
            gone.append((node_id, returncode))
            ended.set()

        processes = Endless(data_dir, exited)
        pids = {node_id: await processes.start(node_id) for node_id in ("n0", "n1", "n2")}
        assert {node_id: data_dir.pid(node_id) for node_id in pids} == pids
        os.kill(pids["n0"], signal.SIGKILL)
        await ended.wait()
        assert gone == [("n0", -signal.SIGKILL)]
        assert data_dir.pid("n0") is None
        os.kill(pids["n1"], signal.SIGSTOP)
        await processes.stop()

    asyncio.run(scenario())
    assert sorted(gone) == [("n0", -9), ("n1", -15), ("n2", -15)]
    assert [data_dir.pid(node_id) for node_id in ("n0", "n1", "n2")] == [None] * 3


def test_a_node_that_will_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.supervisor.processes.STOP_GRACE_SECONDS", 0.0)
    data_dir, gone = DataDir(tmp_path), []
    data_dir.node_dir("n0").mkdir()

    async def scenario() -> None:
        processes = Endless(data_dir, lambda node_id, returncode: gone.append(node_id))
        await processes.start("n0")
        await processes.stop()

    asyncio.run(scenario())
    assert gone == ["n0"]


def test_the_first_incarnation_is_on_the_command_line_where_there_is_one(tmp_path: Path) -> None:
    async def scenario() -> tuple[list[str], list[str]]:
        processes = Processes(DataDir(tmp_path), lambda node_id, returncode: None)
        commands = processes._command(tmp_path, ""), processes._command(tmp_path, "1a2b")
        await processes.stop()
        return commands

    without, given = asyncio.run(scenario())
    assert given == [*without, "--first-incarnation", "1a2b"]
    assert build_parser().parse_args(given[given.index("node") :]).first_incarnation == "1a2b"
    assert build_parser().parse_args(without[without.index("node") :]).first_incarnation == ""


def test_logs_are_kept_and_bounded(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    folder = data_dir.node_dir("n0")
    folder.mkdir()
    (folder / "log").write_bytes(b"x" * (LOG_LIMIT_BYTES + 1))

    class Brief(Endless):
        program = "print('first'); print('last words'); print()"

    async def scenario() -> str:
        ended = asyncio.Event()
        processes = Brief(data_dir, lambda node_id, returncode: ended.set())
        assert processes.last_words("n1") == ""
        await processes.start("n0")
        await ended.wait()
        words = processes.last_words("n0")
        await processes.stop()
        return words

    assert asyncio.run(scenario()) == "last words"
    assert (folder / "log.1").stat().st_size == LOG_LIMIT_BYTES + 1
    assert (folder / "log").read_text() == "first\nlast words\n\n"
