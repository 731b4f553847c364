"""CPU cost of consensus: three replicas in one process, frames packed and parsed as between processes.

Measured is processor time of the whole process divided by what it did, so the other load of a machine hardly
matters. Three figures: a batch with logs in memory, a batch with log files, and a quorum-acknowledged write of
50 clients that each wait for their answer, through the shard (executor, pipeline, undo) and group commit.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from raftcache.clock import boottime, system_wall_ms
from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.commands.types import AckLevel, Failure, Reply, Set
from raftcache.consensus import ConsensusSettings, Group, Host, MemberId
from raftcache.net.api import LinkReceiver, Peer
from raftcache.shard.replica import ShardReplica
from raftcache.store.memory import MemoryBudget
from raftcache.wal.api import GroupStorage
from raftcache.wal.files import OsFiles
from raftcache.wal.storage import memory_storage, open_storage

NODES = ("n0", "n1", "n2")
PROTOTYPE_US = {"batch in memory": 133.0, "batch with a log": 166.0, "quorum-acked write, 50 clients": 40.0}
VALUE = b"x" * 100


class Timer:
    """A callback that is due at a time."""

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at, self.callback = at, callback

    def cancel(self) -> None:
        """Keep it from running."""
        self.callback = lambda: None


class Loop:
    """A turn is what is queued when it begins, as in an event loop; frames are queued like callbacks."""

    def __init__(self) -> None:
        self.random = random.Random(1)
        self.queue: deque[Callable[[], None]] = deque()
        self.timers: list[Timer] = []

    now = staticmethod(boottime)
    wall_ms = staticmethod(system_wall_ms)

    def call_soon(self, callback: Callable[[], None]) -> Timer:
        """Next turn."""
        timer = Timer(0.0, callback)
        self.queue.append(lambda: timer.callback())
        return timer

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """When it is due."""
        timer = Timer(boottime() + delay, callback)
        self.timers.append(timer)
        return timer

    def offload(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """At once: nothing here is worth a thread."""
        done(work())

    def turn(self) -> None:
        """Run what is due."""
        now = boottime()
        if self.timers and min(timer.at for timer in self.timers) <= now:
            due = [timer for timer in self.timers if timer.at <= now]
            self.timers = [timer for timer in self.timers if timer.at > now]
            self.queue.extend(timer.callback for timer in due)
        for _ in range(len(self.queue)):
            self.queue.popleft()()


class Links:
    """Frames as bytes from queue to queue."""

    def __init__(self, loop: Loop, node_id: str, ends: dict[str, Links]) -> None:
        self.loop, self.node_id, self.ends = loop, node_id, ends
        self.receiver: LinkReceiver | None = None
        ends[node_id] = self

    def attach(self, receiver: LinkReceiver) -> None:
        """See `net.api`."""
        self.receiver = receiver

    def send(self, node_id: str, *pieces: bytes) -> None:
        """See `net.api`."""
        frame = b"".join(pieces)
        receiver = self.ends[node_id].receiver
        assert receiver is not None
        self.loop.queue.append(lambda: receiver.frame_received(self.node_id, frame))


class Trio:
    """Three replicas of one group."""

    def __init__(self, machine: Callable[[str, Loop], Any], storage: Callable[[str], GroupStorage]) -> None:
        self.loop = Loop()
        ends: dict[str, Links] = {}
        members = tuple(MemberId(node, "a") for node in NODES)
        self.machines = {node: machine(node, self.loop) for node in NODES}
        self.hosts = {
            node: Host(node, "a", self.loop, Links(self.loop, node, ends), ConsensusSettings()) for node in NODES
        }
        self.groups = {
            node: host.open_group("bench", storage(node), self.machines[node], bootstrap=members)
            for node, host in self.hosts.items()
        }
        for node, group in self.groups.items():
            attach = getattr(self.machines[node], "attach", None)
            if attach is not None:
                attach(group)
        for node, host in self.hosts.items():
            for other in NODES:
                if other != node:
                    host.link_up(Peer(other, "a", "run"))
            host.start()

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop."""
        while not condition():
            self.loop.turn()

    def leader(self) -> tuple[str, Group] | None:
        """Who leads."""
        return next(((node, group) for node, group in self.groups.items() if group.leads_now()), None)


class Counting:
    """A state machine that counts."""

    def __init__(self, _node: str, _loop: Loop) -> None:
        self.applied = 0

    def apply(self, index: int, term: int, payload: bytes) -> None:
        """Count."""
        self.applied += 1

    def leadership_gained(self, term: int) -> None:
        """Nothing."""

    leadership_lost = leadership_gained


def batch_cost_us(storage: Callable[[str], GroupStorage], batches: int) -> float:
    """Processor time of one batch of 1 KiB over all three replicas, two in flight."""
    trio = Trio(Counting, storage)
    trio.run_until(lambda: trio.leader() is not None)
    node, group = trio.leader() or ("", None)
    assert group is not None
    counting, payload = trio.machines[node], b"x" * 1024
    start, proposed = counting.applied, 0
    began = time.process_time()
    while counting.applied - start < batches:
        while proposed - (counting.applied - start) < 2 and proposed < batches:
            group.propose(payload)
            proposed += 1
        trio.loop.turn()
    return (time.process_time() - began) / batches * 1e6


def write_cost_us(storage: Callable[[str], GroupStorage], clients: int, writes: int) -> float:
    """Processor time of one quorum-acknowledged write of `clients` that each wait for their answer."""
    spaces = Namespaces(1, (Namespace("default", 1, ack=AckLevel.QUORUM),))

    def machine(node: str, loop: Loop) -> ShardReplica:
        return ShardReplica("bench", node, loop, MemoryBudget(), lambda: spaces, lambda _key: True, lambda _term: None)

    trio = Trio(machine, storage)
    trio.run_until(lambda: any(m.serving for m in trio.machines.values()))
    shard = next(m for m in trio.machines.values() if m.serving)
    done = [0]

    def client(number: int) -> None:
        def answered(reply: Reply) -> None:
            assert not isinstance(reply, Failure), reply
            done[0] += 1
            if done[0] + clients <= writes:
                trio.loop.queue.append(send)

        def send() -> None:
            shard.submit(Set(b"key-%d-%d" % (number, done[0] % 1000), VALUE), answered)

        send()

    began = time.process_time()
    for number in range(clients):
        client(number)
    trio.run_until(lambda: done[0] >= writes - clients + 1)
    return (time.process_time() - began) / done[0] * 1e6


def measure(scale: int) -> dict[str, float]:
    """All three figures, in microseconds of processor time."""
    folder = tempfile.mkdtemp(prefix="raftcache-bench-")

    def on_disk(node: str) -> GroupStorage:
        return open_storage(OsFiles(), f"{folder}/{node}", "bench")

    try:
        return {
            "batch in memory": batch_cost_us(lambda _node: memory_storage("bench"), 5_000 * scale),
            "batch with a log": batch_cost_us(on_disk, 5_000 * scale),
            "quorum-acked write, 50 clients": write_cost_us(lambda _node: memory_storage("bench"), 50, 50_000 * scale),
        }
    finally:
        shutil.rmtree(folder)


def main() -> int:
    """Print the figures beside the prototype's; exit code 1 where one is over 1.5 times that."""
    parser = argparse.ArgumentParser(prog="scripts/bench/consensus", description=__doc__)
    parser.add_argument("--scale", type=int, default=1, help="do this many times as much (default 1)")
    parser.add_argument("--rounds", type=int, default=3, help="take the best of this many rounds (default 3)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    rounds = [measure(options.scale) for _ in range(options.rounds)]
    best = {name: min(figures[name] for figures in rounds) for name in rounds[0]}
    if options.output == "json":
        print(json.dumps(best))
    else:
        for name, cost_us in best.items():
            ratio = cost_us / PROTOTYPE_US[name]
            print(f"{name:32} {cost_us:7.1f} us of CPU   prototype {PROTOTYPE_US[name]:5.0f}   ratio {ratio:4.2f}")
    return int(any(cost_us > 1.5 * PROTOTYPE_US[name] for name, cost_us in best.items()))


if __name__ == "__main__":
    sys.exit(main())
