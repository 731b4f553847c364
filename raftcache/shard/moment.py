"""Plain reads and writes of one moment, at the leader: what is true of all of them is found out once.

A connection with a deep pipeline brings many reads, or many writes, in one piece, and all are executed at the moment at
which that was read: in one call, in which nothing else happens. Whether this replica leads then, and what the policies
in force say of a namespace, is the same for all. What may differ from key to key, and from write to write, is looked at
for each: who owns the slot, whether there is room in the pipeline, in memory, and in the loss window.

These are the short ways of reads that name no level, of sets that name nothing but key and value, and of counters that
are acknowledged at once. Whatever is out of the ordinary (another read level, a rate, a quota, something held, no room)
is found out by a command, so a moment says nothing then: it is never a reason to refuse anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.commands.table import is_key
from raftcache.commands.types import INT64_MIN, JSON, RAW, Get, Incr, ReadLevel, Set, Value, Version
from raftcache.errors import NotAnInteger
from raftcache.shard.counters import added
from raftcache.shard.executor import Executor
from raftcache.shard.hotkeys import HotKeys
from raftcache.shard.joint import Joint, JointWrites
from raftcache.shard.pipeline import Pipeline
from raftcache.shard.window import Usage
from raftcache.store.effects import EFFECT_OVERHEAD_BYTES
from raftcache.store.entry import ENTRY_OVERHEAD_BYTES, Looked, TaggedEntry

LIMIT_NONE = -1
"""No value is within it: the namespace takes no plain write."""
LONGEST_INTEGER: Final = b"%d" % INT64_MIN
"""Stands for a counter's next value where that is not known yet."""


@final
class ShardMoment:
    """Of one shard that is led here at `now_s`. It must not outlive the call in which it was made. `close` it.

    `newest` is the newest write that it acknowledged: key and version."""

    __slots__ = (
        "_acks", "_executor", "_hits", "_hotkeys", "_is_plain", "_joint_limit_bytes", "_limit_bytes", "_looked_in",
        "_misses", "_namespaces", "_newest_key", "_newest_seq", "_now_s", "_owns_slot", "_pipeline", "_sets", "_usage",
        "_written",
    )  # fmt: skip

    def __init__(self, executor: Executor, hotkeys: HotKeys, now_s: float) -> None:
        self._executor: Executor = executor
        self._hotkeys: HotKeys = hotkeys
        self._now_s: float = now_s
        self._pipeline: Pipeline = executor.pipeline
        self._namespaces: Namespaces = executor.policies.in_force
        self._owns_slot: Callable[[int], bool] = executor.owns_slot
        self._looked_in: Namespace | None = None
        self._is_plain: bool = False
        self._written: Namespace | None = None
        self._usage: Usage | None = None
        self._acks: int = 0
        self._hits: int = 0
        self._misses: int = 0
        self._sets: int = 0
        self._limit_bytes: int = LIMIT_NONE
        self._joint_limit_bytes: int = LIMIT_NONE
        self._newest_key: bytes = b""
        self._newest_seq: int = 0

    def look(self, key: bytes, slot: int) -> Looked:
        """What a read of a key, in this slot, shows that names no level: the entry, or False for none. None where it
        takes a command to say."""
        namespace = self._namespaces.resolve(key)
        if namespace is not self._looked_in:
            self._look_in(namespace)
        if not self._is_plain or not is_key(key) or not self._owns_slot(slot) or not self._pipeline.can_admit():
            return None
        entry = self._executor.lookup(key, namespace)
        if entry is None:
            self._misses += 1
        else:
            self._hits += 1
        if next(self._hotkeys.skips, True):
            value = None if entry is None else entry.value
            self._hotkeys.take(Get(key), Value(value, RAW, self._executor.newest(), None, ReadLevel.LATEST))
        return False if entry is None else entry

    def write(self, key: bytes, value: bytes, slot: int) -> bool:
        """Write a key, in this slot, as a plain set does, and acknowledge it at once. False: nothing was done, and it
        takes a command, or `join`."""
        self._heed(key)
        if len(value) > self._limit_bytes or not self._has_room(key, value, slot) or not self._fits(key, value):
            return False
        self._acknowledge(key, value, self._set(key, value))
        return True

    def add(self, key: bytes, delta: int, slot: int) -> int | None:
        """Add to a counter, in this slot, as an incr does that names nothing else, and acknowledge it at once: its new
        value. None: nothing was done, and it takes a command; also where the namespace's reads may not show it yet."""
        self._heed(key)
        namespace = self._written
        if namespace is None or namespace.id not in self._namespaces.looks:
            return None
        if not self._has_room(key, LONGEST_INTEGER, slot) or not self._fits(key, LONGEST_INTEGER):
            return None
        if type(self._executor.keyspace.get(key)) is TaggedEntry:
            return None
        entry = self._executor.lookup(key, namespace)
        try:
            value = added(entry, delta)
        except NotAnInteger:
            return None
        digits = b"%d" % value
        flag, expires_ms = (JSON, 0) if entry is None else (entry.flag, entry.expires_ms)
        seq = self._put(key, digits, flag, expires_ms)
        if next(self._hotkeys.skips, True):
            self._hotkeys.take(Incr(key, delta), None)
        self._acknowledge(key, digits, seq)
        return value

    def join(self, key: bytes, value: bytes, slot: int, joint: Joint) -> JointWrites | None:
        """The same of a write that waits for a quorum: the writes in `joint` among which it waits."""
        self._heed(key)
        if len(value) > self._joint_limit_bytes or not self._has_room(key, value, slot):
            return None
        if not self._pipeline.admit_now():
            return None
        executor = self._executor
        version = Version(executor.shard_id, executor.term, self._set(key, value))
        return self._pipeline.join(joint, key, value, version, self._now_s)

    @property
    def newest(self) -> tuple[bytes, Version] | None:
        """The newest write acknowledged at once, if there was any."""
        if not self._newest_seq:
            return None
        return self._newest_key, Version(self._executor.shard_id, self._executor.term, self._newest_seq)

    def close(self) -> None:
        """Put down what was counted."""
        self._count_reads()
        self._executor.stats.sets += self._sets
        self._sets = 0

    def _heed(self, key: bytes) -> None:
        """Find what goes for writes of the key's namespace: as a rule that of the one before."""
        namespace = self._namespaces.resolve(key)
        if namespace is self._written:
            return
        self._written = namespace
        limit_bytes = self._namespaces.writes.get(namespace.id)
        joint_limit_bytes = self._namespaces.joint_writes.get(namespace.id)
        self._limit_bytes = LIMIT_NONE if limit_bytes is None else limit_bytes
        self._joint_limit_bytes = LIMIT_NONE if joint_limit_bytes is None else joint_limit_bytes
        self._usage = None if limit_bytes is None else self._pipeline.windows.usage_of(namespace)
        self._acks = namespace.identity

    def _has_room(self, key: bytes, value: bytes, slot: int) -> bool:
        """Whether nothing is in the way of a write: no other one is held, and there is memory for both its entries."""
        executor = self._executor
        if executor.blocked or not is_key(key) or not self._owns_slot(slot):
            return False
        size_bytes = 2 * (len(key) + len(value) + EFFECT_OVERHEAD_BYTES) + ENTRY_OVERHEAD_BYTES
        return executor.budget.used_bytes + size_bytes <= executor.budget.mark_bytes

    def _fits(self, key: bytes, value: bytes) -> bool:
        """Whether the loss window and the pipeline take one more write that is acknowledged at once."""
        usage = self._usage
        if usage is None or not usage.fits(len(key) + len(value) + EFFECT_OVERHEAD_BYTES, self._now_s):
            return False
        return self._pipeline.admit_now()

    def _set(self, key: bytes, value: bytes) -> int:
        """Execute a plain set; returns its `seq`."""
        seq = self._put(key, value, RAW, 0)
        if next(self._hotkeys.skips, True):
            self._hotkeys.take(Set(key, value), None)
        return seq

    def _put(self, key: bytes, value: bytes, flag: int, expires_ms: int) -> int:
        """Execute a write; returns its `seq`."""
        namespace = self._written
        assert namespace is not None
        self._sets += 1
        return self._executor.put_plain(key, value, flag, expires_ms, namespace.id)

    def _acknowledge(self, key: bytes, value: bytes, seq: int) -> None:
        usage, size_bytes = self._usage, len(key) + len(value) + EFFECT_OVERHEAD_BYTES
        assert usage is not None
        self._pipeline.acknowledged_at(usage, self._acks, seq, size_bytes, self._now_s)
        self._newest_key, self._newest_seq = key, seq

    def _look_in(self, namespace: Namespace) -> None:
        self._count_reads()
        self._looked_in, self._is_plain = namespace, namespace.id in self._namespaces.looks

    def _count_reads(self) -> None:
        namespace = self._looked_in
        if namespace is not None and self._hits:
            self._executor.stats.hits[namespace.name] += self._hits
        if namespace is not None and self._misses:
            self._executor.stats.misses[namespace.name] += self._misses
        self._hits = self._misses = 0
