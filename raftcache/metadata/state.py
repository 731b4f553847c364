"""The metadata state: what every replica of the metadata group holds, and every front end follows.

All of it is immutable and ordered (nodes, shards and namespaces by id or name), so a state can be handed out as
it is, and two replicas that applied the same commands encode it to the same bytes. `epoch` is its version number:
it rises by one with every change and with nothing else.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.consensus.api import MemberId

METADATA_GROUP = "meta"
"""The id of the metadata group itself, beside the shards' ids."""

SLOT_COUNT = 16_384
NODE_LIMIT = 1_000
SHARD_LIMIT = 1_024
NAMESPACE_LIMIT = 10_000
REPLACED_LIMIT = 10_000
"""Lost shards that were replaced, in the life of a cluster."""


class Addresses(msgspec.Struct, frozen=True, array_like=True):
    """Where a node listens, each `host:port`. `redis_cluster` is told to clients of a Redis Cluster; "" for none."""

    http: str
    rpc: str
    peer: str
    redis_cluster: str = ""


class Node(msgspec.Struct, frozen=True, array_like=True):
    """A node that belongs to the cluster. Whether it is up just now is soft state and stands elsewhere."""

    id: str
    incarnation: str
    addresses: Addresses
    zone: str = ""
    state: Literal["active"] = "active"


class Survivor(msgspec.Struct, frozen=True, array_like=True):
    """A replica that is left of a lost shard: the term and index of its last entry, and its keys (-1: not known)."""

    member: MemberId
    term: int
    last_index: int
    keys: int = -1


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Which replica of which lost shard a new one starts from."""

    shard_id: str
    member: MemberId


class Shard(msgspec.Struct, frozen=True, array_like=True):
    """A shard: its slots as `(first, last)` ranges, and who is wanted to hold it.

    `replicas` are the members that the controller works towards; who *is* a member, only the shard's own log
    says. `initial` are the members that may start the group from nothing, fixed when the shard is made.
    `preferred` is the node whose replica should lead. A `lost` shard's quorum is gone for good, and `survivors` are
    what is left of it. `source` is set where the shard starts from a replica of a lost one, until it has had a leader.
    """

    id: str
    slots: tuple[tuple[int, int], ...]
    replicas: tuple[MemberId, ...]
    initial: tuple[MemberId, ...]
    preferred: str
    state: Literal["active", "lost"] = "active"
    survivors: tuple[Survivor, ...] = ()
    source: Source | None = None

    @property
    def nodes(self) -> tuple[str, ...]:
        """The ids of the nodes wanted to hold the shard."""
        return tuple(member.node for member in self.replicas)


class MetadataState(msgspec.Struct, frozen=True, array_like=True):
    """Everything the metadata group agrees on. Before `InitCluster`, `cluster_id` is empty and `epoch` 0.

    `metadata` are the members wanted in the metadata group. `next_namespace_id` only rises, so no id is reused.
    `replaced` names every lost shard that was replaced with the one that took its slots: nodes fence what they hold of
    the old ones by it, and no shard id is ever used twice.
    """

    epoch: int = 0
    cluster_id: str = ""
    replication_factor: int = 0
    nodes: tuple[Node, ...] = ()
    shards: tuple[Shard, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    next_namespace_id: int = 1
    metadata: tuple[MemberId, ...] = ()
    replaced: tuple[tuple[str, str], ...] = ()

    def node(self, node_id: str) -> Node | None:
        """The node of that id."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def shard(self, shard_id: str) -> Shard | None:
        """The shard of that id."""
        return next((shard for shard in self.shards if shard.id == shard_id), None)

    def namespace(self, name: str) -> Namespace | None:
        """The namespace of that name."""
        return next((namespace for namespace in self.namespaces if namespace.name == name), None)

    def replacement(self, shard_id: str) -> str | None:
        """The shard that took the place of a lost one; None for any other."""
        return dict(self.replaced).get(shard_id)

    def group_ids(self) -> list[str]:
        """The metadata group and every shard."""
        return [METADATA_GROUP, *(shard.id for shard in self.shards)]

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
