"""What a cluster port knows of the cluster: which node leads which slots, and where its cluster port is."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple, Protocol

NODE_ID_BYTES = 20
"""As long as Redis's, which are 40 hexadecimal digits."""
SlotRanges = tuple[tuple[int, int], ...]
"""Both ends included."""


class Served(NamedTuple):
    """A shard: its slots, in order, the node to ask, and the other nodes that hold a replica of it. `is_led`: the node
    is to be asked because it leads, and not because nobody within reach does, so that a command had best wait for a
    leader here."""

    slots: SlotRanges
    node: str
    is_led: bool = True
    replicas: tuple[str, ...] = ()

    def owns(self, slot: int) -> bool:
        """Whether the slot is one of the shard's."""
        return any(first <= slot <= last for first, last in self.slots)


class Topology(Protocol):
    """Read off whenever somebody asks; nothing waits."""

    @property
    def node_id(self) -> str:
        """This node."""

    @property
    def epoch(self) -> int:
        """How new what it knows is."""

    def leader_of(self, slot: int) -> str:
        """The node that leads the shard of a slot, as far as is known; this one where that is nobody within reach."""

    def follows(self, slot: int) -> bool:
        """Whether this node is one of those that hold the slot's shard, and does not lead it."""

    def address_of(self, node: str) -> str:
        """A node's cluster port, `host:port`; "" where that is not known."""

    def is_within_reach(self, node: str) -> bool:
        """Whether this node hears of that one just now."""

    def nodes(self) -> list[str]:
        """All nodes with a cluster port, in the order of their names."""

    def shards(self) -> list[Served]:
        """All shards, in the order of their slots."""

    def own_slots(self) -> list[int]:
        """The lowest slot of each shard that this node leads, in order."""


def identity_of(node: str) -> str:
    """A node's 40 hexadecimal digits: the same at every node and after every restart."""
    return blake2b(node.encode(), digest_size=NODE_ID_BYTES).hexdigest()


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of a `host:port`, which Redis tells of without the brackets of an IPv6 host; "" and 0 of none."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port or 0)
