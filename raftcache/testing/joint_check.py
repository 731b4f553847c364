"""Joint writes through changes of leaders: clients that write several keys at once, where these are led.

Each client has a few keys of one shard that nobody else writes, in a namespace that is acknowledged at `quorum`. In a
round it writes new values to all of them at once, by the short way of the Redis ports, or reads them. As a rule it asks
the shard's leader, and goes on as soon as it has its answers, so leaderships end in the middle of rounds. After a slow
round it reads, before anything is written over what it was answered then. What it was answered must be so: a key has
the newest value that was acknowledged, never one before it, and never one of which it was said that it was not written.
Of a key whose write is of unknown outcome nothing more is known, and another one takes its place.
"""

from __future__ import annotations

import random
from functools import partial

from raftcache.commands.types import Failure, Get, ReadLevel, Reply, Set, Value, Written
from raftcache.testing.checks import Violation
from raftcache.testing.cluster import SimCluster, SimProcess

JOINT_CLIENTS = 2
KEYS_AT_ONCE = 4
DEADLINE_S = 12.0
GIVE_UP_S = DEADLINE_S + 0.5
PAUSE_S = (0.001, 0.02)
READ_SHARE = 0.15
AT_LEADER_SHARE = 0.9
SLOW_S = 0.2
"""As long as a round takes in which a leader changes."""


class JointClient:
    """One client. `start` it, `stop` it before the end, and `check` it after the replicas have settled."""

    def __init__(self, number: int, cluster: SimCluster) -> None:
        self.cluster, self.number = cluster, number
        self.random = random.Random(cluster.loop.seed * 32_452_843 + number)
        self.answered = self._fresh = 0
        self.stopped = False
        self._names = [self._fresh_name() for _ in range(KEYS_AT_ONCE)]
        self._values: dict[bytes, bytes | None] = dict.fromkeys(self._names)
        self._open: dict[bytes, bytes] = {}
        """Keys of the round under way, with what is written to each."""
        self._round, self._asked_at, self._was_slow = 0, 0.0, False

    def _fresh_name(self) -> bytes:
        self._fresh += 1
        return b"safe:{joint%d}%d" % (self.number, self._fresh)

    def start(self) -> None:
        """Begin."""
        self.cluster.loop.call_later(self.random.uniform(*PAUSE_S), self._next)

    def stop(self) -> None:
        """Ask no more."""
        self.stopped = True

    def check(self) -> None:
        """Every replica has what was acknowledged."""
        for name, value in self._values.items():
            found = self.cluster.values_at(name)
            if name not in self._open and found != ({value} if value is not None else set()):
                raise Violation(f"{name!r}: {value!r} was acknowledged last, and replicas have {found}")

    def _next(self) -> None:
        running = self.cluster.running()
        if self.stopped or not running:
            return None if self.stopped else self.start()
        self._round += 1
        process = self._place(running)
        deadline = process.runtime.now() + DEADLINE_S
        reads, self._was_slow = self._was_slow or self.random.random() < READ_SHARE, False
        self._asked_at = self.cluster.loop.time
        commands = {name: self._command(name, reads) for name in self._names}
        self._open = {name: command.value if isinstance(command, Set) else b"" for name, command in commands.items()}

        def ask() -> None:
            for name, command in commands.items():
                process.ask(command, deadline, partial(self._answered, self._round, name))

        process.runtime.deliver(ask)
        self.cluster.loop.call_later(GIVE_UP_S, partial(self._give_up, self._round))
        return None

    def _command(self, name: bytes, reads: bool) -> Get | Set:
        return Get(name, ReadLevel.LINEARIZABLE) if reads else Set(name, b"%d of %s" % (self._round, name))

    def _place(self, running: list[SimProcess]) -> SimProcess:
        leaders = list(filter(self._leads, running))
        return self.random.choice(leaders if leaders and self.random.random() < AT_LEADER_SHARE else running)

    def _leads(self, process: SimProcess) -> bool:
        replica = process.core.shards.get(process.dispatcher.map.shard_of(self._names[0]) or "")
        return replica is not None and replica.serving

    def _answered(self, round_: int, name: bytes, reply: Reply) -> None:
        if round_ != self._round or name not in self._open:
            return
        self.cluster.loop.trace("joint", name, reply)
        value = self._open.pop(name)
        if isinstance(reply, Value):
            if reply.value != self._values[name]:
                raise Violation(f"{name!r}: {reply.value!r} was read, {self._values[name]!r} acknowledged last")
        elif isinstance(reply, Written):
            self._values[name] = value
            self.answered += 1
        elif isinstance(reply, Failure) and value and reply.code == "outcome_unknown":
            self._leave(name)
        if not self._open and not self.stopped:
            self._was_slow = self.cluster.loop.time - self._asked_at > SLOW_S
            self.start()

    def _give_up(self, round_: int) -> None:
        """The process that was asked is gone."""
        if round_ == self._round and self._open and not self.stopped:
            for name in self._open:
                self._leave(name)
            self._open = {}
            self.start()

    def _leave(self, name: bytes) -> None:
        del self._values[name]
        fresh = self._fresh_name()
        self._names[self._names.index(name)] = fresh
        self._values[fresh] = None
