"""Clients that change policies while everything breaks, and hold the cluster to what it answered.

Each owner has one namespace, which it creates, tightens, loosens, deletes and creates again through the same calls as a
front end, at a node chosen anew each time; all the while it writes and reads there, at other nodes. It changes one
thing at a time, so it knows between which replies which policy must have been obeyed:

- *After the reply to a change*, a write that begins before the next change is answered at the policy's level or a
  higher one, and one over the policy's size limit is refused.
- *After the reply to a creation or a deletion*, a read never shows a value whose write was answered in an earlier
  life of the namespace, for which it stood under another id.
- *After the reply to a deletion*, what is addressed by the namespace's name is refused, at nodes also that have not
  heard of it.

Where a change ended in anything but success, nothing is known until one succeeds. Values that were written while there
was no such namespace are `default`'s, and may come back when it has gone again: they are judged while there is one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from raftcache.commands.types import AckLevel, Failure, Get, Reply, Set, Value, Written
from raftcache.errors import RaftcacheError
from raftcache.frontends.backend import PolicyWritten
from raftcache.testing.checks import Violation
from raftcache.testing.cluster import SimCluster, SimProcess

OWNERS = 2
TIMEOUT_S = 3.0
KEYS = 4
SMALL_BYTES, LARGE_BYTES = 40, 80
"""The size limit of a tight policy, and the size of every third value."""
ACKS = {"primary": AckLevel.PRIMARY, "quorum": AckLevel.QUORUM, "durable": AckLevel.DURABLE}


class Known(NamedTuple):
    """What every request that begins now must obey. `life` counts the namespace's creations and deletions."""

    life: int
    exists: bool
    ack: AckLevel = AckLevel.PRIMARY
    limit_bytes: int = LARGE_BYTES


class Stored(NamedTuple):
    """A value whose write was answered, and in which life it was begun and answered."""

    life: int
    exists: bool


class Owner:
    """The owner of one namespace."""

    def __init__(self, number: int, cluster: SimCluster) -> None:
        self.name, self.cluster = f"p{number}", cluster
        self.random = random.Random(cluster.loop.seed * 15_485_863 + number)
        self.known: Known | None = None
        self.stopped = False
        self.confirmed = self.judged_writes = self.judged_reads = 0
        self._life = 0
        self._maybe_there = False
        self._stored: dict[bytes, Stored] = {}
        self._values = 0
        self._change = 0

    def start(self) -> None:
        """Begin."""
        self._change_later()
        self._use_later()

    # -- changing --------------------------------------------------------------------------------

    def _change_later(self) -> None:
        self.cluster.loop.call_later(self.random.uniform(0.1, 1.5), self._next_change)

    def _next_change(self) -> None:
        running = self.cluster.running()
        if self.stopped:
            return
        if not running:
            return self._change_later()
        process = self.random.choice(running)
        self._change += 1
        before, self.known = self.known, None
        self._life += 1
        if self._maybe_there and self.random.random() < 0.3:
            self._delete(process, self._change)
        else:
            self._put(process, self._change, before)
        change = self._change
        self.cluster.loop.call_later(TIMEOUT_S + 0.5, lambda: self._over(change))

    def _over(self, change: int) -> None:
        """Go on, whether it was answered or not; the first who says so counts."""
        if change == self._change:
            self._change += 1
            self._change_later()

    def _put(self, process: SimProcess, change: int, before: Known | None) -> None:
        ack, limit = self.random.choice(sorted(ACKS)), self.random.choice((SMALL_BYTES, LARGE_BYTES))
        document = {"ack": ack, "readLevel": "linearizable", "maxItemBytes": limit}
        self._maybe_there = True

        def done(result: PolicyWritten | RaftcacheError) -> None:
            self.cluster.loop.trace("policy", self.name, result)
            if change == self._change and isinstance(result, PolicyWritten):
                same_life = not result.created and before is not None
                self._know(Known(before.life if same_life and before else self._life, True, ACKS[ack], limit))
                if not result.created and not same_life:
                    self._stored.clear()  # Whether it was deleted in between, nobody knows.
            self._over(change)

        self._send(process, lambda deadline: process.backend.put_namespace(self.name, document, deadline, done))

    def _delete(self, process: SimProcess, change: int) -> None:
        def done(error: RaftcacheError | None) -> None:
            self.cluster.loop.trace("policy", self.name, error)
            if change == self._change and error is None:
                self._maybe_there = False
                self._know(Known(self._life, False))
            self._over(change)

        self._send(process, lambda deadline: process.backend.delete_namespace(self.name, deadline, done))

    def _know(self, known: Known) -> None:
        self.known = known
        self.confirmed += 1

    def _send(self, process: SimProcess, send: Callable[[float], None]) -> None:
        deadline = process.runtime.now() + TIMEOUT_S
        process.runtime.deliver(lambda: send(deadline))

    # -- using it --------------------------------------------------------------------------------

    def _use_later(self) -> None:
        self.cluster.loop.call_later(self.random.uniform(0.01, 0.06), self._use)

    def _use(self) -> None:
        running = self.cluster.running()
        if self.stopped:
            return
        if running:
            process = self.random.choice(running)
            key = b"%s:k%d" % (self.name.encode(), self.random.randrange(KEYS))
            (self._write if self.random.random() < 0.6 else self._read)(process, key)
        self._use_later()

    def _execute(self, process: SimProcess, command: Any, judge: Callable[[Reply], None]) -> None:
        self._send(process, lambda deadline: process.dispatcher.execute(command, deadline, judge))

    def _write(self, process: SimProcess, key: bytes) -> None:
        self._values += 1
        value = b"%s-%d" % (self.name.encode(), self._values)
        if self._values % 3 == 0:
            value = value.ljust(LARGE_BYTES, b".")
        known, change, named_at = self.known, self._change, self._named_at(process)

        def judge(reply: Reply) -> None:
            if isinstance(reply, Written):
                if known is not None and change == self._change:
                    self._judge_refusal(known, named_at, reply)
                self._judge_write(known if change == self._change else None, value, reply)
                if known is not None and self.known is not None and known.life == self.known.life:
                    self._stored[value] = Stored(known.life, known.exists)

        self._execute(process, Set(key, value, named_at=named_at), judge)

    def _named_at(self, process: SimProcess) -> int:
        """As a front end names the namespace, where it has heard of it."""
        namespaces = process.backend.namespaces()
        return namespaces.epoch if self.name in namespaces.by_name else 0

    def _judge_refusal(self, known: Known, named_at: int, reply: Written | Value) -> None:
        if named_at and not known.exists:
            raise Violation(f"{self.name}: {reply} was given as of epoch {named_at}, and it is deleted: {known}")

    def _judge_write(self, known: Known | None, value: bytes, reply: Written) -> None:
        if known is None or not known.exists:
            return
        self.judged_writes += 1
        if reply.ack < known.ack:
            raise Violation(f"{self.name}: {reply.version} was answered at {reply.ack.name}, the policy is {known}")
        if len(value) > known.limit_bytes:
            raise Violation(f"{self.name}: {reply.version} stored {len(value)} bytes, the policy is {known}")

    def _read(self, process: SimProcess, key: bytes) -> None:
        known, change, named_at = self.known, self._change, self._named_at(process)

        def judge(reply: Reply) -> None:
            if isinstance(reply, Failure) or known is None or change != self._change:
                return
            assert isinstance(reply, Value)
            self.judged_reads += 1
            self._judge_refusal(known, named_at, reply)
            stored = self._stored.get(reply.value or b"")
            if stored is not None and stored.life < known.life and (stored.exists or known.exists):
                raise Violation(f"{self.name}: {reply.version} of life {stored.life} was read in {known}")

        self._execute(process, Get(key, named_at=named_at), judge)


def check_evidence(owners: list[Owner]) -> None:
    """A run in which nothing was judged proves nothing."""
    confirmed = sum(owner.confirmed for owner in owners)
    writes, reads = sum(owner.judged_writes for owner in owners), sum(owner.judged_reads for owner in owners)
    if not (confirmed and writes and reads):
        raise Violation(f"proves nothing of policies: {confirmed} changes, {writes} writes and {reads} reads judged")


def check_confirming(owners: list[Owner], cluster: SimCluster, within_s: float) -> None:
    """Liveness: in a cluster that is whole, every owner gets a change confirmed."""
    before = [owner.confirmed for owner in owners]

    def all_confirmed() -> bool:
        return all(owner.confirmed != had for owner, had in zip(owners, before, strict=True))

    if not cluster.loop.run_till(all_confirmed, within_s, 0.1):
        raise Violation(f"no change of policy was confirmed within {within_s} seconds after healing")
