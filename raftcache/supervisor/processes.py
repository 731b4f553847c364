"""The node processes of a local cluster: start, notice the end, stop. Decides nothing (`supervisor.state` does)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from raftcache.supervisor.layout import CONFIG_FILE, LOG_FILE, DataDir

STOP_GRACE_SECONDS = 5.0
"""How long nodes may take to stop by themselves before they are killed."""
LOG_LIMIT_BYTES = 16 << 20
"""A node's log that is larger than this when the node starts becomes `log.1`, in place of an older one."""
_LOG_END_BYTES = 4096


class Processes:
    """All node processes. `exited(node_id, returncode)` is called on the loop when one is gone."""

    def __init__(self, data_dir: DataDir, exited: Callable[[str, int], None]) -> None:
        self._data_dir = data_dir
        self._exited = exited
        self._running: dict[str, Process] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._lifeline, self._lifeline_keeper = os.pipe()

    async def start(self, node_id: str, first_incarnation: str = "") -> int:
        """Start one node and return its pid. Nodes get process groups of their own, so that Ctrl-C is ours alone.

        `first_incarnation` is for a memory-only node that starts for the first time, and for no other.
        """
        folder = self._data_dir.node_dir(node_id)
        with open(_fresh_log(folder / LOG_FILE), "ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command(folder / CONFIG_FILE, first_incarnation),
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                pass_fds=(self._lifeline,),
                process_group=0,
            )
        self._running[node_id] = process
        self._data_dir.write_pid(node_id, process.pid)
        task = asyncio.get_running_loop().create_task(self._wait(node_id, process))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return process.pid

    def _command(self, config: Path, first_incarnation: str) -> list[str]:
        parent = f"{os.getpid()}:{self._lifeline}"
        module = ["-P", "-m", "raftcache.cli.main"]
        first = ["--first-incarnation", first_incarnation] if first_incarnation else []
        return [sys.executable, *module, "node", "--config", str(config), "--supervised-by", parent, *first]

    async def _wait(self, node_id: str, process: Process) -> None:
        returncode = await process.wait()
        del self._running[node_id]
        self._data_dir.write_pid(node_id, None)
        self._exited(node_id, returncode)

    async def stop(self) -> None:
        """Stop all nodes: ask, wait for `STOP_GRACE_SECONDS`, then kill. A paused node is woken to hear it."""
        self._send(signal.SIGTERM)
        self._send(signal.SIGCONT)
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=STOP_GRACE_SECONDS)
        self._send(signal.SIGKILL)
        await asyncio.gather(*self._waiting)
        os.close(self._lifeline)
        os.close(self._lifeline_keeper)

    def _send(self, signal_number: int) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal_number)

    def last_words(self, node_id: str) -> str:
        """The last line of the node's log; empty where there is none."""
        try:
            with open(self._data_dir.node_dir(node_id) / LOG_FILE, "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_END_BYTES))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _fresh_log(path: Path) -> Path:
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_name("log.1"))
    return path
