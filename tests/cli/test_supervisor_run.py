"""The supervisor's shell around its decisions: what it starts, writes and says, with processes that are not real."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from cli.recorded import cluster_body
from raftcache.errors import NoLeader
from raftcache.supervisor import run as shell
from raftcache.supervisor import state
from raftcache.supervisor.cluster import LocalCluster, plan_cluster
from raftcache.supervisor.layout import DataDir
from raftcache.supervisor.probe import NodeView
from raftcache.supervisor.report import Report


class World:
    """A supervisor on a new data folder, with fake processes that count up from pid 100."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data_dir, self.ready_file = DataDir(folder / "data"), folder / "ready"
        self.cluster = plan_cluster(nodes=3, shards=2, replicas=3, base_port=7100)
        self.started: list[str] = []
        self.first_incarnations: list[str] = []
        self.initialised: list[str] = []
        self.refusals = 0
        self.stopped = False
        self.output = io.StringIO()
        with self.data_dir.locked():
            self.data_dir.create(self.cluster)
        monkeypatch.setattr(shell, "Processes", self._processes)
        monkeypatch.setattr(shell, "probe", self._probe)
        monkeypatch.setattr(shell, "PROBE_INTERVAL_SECONDS", 0.0)
        monkeypatch.setattr(shell, "INIT_RETRY_SECONDS", 0.0)
        monkeypatch.setattr(state, "FORGIVEN_AFTER_MS", 0)

    def _processes(self, data_dir: DataDir, exited: Callable[[str, int], None]) -> World:
        self.exited = exited
        return self

    async def start(self, node_id: str, first_incarnation: str) -> int:
        self.started.append(node_id)
        self.first_incarnations.append(first_incarnation)
        return 99 + len(self.started)

    async def stop(self) -> None:
        self.stopped = True

    def last_words(self, node_id: str) -> str:
        return "no space left"

    async def _probe(self, session: object, addresses: Mapping[str, str]) -> dict[str, NodeView]:
        """Everybody serves once the cluster is initialised."""
        await asyncio.sleep(0)
        return {node_id: NodeView(bool(self.initialised), cluster_body()) for node_id in addresses}

    def _initialise(self, cluster: LocalCluster, secret: bytes, timeout_seconds: float) -> None:
        if self.refusals:
            self.refusals -= 1
            raise NoLeader("nobody leads yet")
        self.initialised.append(cluster.cluster_id)

    async def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Run the supervisor, and stop it when the scenario has come to its end."""
        report = Report(Console(file=self.output, width=200))
        supervisor = shell.Supervisor(
            self.data_dir, self.cluster, self.ready_file, report, self._initialise, "PASTE THIS"
        )
        running = asyncio.ensure_future(supervisor.run())
        await scenario()
        supervisor._stop_asked("SIGTERM")
        await running

    async def until_ready(self, pids: list[int]) -> None:
        """Return once the ready file names these processes."""
        while not self.ready_file.exists() or self.ready_pids() != pids:
            await asyncio.sleep(0)

    def ready_pids(self) -> list[int]:
        return [node["pid"] for node in json.loads(self.ready_file.read_text())["nodes"]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_new_cluster_is_started_initialised_and_announced(world: World) -> None:
    world.refusals = 2
    asyncio.run(world.run(lambda: world.until_ready([100, 101, 102])))
    assert world.started == ["n0", "n1", "n2"]
    assert world.initialised == [world.cluster.cluster_id]
    kept = world.data_dir.load()
    assert kept is not None and kept.initialised
    shown = world.output.getvalue()
    assert "http://127.0.0.1:7110" in shown and "2d25 meta" in shown and "PASTE THIS" in shown
    assert world.stopped
    assert not world.ready_file.exists(), "a cluster that is stopped is not ready"


def test_a_cluster_that_exists_is_not_initialised_again(world: World) -> None:
    asyncio.run(world.run(lambda: world.until_ready([100, 101, 102])))
    kept = world.data_dir.load()
    assert kept is not None
    world.cluster = kept
    asyncio.run(world.run(lambda: world.until_ready([103, 104, 105])))
    assert len(world.initialised) == 1


def test_a_ready_file_of_an_earlier_run_goes_before_anything_starts(world: World) -> None:
    world.ready_file.write_text('{"nodes": []}')
    asyncio.run(world.run(lambda: world.until_ready([100, 101, 102])))


def test_a_dead_node_takes_the_ready_file_with_it_and_brings_it_back(world: World) -> None:
    async def scenario() -> None:
        await world.until_ready([100, 101, 102])
        world.exited("n1", -9)
        assert not world.ready_file.exists(), "gone in the same turn"
        await world.until_ready([100, 103, 102])
        world.exited("n0", 1)
        await world.until_ready([104, 103, 102])

    asyncio.run(world.run(scenario))
    assert world.started == ["n0", "n1", "n2", "n1", "n0"]
    shown = world.output.getvalue()
    assert "n1 died (SIGKILL), starting again in 0 ms\n" in shown
    assert "n0 died (status 1), starting again in 0 ms; its log ends: no space left\n" in shown
    assert shown.count("PASTE THIS") == 1
    assert shown.count("ready: every shard has a leader") == 2


def test_memory_only_nodes_are_told_their_first_incarnation_once(world: World) -> None:
    async def scenario() -> None:
        await world.until_ready([100, 101, 102])
        world.exited("n1", -9)
        await world.until_ready([100, 103, 102])

    world.cluster = plan_cluster(nodes=3, shards=2, replicas=3, base_port=7100, memory=True)
    asyncio.run(world.run(scenario))
    assert world.started == ["n0", "n1", "n2", "n1"]
    assert world.first_incarnations == [*(node.incarnation for node in world.cluster.nodes), ""]


def test_nodes_with_a_disk_know_their_incarnation_themselves(world: World) -> None:
    asyncio.run(world.run(lambda: world.until_ready([100, 101, 102])))
    assert world.first_incarnations == ["", "", ""]


def test_nodes_that_end_while_stopping_are_not_started_again(world: World) -> None:
    async def scenario() -> None:
        await world.until_ready([100, 101, 102])

    async def stop() -> None:
        world.exited("n0", -15)
        world.stopped = True

    world.stop = stop  # type: ignore[method-assign]
    asyncio.run(world.run(scenario))
    assert world.started == ["n0", "n1", "n2"]
    assert "n0 died" not in world.output.getvalue()
