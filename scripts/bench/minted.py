"""What a minted key costs: processor time of a write at its leader with a key and without.

The same shard executes the same sets, a turn of plain ones and a turn of those that a front end minted keys for, the
floor a little behind, as for a front end with so many writes under way. Measured is the leader's shard alone (submit,
batch, commit, on a group that commits at once); the verdict is about the difference, of the lowest of all rounds, for
whatever else the machine does only adds to it.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from typing import Any

from hotkeys import Leader

from raftcache.commands.types import Minted, Set
from raftcache.shard.replica import ShardReplica

LIMIT_US = 2.0
SESSION = b"minting."
UNDER_WAY = 50
AT_A_TIME = 1_000
KEYS = 10_000
VALUE = b"x" * 100


def plain(number: int) -> Any:
    """A set."""
    return Set(b"key-%d" % (number % KEYS), VALUE)


def minted(number: int) -> Any:
    """The same under a key."""
    return Minted(plain(number), SESSION, max(0, number - UNDER_WAY), (number,))


def measure(rounds: int) -> dict[str, float]:
    """Microseconds of a write, the lowest of all rounds, of which each goes on with the numbers."""
    leader = Leader(ShardReplica)
    lowest_us = {"plain": float("inf"), "minted": float("inf")}
    gc.disable()
    for number in range(rounds):
        numbers = range(1 + number * AT_A_TIME, 1 + (number + 1) * AT_A_TIME)
        for name, make in (("plain", plain), ("minted", minted)):
            took_s = leader.seconds([make(each) for each in numbers])
            lowest_us[name] = min(lowest_us[name], took_s / AT_A_TIME * 1e6)
    return {**lowest_us, "more": lowest_us["minted"] - lowest_us["plain"]}


def main() -> int:
    """Print the figures; exit code 1 where a key costs more than it may."""
    parser = argparse.ArgumentParser(prog="scripts/bench/minted", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="rounds of a thousand writes of both (default 200)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    row = measure(options.rounds)
    if options.output == "json":
        print(json.dumps(row))
    else:
        print(f"CPU of a write at its leader, us; a key may cost {LIMIT_US}")
        print(f"  without {row['plain']:.2f}   with {row['minted']:.2f}   more {row['more']:.2f}")
    return int(row["more"] > LIMIT_US)


if __name__ == "__main__":
    sys.exit(main())
