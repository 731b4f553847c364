"""What finding hot keys costs: processor time of an operation with the sketch and without, reads and writes apart.

Without is the same replica with an `_execute` that lacks the lines for it; nothing else differs. The two take turns in
one process every few milliseconds, each time in the other order, so that whatever else the machine does meets both
alike; a round is the sum of many such turns, and the verdict the median of the rounds' ratios. Keys are drawn by Zipf's
law from fixed dice, so that the sketch is full and counters change hands. Measured is the leader's shard alone (submit,
batch, commit, on a group that commits at once): whatever else an operation costs would only bring the ratio nearer to
one.

`--full` looks at every operation instead of a sample, which is what a second's first operations cost.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from consensus import Loop
from window import AtOnce

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.commands.types import Get, Reply, Set, Value, Written
from raftcache.errors import RaftcacheError
from raftcache.shard import hotkeys
from raftcache.shard.executor import PRIMARY, Answer
from raftcache.shard.handlers import HANDLERS
from raftcache.shard.replica import ShardReplica
from raftcache.store.memory import MemoryBudget

LIMIT = 1.05
PER_TURN = 50
AT_A_TIME = 1_000
KEYS = 100_000
EXPONENT = 1.2
VALUE = b"x" * 100
POLICIES = Namespaces(1, (Namespace("default", 1),))


class Unwatched(ShardReplica):
    """A replica that counts no hot keys. The benchmark executes nothing that is held or refused."""

    def _execute(self, command: Any) -> Answer:
        try:
            return HANDLERS[type(command)](self._executor, command)
        except RaftcacheError as error:
            return self.stats.refusal(error), PRIMARY


class OwnTime(Loop):
    """A wall clock that stands still while it is the other one's turn: how many operations are looked at depends on how
    many there are in a second, and a core that is busy has all its seconds for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.worked_s, self.began_s = 0.0, time.perf_counter()

    def wall_ms(self) -> int:
        """Milliseconds of its own."""
        return int((self.worked_s + time.perf_counter() - self.began_s) * 1000)

    def begin(self) -> None:
        """It is its turn."""
        self.began_s = time.perf_counter()

    def end(self) -> None:
        """Its turn is over."""
        self.worked_s += time.perf_counter() - self.began_s


class Leader:
    """A shard's leader to ask."""

    def __init__(self, replica: type[ShardReplica]) -> None:
        self.answers = 0
        self.loop = OwnTime()
        self.shard = replica(
            "bench", "n0", self.loop, MemoryBudget(), lambda: POLICIES, lambda _key: True, lambda _term: None,
            lambda: (0, 4),
        )  # fmt: skip
        self.shard.attach(AtOnce(self.shard))
        self.shard.leadership_gained(1)
        for _ in range(3):
            self.loop.turn()

    def seconds(self, commands: list[Any]) -> float:
        """Processor time of some commands."""
        submit, turn, answered = self.shard.submit, self.loop.turn, self._answered
        self.answers = 0
        self.loop.begin()
        began = time.process_time()
        for number, command in enumerate(commands, 1):
            submit(command, answered)
            if number % PER_TURN == 0:
                turn()
        took = time.process_time() - began
        self.loop.end()
        assert self.answers == len(commands), self.answers
        return took

    def _answered(self, reply: Reply) -> None:
        assert isinstance(reply, Value | Written), reply
        self.answers += 1


def drawn_keys(count: int) -> list[bytes]:
    """Keys by Zipf's law."""
    weights = list(accumulate(rank**-EXPONENT for rank in range(1, KEYS + 1)))
    return [b"key-%d" % rank for rank in random.Random(1).choices(range(KEYS), cum_weights=weights, k=count)]


def one_round(leaders: dict[str, Leader], commands: list[Any]) -> dict[str, float]:
    """Processor time of all commands, at each of the two."""
    took_s = {"on": 0.0, "off": 0.0}
    gc.collect()
    for number in range(0, len(commands), AT_A_TIME):
        some = commands[number : number + AT_A_TIME]
        for mode in ("on", "off") if number // AT_A_TIME % 2 else ("off", "on"):
            took_s[mode] += leaders[mode].seconds(some)
    return took_s


def measure(leaders: dict[str, Leader], commands: list[Any], rounds: int) -> dict[str, float]:
    """Medians over the rounds, of which a first one does not count."""
    costs: dict[str, list[float]] = {"on": [], "off": []}
    for number in range(rounds + 1):
        took_s = one_round(leaders, commands)
        for mode, seconds in took_s.items() if number else ():
            costs[mode].append(seconds / len(commands) * 1e6)
    ratios = sorted(on / off for on, off in zip(costs["on"], costs["off"], strict=True))
    return {
        "on_us": statistics.median(costs["on"]),
        "off_us": statistics.median(costs["off"]),
        "ratio": statistics.median(ratios),
        "lowest": ratios[0],
        "highest": ratios[-1],
    }


def show(rows: dict[str, dict[str, float]], rounds: int) -> None:
    """The table."""
    print(f"CPU of an operation at its leader, us; {rounds} rounds, ratio at most {LIMIT}")
    print("         without     with    ratio   of the rounds")
    for kind, row in rows.items():
        spread = f"{row['lowest']:.3f} to {row['highest']:.3f}"
        print(f"  {kind:6} {row['off_us']:7.2f}  {row['on_us']:7.2f}  {row['ratio']:7.3f}   {spread}")


def main() -> int:
    """Print the figures; exit code 1 where the sketch costs more than it may."""
    parser = argparse.ArgumentParser(prog="scripts/bench/hotkeys", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds, of both each (default 9)")
    parser.add_argument("--operations", type=int, default=100_000, help="operations a measurement (default 100000)")
    parser.add_argument("--full", action="store_true", help="look at every operation, no sample")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    if options.full:
        hotkeys.FULL_PER_SECOND = sys.maxsize
    keys = drawn_keys(options.operations)
    kinds: dict[str, Callable[[bytes], Any]] = {"writes": lambda key: Set(key, VALUE), "reads": Get}
    leaders = {"on": Leader(ShardReplica), "off": Leader(Unwatched)}
    rows = {kind: measure(leaders, list(map(make, keys)), options.rounds) for kind, make in kinds.items()}
    if options.output == "json":
        print(json.dumps(rows))
    else:
        show(rows, options.rounds)
    return int(max(row["ratio"] for row in rows.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
