"""The commands of the metadata group: deterministic, so all that is random or timed is chosen by the proposer.

On the wire and in the log they are msgpack arrays, tagged by name. `applying.apply` says what each does.
"""

from __future__ import annotations

import msgspec

from raftcache.commands.policy import Namespace
from raftcache.consensus.api import MemberId
from raftcache.metadata.state import Addresses, Node, Shard


class _Command(msgspec.Struct, frozen=True, array_like=True):
    pass


class InitCluster(_Command, frozen=True, tag="init_cluster"):
    """Create the cluster, once: its id, first nodes, shards with their slots and replicas, and namespaces.

    Shard ids are chosen at random by the proposer; the ids inside `namespaces` are ignored and given in order.
    Again under the same `cluster_id` it changes nothing; under another it is refused.
    """

    cluster_id: str
    replication_factor: int
    nodes: tuple[Node, ...]
    shards: tuple[Shard, ...]
    metadata: tuple[MemberId, ...]
    namespaces: tuple[Namespace, ...]


class PutNode(_Command, frozen=True, tag="put_node"):
    """Register a node, or refresh its incarnation, addresses and zone."""

    id: str
    incarnation: str
    addresses: Addresses
    zone: str = ""


class PutNamespace(_Command, frozen=True, tag="put_namespace"):
    """Create a namespace, or replace the whole policy of one that exists. The id inside is ignored."""

    namespace: Namespace


class DeleteNamespace(_Command, frozen=True, tag="delete_namespace"):
    """Delete a namespace, and with it every key under its prefix. `default` cannot be deleted."""

    name: str


class SetShard(_Command, frozen=True, tag="set_shard"):
    """Want other replicas for a shard, or another leader. None leaves that part as it is."""

    shard_id: str
    replicas: tuple[MemberId, ...] | None = None
    preferred: str | None = None


class SetMetadataMembers(_Command, frozen=True, tag="set_metadata_members"):
    """Want other members in the metadata group itself."""

    members: tuple[MemberId, ...]


class Barrier(_Command, frozen=True, tag="barrier"):
    """Changes nothing. A new leader's first entry: once applied, all earlier ones are."""


MetadataCommand = InitCluster | PutNode | PutNamespace | DeleteNamespace | SetShard | SetMetadataMembers | Barrier


class Applied(msgspec.Struct, frozen=True, array_like=True):
    """What applying a command gave: the epoch after it, and whether it changed or created anything.

    `namespace` is the one that a `PutNamespace` left standing.
    """

    epoch: int
    changed: bool
    created: bool = False
    namespace: Namespace | None = None


encode_metadata_command = msgspec.msgpack.Encoder().encode
decode_metadata_command = msgspec.msgpack.Decoder(MetadataCommand).decode
encode_applied = msgspec.msgpack.Encoder().encode
decode_applied = msgspec.msgpack.Decoder(Applied).decode
