"""All namespaces of one epoch, and which one a key belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from raftcache.commands.policy import DEFAULT, Namespace, is_limited
from raftcache.commands.types import AckLevel, ReadLevel
from raftcache.errors import NoLeader, RaftcacheError, UnknownNamespace

_COLON: Final = ord(":")
"""Looked for as a number, which costs a fraction of `b":" in key`."""

NO_PREFIX: Final = b"\0:"
"""No key of a namespace has it. Those that do are of the default one."""


class Namespaces:
    """All namespaces of one epoch, immutable; resolves a key to its namespace with one dict lookup, or with none where
    it has the prefix of the key before it. `looks` has the ids of those where a read that names no level needs no more
    than a look: it is at `latest`, and charged to no rate. `writes` has those where a set that names nothing else is
    acknowledged at `primary`, lives for ever, and is charged to neither rate nor quota, each with the longest value
    that it takes; `joint_writes` the same of those where it is acknowledged at `quorum`."""

    def __init__(self, epoch: int, namespaces: tuple[Namespace, ...]) -> None:
        self.epoch = epoch
        self.by_name = {ns.name: ns for ns in namespaces}
        self._by_prefix = {ns.name.encode(): ns for ns in namespaces if ns.name != DEFAULT}
        self.default = self.by_name.get(DEFAULT, Namespace(DEFAULT, 0))
        self._note_plain()

    def at(self, name: str) -> Namespace:
        """The namespace that keys with the prefix `name` belong to."""
        return self.by_name.get(name, self.default)

    def overlaid(self, policies: dict[str, Namespace]) -> Namespaces:
        """The same namespaces, but keys with one of these prefixes resolve to what is given (`default`: all others)."""
        other = Namespaces(self.epoch, ())
        other.by_name = self.by_name
        prefixes = {name.encode(): ns for name, ns in policies.items() if name != DEFAULT}
        other._by_prefix = self._by_prefix | prefixes
        other.default = policies.get(DEFAULT, self.default)
        other._note_plain()
        return other

    def _note_plain(self) -> None:
        """While a change is under way, prefixes of namespaces that are created or deleted have a policy of their own
        under the id of another one (`shard.policies`). So an id is plain only where all that have it are."""
        self._newest_prefix, self._newest = NO_PREFIX, self.default
        every = (*self._by_prefix.values(), self.default)
        looks_not = {ns.id for ns in every if ns.reads_at != ReadLevel.LATEST or is_limited(ns)}
        self.looks = frozenset([ns.id for ns in every if ns.id not in looks_not])
        self.writes = _plain_writes(every, AckLevel.PRIMARY)
        self.joint_writes = _plain_writes(every, AckLevel.QUORUM)

    def resolve(self, key: bytes) -> Namespace:
        """The namespace that `key` belongs to."""
        newest = self._newest_prefix
        if key[: len(newest)] == newest:
            return self._newest
        if _COLON not in key:
            return self.default
        self._newest_prefix = prefix = key[: key.find(b":") + 1]
        self._newest = namespace = self._by_prefix.get(prefix[:-1], self.default)
        return namespace


def _plain_writes(every: Iterable[Namespace], ack: AckLevel) -> dict[int, int]:
    """The longest value by id, of those all of whose policies have plain writes that are acknowledged at `ack`."""
    found, others = dict[int, int](), set[int]()
    for ns in every:
        if _writes_plainly(ns, ack):
            found[ns.id] = min(ns.max_item_bytes, found.get(ns.id, ns.max_item_bytes))
        else:
            others.add(ns.id)
    return {id_: limit for id_, limit in found.items() if id_ not in others}


def _writes_plainly(namespace: Namespace, ack: AckLevel) -> bool:
    lives_on = namespace.default_ttl_ms is None and namespace.max_ttl_ms is None
    quota = namespace.limits.quota_bytes is not None or namespace.limits.quota_items is not None
    return namespace.ack == ack and lives_on and not quota and not is_limited(namespace)


def missing_namespace(namespaces: Namespaces, name: str) -> RaftcacheError:
    """The error for a name that is not among them. A process that has just started knows no state of the cluster, and
    must not say of any namespace that it does not exist."""
    if namespaces.epoch == 0:
        return NoLeader("this process has not heard yet which namespaces there are: it has just started")
    return UnknownNamespace(f"namespace {name!r} does not exist", namespace=name)


def full_key(namespace: str, key: bytes) -> bytes:
    """The key in the keyspace for `key` of `namespace`."""
    return key if namespace == DEFAULT else namespace.encode() + b":" + key
