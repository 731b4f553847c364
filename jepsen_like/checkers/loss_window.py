"""What was acknowledged at `primary` and is lost is never more than the owner of the namespace allowed. Pure.

    complaint   demanded, of each shard, term and namespace
    writes      no more lost than the shard's share of `lossWindow.writes`
    bytes       no more lost than the shard's share of `lossWindow.bytes`
    span        all that is lost was executed within `lossWindow.ms`
    is lost     nothing that was acknowledged above `primary` is lost at all. Where only a read says so, it is said of
                the read: that may have been stale

What is lost, `fates` tells: receipts, reports and linearizable reads. One leadership of one shard loses at most what it
had acknowledged and not committed, whatever ended it; so its losses are counted by `(shard, term)`, which the versions
tell.

The share is `raftcache.shard.window.share_of` for the shard's place in `shards` of the header's options. The windows
are those of `namespaces`, the widest that the namespace may have had (`setting` describes both).

**What is counted errs on one side.** A write counts with its key, what is certain of its value, and 40 bytes. Nobody
tells when a write was executed, but it was between the first invocation under its idempotency key and the first answer
of its version: so the span is taken from the earliest answer to the latest invocation. The leader's clock, by which the
window is kept, may be off by `clockDriftPercent`.

**Not judged**: writes of unknown outcome and of unknown fate (`unsettled`), namespaces without a known policy, shards
without a known place, and what a majority may have forgotten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import inf
from typing import Any, NamedTuple

from jepsen_like.checkers.fates import Fates
from jepsen_like.checkers.keys import Change
from jepsen_like.checkers.observed import HistoryChecker, Observed, unknown
from jepsen_like.checkers.setting import namespace_of
from jepsen_like.checking import Complaint, Verdict, verdict
from raftcache.commands.types import Version
from raftcache.shard.window import share_of

ROUNDING_MS = 1.0


class Leadership(NamedTuple):
    """Of one shard, and a namespace in it."""

    shard: str
    term: int
    namespace: str


class Limits(NamedTuple):
    """What one leadership may lose."""

    writes: float
    size_bytes: float
    span_ms: float


class Loss(NamedTuple):
    """What one leadership acknowledged and lost."""

    numbers: list[int]
    size_bytes: int
    span_ms: float


class LossWindows(HistoryChecker):
    """See the module."""

    name = "loss-window"

    def judge(self, observed: Observed) -> Verdict:
        """Hold what is lost against the windows."""
        judging = _Judging(observed)
        complaints = [*judging.beyond_primary(), *judging.over_the_limits()]
        figures = judging.figures()
        settled = figures["acknowledged"] - figures["unsettled"]
        summary = (
            f"{figures['lost']:,} of {figures['acknowledged']:,} writes acknowledged at primary are lost, at most "
            f"{figures['largest_writes']:,} in one leadership; of {figures['unsettled']:,} nobody told"
        )
        if not complaints and (not settled or figures["unjudged_losses"]):
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


class _Judging:
    def __init__(self, observed: Observed) -> None:
        self._seen, self._fates = observed, Fates(observed)
        self._first_ms = _first_invocations(observed)
        self._lost: dict[Leadership, list[tuple[Version, Change]]] = defaultdict(list)
        self._beyond: list[tuple[Version, Change]] = []
        self._acknowledged = self._unsettled = self._unjudged = 0
        for version, change in self._fates.acknowledged.items():
            self._sort(version, change)
        self._losses = {where: self._loss(lost) for where, lost in sorted(self._lost.items())}

    def _sort(self, version: Version, change: Change) -> None:
        lost = self._fates.is_lost(version)
        if version in self._fates.kept:
            if lost:
                self._beyond.append((version, change))
        elif not self._seen.excused(change):
            self._acknowledged += 1
            self._unsettled += not lost and not self._fates.is_committed(version)
            if lost:
                where = Leadership(version.shard, version.term, namespace_of(change.key))
                self._lost[where].append((version, change))

    def _loss(self, lost: list[tuple[Version, Change]]) -> Loss:
        began = [self._first_ms.get((change.key, change.idempotency), change.began_ms) for _, change in lost]
        span_ms = max(began) - min(change.ended_ms for _, change in lost)
        return Loss([change.number for _, change in lost], sum(each.size_bytes for _, each in lost), max(0.0, span_ms))

    def beyond_primary(self) -> Iterator[Complaint]:
        """Lost, and never to be."""
        for version, change in self._beyond:
            proofs = self._fates.proofs_of_loss(version)
            told = version in self._fates.lost_by_receipt or version in self._fates.lost_by_report
            what = "is lost" if told else "a linearizable read misses it"
            text = f"{version} of {change.key} was acknowledged at {change.level.name.lower()}, and {what}"
            yield Complaint(text, [change.number, *proofs[:1]])

    def over_the_limits(self) -> Iterator[Complaint]:
        """More lost than one leadership may lose."""
        for where, loss in self._losses.items():
            limits = self._limits(where)
            if limits is None:
                self._unjudged += len(loss.numbers)
                continue
            for what, value, limit in (
                (f"{len(loss.numbers):,} writes", len(loss.numbers), limits.writes),
                (f"{loss.size_bytes:,} bytes", loss.size_bytes, limits.size_bytes),
                (f"a span of {loss.span_ms:,.1f} ms", loss.span_ms, limits.span_ms),
            ):
                if value > limit:
                    at = f"shard {where.shard}, term {where.term}, namespace {where.namespace}"
                    text = f"{at}: {what} acknowledged at primary are lost, the window allows {limit:g}"
                    yield Complaint(text, loss.numbers)

    def _limits(self, where: Leadership) -> Limits | None:
        place = self._seen.setting.place_of(where.shard)
        windows = [policy.loss_window for policy in self._seen.policies(where.namespace)]
        if place is None or not windows:
            return None
        span_ms = max(inf if window.ms is None else float(window.ms) for window in windows)
        return Limits(
            max(share_of(window.writes, place) for window in windows),
            max(share_of(window.bytes, place) for window in windows),
            span_ms / (1 - min(self._seen.setting.drift, 0.5)) + ROUNDING_MS,
        )

    def figures(self) -> dict[str, Any]:
        """For tables. To be asked after the complaints."""
        losses = self._losses.values()
        return {
            "acknowledged": self._acknowledged,
            "lost": sum(len(loss.numbers) for loss in losses),
            "unsettled": self._unsettled,
            "unjudged_losses": self._unjudged,
            "lost_above_primary": len(self._beyond),
            "largest_writes": max((len(loss.numbers) for loss in losses), default=0),
            "largest_bytes": max((loss.size_bytes for loss in losses), default=0),
            "largest_span_ms": max((round(loss.span_ms, 3) for loss in losses), default=0.0),
            "leaderships": {_name(where): len(loss.numbers) for where, loss in self._losses.items()},
        }


def _name(where: Leadership) -> str:
    return f"{where.namespace} v{where.shard}.{where.term}"


def _first_invocations(observed: Observed) -> dict[tuple[str, str | None], float]:
    """By key and idempotency key, when it was asked for first."""
    first: dict[tuple[str, str | None], float] = {}
    for change in observed.all_changes():
        if change.idempotency is not None:
            slot = (change.key, change.idempotency)
            first[slot] = min(first.get(slot, inf), change.began_ms)
    return first
