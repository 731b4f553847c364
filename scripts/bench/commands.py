"""What a command over the Redis protocol costs: processor time by command and depth, sockets left out.

One process plays the leader's node for 50 connections: bytes go into their sessions, through the dispatcher into the
shard, and out as replies; a group that commits at once hands the batches back. A follower applies the same batches,
which is timed apart. Quoted is the least of the rounds: other load only ever adds."""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from beside.requests import key, resp, value
from consensus import Loop
from window import AtOnce

from raftcache.commands.policy import DEFAULT, Namespace
from raftcache.commands.types import AckLevel
from raftcache.frontends.resp.session import Session
from raftcache.frontends.resp.state import Front
from raftcache.metadata.applying import apply
from raftcache.metadata.state import EMPTY, Addresses, Node
from raftcache.metadata.view import MetadataView
from raftcache.routing.bootstrap import plan_cluster
from raftcache.routing.dispatcher import Dispatcher
from raftcache.routing.slots import SLOTS, Owned
from raftcache.shard.replica import ShardReplica
from raftcache.store.memory import MemoryBudget

CONNECTIONS = 50
KEYS = 10_000
SPACES = [Namespace(DEFAULT, 0), Namespace("safe", 0, ack=AckLevel.QUORUM)]
OWNED = Owned([(0, SLOTS - 1)])
OK = b"+OK\r\n"


class Recorded(AtOnce):
    """Commits at once, and keeps what was committed."""

    def __init__(self, machine: ShardReplica) -> None:
        super().__init__(machine)
        self.payloads: list[bytes] = []

    def propose(self, payload: bytes, sync: bool = False) -> int:
        """Commit."""
        self.payloads.append(payload)
        return super().propose(payload, sync)


def view_of_one_shard(runtime: Loop) -> MetadataView:
    """A cluster of one node and one shard."""
    view, members = MetadataView(runtime), [Node("n0", "a", Addresses("h", "r", "p"))]
    view.update_state(apply(EMPTY, plan_cluster(members, 1, 1, SPACES, random.Random(5)))[0])
    return view


class Backend:
    """The part of a node's backend that single-key commands touch."""

    def __init__(self, runtime: Loop, dispatcher: Dispatcher, view: MetadataView) -> None:
        self.runtime, self._dispatcher, self._view = runtime, dispatcher, view
        self.execute = dispatcher.execute
        self.execute_now = dispatcher.execute_now
        self.look_many, self.write_many = dispatcher.look_many, dispatcher.write_many
        self.add_many = dispatcher.add_many

    def namespaces(self) -> Any:
        """The namespaces."""
        return self._view.namespaces


class Node0:
    """A node that leads the only shard, and the sessions of its clients."""

    def __init__(self) -> None:
        self.loop, self.late = Loop(), list[Session]()
        self.view = view_of_one_shard(self.loop)
        self.shard = self._replica()
        self.group = Recorded(self.shard)
        self.shard.attach(self.group)
        self.shard.leadership_gained(1)
        local = {self.view.state.shards[0].id: self.shard}
        dispatcher = Dispatcher(self.view, self.loop, local.get, self._remote, None, "n0")
        self.front = Front(Backend(self.loop, dispatcher, self.view))  # type: ignore[arg-type]
        self.sessions = [Session(self.front, self.front.new_client(), lambda: None) for _ in range(CONNECTIONS)]
        for _ in range(3):
            self.loop.turn()

    def _replica(self) -> ShardReplica:
        return ShardReplica(
            "bench", "n0", self.loop, MemoryBudget(), lambda: self.view.namespaces, OWNED.key,
            lambda _term: None, lambda: (0, 1), owns_slot=OWNED.slot,
        )  # fmt: skip

    @staticmethod
    def _remote(*_: object) -> None:
        raise AssertionError("nothing is forwarded here")

    def _heard(self, session: Session, replies: bytes | None) -> None:
        """Look at what a session says now; where that is nothing, it speaks in a later turn."""
        said = session.take()
        if not said and replies:
            self.late.append(session)
        else:
            assert replies is None or said == replies, said[:100]

    def follower(self) -> ShardReplica:
        """Another replica of the shard."""
        made = self._replica()
        made.attach(AtOnce(made))
        return made

    def cost_us(self, batches: list[bytes], replies: bytes | None, depth: int) -> float:
        """Processor time of one command; every session is given one of the batches a turn."""
        gc.collect()
        began = time.process_time()
        for start in range(0, len(batches), CONNECTIONS):
            asked = list(zip(self.sessions, batches[start : start + CONNECTIONS], strict=False))
            for session, data in asked:
                session.receive(data)
                self._heard(session, replies)
            self.loop.turn()
            for session in self.late:
                session.go_on()
                assert session.take() == replies
            self.late.clear()
        return (time.process_time() - began) / len(batches) / depth * 1e6


def requests(operation: str, size: int, depth: int, count: int) -> tuple[list[bytes], bytes | None]:
    """What is sent, and what is to come back."""
    chance, content = random.Random(1), value(size)
    make: Callable[[bytes], bytes] = {
        "GET": lambda name: resp(b"GET", name),
        "SET": lambda name: resp(b"SET", name, content),
        "SET quorum": lambda name: resp(b"SET", b"safe:" + name, content),
        "INCR": lambda name: resp(b"INCR", b"counter" + name),
    }[operation]
    commands = [make(key(chance.randrange(KEYS))) for _ in range(count)]
    found = b"$%d\r\n%b\r\n" % (size, content)
    replies = {"GET": found * depth, "SET": OK * depth, "SET quorum": OK * depth}.get(operation)
    return [b"".join(commands[at : at + depth]) for at in range(0, count, depth)], replies


def follower_us(node: Node0, first: int, writes: int) -> float:
    """Processor time of a write at a follower: decoding and applying the batches from `first` on."""
    follower, payloads = node.follower(), node.group.payloads
    for index, payload in enumerate(payloads[:first], 1):
        follower.apply(index, 1, payload)
    began = time.process_time()
    for index, payload in enumerate(payloads[first:], first + 1):
        follower.apply(index, 1, payload)
    return (time.process_time() - began) / writes * 1e6


def measure(size: int, count: int, rounds: int) -> dict[str, float]:
    """Least microseconds by what was done."""
    least: dict[str, float] = {}
    for _ in range(rounds):
        for depth in (1, 16):
            for operation in ("SET", "SET quorum", "GET", "INCR"):
                node = Node0()
                node.cost_us([resp(b"SET", key(number), value(size)) for number in range(KEYS)], OK, 1)
                began = len(node.group.payloads)
                took = {f"{operation}, depth {depth}": node.cost_us(*requests(operation, size, depth, count), depth)}
                if operation == "SET":
                    took[f"SET, depth {depth}, at a follower"] = follower_us(node, began, count)
                for name, us in took.items():
                    least[name] = min(us, least.get(name, us))
    return least


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="scripts/bench/commands", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--commands", type=int, default=16_000, help="commands a measurement (default 16000)")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a value (default 1024)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    least = measure(options.size, options.commands, options.rounds)
    if options.output == "json":
        print(json.dumps(least))
        return 0
    for name, us in least.items():
        print(f"  {name:<28} {us:7.2f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
