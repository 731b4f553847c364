"""What the routing tests share: virtual time, and a cluster that answers by script and remembers who was asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from raftcache.commands.policy import DEFAULT, Namespace
from raftcache.commands.types import (
    AckLevel,
    Command,
    Failure,
    Fate,
    Get,
    Many,
    Minted,
    ReadLevel,
    Receipt,
    ReceiptList,
    Receipts,
    Reply,
    Value,
    Version,
    Written,
)
from raftcache.metadata.applying import apply
from raftcache.metadata.state import EMPTY, Addresses, MetadataState, Node
from raftcache.metadata.view import MetadataView
from raftcache.routing.bootstrap import plan_cluster
from raftcache.routing.dispatcher import Dispatcher, Waits
from raftcache.routing.retry import RetrySettings
from raftcache.testing.virtual import VirtualRuntime


def planned(shards: int = 4, nodes: int = 3) -> MetadataState:
    """A fresh cluster: `n0`, `n1`, …, everything on three of them."""
    members = [Node(f"n{i}", "a", Addresses(f"h{i}", f"r{i}", f"p{i}")) for i in range(nodes)]
    namespaces = [Namespace(DEFAULT, 0)]
    return apply(EMPTY, plan_cluster(members, shards, min(3, nodes), namespaces, random.Random(5)))[0]


def answer(command: Command | Receipts, shard: str) -> Reply:
    """What a shard that executes `command` answers; a read's value is its key."""
    version = Version(shard, 1, 1)
    if isinstance(command, Receipts):
        return ReceiptList(tuple(Receipt(each, Fate.COMMITTED) for each in command.versions))
    if isinstance(command, Minted):
        return answer(command.command, shard)
    if hasattr(command, "items"):
        return Many(tuple(answer(item, shard) for item in command.items))  # type: ignore[misc]
    if isinstance(command, Get):
        return Value(command.key, 0, version, None, ReadLevel.LATEST)
    return Written(True, version, None, AckLevel.PRIMARY)


def failure(code: str, **details: object) -> Failure:
    return Failure(code, f"{code} by script", dict(details))


def not_leader(leader: str | None = None, term: int = 0) -> Failure:
    return failure("not_leader", leader=leader, term=term)


@dataclass
class LocalReplica:
    """A replica on the dispatcher's own node. `script` are its next answers; None is no answer for now."""

    shard_id: str
    serving: bool = True
    script: list = field(default_factory=list)
    got: list[Command] = field(default_factory=list)
    deadlines_s: list[float] = field(default_factory=list)
    waiting: list[Callable[[Reply], None]] = field(default_factory=list)
    mints: list = field(default_factory=list)

    def receipts(self, asked: Receipts, reply: Callable[[Reply], None]) -> None:
        self.submit(asked, reply, 0.0)

    def submit_now(self, command: Command, later: Waits, deadline_s: float) -> Reply | None:
        if self.script and self.script[0] is None:
            reply, mint = later()
            self.submit(command, reply, deadline_s, mint)
            return None
        answers: list[Reply] = []
        self.submit(command, answers.append, deadline_s)
        return answers[0]

    def moment(self, now_s: float) -> None:
        return None

    def submit(
        self, command: Command | Receipts, reply: Callable[[Reply], None], deadline_s: float, mint=None
    ) -> None:
        self.got.append(command)
        self.deadlines_s.append(deadline_s)
        self.mints.append(mint)
        step = self.script.pop(0) if self.script else answer(command, self.shard_id)
        if step is None:
            self.waiting.append(reply)
        else:
            reply(step)


class World:
    """One dispatcher, and nodes that answer after a millisecond, by `script[node]` or else by executing. Of a command
    that came under a minted key, `sent` has the command and `minted` the whole."""

    def __init__(self, shards: int = 4, node_id: str = "", nodes: int = 3, limit: int = 10_000) -> None:
        self.runtime = VirtualRuntime()
        self.view = MetadataView(self.runtime)
        self.state = planned(shards, nodes)
        self.local: dict[str, LocalReplica] = {}
        self.script: dict[str, list] = {}
        self.sent: list[tuple[str, str, int, Command]] = []
        self.minted: list[Minted] = []
        self.replies: list[Reply] = []
        self.refreshes = 0
        self.view.set_refresher(self._refresh)
        settings = RetrySettings(inflight_limit=limit)
        self.dispatcher = Dispatcher(self.view, self.runtime, self.local.get, self.remote, settings, node_id)

    def up(self, leaders: bool = True) -> World:
        """Let the dispatcher know the map, and that every preferred node leads."""
        self.view.update_state(self.state)
        for shard in self.state.shards if leaders else ():
            self.view.update_leader(shard.id, 1, shard.preferred)
        return self

    def remote(self, node, shard, epoch, command, deadline, done) -> None:
        if isinstance(command, Minted):
            self.minted.append(command)
            command = command.command
        self.sent.append((node, shard, epoch, command))
        steps = self.script.get(node, [])
        step = steps.pop(0) if steps else answer(command, shard)
        if callable(step):
            step = step(command, shard)
        if step is not None:
            self.runtime.call_later(0.001, lambda: done(step))

    def execute(self, command: Command, seconds: float = 1.0) -> None:
        self.dispatcher.execute(command, self.runtime.now() + seconds, self.replies.append)

    def run(self, command: Command, seconds: float = 1.0) -> Reply:
        """Execute and wait until after the deadline; exactly one reply comes."""
        before = len(self.replies)
        self.execute(command, seconds)
        self.runtime.advance(seconds + 0.2)
        assert len(self.replies) == before + 1
        assert self.dispatcher.inflight == self.dispatcher.parked == 0
        return self.replies[-1]

    @property
    def asked(self) -> list[str]:
        return [node for node, *_ in self.sent]

    def shard_of(self, key: bytes) -> str:
        return self.dispatcher.map.shard_of(key)

    def _refresh(self) -> None:
        self.refreshes += 1
