"""Applying a committed command to the metadata state.

A pure function of both: every replica gets the same state, digest and result from the same log. A handler returns
the next state, with the epoch still to be raised, or raises an error of the `BadRequest` kind; `apply` compares,
raises the epoch by one exactly where something differs, and turns an error into a result. Nothing raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from raftcache.commands.policy import DEFAULT, SHARES_WHOLE, Namespace
from raftcache.errors import BadRequest, RaftcacheError, UnknownNamespace
from raftcache.metadata.checks import (
    check_init,
    check_members,
    check_name,
    check_namespace,
    check_node_id,
    check_preferred,
    check_replacement,
)
from raftcache.metadata.commands import (
    Applied,
    Barrier,
    DeclareLost,
    DeleteNamespace,
    InitCluster,
    InvalidateNamespace,
    MetadataCommand,
    PutNamespace,
    PutNode,
    ReplaceShard,
    RetractLost,
    SetMetadataMembers,
    SetShard,
    SetShares,
    ShardStarted,
)
from raftcache.metadata.state import (
    NAMESPACE_LIMIT,
    NODE_LIMIT,
    REPLACED_LIMIT,
    MetadataState,
    Node,
    Shard,
    Source,
)

Result = Applied | RaftcacheError


def apply(state: MetadataState, command: MetadataCommand) -> tuple[MetadataState, Result]:
    """The state after `command`, and what its proposer is told. A refused command leaves the state as it was."""
    try:
        changed = _HANDLERS[type(command)](state, command)
    except RaftcacheError as error:
        return state, error
    if changed == state:
        return state, _result(state, state, command)
    after = replace(changed, epoch=state.epoch + 1)
    return after, _result(state, after, command)


def _result(before: MetadataState, after: MetadataState, command: MetadataCommand) -> Applied:
    changed = before.epoch != after.epoch
    if not isinstance(command, PutNamespace):
        return Applied(after.epoch, changed)
    name = command.namespace.name
    return Applied(after.epoch, changed, before.namespace(name) is None, after.namespace(name))


def _barrier(state: MetadataState, command: Barrier) -> MetadataState:
    return state


def _init_cluster(state: MetadataState, command: InitCluster) -> MetadataState:
    if state.cluster_id == command.cluster_id and state.cluster_id:
        return state
    if state.cluster_id:
        raise BadRequest(f"the cluster exists already: cluster_id is {state.cluster_id}, got {command.cluster_id}")
    check_init(command)
    named = sorted(command.namespaces, key=lambda namespace: (namespace.name != DEFAULT, namespace.name))
    namespaces = [replace(ns, id=state.next_namespace_id + offset, origin=0) for offset, ns in enumerate(named)]
    return replace(
        state,
        cluster_id=command.cluster_id,
        replication_factor=command.replication_factor,
        nodes=tuple(sorted(command.nodes, key=lambda node: node.id)),
        shards=tuple(sorted(command.shards, key=lambda shard: shard.slots)),
        namespaces=_by_name(namespaces),
        next_namespace_id=state.next_namespace_id + len(namespaces),
        metadata=tuple(sorted(command.metadata)),
    )


def _put_node(state: MetadataState, command: PutNode) -> MetadataState:
    _require_cluster(state)
    check_node_id(command.id)
    others = [node for node in state.nodes if node.id != command.id]
    if len(others) >= NODE_LIMIT:
        raise BadRequest(f"nodes must be at most {NODE_LIMIT}, got {len(others) + 1}")
    node = Node(command.id, command.incarnation, command.addresses, command.zone)
    return replace(state, nodes=tuple(sorted([*others, node], key=lambda each: each.id)))


def _put_namespace(state: MetadataState, command: PutNamespace) -> MetadataState:
    _require_cluster(state)
    asked = command.namespace
    check_namespace(asked)
    others = [namespace for namespace in state.namespaces if namespace.name != asked.name]
    existing = state.namespace(asked.name)
    if existing is not None:
        return replace(state, namespaces=_by_name([*others, _renewed(asked, existing)]))
    if len(others) >= NAMESPACE_LIMIT:
        raise BadRequest(f"namespaces must be at most {NAMESPACE_LIMIT}, got {len(others) + 1}")
    created = replace(asked, id=state.next_namespace_id, origin=0, shares=())
    return replace(state, namespaces=_by_name([*others, created]), next_namespace_id=state.next_namespace_id + 1)


def _renewed(asked: Namespace, existing: Namespace) -> Namespace:
    """The policy asked for, for the namespace that exists, keys and all."""
    return replace(asked, id=existing.id, origin=existing.origin, shares=existing.shares)


def _invalidate_namespace(state: MetadataState, command: InvalidateNamespace) -> MetadataState:
    _require_cluster(state)
    check_name(command.name)
    existing = state.namespace(command.name)
    if existing is None:
        raise UnknownNamespace(f"no namespace {command.name!r}", namespace=command.name)
    emptied = replace(existing, id=state.next_namespace_id, origin=existing.identity)
    others = [namespace for namespace in state.namespaces if namespace is not existing]
    return replace(state, namespaces=_by_name([*others, emptied]), next_namespace_id=state.next_namespace_id + 1)


def _set_shares(state: MetadataState, command: SetShares) -> MetadataState:
    """Changes nothing where the decision is out of date. Shares that cannot be are refused: nobody proposes them."""
    _require_cluster(state)
    shares = command.shares
    if len(shares) != len(state.shards) or min(shares) < 0 or sum(shares) > SHARES_WHOLE:
        raise BadRequest(f"shares must be {len(state.shards)} of {SHARES_WHOLE} in all, got {shares}")
    existing = next((each for each in state.namespaces if each.id == command.namespace_id), None)
    if existing is None or existing.shares != command.before:
        return state
    others = [namespace for namespace in state.namespaces if namespace is not existing]
    return replace(state, namespaces=_by_name([*others, replace(existing, shares=shares)]))


def _delete_namespace(state: MetadataState, command: DeleteNamespace) -> MetadataState:
    _require_cluster(state)
    check_name(command.name)
    if command.name == DEFAULT:
        raise BadRequest(f"namespace {DEFAULT!r} cannot be deleted")
    if state.namespace(command.name) is None:
        raise UnknownNamespace(f"no namespace {command.name!r}", namespace=command.name)
    return replace(state, namespaces=tuple(ns for ns in state.namespaces if ns.name != command.name))


def _set_shard(state: MetadataState, command: SetShard) -> MetadataState:
    shard = _require_shard(state, command.shard_id)
    wanted = command.replicas if command.replicas is not None else shard.replicas
    check_members(f"shard {shard.id}: replicas", wanted, {node.id for node in state.nodes})
    changed = replace(shard, replicas=tuple(wanted), preferred=command.preferred or shard.preferred)
    check_preferred(changed)
    return _with_shard(state, changed)


def _set_metadata_members(state: MetadataState, command: SetMetadataMembers) -> MetadataState:
    _require_cluster(state)
    check_members("metadata", command.members, {node.id for node in state.nodes})
    return replace(state, metadata=tuple(sorted(command.members)))


def _declare_lost(state: MetadataState, command: DeclareLost) -> MetadataState:
    shard = _require_shard(state, command.shard_id)
    return _with_shard(state, replace(shard, state="lost", survivors=command.survivors))


def _retract_lost(state: MetadataState, command: RetractLost) -> MetadataState:
    shard = _require_shard(state, command.shard_id)
    return _with_shard(state, replace(shard, state="active", survivors=()))


def _replace_shard(state: MetadataState, command: ReplaceShard) -> MetadataState:
    successor = state.replacement(command.lost_id)
    if successor is not None:
        if successor == command.shard.id:
            return state
        raise BadRequest(f"shard {command.lost_id} has been replaced already, by {successor}")
    lost = _require_shard(state, command.lost_id)
    if len(state.replaced) >= REPLACED_LIMIT:
        raise BadRequest(f"replaced shards must be at most {REPLACED_LIMIT}, got {len(state.replaced) + 1}")
    check_replacement(state, lost, command)
    source = Source(lost.id, command.source) if command.source is not None else None
    new = replace(command.shard, state="active", survivors=(), source=source)
    shards = [each for each in state.shards if each is not lost]
    return replace(
        state,
        shards=tuple(sorted([*shards, new], key=lambda shard: shard.slots)),
        replaced=(*state.replaced, (lost.id, new.id)),
    )


def _shard_started(state: MetadataState, command: ShardStarted) -> MetadataState:
    return _with_shard(state, replace(_require_shard(state, command.shard_id), source=None))


def _require_shard(state: MetadataState, shard_id: str) -> Shard:
    shard = state.shard(shard_id)
    if shard is None:
        raise BadRequest(f"shard must be one of the map's, got {shard_id[:80]!r}")
    return shard


def _with_shard(state: MetadataState, changed: Shard) -> MetadataState:
    return replace(state, shards=tuple(changed if each.id == changed.id else each for each in state.shards))


def _require_cluster(state: MetadataState) -> None:
    if not state.cluster_id:
        raise BadRequest("no cluster yet: init_cluster comes first")


def _by_name(namespaces: list[Namespace]) -> tuple[Namespace, ...]:
    return tuple(sorted(namespaces, key=lambda namespace: namespace.name))


_HANDLERS: dict[type, Callable[[MetadataState, Any], MetadataState]] = {
    Barrier: _barrier,
    InitCluster: _init_cluster,
    InvalidateNamespace: _invalidate_namespace,
    SetShares: _set_shares,
    PutNode: _put_node,
    PutNamespace: _put_namespace,
    DeleteNamespace: _delete_namespace,
    SetShard: _set_shard,
    SetMetadataMembers: _set_metadata_members,
    DeclareLost: _declare_lost,
    RetractLost: _retract_lost,
    ReplaceShard: _replace_shard,
    ShardStarted: _shard_started,
}
