"""The supervisor itself: an asyncio shell around `supervisor.state`.

Three things go on beside each other until a signal comes: nodes that are due are started, a new cluster is
initialised, and as long as the cluster is not ready, all nodes are probed. The ready file appears when the
state says `ready`, and goes in the same turn in which a node's end is noticed.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from raftcache.clock import boottime
from raftcache.errors import RaftcacheError
from raftcache.supervisor.cluster import KINDS, LocalCluster
from raftcache.supervisor.layout import DataDir
from raftcache.supervisor.probe import NodeView, bodies, probe, serving
from raftcache.supervisor.processes import Processes
from raftcache.supervisor.report import Report
from raftcache.supervisor.state import Supervision

PROBE_INTERVAL_SECONDS = 0.1
INIT_PATIENCE_SECONDS = 10.0
"""Failing attempts are worth a line only after this time: nodes need a moment to come up."""
INIT_RETRY_SECONDS = 0.5
INIT_TIMEOUT_SECONDS = 3.0
"""One attempt; short, since a stop waits for it."""

Initialise = Callable[[LocalCluster, bytes, float], None]
"""Makes a new cluster known to its metadata group; blocks; raises RaftcacheError or OSError."""


class Supervisor:
    """One local cluster, from start to stop. `paste` is shown below the first tables."""

    def __init__(
        self,
        data_dir: DataDir,
        cluster: LocalCluster,
        ready_file: Path | None,
        report: Report,
        initialise: Initialise,
        paste: str,
    ) -> None:
        self._data_dir = data_dir
        self._cluster = cluster
        self._ready_file = ready_file
        self._report = report
        self._initialise = initialise
        self._paste = paste
        self._state = Supervision(node.id for node in cluster.nodes)
        self._first_incarnations = {node.id: node.incarnation for node in cluster.nodes if cluster.memory}
        """Of memory-only nodes that were never started. It is taken out before the start, whatever becomes of that: a
        second process of the same incarnation would have forgotten what the first one promised."""
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._shown = False

    async def run(self) -> None:
        """Run the cluster until SIGINT, SIGTERM or SIGHUP; all nodes are gone when this returns."""
        self._withdraw()
        self._watch_signals()
        processes = Processes(self._data_dir, self._exited)
        self._processes = processes
        jobs = [asyncio.ensure_future(job) for job in (self._start_due(), self._set_up(), self._watch_readiness())]
        try:
            await self._until_stopped(jobs)
        finally:
            self._stop.set()
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            self._withdraw()
            await processes.stop()
        self._report.event("all nodes stopped")

    async def _until_stopped(self, jobs: Sequence[asyncio.Future[None]]) -> None:
        """Wait for a signal. A job that ends with an error is a defect of ours and ends the supervisor."""
        stop: asyncio.Future[object] = asyncio.ensure_future(self._stop.wait())
        waiting: set[asyncio.Future[Any]] = {stop, *jobs}
        try:
            while not stop.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for job in done:
                    job.result()
        finally:
            stop.cancel()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop_asked, signal.Signals(number).name)

    def _stop_asked(self, name: str) -> None:
        self._report.event(f"{name}: stopping all nodes")
        self._stop.set()

    async def _start_due(self) -> None:
        while True:
            for node_id in self._state.due(boottime()):
                self._data_dir.write_node_configs(self._cluster)
                pid = await self._processes.start(node_id, self._first_incarnations.pop(node_id, ""))
                self._state.started(node_id, pid, boottime())
                self._report.event(f"{node_id} started (pid {pid})")
            self._wake.clear()
            due_at = self._state.next_due()
            await _wait(self._wake.wait(), None if due_at is None else max(0.0, due_at - boottime()))

    def _exited(self, node_id: str, returncode: int) -> None:
        """A node's process ended: called by `Processes` as soon as it is known."""
        if self._stop.is_set():
            return
        delay_ms = self._state.exited(node_id, boottime())
        self._withdraw()
        words = "" if returncode == -signal.SIGKILL else f"; its log ends: {self._processes.last_words(node_id):.300}"
        self._report.event(f"{node_id} died ({_cause(returncode)}), starting again in {delay_ms} ms{words}")
        self._wake.set()

    async def _set_up(self) -> None:
        """Initialise a new cluster, however often it takes; once initialised, that is kept in `cluster.json`."""
        quiet_until = boottime() + INIT_PATIENCE_SECONDS
        while not self._cluster.initialised:
            secret = self._data_dir.secret(self._cluster)
            try:
                await asyncio.to_thread(self._initialise, self._cluster, secret, INIT_TIMEOUT_SECONDS)
            except (RaftcacheError, OSError) as error:
                if boottime() > quiet_until:
                    self._report.event(f"the cluster is not initialised yet: {error}")
                await asyncio.sleep(INIT_RETRY_SECONDS)
                continue
            self._cluster = msgspec.structs.replace(self._cluster, initialised=True)
            self._data_dir.save(self._cluster)

    async def _watch_readiness(self) -> None:
        addresses = {node.id: node.http for node in self._cluster.nodes}
        async with aiohttp.ClientSession() as session:
            while True:
                if not self._state.ready:
                    began_at = boottime()
                    views = await probe(session, addresses)
                    if self._state.observed(serving(self._cluster, views), began_at):
                        self._announce(views)
                await asyncio.sleep(PROBE_INTERVAL_SECONDS)

    def _announce(self, views: dict[str, NodeView]) -> None:
        """The cluster is ready: write the ready file and say so, at length the first time."""
        if self._ready_file is not None:
            write_ready_file(self._ready_file, self._cluster, self._state.pids)
        if self._shown:
            self._report.event("ready: every shard has a leader, every replica is a voter")
            return
        self._shown = True
        self._report.overview(self._cluster, self._state.pids, bodies(views.values()))
        self._report.lines(self._paste)

    def _withdraw(self) -> None:
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)


async def _wait(waiting: Awaitable[object], seconds: float | None) -> None:
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return


def _cause(returncode: int) -> str:
    if returncode >= 0:
        return f"status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def write_ready_file(path: Path, cluster: LocalCluster, pids: dict[str, int | None]) -> None:
    """`{"nodes": [{"id", "pid", "http", "rpc", "peer", "redis_router", "redis_cluster"}]}` in node order, put in place
    by rename."""
    nodes = [
        {"id": node.id, "pid": pids[node.id], **{kind: getattr(node, kind) for kind in KINDS}} for node in cluster.nodes
    ]
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(msgspec.json.encode({"nodes": nodes}) + b"\n")
    aside.replace(path)
