"""What a metadata command must keep to. Each check raises a `BadRequest` that names field, limit and value.

They run while a committed command is applied, so they look only at the state and the command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from raftcache.commands.policy import (
    DEFAULT,
    LIMIT_RANGES,
    NAME_PATTERN,
    TTL_JITTER_LIMIT_PERCENT,
    WINDOW_LIMITS,
    Namespace,
)
from raftcache.commands.types import TTL_LIMIT_MS, VALUE_LIMIT_BYTES, ReadLevel
from raftcache.consensus.api import MemberId
from raftcache.errors import BadRequest, InvalidName, InvalidPolicy
from raftcache.metadata.commands import InitCluster, ReplaceShard
from raftcache.metadata.state import (
    NAMESPACE_LIMIT,
    NODE_LIMIT,
    SHARD_LIMIT,
    SLOT_COUNT,
    MetadataState,
    Shard,
)

SHARD_ID_PATTERN = re.compile(r"[0-9a-f]{2,16}\Z")
NODE_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def check_node_id(node_id: str) -> None:
    """A node id is 1 to 64 of `[A-Za-z0-9_-]`."""
    if not NODE_ID_PATTERN.match(node_id):
        raise BadRequest(f"node id must match [A-Za-z0-9_-]{{1,64}}, got {node_id[:80]!r}")


def check_members(field: str, members: Sequence[MemberId], known_nodes: set[str]) -> None:
    """Members are at least one, on different nodes, all of which the state knows."""
    nodes = [member.node for member in members]
    if not nodes:
        raise BadRequest(f"{field} must name at least 1 member, got 0")
    if len(set(nodes)) != len(nodes):
        raise BadRequest(f"{field} must lie on different nodes, got {', '.join(nodes)}")
    for node in nodes:
        if node not in known_nodes:
            raise BadRequest(f"{field} must lie on known nodes, got {node!r}")


def check_shard(shard: Shard, known_nodes: set[str]) -> None:
    """Id, replicas, initial members and preferred leader of one shard."""
    if not SHARD_ID_PATTERN.match(shard.id):
        raise BadRequest(f"shard id must be 2 to 16 hex digits, got {shard.id[:80]!r}")
    check_members(f"shard {shard.id}: replicas", shard.replicas, known_nodes)
    check_members(f"shard {shard.id}: initial", shard.initial, known_nodes)
    check_preferred(shard)


def check_preferred(shard: Shard) -> None:
    """The preferred leader is one of the replicas."""
    if shard.preferred not in shard.nodes:
        raise BadRequest(
            f"shard {shard.id}: preferred must be one of {', '.join(shard.nodes)}, got {shard.preferred!r}"
        )


def check_replacement(state: MetadataState, lost: Shard, command: ReplaceShard) -> None:
    """Only a shard declared lost is replaced, by one of the same slots under an id that never was in use. Its first
    members are all its replicas; with a source, which must be a survivor, the one on the source's node."""
    new, source = command.shard, command.source
    if lost.state != "lost":
        raise BadRequest(f"shard {lost.id} must be declared lost before it is replaced, it is {lost.state}")
    check_shard(new, {node.id for node in state.nodes})
    used = {shard.id for shard in state.shards} | {each for pair in state.replaced for each in pair}
    if new.id in used:
        raise BadRequest(f"shard {new.id}: the id of a new shard must never have been used")
    if source is not None and source not in {each.member for each in lost.survivors}:
        named = ", ".join(str(each.member) for each in lost.survivors) or "no survivor"
        raise BadRequest(f"shard {new.id}: source must be a survivor of {lost.id}, {named}; got {source}")
    if new.slots != lost.slots:
        raise BadRequest(f"shard {new.id}: slots must be those of {lost.id}, {lost.slots}, got {new.slots}")
    first = new.replicas if source is None else tuple(each for each in new.replicas if each[:2] == source[:2])
    if not first or new.initial != first:
        named = ", ".join(map(str, new.initial))
        raise BadRequest(f"shard {new.id}: initial must be {', '.join(map(str, first)) or 'a replica'}, got {named}")


def check_slots(shards: Sequence[Shard]) -> None:
    """Every slot belongs to exactly one shard."""
    expected = 0
    for first, last in sorted(slots for shard in shards for slots in shard.slots):
        if first != expected or last < first:
            raise BadRequest(f"slots must be owned once each: expected a range from {expected}, got {first}-{last}")
        expected = last + 1
    if expected != SLOT_COUNT:
        raise BadRequest(f"slots must reach {SLOT_COUNT - 1}, got {expected - 1}")


def check_init(command: InitCluster) -> None:
    """A whole `InitCluster`: ids without repetition, slots without holes, `default` among the namespaces."""
    if not command.cluster_id:
        raise BadRequest("cluster_id must not be empty")
    for field, ids, limit in (
        ("nodes", [node.id for node in command.nodes], NODE_LIMIT),
        ("shards", [shard.id for shard in command.shards], SHARD_LIMIT),
        ("namespaces", [namespace.name for namespace in command.namespaces], NAMESPACE_LIMIT),
    ):
        if len(set(ids)) != len(ids) or not 1 <= len(ids) <= limit:
            raise BadRequest(f"{field} must be 1 to {limit} without repetition, got {len(ids)}: {ids[:10]}")
    _check_placed(command)
    for namespace in command.namespaces:
        check_namespace(namespace)
    if DEFAULT not in [namespace.name for namespace in command.namespaces]:
        raise BadRequest(f"namespaces must contain {DEFAULT!r}")


def _check_placed(command: InitCluster) -> None:
    nodes = {node.id for node in command.nodes}
    for node in command.nodes:
        check_node_id(node.id)
    for shard in command.shards:
        check_shard(shard, nodes)
        if len(shard.replicas) != command.replication_factor:
            raise BadRequest(
                f"shard {shard.id}: replicas must be {command.replication_factor}, "
                f"the replication factor, got {len(shard.replicas)}"
            )
    check_members("metadata", command.metadata, nodes)
    check_slots(command.shards)


def check_name(name: str) -> None:
    """A namespace name is 1 to 64 of `[A-Za-z0-9_.-]`."""
    if not NAME_PATTERN.match(name):
        raise InvalidName(f"namespace must match [A-Za-z0-9_.-]{{1,64}}, got {name[:80]!r}")


def check_namespace(namespace: Namespace) -> None:
    """A name and policy that can be, and of which every value is built."""
    check_name(namespace.name)
    if namespace.read_level == ReadLevel.REPLICA:
        raise InvalidPolicy("readLevel must be 'latest', 'committed' or 'linearizable', got 'replica'")
    for field, ttl_ms in (("defaultTtlSeconds", namespace.default_ttl_ms), ("maxTtlSeconds", namespace.max_ttl_ms)):
        if ttl_ms is not None and not 1 <= ttl_ms <= TTL_LIMIT_MS:
            raise InvalidPolicy(f"{field} must be 0.001 to {TTL_LIMIT_MS // 1000}, got {ttl_ms / 1000}")
    jitter_percent, limit = namespace.ttl_jitter_percent, TTL_JITTER_LIMIT_PERCENT
    if not 0 <= jitter_percent <= limit:
        raise InvalidPolicy(f"ttlJitterPercent must be 0 to {limit}, got {jitter_percent}")
    if not 1 <= namespace.max_item_bytes <= VALUE_LIMIT_BYTES:
        raise InvalidPolicy(f"maxItemBytes must be 1 to {VALUE_LIMIT_BYTES}, got {namespace.max_item_bytes}")
    for field, limit in WINDOW_LIMITS.items():
        bound = getattr(namespace.loss_window, field)
        if bound is not None and not 1 <= bound <= limit:
            raise InvalidPolicy(f"lossWindow.{field} must be null or 1 to {limit}, got {bound}")
    for field, (low, high) in LIMIT_RANGES.items():
        bound = getattr(namespace.limits, field)
        if bound is not None and not low <= bound <= high:
            raise InvalidPolicy(f"{field} must be null or {low} to {high}, got {bound}")
