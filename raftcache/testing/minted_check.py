"""A write without a key counts once though front ends send it again: clients that count up and never retry themselves.

Each client has a counter that nobody else touches, and adds 1 to it, one request at a time, at nodes chosen anew, by an
`incr` or by a transaction. Front ends mint a key for what they forward, and for what waits, and send it again when its
outcome is unknown, so most requests are answered in spite of all faults; the *n*th that is answered must say *n*. After
one of unknown outcome, or without an answer, the client takes another
counter. In the end the counter of every replica is the number of answers. That holds where nothing acknowledged is
lost: in `safe`, and where majorities may lose power, in `vault`.
"""

from __future__ import annotations

import random

from raftcache.commands.types import Command, Counted, Failure, Get, Incr, Many, Reply, Transaction
from raftcache.testing.checks import Violation
from raftcache.testing.cluster import SimCluster

COUNTING_CLIENTS = 3
DEADLINE_S = 4.0
GIVE_UP_S = DEADLINE_S + 0.5
PAUSE_S = (0.005, 0.15)


class CountingClient:
    """One client. `start` it, `stop` it before the end, and `check` it after the replicas have settled."""

    def __init__(self, number: int, cluster: SimCluster, durable: bool) -> None:
        self.cluster, self.number = cluster, number
        self.random = random.Random(cluster.loop.seed * 15_485_863 + number)
        self.namespace = b"vault" if durable or number % 2 else b"safe"
        self.fresh = self.answered = self.counted = 0
        self.waiting = self.stopped = False
        self._request = 0

    @property
    def counter(self) -> bytes:
        """The key that is counted up now."""
        return b"%s:counted-%d-%d" % (self.namespace, self.number, self.fresh)

    def start(self) -> None:
        """Begin."""
        self.cluster.loop.call_later(self.random.uniform(*PAUSE_S), self._next)

    def stop(self) -> None:
        """Ask no more."""
        self.stopped = True

    def check(self) -> None:
        """Every replica has counted what was answered, once. Of a counter that is out, that is not known."""
        counted = set(map(int, self.cluster.values_at(self.counter)))
        if not self.waiting and counted != ({self.counted} if self.counted else set()):
            raise Violation(f"{self.counter!r}: {self.counted} increments were answered, and replicas have {counted}")

    def _next(self) -> None:
        running = self.cluster.running()
        if self.stopped or not running:
            return None if self.stopped else self.start()
        process = self.random.choice(running)
        self._request += 1
        request, command, self.waiting = self._request, self._command(), True

        def answered(reply: Reply) -> None:
            if request == self._request and self.waiting:
                self.cluster.loop.trace("counted", self.number, reply)
                self._judge(reply)
                self._go_on()

        deadline = process.runtime.now() + DEADLINE_S
        process.runtime.deliver(lambda: process.dispatcher.execute(command, deadline, answered))
        self.cluster.loop.call_later(GIVE_UP_S, lambda: self._give_up(request))
        return None

    def _command(self) -> Command:
        if self.random.random() < 0.7:
            return Incr(self.counter)
        return Transaction((Get(self.counter), Incr(self.counter)))

    def _go_on(self) -> None:
        self.waiting = False
        self.start()

    def _give_up(self, request: int) -> None:
        """The process that was asked is gone."""
        if request == self._request and self.waiting:
            self._leave_counter()
            self._go_on()

    def _leave_counter(self) -> None:
        self.fresh, self.counted = self.fresh + 1, 0

    def _judge(self, reply: Reply) -> None:
        if isinstance(reply, Many):
            reply = reply.items[1]
        if isinstance(reply, Failure):
            if reply.code == "outcome_unknown":
                self._leave_counter()
            return
        assert isinstance(reply, Counted)
        self.counted += 1
        self.answered += 1
        if reply.value != self.counted:
            raise Violation(f"{self.counter!r}: increment {self.counted} was answered with {reply.value}")
