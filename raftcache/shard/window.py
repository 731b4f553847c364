"""The loss window: how much a leader may have acknowledged that nobody else is certain to have yet.

A write answered at `primary` is lost if its leader is lost before the write commits. So a leader counts, for each
namespace, the writes that it has answered and not yet seen commit, and asks *before* it executes the next one whether
that fits as well. What is never exceeded cannot be lost: whatever ends this leadership, and however late this replica
learns of it, the writes lost are among those counted here.

Three bounds, of which the owner of the namespace may lift each:

* `writes` and `bytes`, with the write at hand. They are the owner's total, split over the shards in whole shares that
  sum to it (`share_of`), so that no shard has to ask another. A share may be 0.
* `ms`: the age, since it was executed, that the oldest of them may have when another is executed. So between the oldest
  and the newest write that one leadership loses lies no more than that, though the process be stopped in between. (A
  run of plain writes that one read of a connection brought is executed as of the moment of that read, and acknowledged
  together: a stop within it is a stop before its acknowledgement.)

**What is counted where.** Writes commit by the batch, so a batch keeps one `Portion` a namespace: how much of it, and
when the first of that was executed. The portions of a namespace stand in the order of their batches, the first one has
the oldest write, and what a commit costs does not depend on the number of writes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from math import inf
from typing import Final, NamedTuple

from raftcache.commands.policy import Namespace, OnExceeded
from raftcache.errors import LossWindowFull

Place = tuple[int, int]
"""Which shard of how many this is, from 0. Of 0 shards: nobody knows yet, and there is no share."""

NOWHERE: Place = (0, 0)

TRACKED_LIMIT = 1024
"""Namespaces kept account of without having anything acknowledged and uncommitted; above it those are forgotten."""

EXCEEDED_LIMIT = 4096
"""Rows of `LossWindows.exceeded`; what would be one more is counted under the namespace ""."""

GAVE_UP: Final = "gave_up"
"""What became of a held command whose time was over, beside the words of `OnExceeded`."""


class Exceeded(NamedTuple):
    """Which bound a write does not fit into: `value` is what it would come to with the write, `limit` what it may."""

    bound: str
    limit: float
    value: float
    then: OnExceeded

    def error(self, namespace: str, what: str) -> LossWindowFull:
        """The error that says so; `what` became of the write."""
        limit, value = round(self.limit), round(self.value)
        message = (
            f"lossWindow.{self.bound} of namespace {namespace!r}: what this shard has acknowledged and not yet "
            f"committed would come to {value}, over its limit of {limit}; {what}, not executed"
        )
        return LossWindowFull(message, namespace=namespace, bound=self.bound, limit=limit, value=value)


class Portion:
    """What one batch has of a namespace's acknowledged writes; `at_s` is when the first was executed."""

    __slots__ = ("at_s", "size_bytes", "usage", "writes")

    def __init__(self, usage: Usage, at_s: float) -> None:
        self.usage, self.at_s = usage, at_s
        self.writes = self.size_bytes = 0


class Usage:
    """One namespace at one shard: what is acknowledged and not committed, and how much may be."""

    __slots__ = (
        "age_limit_s", "batch", "bytes_limit", "held_after_s", "namespace", "place", "portions", "size_bytes", "writes",
        "writes_limit",
    )  # fmt: skip

    def __init__(self) -> None:
        self.namespace: Namespace | None = None
        self.place = NOWHERE
        self.portions: deque[Portion] = deque()
        self.batch: list[Portion] | None = None
        self.writes = self.size_bytes = 0
        self.writes_limit = self.bytes_limit = 0.0
        self.age_limit_s = 0.0
        self.held_after_s = inf

    def follow(self, namespace: Namespace, place: Place) -> None:
        """Keep to this policy from now on."""
        self.namespace, self.place = namespace, place
        window = namespace.loss_window
        self.writes_limit = share_of(window.writes, place)
        self.bytes_limit = share_of(window.bytes, place)
        self.age_limit_s = inf if window.ms is None else window.ms / 1000
        self.note_oldest()

    def fits(self, size_bytes: int, now_s: float) -> bool:
        """Whether one more write of that size may be acknowledged before it commits."""
        return (
            self.writes < self.writes_limit
            and self.size_bytes + size_bytes <= self.bytes_limit
            and now_s <= self.held_after_s
        )

    def note_oldest(self) -> None:
        """Another write is the oldest now, or another age is allowed."""
        self.held_after_s = self.portions[0].at_s + self.age_limit_s if self.portions else inf

    def oldest_age_ms(self, now_s: float) -> float:
        """The age of the oldest write; 0 where there is none."""
        return (now_s - self.portions[0].at_s) * 1000 if self.portions else 0.0

    def used(self, now_s: float) -> float:
        """Which part is in use, of the bound of which most is: 1.0 where the next write has no room."""
        age_s = self.oldest_age_ms(now_s) / 1000
        bounds = ((self.writes, self.writes_limit), (self.size_bytes, self.bytes_limit), (age_s, self.age_limit_s))
        return max(value / limit if limit else float(value > 0) for value, limit in bounds)


class LossWindows:
    """The account of one leadership. `place` tells which shard of how many this one is, `now` the leader's clock."""

    def __init__(self, place: Callable[[], Place], now: Callable[[], float]) -> None:
        self.exceeded: Counter[tuple[str, str, str]] = Counter()
        """How often a write had no room: by namespace, bound, and what was done."""
        self._place, self._now = place, now
        self._usages: dict[int, Usage] = {}

    def account(self, namespace_id: int) -> Usage:
        """The account of a namespace, begun where there is none."""
        return self._usages.get(namespace_id) or self._track(namespace_id)

    def usage_of(self, namespace: Namespace) -> Usage:
        """The same, kept to its policy and to this shard's share as they are now: good for as long as
        nobody lets go of the loop."""
        usage = self.account(namespace.identity)
        place = self._place()
        if usage.namespace is not namespace or usage.place != place:
            usage.follow(namespace, place)
        return usage

    def check(self, namespace: Namespace, size_bytes: int) -> Exceeded | None:
        """Whether one more write fits: None, or what it does not fit into. To be asked before it is executed."""
        usage = self.usage_of(namespace)
        if usage.fits(size_bytes, 0.0 if usage.held_after_s == inf else self._now()):
            return None
        return self._why(usage, namespace.on_exceeded, size_bytes)

    def has_room(self, namespace: Namespace, writes: int, size_bytes: int) -> bool:
        """Whether so many writes fit, with so many bytes together."""
        if self.check(namespace, size_bytes) is not None:
            return False
        usage = self._usages[namespace.identity]
        return usage.writes + writes <= usage.writes_limit

    def count(self, usage: Usage, batch: list[Portion], size_bytes: int, at_s: float) -> None:
        """A write was executed at `at_s` and is answered before it commits; `usage` is the account of its namespace,
        `batch` are the portions of its batch."""
        if usage.batch is not batch:
            usage.batch = batch
            batch.append(Portion(usage, at_s))
            usage.portions.append(batch[-1])
            if len(usage.portions) == 1:
                usage.note_oldest()
        portion = usage.portions[-1]
        portion.writes += 1
        portion.size_bytes += size_bytes
        usage.writes += 1
        usage.size_bytes += size_bytes

    def release(self, batch: list[Portion]) -> None:
        """The oldest batch is committed."""
        for portion in batch:
            usage = portion.usage
            first = usage.portions.popleft()
            assert first is portion, "batches commit in order"
            usage.writes -= portion.writes
            usage.size_bytes -= portion.size_bytes
            usage.note_oldest()

    def clear(self) -> None:
        """The leadership is over: what was not committed is undone."""
        self._usages.clear()

    def note(self, namespace: str, bound: str, done: str) -> None:
        """Count that a write had no room."""
        row = (namespace, bound, done)
        if row not in self.exceeded and len(self.exceeded) >= EXCEEDED_LIMIT:
            row = ("", bound, done)
        self.exceeded[row] += 1

    def in_use(self) -> dict[str, Usage]:
        """Each namespace that something was acknowledged in, by name. Of two that had a name one after the other, the
        newer one, which was used later: nothing is written in the older one any more."""
        return {usage.namespace.name: usage for usage in self._usages.values() if usage.namespace is not None}

    def now(self) -> float:
        """The clock that ages are on."""
        return self._now()

    def _why(self, usage: Usage, then: OnExceeded, size_bytes: int) -> Exceeded:
        """A write for which there will never be room goes by quorum: no waiting helps, and its owner wants it kept."""
        if size_bytes > usage.bytes_limit:
            return Exceeded("bytes", usage.bytes_limit, size_bytes, OnExceeded.QUORUM)
        if usage.writes_limit < 1:
            return Exceeded("writes", usage.writes_limit, 1, OnExceeded.QUORUM)
        if usage.writes >= usage.writes_limit:
            return Exceeded("writes", usage.writes_limit, usage.writes + 1, then)
        if usage.size_bytes + size_bytes > usage.bytes_limit:
            return Exceeded("bytes", usage.bytes_limit, usage.size_bytes + size_bytes, then)
        return Exceeded("ms", usage.age_limit_s * 1000, usage.oldest_age_ms(self._now()), then)

    def _track(self, namespace_id: int) -> Usage:
        if len(self._usages) >= TRACKED_LIMIT:
            self._usages = {id_: usage for id_, usage in self._usages.items() if usage.portions}
        usage = self._usages[namespace_id] = Usage()
        return usage


def share_of(total: int | None, place: Place) -> float:
    """A shard's share of an owner's bound; infinite where that is lifted. All shards' shares sum to the bound."""
    if total is None:
        return inf
    number, count = place
    return total // count + (number < total % count) if count else 0
