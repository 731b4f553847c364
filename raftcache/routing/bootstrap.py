"""The plan of a new cluster: everything that `InitCluster` fixes, chosen by whoever creates the cluster."""

from __future__ import annotations

import random
from collections.abc import Sequence

from raftcache.commands.policy import Namespace
from raftcache.consensus.api import MemberId
from raftcache.metadata.commands import InitCluster
from raftcache.metadata.placement import Placeable, place
from raftcache.metadata.state import Node, Shard
from raftcache.routing.slots import even_ranges

METADATA_MEMBERS_MAX = 5
SHARD_ID_BITS = 16


def plan_cluster(
    nodes: Sequence[Node],
    shard_count: int,
    replication_factor: int,
    namespaces: Sequence[Namespace],
    chance: random.Random,
) -> InitCluster:
    """A cluster of `nodes`: shards of even slots, placed over the zones, under random ids and a random cluster id.

    The metadata group takes the first three nodes, or five where there are so many, or what there is. Raises
    ValueError where the numbers cannot be.
    """
    ranges = even_ranges(shard_count)
    placed = place([Placeable(node.id, node.zone) for node in nodes], shard_count, replication_factor)
    members = {node.id: MemberId(node.id, node.incarnation) for node in nodes}
    shards = []
    for shard_id, slots, node_ids in zip(_shard_ids(shard_count, chance), ranges, placed, strict=True):
        replicas = tuple(members[node_id] for node_id in node_ids)
        shards.append(Shard(shard_id, (slots,), replicas, replicas, node_ids[0]))
    return InitCluster(
        f"{chance.getrandbits(64):016x}",
        replication_factor,
        tuple(nodes),
        tuple(shards),
        metadata_members(nodes),
        tuple(namespaces),
    )


def metadata_members(nodes: Sequence[Node]) -> tuple[MemberId, ...]:
    """The first members of the metadata group: an odd number of the first nodes, at most five."""
    count = min(METADATA_MEMBERS_MAX, len(nodes) - (len(nodes) + 1) % 2)
    return tuple(MemberId(node.id, node.incarnation) for node in nodes[:count])


def _shard_ids(count: int, chance: random.Random) -> list[str]:
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids[f"{chance.getrandbits(SHARD_ID_BITS):04x}"] = None
    return list(ids)
