"""A cluster of real processes with a proxy in every link: the ground that faults of every kind can be struck on.

The cluster is laid out before `raftcache up` finds it, so that each node's view of the others can be written into it:
addresses are planned, proxies are put in front of them, and what they listen on goes into `cluster.json`. From there
the supervisor writes it into every `node.toml`, also of a node whose folder was emptied.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from jepsen_like.cluster import RealCluster
from jepsen_like.nemeses.api import Ground
from jepsen_like.proxy.network import Network
from raftcache.cli.up import DEFAULT_REPLICAS
from raftcache.supervisor.cluster import plan_cluster
from raftcache.supervisor.layout import DataDir


@asynccontextmanager
async def proxied(
    folder: Path, nodes: int = 3, shards: int = 4, memory: bool = False, seed: int = 0
) -> AsyncIterator[Ground]:
    """A new cluster in `folder`, up and ready inside; gone afterwards, with its proxies. `seed` is that of the dice of
    toxics. Raises DriverError, ConfigError."""
    cluster = RealCluster(folder, nodes, shards, memory)
    plan = plan_cluster(nodes, shards, min(DEFAULT_REPLICAS, nodes), cluster.base_port, memory)
    network = Network(plan.nodes, seed)
    await network.start()
    try:
        data_dir = DataDir(cluster.data_dir)
        with data_dir.locked():
            data_dir.create(msgspec.structs.replace(plan, dial=network.dial()))
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(cluster.wait_ready)
        yield Ground(cluster, network)
    finally:
        await asyncio.to_thread(cluster.__exit__)
        await network.stop()
