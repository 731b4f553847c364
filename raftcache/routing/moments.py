"""Plain reads and writes of one moment, over the shards that this node leads: see `shard.moment`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, final

from raftcache.commands.types import Version
from raftcache.routing.map import ShardMap
from raftcache.routing.slots import slot_of
from raftcache.shard.joint import Joint, JointWrites
from raftcache.shard.moment import ShardMoment
from raftcache.store.entry import Looked

Pair = tuple[bytes, bytes]
"""A key, and the value to be written there."""


class HasMoments(Protocol):
    """What is needed of a shard's replica on this node."""

    def moment(self, now_s: float) -> ShardMoment | None:
        """See `ShardReplica.moment`."""


@final
class Wrote:
    """What became of plain writes that were asked for together: the first so many are executed. `newest` are the newest
    of each shard that are acknowledged, with their keys; or, where they wait for a quorum instead, `joint` has for each
    the writes among which it waits."""

    __slots__ = ("count", "joint", "newest")

    def __init__(self, count: int, newest: list[tuple[bytes, Version]], joint: list[JointWrites]) -> None:
        self.count: int = count
        self.newest: list[tuple[bytes, Version]] = newest
        self.joint: list[JointWrites] = joint


@final
class Added:
    """What became of counters that were added to together: the new values of the first so many, and `newest` as of
    `Wrote`."""

    __slots__ = ("newest", "values")

    def __init__(self, values: list[int], newest: list[tuple[bytes, Version]]) -> None:
        self.values: list[int] = values
        self.newest: list[tuple[bytes, Version]] = newest


@final
class Moments:
    """The moments of all shards at `now_s`, begun as they are needed. `close` them."""

    __slots__ = ("_by_shard", "_local", "_map", "_now_s", "_shard_id", "_shard_moment")

    def __init__(self, map_: ShardMap, local: Callable[[str], HasMoments | None], now_s: float) -> None:
        self._map: ShardMap = map_
        self._local: Callable[[str], HasMoments | None] = local
        self._now_s: float = now_s
        self._by_shard: dict[str, ShardMoment | None] = {}
        self._shard_id: str | None = None
        self._shard_moment: ShardMoment | None = None

    def of(self, slot: int) -> ShardMoment | None:
        """That of the shard that owns a slot; None where this node does not lead it."""
        shard_id = self._map.shard_of_slot(slot)
        if shard_id is self._shard_id:
            return self._shard_moment
        self._shard_id, self._shard_moment = shard_id, self._find(shard_id)
        return self._shard_moment

    def _find(self, shard_id: str | None) -> ShardMoment | None:
        if shard_id is None:
            return None
        if shard_id not in self._by_shard:
            replica = self._local(shard_id)
            self._by_shard[shard_id] = None if replica is None else replica.moment(self._now_s)
        return self._by_shard[shard_id]

    def look(self, keys: Sequence[bytes], until_bytes: int | None) -> list[Looked]:
        """See `Dispatcher.look_many`."""
        found: list[Looked] = []
        left_bytes = 0 if until_bytes is None else until_bytes
        for key in keys:
            slot = slot_of(key)
            moment = self.of(slot)
            looked = None if moment is None else moment.look(key, slot)
            found.append(looked)
            if until_bytes is not None:
                if looked is None:
                    break
                if looked is not False:
                    left_bytes -= len(looked.value)
                if left_bytes <= 0:
                    break
        return found

    def write(self, pairs: Sequence[Pair]) -> int:
        """Execute plain writes that are acknowledged at once, in order, up to the first that cannot be. Returns how
        many."""
        count = 0
        for key, value in pairs:
            slot = slot_of(key)
            moment = self.of(slot)
            if moment is None or not moment.write(key, value, slot):
                break
            count += 1
        return count

    def join(self, pairs: Sequence[Pair], joint: Joint) -> list[JointWrites]:
        """The same of those that wait for a quorum; for each those among which it waits."""
        joined: list[JointWrites] = []
        for key, value in pairs:
            slot = slot_of(key)
            moment = self.of(slot)
            writes = None if moment is None else moment.join(key, value, slot, joint)
            if writes is None:
                break
            joined.append(writes)
        return joined

    def add(self, items: Sequence[tuple[bytes, int]]) -> list[int]:
        """Add to counters, in order, up to the first for which a command has to be made. Returns their new values."""
        values: list[int] = []
        for key, delta in items:
            slot = slot_of(key)
            moment = self.of(slot)
            value = None if moment is None else moment.add(key, delta, slot)
            if value is None:
                break
            values.append(value)
        return values

    def newest(self) -> list[tuple[bytes, Version]]:
        """The newest writes that are acknowledged, one a shard, with their keys."""
        newest = []
        for moment in self._by_shard.values():
            written = None if moment is None else moment.newest
            if written is not None:
                newest.append(written)
        return newest

    def close(self) -> None:
        """Put down what was counted."""
        for moment in self._by_shard.values():
            if moment is not None:
                moment.close()
