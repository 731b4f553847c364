"""What a nemesis is, and the ground it stands on: a cluster of real processes, with or without proxies between them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jepsen_like.cluster import DriverError, RealCluster
from jepsen_like.proxy.network import Network
from raftcache.cli.local import Local
from raftcache.cli.output import Failed
from raftcache.errors import RaftcacheError
from raftcache.supervisor.views import METADATA, is_whole, leaders

Details = dict[str, Any]
"""What goes into a fault's events."""


TROUBLE = (DriverError, Failed, RaftcacheError, OSError)
"""What looking at a broken cluster, or working on it, may raise."""


class Skipped(Exception):
    """The fault cannot strike just now without breaking more than it stands for; the text says why."""


@dataclass(slots=True)
class Ground:
    """A running cluster. `network` is None where nodes and clients talk directly: no fault on links then.

    `files` is held by whoever works on a node's files, which is one at a time.
    """

    cluster: RealCluster
    network: Network | None = None
    files: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def nodes(self) -> list[str]:
        """All node ids, running or not."""
        return [node.id for node in Local(self.cluster.data_dir).cluster.nodes]

    @property
    def links(self) -> Network:
        """The network. Raises Skipped where there is none."""
        if self.network is None:
            raise Skipped("this cluster runs without proxies")
        return self.network

    async def bodies(self) -> dict[str, dict[str, Any]]:
        """`/v1/cluster` as each node that answers has it."""
        return await asyncio.to_thread(lambda: Local(self.cluster.data_dir).bodies())

    async def leaders(self) -> dict[str, str | None]:
        """Who leads which shard, and `meta`."""
        return leaders((await self.bodies()).values())

    async def is_whole(self) -> bool:
        """Whether every node answers, and sees every group led and every replica as a voter."""
        bodies, wanted = await self.bodies(), Local(self.cluster.data_dir).cluster
        return len(bodies) == len(wanted.nodes) and all(
            is_whole(body, wanted.shards, wanted.replicas) for body in bodies.values()
        )


@dataclass(frozen=True, slots=True)
class Victims:
    """Whom to hit: `order` has all nodes, the one aimed at first. `group` is that of a leader or follower aimed at."""

    order: tuple[str, ...]
    group: str
    dice: random.Random

    @property
    def node(self) -> str:
        """The one aimed at."""
        return self.order[0]


class Nemesis(Protocol):
    """One fault, once: made anew for each strike.

    A strike may raise Skipped, or any of `TROUBLE` where the cluster is not as it has to be; it is healed all the same,
    so `heal` must do with whatever part of the strike was done.
    """

    async def strike(self, ground: Ground, victims: Victims) -> Details:
        """Break something; returns what, once it is broken."""

    async def heal(self, ground: Ground) -> Details:
        """Make it whole again; returns what there is to say, once it is, or after a time that it does not name."""


Make = Callable[[], Nemesis]
Replicas = Mapping[str, list[str]]
"""The nodes of each group."""


def replicas_of(bodies: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The nodes that hold each group, by any body."""
    found: dict[str, list[str]] = {}
    for body in bodies.values():
        for group_id, group in [*((str(shard["id"]), shard) for shard in body["shards"]), (METADATA, body["metadata"])]:
            found.setdefault(group_id, list(dict.fromkeys(replica["node"] for replica in group["replicas"])))
    return found
