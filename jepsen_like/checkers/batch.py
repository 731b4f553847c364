"""Batches, taken apart: each item is as good as an operation on its key alone. Pure.

`expanded` takes a history's batches apart, for any checker. This one judges all single-key operations, those from
batches and those beside them, by what versions tell without a search:

    complaint       demanded
    results         a batch that was answered has one result an item
    one version     one version names one write of one key and one value, in answers and reads
    foreign         a value that is read was tried to be written, to that key, before the read ended
    refused         and not by refused attempts only
    too early       a version is not read before its write began
    does not show   a linearizable read shows what was acknowledged above `primary` before it began, or something newer;
                    or nothing, where something can have taken it away

The whole of linearizability, which also holds reads against each other and has no need of versions, is another
checker's matter.

**Not judged**: values of keys that are counted up; what a majority may have forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from jepsen_like.checkers.expanding import asked_items, expanded, is_batch, results_of
from jepsen_like.checkers.fates import Fates
from jepsen_like.checkers.keys import Change, Read, shown
from jepsen_like.checkers.observed import HistoryChecker, Observed, unknown
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Outcome
from raftcache.commands.types import Version

__all__ = ["Batches", "expanded"]


class Batches(HistoryChecker):
    """See the module."""

    name = "batch"

    def judge(self, observed: Observed) -> Verdict:
        """Judge the results of batches, and every key by its versions."""
        batches = [each for each in observed.operations if is_batch(each)]
        judging = _Judging(observed)
        complaints = [*_of_results(observed), *judging.complaints()]
        answered = [each for each in batches if each.outcome is Outcome.OK]
        items = sum(len(asked_items(each)) for each in answered)
        figures = {"batches": len(batches), "answered": len(answered), "items_answered": items}
        summary = f"{len(answered):,} of {len(batches):,} batches were answered, with {items:,} items"
        if not complaints and not answered:
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


def _of_results(observed: Observed) -> Iterator[Complaint]:
    for each in observed.operations:
        if is_batch(each) and each.outcome is Outcome.OK and results_of(each) is None:
            text = f"a {each.invoked.name} of {len(asked_items(each))} items has not as many results"
            yield Complaint(text, [each.number])


class _Judging:
    def __init__(self, observed: Observed) -> None:
        self._seen, self._fates = observed, Fates(observed)
        self._named: dict[Version, tuple[str, bytes | None, int]] = {}

    def complaints(self) -> Iterator[Complaint]:
        """Whatever single keys cannot show."""
        for change in self._seen.all_changes():
            if change.outcome is Outcome.OK and change.version is not None:
                known = change.name in ("write", "cas", "incr")
                yield from self._name(change.version, change.key, change.value if known else None, change.number)
        for read in self._seen.all_reads():
            if read.version is not None:
                yield from self._name(read.version, read.key, read.value, read.number)
                yield from self._of_beginning(read, read.version)
        for key, reads in self._seen.reads.items():
            yield from self._of_values(reads, self._seen.changes.get(key, []))
        for version, reads_that_miss in self._fates.lost_by_read.items():
            if version in self._fates.kept:
                numbers = [self._fates.kept[version][0], reads_that_miss[0]]
                key = self._fates.acknowledged[version].key
                yield Complaint(f"{key}: a linearizable read does not show {version}, acknowledged before", numbers)

    def _name(self, version: Version, key: str, value: Any, number: int) -> Iterator[Complaint]:
        """Note what a version names; `value` None: that is not known."""
        encoded = None if value is None else msgspec.json.encode(value)
        other_key, other, first = self._named.setdefault(version, (key, encoded, number))
        if other_key != key or (other is not None and encoded is not None and other != encoded):
            mine, theirs = f"{key} with {shown(value)}", f"{other_key} with {(other or b'?').decode()[:80]}"
            yield Complaint(f"one version, {version}, names {theirs} and {mine}", [first, number])
        elif other is None:
            self._named[version] = (key, encoded, first)

    def _of_beginning(self, read: Read, version: Version) -> Iterator[Complaint]:
        write = self._fates.acknowledged.get(version)
        if write is None or write.key != read.key:
            return
        if self._began_ms(write) > read.ended_ms:
            text = f"{read.key}: {version} was read too early, before its write began"
            yield Complaint(text, [read.number, write.number])

    def _began_ms(self, write: Change) -> float:
        """A retry under one key tells of the first of all attempts."""
        attempts = self._seen.changes[write.key] if write.idempotency is not None else [write]
        return min(each.began_ms for each in attempts if each.idempotency == write.idempotency)

    def _of_values(self, reads: list[Read], changes: list[Change]) -> Iterator[Complaint]:
        if any(change.name == "incr" for change in changes):
            return
        tried: dict[bytes, list[Change]] = {}
        for change in changes:
            if change.value is not None:
                tried.setdefault(msgspec.json.encode(change.value), []).append(change)
        for read in reads:
            if read.value is not None:
                yield from _of_value(read, tried.get(msgspec.json.encode(read.value), []))


def _of_value(read: Read, attempts: list[Change]) -> Iterator[Complaint]:
    begun = [attempt for attempt in attempts if attempt.began_ms <= read.ended_ms]
    if not begun:
        text = f"{read.key}: {shown(read.value)} was read, and is foreign: nobody had tried to write it"
        yield Complaint(text, [read.number])
    elif all(attempt.refused for attempt in begun):
        text = f"{read.key}: {shown(read.value)} was refused, and is there after all"
        yield Complaint(text, [read.number, *(attempt.number for attempt in begun)])
