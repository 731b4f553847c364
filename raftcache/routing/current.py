"""From the metadata state to the shard map that routes."""

from __future__ import annotations

from raftcache.metadata.state import MetadataState
from raftcache.routing.map import NodeAddresses, ShardMap, ShardRoute


def shard_map_of(state: MetadataState) -> ShardMap:
    """The shard map of a metadata state, under the same epoch."""
    routes = [ShardRoute(shard.id, shard.slots, shard.nodes, shard.preferred) for shard in state.shards]
    addresses = {
        node.id: NodeAddresses(node.addresses.http, node.addresses.rpc, node.addresses.peer) for node in state.nodes
    }
    return ShardMap(state.epoch, routes, addresses)
