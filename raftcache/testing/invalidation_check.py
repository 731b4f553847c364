"""Clients that drop a namespace or a tag while everything breaks, and read what may not be seen any more.

Each has a namespace of its own, writes values that are never written twice, some of them with tags, and drops now and
then all of it or one tag, through the same calls as a front end, at a node chosen anew each time. A value whose write
was answered before a drop was called must not be the answer of any read that begins after the drop was answered, at
whichever node and level, through elections, restarts and snapshots. Where a drop ended in anything but success, nothing
is known.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from raftcache.commands.policy import Namespace
from raftcache.commands.types import AckLevel, Get, ReadLevel, Reply, Set, Value, Written
from raftcache.errors import RaftcacheError
from raftcache.testing.checks import Violation
from raftcache.testing.cluster import SimCluster, SimProcess

DROPPED_SPACES = (Namespace("drop0", 0), Namespace("drop1", 0, ack=AckLevel.QUORUM))
TIMEOUT_S = 3.0
KEYS = 6
TAGS = ("red", "blue")


class Dropper:
    """One client with one namespace."""

    def __init__(self, number: int, cluster: SimCluster) -> None:
        self.name, self.cluster = DROPPED_SPACES[number].name, cluster
        self.random = random.Random(cluster.loop.seed * 6_700_417 + number)
        self.stopped = False
        self.confirmed = self.judged = 0
        self._values = 0
        self._stored: dict[bytes, tuple[str, ...]] = {}
        """Values whose write was answered, with their tags."""
        self._dropped_at: dict[bytes, float] = {}

    def start(self) -> None:
        """Begin."""
        self._drop_later()
        self._use_later()

    # -- dropping --------------------------------------------------------------------------------

    def _drop_later(self) -> None:
        self.cluster.loop.call_later(self.random.uniform(0.3, 2.5), self._drop)

    def _drop(self) -> None:
        if self.stopped:
            return
        self._drop_later()
        running = self.cluster.running()
        if not running:
            return
        process, tag = self.random.choice(running), self.random.choice((None, *TAGS))
        before = [value for value, tags in self._stored.items() if tag is None or tag in tags]

        def done(error: RaftcacheError | None) -> None:
            self.cluster.loop.trace("drop", self.name, tag, error)
            if error is None:
                self.confirmed += 1
                for value in before:
                    self._stored.pop(value, None)
                    self._dropped_at.setdefault(value, self.cluster.loop.time)

        self._send(process, lambda deadline: self._invalidate(process, tag, deadline, done))

    def _invalidate(
        self, process: SimProcess, tag: str | None, deadline: float, done: Callable[[RaftcacheError | None], None]
    ) -> None:
        if tag is None:
            process.backend.invalidate_namespace(self.name, deadline, done)
        else:
            process.backend.invalidate_tag(self.name, tag, deadline, done)

    def _send(self, process: SimProcess, send: Callable[[float], None]) -> None:
        deadline = process.runtime.now() + TIMEOUT_S
        process.runtime.deliver(lambda: send(deadline))

    # -- writing and reading ---------------------------------------------------------------------

    def _use_later(self) -> None:
        self.cluster.loop.call_later(self.random.uniform(0.02, 0.1), self._use)

    def _use(self) -> None:
        if self.stopped:
            return
        self._use_later()
        running = self.cluster.running()
        if running:
            process = self.random.choice(running)
            (self._write if self.random.random() < 0.4 else self._read)(process)

    def _key(self) -> bytes:
        return b"%s:%d" % (self.name.encode(), self.random.randrange(KEYS))

    def _write(self, process: SimProcess) -> None:
        self._values += 1
        value, tags = b"%d" % self._values, tuple(tag for tag in TAGS if self.random.random() < 0.5)
        command = Set(self._key(), value, tags=tags or None)

        def done(reply: Reply) -> None:
            if isinstance(reply, Written) and reply.written:
                self._stored[value] = tags

        self._send(process, lambda deadline: process.dispatcher.execute(command, deadline, done))

    def _read(self, process: SimProcess) -> None:
        level = self.random.choice((None, ReadLevel.LATEST, ReadLevel.COMMITTED, ReadLevel.LINEARIZABLE))
        began_s = self.cluster.loop.time

        def done(reply: Reply) -> None:
            if not isinstance(reply, Value):
                return
            self.judged += 1
            dropped_s = None if reply.value is None else self._dropped_at.get(reply.value)
            if dropped_s is not None and dropped_s <= began_s:
                raise Violation(
                    f"{self.name}: value {reply.value!r} was dropped at {dropped_s:.3f} s and read at {began_s:.3f} s"
                )

        self._send(process, lambda deadline: process.dispatcher.execute(Get(self._key(), level), deadline, done))


def check_evidence(droppers: list[Dropper]) -> None:
    """That anything was dropped and read. Raises Violation."""
    for dropper in droppers:
        if dropper.confirmed < 3 or dropper.judged < 20:
            raise Violation(f"proves nothing: {dropper.confirmed} drops of {dropper.name}, {dropper.judged} reads")
