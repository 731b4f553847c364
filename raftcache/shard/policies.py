"""The namespaces that a shard follows, as its log has them. Pure.

A change of the policies reaches a shard as an effect in its log, the *policy point*: what is created, changed and
removed up to a metadata epoch. Replicas keep the namespaces as of what they have applied, in their digest and in their
snapshots. So it is the log that says which write came under which policy, the same on every replica and to every
later leader, whatever their nodes know of the metadata.

**Between append and commit** a point may still be lost, and with it everything that its leader executed behind it. What
is in force then is the stricter of before and after, field by field (`stricter`): tightening holds from the append on,
since the write after the point must obey it; loosening waits for the commit, since a leader whose point is lost goes
back to policies that its answers must have kept. Of several points under way, all count.

An invalidation is a change of the namespace's id and of nothing else; as with the deletions that follow, what stands
under the older one is a miss from the append on, and comes back where the point is undone.

Creating and deleting are changes of the policy at a *prefix*: keys `x:...` are under `default` before `x` is created
and after it was deleted. They resolve to the newer namespace's id from the append on, so the older one's entries are
misses at once, and come back where the point is undone. Their policy until the commit is the stricter one of both, so
that whoever created `x` in a cluster whose `default` acknowledges at `quorum` is not answered at `primary` before the
creation is certain. A default time to live is neither strict nor lax, nor is what becomes of a write without room in
its loss window; the newer one holds from the append on, for a point that is undone takes with it everything that was
written behind it.

**Losing leadership** forgets the points that are not applied. One that was proposed may still commit under the next
leader, and is then applied like any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import SHARES_WHOLE, Limits, LossWindow, Namespace
from raftcache.store.effects import POLICY_POINT, Batch, Effect

NO_NAMESPACES = Namespaces(0, ())
"""What a shard starts from: no point was ever in its log."""


class Point(NamedTuple):
    """What is different from `epoch` on: namespaces created or changed, whole, and the names of those removed."""

    epoch: int
    changed: tuple[Namespace, ...]
    removed: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The prefixes whose keys it concerns."""
        return (*(namespace.name for namespace in self.changed), *self.removed)


def difference(old: Namespaces, new: Namespaces) -> Point:
    """The point that leads from `old` to `new`."""
    changed = tuple(ns for name, ns in sorted(new.by_name.items()) if old.by_name.get(name) != ns)
    return Point(new.epoch, changed, tuple(sorted(old.by_name.keys() - new.by_name.keys())))


def after(namespaces: Namespaces, point: Point) -> Namespaces:
    """The namespaces once `point` is applied."""
    by_name = dict(namespaces.by_name)
    for name in point.removed:
        by_name.pop(name, None)
    by_name |= {namespace.name: namespace for namespace in point.changed}
    return Namespaces(point.epoch, tuple(by_name.values()))


# -- the stricter of two policies ----------------------------------------------------------------


def _newer(_field: str, _old: Namespace, new: Namespace) -> Any:
    return getattr(new, _field)


def _greater(field: str, old: Namespace, new: Namespace) -> Any:
    return max(getattr(old, field), getattr(new, field))


def _smaller(field: str, old: Namespace, new: Namespace) -> Any:
    return min(getattr(old, field), getattr(new, field))


def _smaller_bound(field: str, old: Namespace, new: Namespace) -> Any:
    """Where None is no bound."""
    return min((each for each in (getattr(old, field), getattr(new, field)) if each is not None), default=None)


def _smaller_window(_field: str, old: Namespace, new: Namespace) -> LossWindow:
    """Bound by bound, where None is no bound."""
    both = ((getattr(old.loss_window, name), getattr(new.loss_window, name)) for name in LossWindow.__struct_fields__)
    return LossWindow(*(min((each for each in pair if each is not None), default=None) for pair in both))


def _smaller_limits(_field: str, old: Namespace, new: Namespace) -> Limits:
    """Bound by bound. A weight, and how long a burst is, are neither strict nor lax."""
    nullable = ("quota_bytes", "quota_items", "operations_per_second", "bytes_per_second")
    both = {name: (getattr(old.limits, name), getattr(new.limits, name)) for name in nullable}
    bounds = {name: min((each for each in pair if each is not None), default=None) for name, pair in both.items()}
    return replace(new.limits, **bounds)


def _smaller_shares(_field: str, old: Namespace, new: Namespace) -> tuple[int, ...]:
    """Shard by shard. None stands for an even split."""
    if not (old.shares or new.shares):
        return ()
    even = (SHARES_WHOLE // len(old.shares or new.shares),) * len(old.shares or new.shares)
    return tuple(map(min, old.shares or even, new.shares or even))


def _both_allow(_field: str, old: Namespace, new: Namespace) -> bool:
    return old.replica_reads and new.replica_reads


def _reads_at(_field: str, old: Namespace, new: Namespace) -> Any:
    return max(old.reads_at, new.reads_at)


STRICTER: dict[str, Callable[[str, Namespace, Namespace], Any]] = {
    "name": _newer,
    "id": _newer,
    "ack": _greater,
    "read_level": _reads_at,
    "default_ttl_ms": _newer,
    "max_item_bytes": _smaller,
    "loss_window": _smaller_window,
    "on_exceeded": _newer,
    "allow_replica_reads": _both_allow,
    "max_ttl_ms": _smaller_bound,
    "ttl_jitter_percent": _newer,
    "origin": _newer,
    "limits": _smaller_limits,
    "eviction": _newer,
    "admission": _newer,
    "shares": _smaller_shares,
}
"""For every field of `Namespace`, what holds while the change from one policy to another may still be lost."""


def stricter(old: Namespace, new: Namespace) -> Namespace:
    """The policy under which a write keeps `old` and `new` both; name and id are the new one's."""
    if old == new:
        return new
    return replace(new, **{field: choose(field, old, new) for field, choose in STRICTER.items()})


# -- in the log ----------------------------------------------------------------------------------

_parse_point = msgspec.msgpack.Decoder(Point).decode
_encode = msgspec.msgpack.Encoder().encode


def effect_of(point: Point) -> Effect:
    """The effect that carries a point through the log."""
    return (POLICY_POINT, point.epoch, point.changed, point.removed)


def point_of(effect: Effect) -> Point:
    """The inverse of `effect_of`, for an effect as it was made or as it was decoded. Raises ValueError."""
    try:
        return _parse_point(_encode(effect[1:]))
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a policy point: {error}") from error


def has_point(batch: Batch) -> bool:
    """Whether a batch has a point: it is the first effect then."""
    return bool(batch.effects) and batch.effects[0][0] == POLICY_POINT


# -- the table -----------------------------------------------------------------------------------


class Pending(NamedTuple):
    """A point that its leader has executed and that is not yet committed, as the effect `seq` of its term."""

    point: Point
    namespaces: Namespaces
    seq: int


class Policies:
    """One replica's namespaces: `applied` as of its applied log, `in_force` for what its leader executes."""

    __slots__ = ("_pending", "applied", "in_force")

    def __init__(self, applied: Namespaces = NO_NAMESPACES) -> None:
        self.applied = self.in_force = applied
        self._pending: deque[Pending] = deque()

    @property
    def newest(self) -> Namespaces:
        """The namespaces once everything executed is applied."""
        return self._pending[-1].namespaces if self._pending else self.applied

    @property
    def pending(self) -> int:
        """Points executed and not yet committed."""
        return len(self._pending)

    def revealed_by(self, key: bytes) -> int:
        """The newest of them, as the `seq` of its effect, where they make `key` another namespace's; 0 for none.
        Whoever looks the key up then sees what may be undone: that the older namespace's entry does not stand there."""
        if not self._pending:
            return 0
        tables = (self.applied, *(pending.namespaces for pending in self._pending))
        return self._pending[-1].seq if len({table.resolve(key).id for table in tables}) > 1 else 0

    def invalidated_by(self, point: Point) -> int:
        """How many namespaces a point that comes next drops the keys of, without deleting them."""
        before = self.newest.by_name
        kept = ((ns, before[ns.name]) for ns in point.changed if ns.name in before)
        return sum(ns.id != old.id and ns.identity == old.identity for ns, old in kept)

    def append(self, point: Point, seq: int) -> None:
        """A leader executed a point, as the effect `seq`."""
        self._pending.append(Pending(point, after(self.newest, point), seq))
        self._resolve()

    def committed(self) -> None:
        """The oldest point executed here is committed."""
        self.applied = self._pending.popleft().namespaces
        self._resolve()

    def abandon(self) -> None:
        """The leadership is over: what is not committed is undone."""
        self._pending.clear()
        self.in_force = self.applied

    def apply(self, batch: Batch) -> None:
        """Take in a committed batch that was not executed here. Raises ValueError."""
        if has_point(batch):
            point = point_of(batch.effects[0])
            assert point.epoch > self.applied.epoch, f"policy point {point.epoch} after {self.applied.epoch}"
            self.install(after(self.applied, point))

    def install(self, applied: Namespaces) -> None:
        """Replace everything by an applied state."""
        self.applied = applied
        self.abandon()

    def _resolve(self) -> None:
        """What is in force: the newest namespaces, but at each prefix that a pending point concerns, the strictest
        policy of all that may come to hold there."""
        newest, tables = self.newest, [self.applied, *(pending.namespaces for pending in self._pending)]
        names = {name for pending in self._pending for name in pending.point.names}
        overlay = {name: reduce(stricter, (table.at(name) for table in tables)) for name in sorted(names)}
        self.in_force = newest.overlaid({name: ns for name, ns in overlay.items() if ns != newest.at(name)})
