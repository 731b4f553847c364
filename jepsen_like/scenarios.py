"""All scenarios by name, each on a cluster of its own, whose folder is kept where it fails."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from jepsen_like.client import ReadFailed
from jepsen_like.cluster import DriverError, RealCluster
from jepsen_like.crash import crash
from jepsen_like.damage import damage
from jepsen_like.disk import ROUNDS_ON_DISKS
from jepsen_like.disk_full import disk_full
from jepsen_like.empty_disk import empty_disk
from jepsen_like.repeated import NODES, REPEATED, SHARDS, Repeated, repeat
from jepsen_like.verdict import Result
from jepsen_like.waiting import Progress


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for. `ack` is the level that is promised to be kept."""

    rounds: int
    seed: int
    ack: str
    keys: int


Play = Callable[[RealCluster, Options, Progress], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A name, how it runs, and how many rounds that takes; None: as many as are asked for."""

    name: str
    play: Play
    rounds: int | None = None


def _repeated(scenario: Repeated) -> Scenario:
    return Scenario(
        scenario.name, lambda cluster, options, progress: repeat(cluster, scenario, options.rounds, progress)
    )


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        *map(_repeated, REPEATED),
        Scenario("crash", lambda cluster, o, progress: crash(cluster, o.rounds, o.seed, o.ack, progress)),
        Scenario("empty-disk", lambda cluster, o, progress: empty_disk(cluster, o.keys, progress), ROUNDS_ON_DISKS),
        Scenario("damage", lambda cluster, o, progress: damage(cluster, o.keys, progress), ROUNDS_ON_DISKS),
        Scenario("disk-full", lambda cluster, o, progress: disk_full(cluster, o.keys, progress), ROUNDS_ON_DISKS),
    )
}


async def run(scenario: Scenario, options: Options, progress: Progress) -> Result:
    """Run one scenario on a cluster of its own. The folder is kept where that fails. Raises DriverError."""
    folder = Path(tempfile.mkdtemp(prefix=f"raftcache-drill-{scenario.name}-"))
    cluster = RealCluster(folder, NODES, SHARDS)
    try:
        async with cluster.running():
            result = await scenario.play(cluster, options, progress)
    except (DriverError, ReadFailed) as error:
        raise DriverError(f"{error}; logs are kept in {folder}") from error
    except asyncio.CancelledError:
        shutil.rmtree(folder)
        raise
    result.defects += [f"a traceback in {line}" for line in cluster.tracebacks()]
    result.defects += [f"a node ended by itself: {line}" for line in cluster.own_ends()]
    if result.complaints():
        result.kept = str(folder)
    else:
        shutil.rmtree(folder)
    return result
