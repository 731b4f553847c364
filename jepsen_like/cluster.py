"""A cluster of real processes: `raftcache up` as a child, reached as its users reach it. Blocking, but for `running`.

Everything is done through the command line and the ready file. Only processes that were started here are ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from jepsen_like.ports import Ports
from raftcache.cli.local import Local
from raftcache.config import FrontendConfig, dump_config
from raftcache.supervisor.layout import LOG_FILE, DataDir
from raftcache.supervisor.views import leaders

READY_PATIENCE_S = 60.0
STOP_PATIENCE_S = 15.0
POLL_S = 0.01
UP_LOG = "up.log"
PROGRAM = (sys.executable, "-m", "raftcache.cli.main")


class DriverError(Exception):
    """The drill cannot go on; the text says why."""


class Fault(NamedTuple):
    """What a `raftcache fault` command did, by node, and when (`time.monotonic()`)."""

    at: float
    done: list[dict[str, Any]]


class RealCluster:
    """`with RealCluster(folder) as cluster`: up and ready inside, gone afterwards; the folder stays."""

    def __init__(self, folder: Path, nodes: int = 3, shards: int = 4, memory: bool = False) -> None:
        self.folder, self.nodes, self.shards, self.memory = folder, nodes, shards, memory
        self._ports = [Ports(nodes)]
        self.base_port = self._ports[0].base
        self.data_dir, self.ready_file = folder / "data", folder / "ready"
        self.up: subprocess.Popen[bytes] | None = None
        self._frontends: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> RealCluster:
        try:
            self._come_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.release()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Up and ready inside, gone afterwards, also where the task is cancelled. Raises DriverError."""
        try:
            await asyncio.to_thread(self._come_up)
            yield
        finally:
            await asyncio.shield(asyncio.to_thread(self.__exit__))

    def _come_up(self) -> None:
        self.start()
        self.wait_ready()

    def release(self) -> None:
        """Give the ports back; the cluster must have been stopped."""
        for ports in self._ports:
            ports.close()

    # -- processes -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the supervisor, in a session of its own, so that a Ctrl-C is ours to handle."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sizes = ["--nodes", self.nodes, "--shards", self.shards, "--base-port", self.base_port]
        where = ["--data-dir", self.data_dir, "--ready-file", self.ready_file]
        kind = ["--memory"] if self.memory else []
        self.up = self._spawn(UP_LOG, "up", *map(str, sizes), *map(str, where), *kind)

    def start_frontend(self) -> str:
        """Start a front end that stands alone; returns its `host:port` once it is ready."""
        self._ports.append(Ports(1))
        cluster, address = Local(self.data_dir).cluster, f"127.0.0.1:{self._ports[-1].base}"
        config = FrontendConfig(
            cluster_id=cluster.cluster_id,
            http=address,
            cluster_secret_file=str(self.data_dir / cluster.secret_file),
            nodes=tuple(node.rpc for node in cluster.nodes),
        )
        number = len(self._frontends)
        path = self.folder / f"frontend{number}.toml"
        path.write_text(dump_config(config))
        process = self._spawn(f"frontend{number}.log", "frontend", "--config", str(path))
        self._frontends.append(process)
        wait_until(lambda: _answers_ready(address), "the front end to be ready", process, self.folder)
        return address

    def _spawn(self, log: str, *words: str) -> subprocess.Popen[bytes]:
        with open(self.folder / log, "ab") as output:
            return _popen([*PROGRAM, *words], output)

    def stop(self) -> None:
        """End everything that was started here: asked first, killed after `STOP_PATIENCE_S`."""
        started = [*self._frontends, *([self.up] if self.up is not None else [])]
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # -- what it says ----------------------------------------------------------------------------

    def ready(self) -> dict[str, int] | None:
        """The pid of each node while the ready file is there, else None."""
        try:
            document = json.loads(self.ready_file.read_bytes())
        except FileNotFoundError:
            return None
        return {node["id"]: node["pid"] for node in document["nodes"]}

    def wait_ready(self, patience_s: float = READY_PATIENCE_S) -> dict[str, int]:
        """Wait for the ready file. Raises DriverError."""
        assert self.up is not None
        wait_until(lambda: self.ready() is not None, "the ready file", self.up, self.folder, patience_s)
        return self.ready() or self.wait_ready(patience_s)  # It may have been withdrawn in between.

    def http(self) -> dict[str, str]:
        """The HTTP address of each node, in order."""
        return {node.id: node.http for node in Local(self.data_dir).cluster.nodes}

    def bodies(self) -> list[dict[str, Any]]:
        """`/v1/cluster` as the nodes that answer see it."""
        return list(Local(self.data_dir).bodies().values())

    def leaders(self) -> dict[str, str | None]:
        """Who leads which shard, and `meta`."""
        return leaders(self.bodies())

    def tracebacks(self) -> list[str]:
        """The last line of each traceback in the logs of nodes and front ends: none belongs there."""
        logs = [*self.data_dir.glob(f"*/{LOG_FILE}*"), *self.folder.glob("*.log")]
        return [f"{log.parent.name}/{log.name}: {line}" for log in sorted(logs) for line in _tracebacks(log)]

    def own_ends(self) -> list[str]:
        """What the supervisor said of nodes that ended without having been killed."""
        lines = (self.folder / UP_LOG).read_text(errors="replace").splitlines()
        return [line for line in lines if " died (" in line and " died (SIGKILL)" not in line]

    # -- what is done to it ----------------------------------------------------------------------

    def fault(self, *words: str) -> Fault:
        """Run `raftcache fault WORDS`. Raises DriverError where it refuses.

        The moment is that of the command's output, which it writes right after its last signal.
        """
        command = [*PROGRAM, "fault", *words, "--data-dir", str(self.data_dir), "-o", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            at = time.monotonic()
            rest, complaint = process.communicate()
        if process.returncode:
            raise DriverError(f"fault {' '.join(words)}: {complaint.decode(errors='replace').strip()}")
        return Fault(at, [json.loads(line) for line in (first + rest).splitlines()])

    def pids(self) -> dict[str, int | None]:
        """The process of each node just now."""
        folder = DataDir(self.data_dir)
        return {node_id: folder.pid(node_id) for node_id in self.http()}


def wait_until(
    condition: Callable[[], object],
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    folder: Path | None = None,
    patience_s: float = READY_PATIENCE_S,
) -> None:
    """Poll until `condition` holds. Raises DriverError after `patience_s`, or once `process` has ended."""
    give_up_at = time.monotonic() + patience_s
    while not condition():
        if process is not None and process.poll() is not None:
            raise DriverError(f"the process ended with status {process.returncode} before {what}; see {folder}")
        if time.monotonic() > give_up_at:
            raise DriverError(f"waited {patience_s:.0f} s for {what} in vain" + (f"; see {folder}" if folder else ""))
        time.sleep(POLL_S)  # Real processes say nothing when they are ready: they are looked at until they are.


def is_alive(pid: int) -> bool:
    """Whether a process of that id exists and has not ended; one that nobody collected yet has."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except ProcessLookupError:
        return False
    except OSError:
        return not Path("/proc/self").exists()  # Where there is no /proc, the signal has said it all.


def _popen(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )


def _answers_ready(address: str) -> bool:
    from raftcache.cli.api import Api
    from raftcache.cli.output import Failed

    with suppress(Failed):
        return Api(f"http://{address}", timeout_seconds=2.0).call("GET", "/readyz").status == 200
    return False


def _tracebacks(log: Path) -> Iterator[str]:
    """The line that names the exception of each traceback."""
    inside = False
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and not line.startswith(" "):
            inside = False
            yield line
