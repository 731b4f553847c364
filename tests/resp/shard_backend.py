"""The fake backend with a real shard behind it: what a command means is what a leader makes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from http_backend import WALL_MS, FakeBackend, StoppedRuntime

from raftcache.commands.types import (
    Command,
    Counted,
    Failure,
    Reply,
    Scan,
    Script,
    Transaction,
    Value,
    Written,
)
from raftcache.frontends.resp.scripts.calling import Scripts
from raftcache.frontends.resp.scripts.sandbox import Sandbox
from raftcache.routing.moments import Added, Wrote
from raftcache.routing.slots import slot_of
from raftcache.shard.joint import Joint, JointWrites
from raftcache.store.entry import Looked

sys.path.insert(0, str(Path(__file__).parents[1] / "shard"))
from shard_harness import Bench


class AtOnce(StoppedRuntime):
    """What is put off for a turn of the loop is done at once."""

    def call_soon(self, callback: Callable[[], None]) -> Any:
        callback()


class ShardBackend(FakeBackend):
    """Single commands, and the items of multi-key ones, are executed by one leader whose clock stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.runtime = AtOnce()
        self.cpu_s = 0.0
        self.scripts = Scripts(Sandbox(lambda: self.cpu_s), lambda: WALL_MS)
        self.bench = Bench(interpreter=self.scripts).lead()
        self.bench.runtime.wall_base_ms = WALL_MS - int(self.bench.runtime.now_s * 1000)

    def look(self, key: bytes, now_s: float) -> Looked:
        return self.bench.look(key)

    def write_many(self, pairs: Sequence[tuple[bytes, bytes]], now_s: float, joint: Joint | None = None) -> Wrote:
        """As `Dispatcher.write_many`: those acknowledged at once, or else those that wait."""
        moment = self.bench.replica.moment(self.bench.runtime.now())
        if moment is None:
            return Wrote(0, [], [])
        slots = [slot_of(key) for key, _ in pairs]
        tried = zip(pairs, slots, strict=True)
        count = len(list(takewhile(bool, (moment.write(*pair, slot) for pair, slot in tried))))
        joined = list[JointWrites]()
        if not count and joint is not None:
            tried = zip(pairs, slots, strict=True)
            joined = [*takewhile(bool, (moment.join(*pair, slot, joint) for pair, slot in tried))]  # type: ignore[list-item]
        moment.close()
        for writes in joined:
            writes.answered = lambda writes, _reply: writes.finish(None)
        return Wrote(count or len(joined), [moment.newest] if moment.newest else [], joined)

    def add_many(self, items: Sequence[tuple[bytes, int]], now_s: float) -> Added:
        """As `Dispatcher.add_many`."""
        moment, values = self.bench.replica.moment(self.bench.runtime.now()), list[int]()
        if moment is None:
            return Added([], [])
        for key, delta in items:
            if (value := moment.add(key, delta, slot_of(key))) is None:
                break
            values.append(value)
        moment.close()
        return Added(values, [moment.newest] if moment.newest else [])

    def _reply(self, command: Command) -> Reply:
        if isinstance(command, Transaction | Scan | Script):
            answer: Reply = self.bench.ask(command)
            return answer
        return super()._reply(command)

    def _single(self, command: Command) -> Value | Written | Counted | Failure:
        answer: Value | Written | Counted | Failure = self.bench.ask(command)
        return answer
