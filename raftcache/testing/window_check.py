"""Loss windows in a simulated run: what was acknowledged at `primary` and lost, held against what the owner allowed.

`Spenders` are clients that write in bursts into three namespaces with small windows, one for each `on_exceeded`. The
`WindowWatch` sees every answer at the moment in which the serving replica gives it, whether or not it arrives anywhere:
that is what a client may rely on. At the end of the run the table of terms says which of these writes are lost, and for
each shard, leadership and namespace what is lost must be within the shard's share of writes and of bytes, and lie no
further apart in time than the window says, by the leader's own clock. A namespace that was deleted and created again is
another one, with a window of its own, and before it is created its keys are of `default`: what a write spent is told by
the policies in force where it was answered.

What is counted errs on one side only: a write whose size the command does not tell counts with what is certain, and for
the time only writes count of which is known when they were executed, which is when a command of one key is answered.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from raftcache.commands.policy import LossWindow, Namespace, OnExceeded
from raftcache.commands.types import (
    AckLevel,
    Command,
    Counted,
    Delete,
    Expire,
    Incr,
    Many,
    MultiDelete,
    MultiSet,
    Reply,
    Set,
    Written,
)
from raftcache.shard.window import share_of
from raftcache.store.effects import EFFECT_OVERHEAD_BYTES
from raftcache.testing.checks import Oracle, Violation
from raftcache.testing.cluster import SimCluster, SimProcess

WINDOW = LossWindow(ms=150, writes=13, bytes=900)
"""Of each of the namespaces: small enough to be reached within one round trip of a slow network."""

WINDOWED = tuple(
    Namespace(f"spend-{then.name.lower()}", 0, loss_window=WINDOW, on_exceeded=then) for then in OnExceeded
)
SPENDERS = 3
SPENDER_KEYS = 12
TIMEOUT_S = 2.0
TOLERANCE_S = 1e-6


class Ack(NamedTuple):
    """A write that was answered at `primary`. `at_s` is on the leader's clock, None where nobody can tell; `told_s` is
    when the answer was given, on the simulation's."""

    namespace: Namespace
    term: int
    seq: int
    size_bytes: int
    at_s: float | None
    told_s: float


class WindowWatch:
    """Every write answered at `primary`, by shard."""

    def __init__(self, loop_time: Callable[[], float]) -> None:
        self.acks: dict[str, list[Ack]] = defaultdict(list)
        self.lost: Counter[str] = Counter()
        """After `check`: how many writes were acknowledged and lost, by namespace."""
        self._loop_time = loop_time

    def answered(self, process: SimProcess, command: Command, answer: Reply) -> None:
        """A replica on `process` has answered."""
        if isinstance(answer, Many):
            for item, result in zip(command.items, answer.items, strict=True):  # type: ignore[union-attr]
                self._note(process, item, result, None)
        else:
            self._note(process, command, answer, process.runtime.now())

    def _note(self, process: SimProcess, command: Any, answer: Reply, at_s: float | None) -> None:
        wrote = isinstance(answer, Counted) or (isinstance(answer, Written) and answer.written)
        if not wrote or answer.ack > AckLevel.PRIMARY:  # type: ignore[union-attr]
            return
        version = answer.version  # type: ignore[union-attr]
        namespace = process.core.shards[version.shard].policies.in_force.resolve(command.key)
        size_bytes = len(command.key) + EFFECT_OVERHEAD_BYTES + _value_bytes(command, answer)
        self.acks[version.shard].append(Ack(namespace, version.term, version.seq, size_bytes, at_s, self._loop_time()))

    def check(self, cluster: SimCluster, oracle: Oracle) -> None:
        """Hold what is lost against the windows, when nothing is written any more. Raises Violation.

        Of a shard whose majority lost power nothing counts that was told before: it was committed, and is lost all the
        same."""
        for shard_id, acks in sorted(self.acks.items()):
            core = next(p.core for _, p in sorted(cluster.processes.items()) if shard_id in p.core.shards)
            history = core.shards[shard_id].history
            lost: dict[tuple[int, int], list[Ack]] = defaultdict(list)
            for ack in acks:
                told_after = ack.told_s > oracle.forgiven.get(shard_id, -1.0)
                if ack.seq > history.last_committed_seq(ack.term) and told_after:
                    lost[ack.namespace.identity, ack.term].append(ack)
            for (_, term), writes in sorted(lost.items()):
                self.lost[writes[0].namespace.name] += len(writes)
                where = f"shard {shard_id}, term {term}, namespace {writes[0].namespace.name}"
                _hold(where, writes, _widest(writes), core.view.place_of(shard_id))


def _widest(writes: Iterable[Ack]) -> LossWindow:
    """Of the windows that were in force for any of them, bound by bound, where None is no bound."""
    windows = [ack.namespace.loss_window for ack in writes]
    both = ([getattr(window, field) for window in windows] for field in LossWindow.__struct_fields__)
    return LossWindow(*(None if None in bounds else max(bounds) for bounds in both))


def _value_bytes(command: Any, answer: Reply) -> int:
    if isinstance(command, Set):
        return len(command.value)
    return len(str(answer.value)) if isinstance(answer, Counted) else 0


def _hold(where: str, lost: list[Ack], window: LossWindow, place: tuple[int, int]) -> None:
    size_bytes = sum(ack.size_bytes for ack in lost)
    times = [ack.at_s for ack in lost if ack.at_s is not None]
    span_s = max(times) - min(times) if times else 0.0
    if len(lost) > share_of(window.writes, place):
        raise Violation(f"{where}: {len(lost)} acknowledged writes are lost, of {window.writes} at {place}")
    if size_bytes > share_of(window.bytes, place):
        raise Violation(f"{where}: {size_bytes} acknowledged bytes are lost, of {window.bytes} at {place}")
    if window.ms is not None and span_s > window.ms / 1000 + TOLERANCE_S:
        raise Violation(f"{where}: the acknowledged writes that are lost span {span_s:.3f} s, of {window.ms} ms")


class Spender:
    """A client that writes in bursts and waits for nothing: the windows are full as often as not."""

    def __init__(self, number: int, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._random = random.Random(cluster.loop.seed * 6151 + number)
        self.stopped = False

    def start(self) -> None:
        """Begin."""
        self._later()

    def _later(self) -> None:
        self._cluster.loop.call_later(self._random.uniform(0.02, 0.3), self._burst)

    def _burst(self) -> None:
        if self.stopped:
            return
        running = self._cluster.running()
        if running:
            process = self._random.choice(running)
            for command in self._commands():
                deadline = process.runtime.now() + TIMEOUT_S * self._random.uniform(0.1, 1.0)
                process.runtime.deliver(partial(process.dispatcher.execute, command, deadline, _ignore))
        self._later()

    def _commands(self) -> Iterable[Command]:
        """A few writes to one namespace, now and then to all of them at once."""
        rnd = self._random
        prefix = rnd.choice(WINDOWED).name.encode()
        if rnd.random() < 0.1:
            yield MultiSet(tuple(Set(self._key(space.name.encode()), b"m" * 9) for space in WINDOWED for _ in range(3)))
        for _ in range(rnd.randrange(1, 7)):
            key = self._key(prefix)
            yield rnd.choice(
                (
                    Set(key, b"x" * rnd.choice((1, 10, 40, 600))),
                    Set(key, b"y", ack=rnd.choice((None, None, AckLevel.QUORUM))),
                    Set(key, b"z" * 20, ttl_ms=rnd.randrange(50, 3000)),
                    Incr(key + b"-n", rnd.randrange(1, 99)),
                    Delete(key),
                    Expire(key, 2000),
                    MultiDelete(tuple(Delete(self._key(prefix)) for _ in range(3))),
                )
            )

    def _key(self, prefix: bytes) -> bytes:
        return prefix + b":s%d" % self._random.randrange(SPENDER_KEYS)


def _ignore(_reply: Reply) -> None:
    """The watch has seen it."""
