"""The shard map: which shard owns a slot and which nodes hold a shard, as of one epoch.

A map is immutable and only routes: a shard decides by its own log whether it owns a slot, and answers
`wrong_shard` where the map was old. Looking a key up is one CRC and one list index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from raftcache.routing.slots import SLOTS, SlotRange, slot_of


class NodeAddresses(NamedTuple):
    """Where a node listens, each `host:port`."""

    http: str
    rpc: str
    peer: str


class ShardRoute(NamedTuple):
    """One shard: its slots, the nodes wanted to hold it, and the one of them preferred as its leader."""

    shard_id: str
    slots: tuple[SlotRange, ...]
    nodes: tuple[str, ...]
    preferred: str


class ShardMap:
    """All shards of one epoch. A slot that no shard owns maps to None."""

    __slots__ = ("_by_slot", "addresses", "epoch", "shards")

    def __init__(
        self, epoch: int, shards: Iterable[ShardRoute] = (), addresses: Mapping[str, NodeAddresses] | None = None
    ) -> None:
        self.epoch = epoch
        self.shards = {route.shard_id: route for route in shards}
        self.addresses = dict(addresses or {})
        self._by_slot: list[str | None] = [None] * SLOTS
        for route in self.shards.values():
            for first, last in route.slots:
                self._by_slot[first : last + 1] = [route.shard_id] * (last - first + 1)

    def shard_of(self, key: bytes) -> str | None:
        """The id of the shard that owns `key`."""
        return self._by_slot[slot_of(key)]

    def shard_of_slot(self, slot: int) -> str | None:
        """The id of the shard that owns `slot`, 0 to 16,383."""
        return self._by_slot[slot]

    def nodes_of(self, shard_id: str) -> tuple[str, ...]:
        """The nodes wanted to hold the shard; none where the map does not know it."""
        route = self.shards.get(shard_id)
        return route.nodes if route is not None else ()
