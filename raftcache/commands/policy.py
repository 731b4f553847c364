"""Namespaces as shards and front ends see them: a key prefix with a policy.

A key is bytes. `user-profile:u_123` belongs to namespace `user-profile` if that exists, else to `default`,
which adds no prefix (DESIGN §3). Each namespace has an id that is never reused and that every entry stores, so
creating or deleting one drops that prefix's keys at once.
"""

from __future__ import annotations

import re

import msgspec

from raftcache.commands.types import VALUE_LIMIT_BYTES, AckLevel, ReadLevel
from raftcache.errors import NoLeader, RaftcacheError, UnknownNamespace

DEFAULT = "default"
NAME_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


class Namespace(msgspec.Struct, frozen=True):
    """A namespace with its whole policy. `read_level` None means the one that fits `ack`."""

    name: str
    id: int
    ack: AckLevel = AckLevel.PRIMARY
    read_level: ReadLevel | None = None
    default_ttl_ms: int | None = None
    max_item_bytes: int = VALUE_LIMIT_BYTES

    @property
    def reads_at(self) -> ReadLevel:
        """The read level in force: `latest` for `primary` namespaces, `linearizable` for the others."""
        if self.read_level is not None:
            return self.read_level
        return ReadLevel.LATEST if self.ack == AckLevel.PRIMARY else ReadLevel.LINEARIZABLE


class Namespaces:
    """All namespaces of one epoch, immutable; resolves a key to its namespace with one dict lookup."""

    def __init__(self, epoch: int, namespaces: tuple[Namespace, ...]) -> None:
        self.epoch = epoch
        self.by_name = {ns.name: ns for ns in namespaces}
        self._by_prefix = {ns.name.encode(): ns for ns in namespaces if ns.name != DEFAULT}
        self.default = self.by_name.get(DEFAULT, Namespace(DEFAULT, 0))

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
        return other

    def resolve(self, key: bytes) -> Namespace:
        """The namespace that `key` belongs to."""
        prefix, colon, _ = key.partition(b":")
        return self._by_prefix.get(prefix, self.default) if colon else self.default


def missing_namespace(namespaces: Namespaces, name: str) -> RaftcacheError:
    """The error for a name that is not among them. A process that has just started knows no state of the cluster, and
    must not say of any namespace that it does not exist."""
    if namespaces.epoch == 0:
        return NoLeader("this process has not heard yet which namespaces there are: it has just started")
    return UnknownNamespace(f"namespace {name!r} does not exist", namespace=name)


def full_key(namespace: str, key: bytes) -> bytes:
    """The key in the keyspace for `key` of `namespace`."""
    return key if namespace == DEFAULT else namespace.encode() + b":" + key
