"""A retried `incr` counts once: clients that count up and retry until they are answered, whatever breaks.

Each client has a counter that nobody else touches and adds 1 to it with one idempotency key after the other. It sends
a key at nodes chosen anew each time, with short deadlines, often twice at once, until some answer says how far the
counter is. The *n*th key must be answered with *n*, on every attempt and with the same version; a key that was answered
is sent again now and then, later, to be answered the same, and with another body, to be refused. In the end the counter
of every replica is the number of keys. That holds where nothing acknowledged is lost: in `safe`, and where majorities
may lose power, in `vault`.
"""

from __future__ import annotations

import random
from bisect import bisect_left

from raftcache.commands.types import Counted, Failure, Incr, Reply
from raftcache.testing.checks import Violation
from raftcache.testing.cluster import SimCluster

RETRYING_CLIENTS = 3
DEADLINES_S = (0.05, 0.3, 1.5)
RETRY_AFTER_S = (0.01, 0.4)
KEPT_S = 600.0
"""Records are kept for 15 minutes, by clocks that are wrong."""
ANOTHER_BODY = 2


class RetryingClient:
    """One client. `start` it, `drain` it before the end, and `check` it after the replicas have settled."""

    def __init__(self, number: int, cluster: SimCluster, durable: bool) -> None:
        self.cluster = cluster
        self.random = random.Random(cluster.loop.seed * 104_729 + number)
        self.counter = b"%s:retried-%d" % (b"vault" if durable or number % 2 else b"safe", number)
        self.answers: list[Counted] = []
        self._answered_at: list[float] = []
        self.retried = 0
        self.draining = False
        self._attempts = 0

    @property
    def number(self) -> int:
        """The number of the key that is not answered yet; from 1."""
        return len(self.answers) + 1

    @property
    def idle(self) -> bool:
        """Whether it is draining and has its last answer."""
        return self.draining and not self._attempts

    def start(self) -> None:
        """Begin."""
        self.cluster.loop.call_later(self.random.uniform(0.01, 0.2), self._next)

    def drain(self) -> None:
        """Begin no new key."""
        self.draining = True

    def check(self) -> None:
        """Every replica has counted every key that was answered, once."""
        if not self.idle:
            raise Violation(f"{self.counter!r}: key {self.number} was tried {self._attempts} times without an answer")
        replicas = [replica for process in self.cluster.processes.values() for replica in process.core.shards.values()]
        found = [entry for replica in replicas if (entry := replica.keyspace.get(self.counter)) is not None]
        counted = {int(entry.value) for entry in found}
        if counted != {len(self.answers)}:
            raise Violation(f"{self.counter!r}: {len(self.answers)} keys were answered, and replicas counted {counted}")

    def _next(self) -> None:
        if self.draining and not self._attempts:
            return
        number = self.number
        self._attempts += 1
        self.retried += self._attempts > 1
        self._send(number)
        if self.random.random() < 0.3:
            self._send(number)
        if number > 1 and self.random.random() < 0.2:
            self._send(self.random.randrange(self._oldest(), number))
        if number > 1 and self.random.random() < 0.05:
            self._send(self.random.randrange(self._oldest(), number), ANOTHER_BODY)
        self.cluster.loop.call_later(self.random.uniform(*RETRY_AFTER_S), lambda: self._look(number))

    def _oldest(self) -> int:
        """The first key whose record is kept for certain, so that it may be tried again."""
        kept_since = self.cluster.loop.time - KEPT_S
        return min(1 + bisect_left(self._answered_at, kept_since), self.number - 1)

    def _look(self, number: int) -> None:
        """Go on with the next key, or try again."""
        if self.number > number:
            self._attempts = 0
        self._next()

    def _send(self, number: int, delta: int = 1) -> None:
        running = self.cluster.running()
        if not running:
            return
        process = self.random.choice(running)
        command = Incr(self.counter, delta, idempotency=b"%s-%d" % (self.counter, number))
        deadline = process.runtime.now() + self.random.choice(DEADLINES_S)

        def answered(reply: Reply) -> None:
            self.cluster.loop.trace("retry", self.counter, number, delta, reply)
            self._judge(number, delta, reply)

        process.runtime.deliver(lambda: process.dispatcher.execute(command, deadline, answered))

    def _judge(self, number: int, delta: int, reply: Reply) -> None:
        if isinstance(reply, Failure):
            if reply.code == "idempotency_mismatch" and delta == 1:
                raise Violation(f"{self.counter!r}: key {number} is said to have been used for another write")
            return
        assert isinstance(reply, Counted)
        if delta != 1:
            raise Violation(f"{self.counter!r}: another body under key {number} was answered with {reply.value}")
        if number == self.number:
            self.answers.append(reply)
            self._answered_at.append(self.cluster.loop.time)
        first = self.answers[number - 1]
        if (reply.value, reply.version) != (number, first.version):
            raise Violation(
                f"{self.counter!r}: key {number} was answered with {reply.value} as {reply.version}, "
                f"and first with {first.value} as {first.version}"
            )
