"""Clients of the simulated cluster: they write, read and check what they can judge alone.

Each client owns some keys in the namespaces `safe` (quorum acks) and `vault` (durable acks), both with linearizable
reads, and counts them up with plain sets, one request at a time, so it knows between which two values any linearizable
read must lie: from the newest acknowledged one to the newest attempted one. Where a majority of a shard lost power, the
keys in `safe` may have gone back, and the client takes new ones; those in `vault` never do. Besides, it writes, counts,
expires and deletes in `default`, whose writes may be lost: those are load for speculation and undo.
"""

from __future__ import annotations

import random
from functools import partial

from raftcache.commands.types import (
    AckLevel,
    Append,
    Command,
    Counted,
    Delete,
    Expire,
    ExpireIf,
    Failure,
    Get,
    Incr,
    Many,
    MultiGet,
    MultiSet,
    Persist,
    Reply,
    Set,
    Transaction,
    Value,
    Written,
)
from raftcache.testing.checks import Oracle, Violation
from raftcache.testing.cluster import SimCluster, SimProcess

TIMEOUT_S = 3.0
KEYS_PER_CLIENT = 6
"""The first half in `safe`, the others in `vault`."""
SHARED_KEYS = 20


class Client:
    """One client: one request at a time, at a node chosen anew each time."""

    def __init__(self, number: int, cluster: SimCluster, oracle: Oracle) -> None:
        self.number, self.cluster, self.oracle = number, cluster, oracle
        self.random = random.Random(cluster.loop.seed * 7919 + number)
        self.acked = [0] * KEYS_PER_CLIENT
        self.attempted = [0] * KEYS_PER_CLIENT
        self.fresh = [0] * KEYS_PER_CLIENT
        self.answered = self.failed = self.unknown = self.abandoned = self.durable = 0
        self.stopped = False
        self._request = 0

    def start(self) -> None:
        """Begin."""
        self._later()

    def _later(self) -> None:
        self.cluster.loop.call_later(self.random.uniform(0.005, 0.08), self._next)

    def _next(self) -> None:
        if self.stopped:
            return
        running = self.cluster.running()
        if not running:
            self._later()
            return
        process = self.random.choice(running)
        self._request += 1
        self._issue(process, self._request)

    def _issue(self, process: SimProcess, request: int) -> None:
        """Send one request; should its process die, the client goes on without an answer."""
        kind = self.random.random()
        slot = self.random.randrange(KEYS_PER_CLIENT)
        command: Command
        if kind < 0.35:
            command = self._own_set(slot)
        elif kind < 0.55:
            command = Get(self._own_key(slot))
        else:
            command = self._shared_command()
        lower, own, fresh = self.acked[slot], kind < 0.55, self.fresh[slot]
        asked_at = self.cluster.loop.time

        def answered(reply: Reply) -> None:
            if self._request == request and not self.stopped:
                self._judge(reply, slot if own and self.fresh[slot] == fresh else None, lower, command, asked_at)
                self._request += 1
                self._later()

        deadline = process.runtime.now() + TIMEOUT_S
        process.runtime.deliver(lambda: process.ask(command, deadline, answered))
        if not own and self.random.random() < 0.4:
            self._burst(process)
        self.cluster.loop.call_later(TIMEOUT_S + 0.2, lambda: self._give_up(request, slot))

    def _burst(self, process: SimProcess) -> None:
        """Several writes to one key, none waited for: they end up in one speculative suffix."""
        key = b"k%d" % self.random.randrange(SHARED_KEYS)
        deadline = process.runtime.now() + TIMEOUT_S
        for number in range(self.random.randrange(2, 6)):
            write = Set(key, b"%d-%d" % (self._request, number))
            process.runtime.deliver(partial(process.dispatcher.execute, write, deadline, lambda _reply: None))

    def _give_up(self, request: int, slot: int) -> None:
        if self._request == request and not self.stopped:
            self.abandoned += 1
            self._leave_key(slot)
            self._request += 1
            self._later()

    def _leave_key(self, slot: int) -> None:
        self.fresh[slot] += 1
        self.acked[slot] = self.attempted[slot] = 0

    def power_lost(self) -> None:
        """A majority of some shard forgot what was not durable."""
        for slot in range(KEYS_PER_CLIENT // 2):
            self._leave_key(slot)

    def _own_key(self, slot: int) -> bytes:
        namespace = b"safe" if slot < KEYS_PER_CLIENT // 2 else b"vault"
        return b"%s:c%d-%d-%d" % (namespace, self.number, slot, self.fresh[slot])

    def _own_set(self, slot: int) -> Set:
        self.attempted[slot] += 1
        return Set(self._own_key(slot), b"%d" % self.attempted[slot])

    def _shared_command(self) -> Command:
        rnd = self.random
        key = b"k%d" % rnd.randrange(SHARED_KEYS)
        value = b"x" * rnd.randrange(1, 60)
        ttl_ms = rnd.choice((None, None, rnd.randrange(50, 4000)))
        amount = rnd.randrange(1, 100)
        choices: list[Command] = [
            Set(key, value, ttl_ms=ttl_ms),
            Set(key, value, ack=AckLevel.QUORUM),
            Set(key, value, ack=AckLevel.DURABLE),
            Set(key, value, if_absent=True),
            Get(key),
            Delete(key),
            Incr(b"n" + key, rnd.randrange(-3, 9), ttl_ms),
            Incr(b"safe:n" + key, 1),
            Incr(b"vault:n" + key, 1),
            Expire(key, rnd.randrange(50, 3000)),
            Persist(key),
            Append(key, value),
            Set(key, value, if_present=True, keep_ttl=True, reveal=True),
            Delete(key, reveal=True),
            Expire(key, rnd.randrange(50, 3000), when=rnd.choice(list(ExpireIf)), reveal=True),
            Transaction((Incr(b"{sum}l", amount), Incr(b"{sum}r", -amount))),
            Transaction((Get(b"{sum}l"), Get(b"{sum}r"))),
            MultiGet(tuple(Get(b"k%d" % i) for i in range(4))),
            MultiSet(tuple(Set(b"k%d" % i, value) for i in range(4))),
        ]
        return rnd.choice(choices)

    # -- judging ---------------------------------------------------------------------------------

    def _judge(self, reply: Reply, slot: int | None, lower: int, command: Command, asked_at: float) -> None:
        self.cluster.loop.trace("reply", self.number, reply)
        if isinstance(reply, Failure):
            self._count_failure(reply, slot)
            return
        self.answered += 1
        if isinstance(reply, Written | Counted) and reply.ack >= AckLevel.QUORUM:
            self.oracle.write_acked(reply.version, reply.ack, asked_at)
            self.durable += reply.ack == AckLevel.DURABLE
        if isinstance(command, Transaction) and isinstance(reply, Many):
            self._judge_sum(reply)
        if slot is not None and isinstance(reply, Written):
            self.acked[slot] = int(command.value)  # type: ignore[union-attr]
        elif slot is not None and isinstance(reply, Value):
            self._judge_read(slot, lower, int(reply.value or 0))

    def _judge_sum(self, reply: Many) -> None:
        """What transfers put into one key they take from the other: no read ever sees the one without the other."""
        seen = [int(item.value or 0) for item in reply.items if isinstance(item, Value)]
        if sum(seen) and len(seen) == len(reply.items):
            raise Violation(f"a transaction was seen in part: {seen}")

    def _judge_read(self, slot: int, lower: int, seen: int) -> None:
        if not lower <= seen <= self.attempted[slot]:
            key, highest = self._own_key(slot), self.attempted[slot]
            raise Violation(f"a linearizable read of {key!r} saw {seen}: outside {lower} to {highest}")
        self.acked[slot] = max(self.acked[slot], seen)

    def _count_failure(self, failure: Failure, slot: int | None) -> None:
        if failure.code == "outcome_unknown":
            self.unknown += 1
            if slot is not None:
                self._leave_key(slot)
        else:
            self.failed += 1
