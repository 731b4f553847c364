"""What the loss window costs: processor time of a `primary`-acknowledged write with the window on and off.

On is the default policy, off is `{ms: null, writes: null, bytes: null}`; nothing else differs, and no write is ever
without room. The two take turns in one process, every round in the other order, so that whatever else the machine does
meets both alike; the verdict is the median of the rounds' ratios. Measured is the leader's shard alone (submit, batch,
commit, on a group that commits at once): whatever else a write costs would only bring the ratio nearer to one.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable

from consensus import Loop

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import LossWindow, Namespace
from raftcache.commands.types import AckLevel, Reply, Set
from raftcache.shard.replica import ShardReplica
from raftcache.store.memory import MemoryBudget

LIMIT = 1.15
PER_TURN = 50
VALUE = b"x" * 100
POLICIES = {
    "on": Namespaces(1, (Namespace("default", 1),)),
    "off": Namespaces(2, (Namespace("default", 1, loss_window=LossWindow(None, None, None)),)),
}


class AtOnce:
    """A group of one that commits what is proposed before anything else happens."""

    on_disk, durable_index, term, leader, alone_from_s = False, 1, 1, "n0", 0.0
    time_ms: Callable[[], int] = lambda: 0
    on_time: Callable[[int], None] = lambda _time_ms: None
    propose_rest: Callable[[], None] = lambda: None

    def __init__(self, machine: ShardReplica) -> None:
        self._machine, self._index = machine, 0

    def leads_now(self) -> bool:
        """Always."""
        return True

    def leads_at(self, now_s: float) -> bool:
        """Always."""
        return True

    def holds_lease(self) -> bool:
        """Never asked for by writes."""
        return False

    def want_synced(self, index: int) -> None:
        """There is no disk."""

    def longest_ms(self, measured_s: float) -> int:
        """An exact clock."""
        return round(measured_s * 1000)

    def staleness_ms(self) -> int | None:
        """A leader's."""
        return 0

    def propose(self, payload: bytes, sync: bool = False) -> int:
        """Commit."""
        self._index += 1
        self._machine.apply(self._index, 1, payload)
        return self._index

    def step_down(self, reason: str) -> None:
        """Nothing that a benchmark survives."""
        raise AssertionError(reason)

    def median_wall_ms(self) -> int:
        """Some time."""
        return 1


class Leader:
    """A shard's leader to write to, under one of the policies."""

    def __init__(self, policies: Namespaces) -> None:
        self.answers: Counter[object] = Counter()
        self.loop = Loop()
        self.shard = ShardReplica(
            "bench", "n0", self.loop, MemoryBudget(), lambda: policies, lambda _key: True, lambda _term: None,
            lambda: (0, 4),
        )  # fmt: skip
        self.shard.attach(AtOnce(self.shard))
        self.shard.leadership_gained(1)
        for _ in range(3):
            self.loop.turn()

    def cost_us(self, writes: int) -> float:
        """Processor time of a write."""
        submit, turn, answered = self.shard.submit, self.loop.turn, self._answered
        commands = [Set(b"key-%d" % (number % 1000), VALUE) for number in range(writes)]
        self.answers.clear()
        gc.collect()
        began = time.process_time()
        for number, command in enumerate(commands, 1):
            submit(command, answered)
            if number % PER_TURN == 0:
                turn()
        took = time.process_time() - began
        assert self.answers == {AckLevel.PRIMARY: writes}, self.answers
        return took / writes * 1e6

    def _answered(self, reply: Reply) -> None:
        self.answers[getattr(reply, "ack", reply)] += 1


def measure(leaders: dict[str, Leader], rounds: int, writes: int) -> dict[str, float]:
    """Medians over the rounds, of which a first one does not count."""
    costs: dict[str, list[float]] = {"on": [], "off": []}
    for number in range(rounds + 1):
        for mode in ("on", "off") if number % 2 else ("off", "on"):
            cost_us = leaders[mode].cost_us(writes)
            if number:
                costs[mode].append(cost_us)
    ratios = sorted(on / off for on, off in zip(costs["on"], costs["off"], strict=True))
    return {
        "on_us": statistics.median(costs["on"]),
        "off_us": statistics.median(costs["off"]),
        "ratio": statistics.median(ratios),
        "lowest": ratios[0],
        "highest": ratios[-1],
    }


def main() -> int:
    """Print the figures; exit code 1 where the window costs more than it may."""
    parser = argparse.ArgumentParser(prog="scripts/bench/window", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds, of both each (default 15)")
    parser.add_argument("--writes", type=int, default=20_000, help="writes a measurement (default 20000)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    leaders = {mode: Leader(policies) for mode, policies in POLICIES.items()}
    row = measure(leaders, options.rounds, options.writes)
    if options.output == "json":
        print(json.dumps(row))
    else:
        print("CPU of a primary-acknowledged write, at its leader")
        print(f"  window on    {row['on_us']:7.2f} us")
        print(f"  window off   {row['off_us']:7.2f} us")
        spread = f"{row['lowest']:.2f} to {row['highest']:.2f} over {options.rounds} rounds"
        print(f"  ratio        {row['ratio']:7.3f}      at most {LIMIT}; {spread}")
    return int(row["ratio"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
