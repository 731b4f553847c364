"""The systems that are compared, and the rounds in which they take turns."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from jepsen_like.cluster import DriverError, RealCluster
from raftcache.cli.local import Local
from raftcache.supervisor.views import in_slot_order, leaders
from writes.etcd_cluster import EtcdCluster
from writes.spec import EtcdLoad, Load, Outcome, RaftcacheLoad

HERE = Path(__file__).parents[1]
GRACE_S = 60.0
"""How much longer than its load a generator may take."""


class Options(NamedTuple):
    """What one round does; see `Load`."""

    clients: int
    seconds: float
    warm_up_s: float
    value_bytes: int

    @property
    def lasts_s(self) -> float:
        """How long a load generator takes for it."""
        return self.warm_up_s + self.seconds

    def load(self, connections: int, pids: tuple[int, ...]) -> Load:
        """The load on a system that runs as `pids`."""
        return Load(
            clients=self.clients,
            connections=connections,
            seconds=self.seconds,
            warm_up_s=self.warm_up_s,
            value_bytes=self.value_bytes,
            pids=pids,
        )


class System(Protocol):
    """Something that is measured."""

    @property
    def name(self) -> str:
        """What it is called in the report."""

    def measure(self, folder: Path, options: Options) -> Outcome:
        """Start it on files below `folder`, write to it, stop it. Raises DriverError."""


class Raftcache(NamedTuple):
    """Three nodes under `raftcache up`."""

    name: str
    shards: int
    ack: str
    memory: bool = False
    connections: int = 1

    def measure(self, folder: Path, options: Options) -> Outcome:
        """See `System`."""
        with RealCluster(folder, shards=self.shards, memory=self.memory) as cluster:
            return generate("writes.raftcache_load", self.load(cluster, options), options.lasts_s)

    def load(self, cluster: RealCluster, options: Options) -> RaftcacheLoad:
        """What is asked of a cluster that is up."""
        local, pids = Local(cluster.data_dir), cluster.wait_ready()
        bodies = cluster.bodies()
        known = leaders(bodies)
        shards = in_slot_order(bodies[0])
        return RaftcacheLoad(
            load=options.load(self.connections, tuple(pids.values())),
            ack=self.ack,
            cluster_id=local.cluster.cluster_id,
            secret_hex=local.data_dir.secret(local.cluster).hex(),
            slots=tuple((*slots, shard["id"]) for shard in shards for slots in shard["slots"]),
            leaders={shard["id"]: known[shard["id"]] or local.cluster.nodes[0].id for shard in shards},
            rpc={node.id: node.rpc for node in local.cluster.nodes},
        )


class Etcd(NamedTuple):
    """Three etcd processes."""

    name: str
    style: str
    connections: int

    def measure(self, folder: Path, options: Options) -> Outcome:
        """See `System`."""
        with EtcdCluster(folder) as etcd:
            load = options.load(self.connections, etcd.pids)
            return generate(
                "writes.etcd_load", EtcdLoad(load=load, address=etcd.leader(), style=self.style), options.lasts_s
            )


def generate(module: str, spec: msgspec.Struct, lasts_s: float) -> Outcome:
    """Run a load generator to its end. It never outlives this call. Raises DriverError where it fails, or goes on for
    longer than `lasts_s` and some grace."""
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "GRPC_VERBOSITY": "NONE"}
    command = [sys.executable, "-m", module, msgspec.json.encode(spec).decode()]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            answer, complaint = process.communicate(timeout=lasts_s + GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DriverError(f"{module} did not end in {lasts_s + GRACE_S:.0f} s") from None
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise DriverError(f"the load generator failed: {complaint.decode(errors='replace').strip()[-500:]}")
    return msgspec.json.decode(answer, type=Outcome)


@contextmanager
def folder_in(parent: Path) -> Iterator[Path]:
    """A folder of our own on the disk of `parent`, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="raftcache-bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def interleaved(
    systems: Sequence[System], rounds: int, options: Options, parent: Path, progress: Callable[[str, Outcome], None]
) -> dict[str, list[Outcome]]:
    """The outcomes of `rounds` rounds by system; in each round every system has its turn, on fresh files."""
    outcomes: dict[str, list[Outcome]] = {system.name: [] for system in systems}
    for _ in range(rounds):
        for system in systems:
            with folder_in(parent) as folder:
                outcome = system.measure(folder / "run", options)
            outcomes[system.name].append(outcome)
            progress(system.name, outcome)
    return outcomes
