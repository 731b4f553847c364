"""The commands of the metadata group: deterministic, so all that is random or timed is chosen by the proposer.

On the wire and in the log they are msgpack arrays, tagged by name. `applying.apply` says what each does.
"""

from __future__ import annotations

import msgspec

from raftcache.commands.policy import Namespace
from raftcache.consensus.api import MemberId
from raftcache.metadata.state import Addresses, Node, Shard, Survivor


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


class InvalidateNamespace(_Command, frozen=True, tag="invalidate_namespace"):
    """Drop every key of a namespace and keep its policy: it gets another id."""

    name: str


class SetShares(_Command, frozen=True, tag="set_shares"):
    """Split a namespace's quotas otherwise, where it has still the id and the shares that this was decided by."""

    namespace_id: int
    before: tuple[int, ...]
    shares: tuple[int, ...]


class SetShard(_Command, frozen=True, tag="set_shard"):
    """Want other replicas for a shard, or another leader. None leaves that part as it is."""

    shard_id: str
    replicas: tuple[MemberId, ...] | None = None
    preferred: str | None = None


class SetMetadataMembers(_Command, frozen=True, tag="set_metadata_members"):
    """Want other members in the metadata group itself."""

    members: tuple[MemberId, ...]


class DeclareLost(_Command, frozen=True, tag="declare_lost"):
    """A shard's quorum is gone for good, and these replicas are left. Again, it brings the survivors up to date."""

    shard_id: str
    survivors: tuple[Survivor, ...]


class RetractLost(_Command, frozen=True, tag="retract_lost"):
    """A shard that was declared lost has a leader after all."""

    shard_id: str


class ReplaceShard(_Command, frozen=True, tag="replace_shard"):
    """Put a new shard in the place of a lost one, for good. Its id is chosen at random by the proposer.

    With a `source`, a survivor of the lost shard, the new one has one first member, on that node, and starts from what
    that replica holds; without, it starts empty on all its replicas. Again under the same new id it changes nothing;
    another one for the same lost shard is refused.
    """

    lost_id: str
    shard: Shard
    source: MemberId | None = None


class ShardStarted(_Command, frozen=True, tag="shard_started"):
    """A shard that was to start from a survivor has had a leader: its source is not needed any more."""

    shard_id: str


class Barrier(_Command, frozen=True, tag="barrier"):
    """Changes nothing. A new leader's first entry: once applied, all earlier ones are."""


MetadataCommand = (
    InitCluster
    | PutNode
    | PutNamespace
    | DeleteNamespace
    | InvalidateNamespace
    | SetShares
    | SetShard
    | SetMetadataMembers
    | DeclareLost
    | RetractLost
    | ReplaceShard
    | ShardStarted
    | Barrier
)


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
