"""The cluster as a cluster port of the Redis protocol shows it, read off the node's view."""

from __future__ import annotations

from raftcache.frontends.resp.topology import Served
from raftcache.metadata.view import MetadataView
from raftcache.routing.dispatcher import Dispatcher


class ViewTopology:
    """`frontends.resp.topology.Topology` over the newest metadata state and leader table."""

    def __init__(self, node_id: str, view: MetadataView, dispatcher: Dispatcher) -> None:
        self.node_id = node_id
        self._view, self._dispatcher = view, dispatcher
        self._epoch = -1
        self._addresses: dict[str, str] = {}

    def leader_of(self, slot: int) -> str:
        """See `Topology`."""
        shard_id = self._dispatcher.map.shard_of_slot(slot)
        return "" if shard_id is None else self._leader(shard_id)

    def address_of(self, node: str) -> str:
        """See `Topology`."""
        self._follow()
        return self._addresses.get(node, "")

    def nodes(self) -> list[str]:
        """See `Topology`."""
        self._follow()
        return sorted(self._addresses)

    def ranges(self) -> list[Served]:
        """See `Topology`."""
        routes = self._dispatcher.map.shards.values()
        return sorted(
            Served(first, last, self._leader(route.shard_id)) for route in routes for first, last in route.slots
        )

    def own_slots(self) -> list[int]:
        """See `Topology`."""
        routes = self._dispatcher.map.shards.values()
        own = [route for route in routes if route.slots and self._leader(route.shard_id) == self.node_id]
        return sorted(min(first for first, _ in route.slots) for route in own)

    def _leader(self, shard_id: str) -> str:
        leader = self._view.leaders.get(shard_id)
        return "" if leader is None else leader.node

    def _follow(self) -> None:
        if self._epoch != self._view.epoch:
            self._epoch = self._view.epoch
            known = [(node.id, node.addresses.redis_cluster) for node in self._view.state.nodes]
            self._addresses = {node: address for node, address in known if address}
