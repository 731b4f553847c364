"""A scripted Raft group and a virtual runtime, under which a shard replica runs step by step."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, TypeVar

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.commands.types import AckLevel, Command, ReadLevel, Reply, Version
from raftcache.consensus.api import StateMachine
from raftcache.errors import NotLeader
from raftcache.routing.slots import slot_of
from raftcache.shard.executor import Interpreter, no_interpreter
from raftcache.shard.joint import Joint, JointWrites
from raftcache.shard.replica import ShardReplica
from raftcache.store.entry import Looked
from raftcache.store.memory import MemoryBudget

T = TypeVar("T")

POLICIES = Namespaces(
    1,
    (
        Namespace("default", 1),
        Namespace("safe", 2, ack=AckLevel.QUORUM),
        Namespace("strict", 3, read_level=ReadLevel.LINEARIZABLE),
        Namespace("brief", 4, default_ttl_ms=1000, max_item_bytes=100),
        Namespace("shown", 5, read_level=ReadLevel.COMMITTED),
    ),
)
"""primary, quorum, primary with linearizable reads, one with limits, and primary with committed reads."""


class Scheduled:
    def __init__(self, at_s: float, callback: Callable[[], None]) -> None:
        self.at_s, self.callback, self.cancelled = at_s, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualRuntime:
    """Callbacks run only when a test says so."""

    def __init__(self) -> None:
        self.random = random.Random(0)
        self.now_s = 100.0
        self.wall_base_ms = 1_000_000
        self.soon: list[Scheduled] = []
        self.later: list[Scheduled] = []

    def now(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return self.wall_base_ms + int(self.now_s * 1000)

    def call_soon(self, callback: Callable[[], None]) -> Scheduled:
        self.soon.append(Scheduled(self.now_s, callback))
        return self.soon[-1]

    def call_later(self, delay: float, callback: Callable[[], None]) -> Scheduled:
        self.later.append(Scheduled(self.now_s + delay, callback))
        return self.later[-1]

    def offload(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        result = work()
        self.call_soon(lambda: done(result))

    def turn(self) -> None:
        """One loop turn: what was scheduled for its end, not what that schedules."""
        due, self.soon = self.soon, []
        for item in due:
            if not item.cancelled:
                item.callback()

    def advance(self, seconds: float) -> None:
        """Let time pass and run the timers that fall due, in order."""
        end_s = self.now_s + seconds
        while True:
            due = [item for item in self.later if not item.cancelled and item.at_s <= end_s]
            if not due:
                break
            item = min(due, key=lambda each: each.at_s)
            self.later.remove(item)
            self.now_s = max(self.now_s, item.at_s)
            item.callback()
            self.turn()
        self.now_s = end_s


@dataclass
class FakeGroup:
    """A log of one group as its leader's replica sees it; tests commit its entries, or cut its tail off."""

    runtime: VirtualRuntime
    log: list[tuple[int, bytes]] = field(default_factory=list)
    applied: int = 0
    term: int = 0
    leader: str | None = None
    leading: bool = False
    confirmed: bool = True
    lease: bool = False
    refusal: Exception | None = None
    stepped_down: list[str] = field(default_factory=list)
    machine: Any = None
    sync_commit: bool = False
    on_disk: bool = True
    slow_disk: bool = False
    durable_index: int = 0
    staleness: int | None = 0
    alone_from_s: float = 0.0
    time_ms: Callable[[], int] = lambda: 0
    on_time: Callable[[int], None] = lambda _time_ms: None
    propose_rest: Callable[[], None] = lambda: None
    wished: set[int] = field(default_factory=set)
    wanted: list[int] = field(default_factory=list)

    def leads_now(self) -> bool:
        return self.leading and self.confirmed

    def leads_at(self, now_s: float) -> bool:
        return self.leads_now()

    def longest_ms(self, measured_s: float) -> int:
        return ceil(measured_s * 1000)

    def staleness_ms(self) -> int | None:
        return self.staleness

    def holds_lease(self) -> bool:
        return self.leading and self.lease

    def propose(self, payload: bytes, sync: bool = False) -> int:
        if self.refusal is not None:
            raise self.refusal
        if not self.leading:
            raise NotLeader("scripted")
        self.log.append((self.term, payload))
        index = len(self.log)
        if sync:
            self.wished.add(index)
        if self.sync_commit:
            self.commit()
        return index

    def want_synced(self, index: int) -> None:
        self.wanted.append(index)
        self.wished.add(index)
        if not self.slow_disk:
            self.sync()

    def step_down(self, reason: str) -> None:
        self.stepped_down.append(reason)
        self.lose()

    def median_wall_ms(self) -> int:
        return self.runtime.wall_ms()

    def gain(self, node_id: str = "n0") -> None:
        self.term += 1
        self.durable_index = 0
        self.leading, self.leader = True, node_id
        self.machine.leadership_gained(self.term)

    def lose(self, new_leader: str | None = None) -> None:
        if self.leading:
            self.leading, self.leader = False, new_leader
            self.machine.leadership_lost(self.term)

    def truncate(self, length: int) -> None:
        """Another leader's log replaces what was not committed after `length` entries."""
        assert length >= self.applied
        del self.log[length:]

    def append_foreign(self, term: int, payload: bytes) -> None:
        """An entry that another leader proposed."""
        self.term = max(self.term, term)
        self.log.append((term, payload))

    def commit(self, upto: int | None = None) -> None:
        """Commit and apply all entries, or those up to an index."""
        target = len(self.log) if upto is None else upto
        while self.applied < target:
            self.applied += 1
            term, payload = self.log[self.applied - 1]
            self.machine.apply(self.applied, term, payload)
        if not self.slow_disk:
            self.sync()

    def sync(self) -> None:
        """A quorum has synced all that is committed; the machine is told where it leads and somebody wished it."""
        newest = max((index for index in self.wished if index <= self.applied), default=0)
        if self.leading and newest > self.durable_index:
            self.durable_index = self.applied
            self.machine.synced(self.applied)


class Bench:
    """A replica with its group, runtime and budget, and the replies it gave."""

    def __init__(
        self,
        limit_bytes: int = 1 << 30,
        replica: type[ShardReplica] = ShardReplica,
        policies: Namespaces = POLICIES,
        node_id: str = "n0",
        founded: bool = True,
        interpreter: Interpreter = no_interpreter,
    ) -> None:
        """`founded`: it follows the policies already, by a snapshot that everybody started from."""
        self.sends = 0
        self.runtime = VirtualRuntime()
        self.group = FakeGroup(self.runtime)
        self.budget = MemoryBudget(limit_bytes)
        self.policies = self.first_policies = policies
        self.foreign_keys: set[bytes] = set()
        self.served: list[int] = []
        self.place = (0, 1)
        self.replica = replica(
            "7c1f",
            node_id,
            self.runtime,
            self.budget,
            lambda: self.policies,
            lambda key: key not in self.foreign_keys,
            self.served.append,
            lambda: self.place,
            interpreter=interpreter,
            owns_slot=lambda slot: slot not in map(slot_of, self.foreign_keys),
        )
        if founded:
            self.replica.policies.install(policies)
        machine: StateMachine = self.replica
        self.group.machine = machine
        self.replica.attach(self.group)

    def lead(self) -> Bench:
        """Gain leadership, commit `leader_started`, serve."""
        self.group.gain(self.replica.node_id)
        self.group.commit()
        return self

    def send(self, command: Command, deadline_s: float = inf) -> list[Reply]:
        """Submit, every other time by `submit_now`; returns the list that the reply comes into, now or later."""
        replies: list[Reply] = []
        self.sends += 1
        if self.sends % 2:
            self.replica.submit(command, replies.append, deadline_s)
        elif (answer := self.replica.submit_now(command, lambda: (replies.append, None), deadline_s)) is not None:
            replies.append(answer)
        return replies

    def follow(self, policies: Namespaces) -> Bench:
        """The node hears of other policies; the point that follows is not yet proposed."""
        self.policies = policies
        self.replica.policies_changed()
        return self

    def settle(self) -> None:
        """Propose and commit until nothing is left."""
        for _ in range(1000):
            self.runtime.turn()
            if self.group.applied == len(self.group.log) and not self.runtime.soon:
                return
            self.group.commit()
        raise AssertionError("the pipeline does not drain")

    def look(self, key: bytes) -> Looked:
        """A plain read, by the short way."""
        moment = self.replica.moment(self.runtime.now())
        if moment is None:
            return None
        try:
            return moment.look(key, slot_of(key))
        finally:
            moment.close()

    def write(self, key: bytes, value: bytes, joint: Joint | None = None) -> Version | JointWrites | None:
        """A plain write, by the short way; with `joint` also one that waits for a quorum."""
        moment, slot = self.replica.moment(self.runtime.now()), slot_of(key)
        if moment is None:
            return None
        try:
            if moment.write(key, value, slot):
                assert moment.newest is not None and moment.newest[0] == key
                return moment.newest[1]
            return None if joint is None else moment.join(key, value, slot, joint)
        finally:
            moment.close()

    def add(self, key: bytes, delta: int) -> tuple[int, Version] | None:
        """A plain incr, by the short way: the new value and its version."""
        moment = self.replica.moment(self.runtime.now())
        if moment is None:
            return None
        try:
            value = moment.add(key, delta, slot_of(key))
            if value is None:
                return None
            assert moment.newest is not None and moment.newest[0] == key
            return value, moment.newest[1]
        finally:
            moment.close()

    def ask(self, command: Command) -> Any:
        """Submit and drive until the reply is there."""
        replies = self.send(command)
        self.settle()
        assert len(replies) == 1
        return replies[0]


def follower_of(bench: Bench) -> Bench:
    """A replica that applied exactly what `bench`'s group has committed."""
    other = Bench(policies=bench.first_policies, node_id="n1")
    other.policies = bench.policies
    other.group.log = list(bench.group.log)
    other.group.commit(bench.group.applied)
    return other
