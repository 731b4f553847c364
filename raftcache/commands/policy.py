"""Namespaces as shards and front ends see them: a key prefix with a policy.

A key is bytes. `user-profile:u_123` belongs to namespace `user-profile` if that exists, else to `default`,
which adds no prefix (DESIGN §3). Each namespace has an id that is never reused and that every entry stores, so
creating, deleting or invalidating one drops that prefix's keys at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, IntEnum

import msgspec

from raftcache.commands.types import VALUE_LIMIT_BYTES, AckLevel, ReadLevel

DEFAULT = "default"
NAME_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


class OnExceeded(IntEnum):
    """What becomes of a `primary` write for which the loss window has no room."""

    QUORUM = 1
    WAIT = 2
    REJECT = 3


class Eviction(Enum):
    """Which key of a namespace goes when it has too much: `store.eviction` has the orders."""

    LRU = "lru"
    LFU = "lfu"
    LRM = "lrm"
    TTL = "ttl"
    RANDOM = "random"
    S3FIFO = "s3fifo"
    NONE = "none"


class Admission(Enum):
    """Which key is let in when another would have to go for it. With eviction `none` both are the same."""

    ALL = "all"
    TINYLFU = "tinylfu"


class LossWindow(msgspec.Struct, frozen=True):
    """How much a `primary` namespace may have acknowledged and not yet committed, over all shards; None lifts a bound.

    `ms` is the age that the oldest such write may reach before the next one is held. `bytes` count keys, values and
    `store.effects.EFFECT_OVERHEAD_BYTES` a write.
    """

    ms: int | None = 1000
    writes: int | None = 10_000
    bytes: int | None = 16 << 20


WINDOW_LIMITS = {"ms": 3_600_000, "writes": 1_000_000_000, "bytes": 1 << 40}
"""The largest that each bound of a loss window may be; the smallest is 1."""


class Limits(msgspec.Struct, frozen=True):
    """What a namespace may use, over the whole cluster; None for no bound.

    `quota_bytes` counts keys, values and what keeping them costs (`store.entry`). Where a node's memory is full, its
    namespaces share it in proportion to `weight`. Of `operations_per_second` and `bytes_per_second` (keys and values,
    of requests and of replies) as much as is allowed in `burst_ms` may come at once.
    """

    quota_bytes: int | None = None
    quota_items: int | None = None
    weight: int = 100
    operations_per_second: int | None = None
    bytes_per_second: int | None = None
    burst_ms: int = 1000


SHARES_WHOLE = 10_000
"""Parts that a quota is split into."""

LIMIT_RANGES: dict[str, tuple[int, int]] = {
    "quota_bytes": (1 << 20, 1 << 50),
    "quota_items": (1, 1 << 40),
    "weight": (1, 10_000),
    "operations_per_second": (1, 1_000_000_000),
    "bytes_per_second": (1 << 10, 1 << 40),
    "burst_ms": (10, 60_000),
}
"""The smallest and the largest that each may be."""


class Namespace(msgspec.Struct, frozen=True):
    """A namespace with its whole policy. `read_level` and `allow_replica_reads` None mean what fits `ack`.

    `loss_window` and `on_exceeded` are kept for any `ack`, and mean something for `primary` alone. No key lives longer
    than `max_ttl_ms` after it was written or its time to live was set, whatever was asked. `ttl_jitter_percent` takes
    up to that share off each time to live, at random, so that keys written together do not expire together.

    An invalidation gives the namespace another `id`, which is its generation: what is stored under the older one is
    dropped. `origin` is the id that it was created under, 0 where that is `id` still. `shares` says how its quotas are
    split, in parts of `SHARES_WHOLE`, one for each shard in the order of places; empty for an even split.
    """

    name: str
    id: int
    ack: AckLevel = AckLevel.PRIMARY
    read_level: ReadLevel | None = None
    default_ttl_ms: int | None = None
    max_item_bytes: int = VALUE_LIMIT_BYTES
    loss_window: LossWindow = LossWindow()
    on_exceeded: OnExceeded = OnExceeded.QUORUM
    allow_replica_reads: bool | None = None
    max_ttl_ms: int | None = None
    ttl_jitter_percent: int = 0
    origin: int = 0
    limits: Limits = Limits()
    eviction: Eviction = Eviction.LRU
    admission: Admission = Admission.ALL
    shares: tuple[int, ...] = ()

    @property
    def identity(self) -> int:
        """What stays the same for as long as it exists: loss windows and reply records outlive an invalidation."""
        return self.origin or self.id

    @property
    def reads_at(self) -> ReadLevel:
        """The read level in force: `latest` for `primary` namespaces, `linearizable` for the others."""
        if self.read_level is not None:
            return self.read_level
        return ReadLevel.LATEST if self.ack == AckLevel.PRIMARY else ReadLevel.LINEARIZABLE

    @property
    def replica_reads(self) -> bool:
        """Whether requests may ask for `replica` reads: unless the policy says, in `primary` namespaces only."""
        return self.ack == AckLevel.PRIMARY if self.allow_replica_reads is None else self.allow_replica_reads


def is_limited(namespace: Namespace) -> bool:
    """Whether a namespace has a rate at all."""
    limits = namespace.limits
    return limits.operations_per_second is not None or limits.bytes_per_second is not None


TTL_JITTER_LIMIT_PERCENT = 90
"""Of a time to live, what jitter may take off at most."""


def granted_ttl_ms(asked_ms: int | None, namespace: Namespace, dice: Callable[[], float]) -> int | None:
    """The time to live, at least 1 ms, that a key gets for which `asked_ms` is asked; None for ever. `dice` gives a
    number from 0 up to 1, and is rolled only where the namespace has jitter."""
    ttl_ms = namespace.default_ttl_ms if asked_ms is None else asked_ms
    longest_ms, jitter_percent = namespace.max_ttl_ms, namespace.ttl_jitter_percent
    if longest_ms is not None and (ttl_ms is None or ttl_ms > longest_ms):
        ttl_ms = longest_ms
    if ttl_ms is None or not jitter_percent:
        return ttl_ms
    return max(1, ttl_ms - int(ttl_ms * jitter_percent / 100 * dice()))
