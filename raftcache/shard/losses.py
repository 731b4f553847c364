"""What this node acknowledged as a leader and has lost: the lost-write report.

    leadership lost ──> what it undid, batch by batch  ──the close of its term──> survived, or lost

A deposed leader has undone every speculative batch, and with it writes that were answered at `primary` already. Whether
they are lost it cannot know at that moment: a batch that had reached another replica may yet commit. It knows once it
has applied the next leader's `leader_started`, by which the term is closed: a batch is committed as a whole, so those
that begin at or below the last committed `seq` survived, and of the others every acknowledged write is lost. Thus the
counts are exact, and only the keys are bounded: the newest `LOST_KEYS_LIMIT` of the node.

One term a shard is all that ever waits for its close. To serve once more the same replica must have applied its own
new `leader_started`, which closes the old term. What waits belongs to the node, not to the replica: a replica that is
wiped and refilled learns the close from the snapshot. Only if the node is to hold the shard no more, the question stays
open, and what it was about is counted as *unresolved*.

**The bound.** A leader that was killed takes what it acknowledged with it. So each new leader puts down, for the leader
before it, the most that this can have lost of each namespace, by its loss window, and strikes that out when the old
leader says that it knows its own losses (`resolved`; nodes tell each other again and again). What stands there is
about leaders that never came back with their memory, or have not yet.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from raftcache.clock import Clock
from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import DEFAULT
from raftcache.commands.types import AckLevel, Version
from raftcache.shard.acked import AckedWrite
from raftcache.shard.history import History
from raftcache.shard.pipeline import PendingBatch
from raftcache.shard.window import Place, share_of

LOST_KEYS_LIMIT = 1_000
"""The newest lost writes of a node whose keys are kept, and as many of a term that is not closed yet."""
RESOLVED_TERMS_KEPT = 8
"""Of each shard, so many of the terms that this process led and knows the losses of are told to the other nodes."""
UNREPORTED_LIMIT = 64
"""Leaderships of one shard of which a node keeps the bound apart, until their leaders report. Beyond that the bound of
the oldest stands for good."""

log = logging.getLogger("raftcache.shard")


class LostWrite(NamedTuple):
    """An acknowledged write that is lost. `key` is without the namespace's prefix; `acked_ms` by the wall clock."""

    namespace: str
    key: bytes
    version: Version
    acked_ms: int


class UndoneBatch(NamedTuple):
    """The acknowledged writes of one batch: how many of each namespace, and the newest of them."""

    first_seq: int
    counts: Counter[str]
    newest: list[LostWrite]


class UndoneTerm(NamedTuple):
    """What one leadership has undone; oldest batch first."""

    term: int
    batches: list[UndoneBatch]


Resolved = dict[str, tuple[int, ...]]
"""Terms by shard."""


class Losses:
    """The report of one node, over all its shards."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._undone: dict[str, UndoneTerm] = {}
        self.counts: Counter[str] = Counter()
        """Acknowledged and lost, by namespace, since the process started."""
        self.unresolved: Counter[str] = Counter()
        """Acknowledged and undone here, and nobody here will learn whether they survived."""
        self.newest: deque[LostWrite] = deque(maxlen=LOST_KEYS_LIMIT)
        self.resolved: Resolved = {}
        """The newest terms that this process led, has lost, and knows the losses of."""
        self.bounds = Bounds()

    def undone(self, shard_id: str, term: int, batches: Iterable[PendingBatch], namespaces: Namespaces) -> None:
        """A leadership has ended, and these batches of it are undone."""
        self.abandon(shard_id)
        name_of = _names(namespaces)
        wall_ms = self._clock.wall_ms() - round(self._clock.now() * 1000)
        room = LOST_KEYS_LIMIT
        kept: list[UndoneBatch] = []
        for batch in reversed([each for each in batches if each.acked]):
            acked = batch.acked_writes()
            names = [name_of(write) for write in acked]
            first = max(0, len(names) - room)
            room -= len(names) - first
            newest = [
                _lost(shard_id, term, write, name, wall_ms)
                for write, name in zip(acked[first:], names[first:], strict=True)
            ]
            kept.append(UndoneBatch(batch.first_seq, Counter(names), newest))
        self._undone[shard_id] = UndoneTerm(term, kept[::-1])

    def closed(self, shard_id: str, history: History) -> None:
        """The shard's table of terms has got on: whatever waits for the close of an earlier term knows it now."""
        waiting = self._undone.get(shard_id)
        if waiting is None or history.term <= waiting.term:
            return
        del self._undone[shard_id]
        last = history.last_committed_seq(waiting.term)
        lost: Counter[str] = Counter()
        for batch in waiting.batches:
            if batch.first_seq > last:
                lost.update(batch.counts)
                self.newest.extend(batch.newest)
        self.counts.update(lost)
        known = self.resolved.get(shard_id, ())
        self.resolved[shard_id] = (*known, waiting.term)[-RESOLVED_TERMS_KEPT:]
        self.bounds.reported({shard_id: (waiting.term,)})
        acked = sum((batch.counts for batch in waiting.batches), Counter[str]())
        _tell(shard_id, waiting.term, lost, acked)

    def abandon(self, shard_id: str) -> None:
        """The close of what waits will not be learnt here."""
        waiting = self._undone.pop(shard_id, None)
        for batch in waiting.batches if waiting is not None else ():
            self.unresolved.update(batch.counts)

    @property
    def waiting(self) -> int:
        """Acknowledged and undone writes of terms that are not closed yet, as far as is known here."""
        return sum(batch.counts.total() for term in self._undone.values() for batch in term.batches)

    def report(self, namespace: str | None = None) -> tuple[list[LostWrite], int]:
        """The newest lost writes, newest first, and how many there were in all; of one namespace, or of all."""
        if namespace is None:
            return list(reversed(self.newest)), self.counts.total()
        return [each for each in reversed(self.newest) if each.namespace == namespace], self.counts[namespace]


Bound = dict[str, float]
"""By namespace, the most acknowledged writes that can be lost; infinity where nothing bounds them."""


class Bounds:
    """What leaders before this node's own may have lost, as far as they have not said what they did."""

    def __init__(self) -> None:
        self._unreported: dict[str, dict[int, Bound]] = {}
        self._reported: dict[str, int] = {}
        self._settled: Bound = {}

    def changed(self, shard_id: str, old_term: int, bound: Bound) -> None:
        """This node leads a shard after another leader, of `old_term`."""
        if not bound or self._reported.get(shard_id, 0) >= old_term:
            return
        terms = self._unreported.setdefault(shard_id, {})
        terms[old_term] = bound
        if len(terms) > UNREPORTED_LIMIT:
            _add(self._settled, terms.pop(min(terms)))

    def reported(self, resolved: Resolved) -> None:
        """A node that led these shards in these terms knows exactly what it has lost of them."""
        for shard_id, terms in resolved.items():
            for term in terms:
                self._reported[shard_id] = max(term, self._reported.get(shard_id, 0))
                self._unreported.get(shard_id, {}).pop(term, None)

    def total(self) -> Bound:
        """By namespace, over all shards and all leaders that have not reported."""
        total = dict(self._settled)
        for terms in self._unreported.values():
            for bound in terms.values():
                _add(total, bound)
        return total


def loss_bound(namespaces: Namespaces, place: Place) -> Bound:
    """The most that one leader of one shard may have acknowledged and not committed at any moment, by namespace: the
    shard's share of the loss window in writes. `place` is the shard's among all."""
    primary = (space for space in namespaces.by_name.values() if space.ack == AckLevel.PRIMARY)
    bounds = {space.name: float(share_of(space.loss_window.writes, place)) for space in primary}
    return {name: bound for name, bound in bounds.items() if bound}


def _add(total: Bound, bound: Bound) -> None:
    for name, most in bound.items():
        total[name] = total.get(name, 0.0) + most


def _names(namespaces: Namespaces) -> Callable[[AckedWrite], str]:
    """The namespace's name of a write. One that was deleted meanwhile gave its keys its name as their prefix."""
    names = {space.identity: space.name for space in namespaces.by_name.values()}

    def name_of(write: AckedWrite) -> str:
        return names.get(write.namespace_id) or write.key.partition(b":")[0].decode("ascii", "backslashreplace")

    return name_of


def _lost(shard_id: str, term: int, write: AckedWrite, name: str, wall_ms: int) -> LostWrite:
    key = write.key if name == DEFAULT else write.key[len(name) + 1 :]
    return LostWrite(name, key, Version(shard_id, term, write.seq), wall_ms + round(write.at_s * 1000))


def _tell(shard_id: str, term: int, lost: Counter[str], acked: Counter[str]) -> None:
    by_namespace = ", ".join(f"{name}: {count}" for name, count in sorted(lost.items())) or "none"
    level = logging.WARNING if lost else logging.INFO
    log.log(
        level,
        "shard %s: term %d, which this node led, is closed: of %d acknowledged writes that it undid, %d are lost (%s)",
        shard_id, term, acked.total(), lost.total(), by_namespace,
    )  # fmt: skip
