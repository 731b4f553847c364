"""The cluster as a cluster port of the Redis protocol shows it, read off the node's view."""

from __future__ import annotations

from collections.abc import Callable, Collection

from raftcache.frontends.resp.topology import Served
from raftcache.metadata.view import MetadataView
from raftcache.routing.dispatcher import Dispatcher


class ViewTopology:
    """`frontends.resp.topology.Topology` over the newest metadata state and leader table."""

    def __init__(
        self, node_id: str, view: MetadataView, dispatcher: Dispatcher, peers: Callable[[], Collection[str]]
    ) -> None:
        """`peers` are the nodes to which a link is up."""
        self.node_id, self._peers = node_id, peers
        self._view, self._dispatcher = view, dispatcher
        self._epoch = -1
        self._addresses: dict[str, str] = {}

    def leader_of(self, slot: int) -> str:
        """See `Topology`."""
        shard_id = self._dispatcher.map.shard_of_slot(slot)
        leader = "" if shard_id is None else self._leader(shard_id)
        return leader or self.node_id

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
            Served(first, last, leader or self.node_id, bool(leader))
            for route in routes
            for leader in [self._leader(route.shard_id)]
            for first, last in route.slots
        )

    def own_slots(self) -> list[int]:
        """See `Topology`."""
        routes = self._dispatcher.map.shards.values()
        own = [route for route in routes if route.slots and self._leader(route.shard_id) == self.node_id]
        return sorted(min(first for first, _ in route.slots) for route in own)

    def _leader(self, shard_id: str) -> str:
        """The leader of a shard; "" where there is none that this node can reach."""
        leader = self._view.leaders.get(shard_id)
        if leader is None or (leader.node != self.node_id and leader.node not in self._peers()):
            return ""
        return leader.node

    def _follow(self) -> None:
        if self._epoch != self._view.epoch:
            self._epoch = self._view.epoch
            known = [(node.id, node.addresses.redis_cluster) for node in self._view.state.nodes]
            self._addresses = {node: address for node, address in known if address}
