"""The cluster as a cluster port of the Redis protocol shows it, read off the node's view."""

from __future__ import annotations

from collections.abc import Callable, Collection

from raftcache.frontends.resp.topology import Served
from raftcache.metadata.view import MetadataView
from raftcache.routing.dispatcher import Dispatcher
from raftcache.routing.map import ShardRoute


class ViewTopology:
    """`frontends.resp.topology.Topology` over the newest metadata state and leader table."""

    def __init__(
        self,
        node_id: str,
        address: str,
        view: MetadataView,
        dispatcher: Dispatcher,
        peers: Callable[[], Collection[str]],
    ) -> None:
        """`address` is this node's cluster port, also where the metadata is older than that; `peers` are the nodes to
        which a link is up."""
        self.node_id, self._address, self._peers = node_id, address, peers
        self._view, self._dispatcher = view, dispatcher
        self._epoch = -1
        self._addresses: dict[str, str] = {}

    @property
    def epoch(self) -> int:
        """See `Topology`."""
        return self._view.epoch

    def leader_of(self, slot: int) -> str:
        """See `Topology`."""
        shard_id = self._dispatcher.map.shard_of_slot(slot)
        leader = "" if shard_id is None else self._leader(shard_id)
        return leader or self.node_id

    def follows(self, slot: int) -> bool:
        """See `Topology`."""
        shard_id = self._dispatcher.map.shard_of_slot(slot)
        if shard_id is None or self.node_id not in self._dispatcher.map.nodes_of(shard_id):
            return False
        return self._leader(shard_id) != self.node_id

    def address_of(self, node: str) -> str:
        """See `Topology`."""
        self._follow()
        return self._addresses.get(node, "")

    def is_within_reach(self, node: str) -> bool:
        """See `Topology`."""
        return node == self.node_id or node in self._peers()

    def nodes(self) -> list[str]:
        """See `Topology`."""
        self._follow()
        return sorted(self._addresses)

    def shards(self) -> list[Served]:
        """See `Topology`."""
        return sorted(self._served(route) for route in self._dispatcher.map.shards.values() if route.slots)

    def own_slots(self) -> list[int]:
        """See `Topology`."""
        return [each.slots[0][0] for each in self.shards() if each.is_led and each.node == self.node_id]

    def _served(self, route: ShardRoute) -> Served:
        leader = self._leader(route.shard_id)
        node = leader or self.node_id
        others = tuple([each for each in route.nodes if each != node])
        return Served(tuple(sorted(route.slots)), node, bool(leader), others)

    def _leader(self, shard_id: str) -> str:
        """The leader of a shard; "" where there is none that this node can reach."""
        leader = self._view.leaders.get(shard_id)
        return leader.node if leader is not None and self.is_within_reach(leader.node) else ""

    def _follow(self) -> None:
        if self._epoch != self._view.epoch:
            self._epoch = self._view.epoch
            known = [(node.id, node.addresses.redis_cluster) for node in self._view.state.nodes]
            self._addresses = {node: address for node, address in known if address} | {self.node_id: self._address}
