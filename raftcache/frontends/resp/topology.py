"""What a cluster port knows of the cluster: which node leads which slots, and where its cluster port is."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple, Protocol

NODE_ID_BYTES = 20
"""As long as Redis's, which are 40 hexadecimal digits."""


class Served(NamedTuple):
    """A range of slots, both ends included, and the node to ask. `is_led`: because it leads their shard, and not
    because nobody within reach does, so that a command had best wait for a leader here."""

    first: int
    last: int
    node: str
    is_led: bool = True


class Topology(Protocol):
    """Read off whenever somebody asks; nothing waits."""

    @property
    def node_id(self) -> str:
        """This node."""

    def leader_of(self, slot: int) -> str:
        """The node that leads the shard of a slot, as far as is known; this one where that is nobody within reach."""

    def address_of(self, node: str) -> str:
        """A node's cluster port, `host:port`; "" where that is not known."""

    def nodes(self) -> list[str]:
        """All nodes with a cluster port, in the order of their names."""

    def ranges(self) -> list[Served]:
        """All slots that a shard owns, in order."""

    def own_slots(self) -> list[int]:
        """The lowest slot of each shard that this node leads, in order."""


def identity_of(node: str) -> str:
    """A node's 40 hexadecimal digits: the same at every node and after every restart."""
    return blake2b(node.encode(), digest_size=NODE_ID_BYTES).hexdigest()
