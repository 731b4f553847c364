"""The metadata state: what every replica of the metadata group holds, and every front end follows.

All of it is immutable and ordered (nodes, shards and namespaces by id or name), so a state can be handed out as
it is, and two replicas that applied the same commands encode it to the same bytes. `epoch` is its version number:
it rises by one with every change and with nothing else.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from raftcache.commands.policy import Namespace, Namespaces
from raftcache.consensus.api import MemberId

METADATA_GROUP = "meta"
"""The id of the metadata group itself, beside the shards' ids."""

SLOT_COUNT = 16_384
NODE_LIMIT = 1_000
SHARD_LIMIT = 1_024
NAMESPACE_LIMIT = 10_000


class Addresses(msgspec.Struct, frozen=True, array_like=True):
    """Where a node listens, each `host:port`."""

    http: str
    rpc: str
    peer: str


class Node(msgspec.Struct, frozen=True, array_like=True):
    """A node that belongs to the cluster. Whether it is up just now is soft state and stands elsewhere."""

    id: str
    incarnation: str
    addresses: Addresses
    zone: str = ""
    state: Literal["active"] = "active"


class Shard(msgspec.Struct, frozen=True, array_like=True):
    """A shard: its slots as `(first, last)` ranges, and who is wanted to hold it.

    `replicas` are the members that the controller works towards; who *is* a member, only the shard's own log
    says. `initial` are the members that may start the group from nothing, fixed when the shard is made.
    `preferred` is the node whose replica should lead.
    """

    id: str
    slots: tuple[tuple[int, int], ...]
    replicas: tuple[MemberId, ...]
    initial: tuple[MemberId, ...]
    preferred: str
    state: Literal["active"] = "active"

    @property
    def nodes(self) -> tuple[str, ...]:
        """The ids of the nodes wanted to hold the shard."""
        return tuple(member.node for member in self.replicas)


class MetadataState(msgspec.Struct, frozen=True, array_like=True):
    """Everything the metadata group agrees on. Before `InitCluster`, `cluster_id` is empty and `epoch` 0.

    `metadata` are the members wanted in the metadata group. `next_namespace_id` only rises, so no id is reused.
    """

    epoch: int = 0
    cluster_id: str = ""
    replication_factor: int = 0
    nodes: tuple[Node, ...] = ()
    shards: tuple[Shard, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    next_namespace_id: int = 1
    metadata: tuple[MemberId, ...] = ()

    def node(self, node_id: str) -> Node | None:
        """The node of that id."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def shard(self, shard_id: str) -> Shard | None:
        """The shard of that id."""
        return next((shard for shard in self.shards if shard.id == shard_id), None)

    def namespace(self, name: str) -> Namespace | None:
        """The namespace of that name."""
        return next((namespace for namespace in self.namespaces if namespace.name == name), None)

    def wanted(self, group_id: str) -> tuple[MemberId, ...]:
        """The members wanted in a group: a shard's, or the metadata group's own; none for an unknown group."""
        if group_id == METADATA_GROUP:
            return self.metadata
        shard = self.shard(group_id)
        return shard.replicas if shard is not None else ()


EMPTY = MetadataState()

encode_state = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(MetadataState)


def decode_state(data: bytes) -> MetadataState:
    """The inverse of `encode_state`. Raises ValueError where `data` is no state."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a metadata state: {error}") from error


def digest_of(state: MetadataState) -> str:
    """A digest that is equal exactly where two states are: 32 hex digits."""
    return hashlib.blake2b(encode_state(state), digest_size=16).hexdigest()


def namespaces_of(state: MetadataState) -> Namespaces:
    """The namespaces in the form that resolves keys; holders build it once an epoch."""
    return Namespaces(state.epoch, state.namespaces)
