"""The drill: `scripts/drill [SCENARIO]`.

Exit codes: 0 everything held; 1 it did not, or the drill could not be run; 2 it was called wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections.abc import Sequence

from jepsen_like.cluster import DriverError
from jepsen_like.ports import NoPorts
from jepsen_like.report import Bar, show
from jepsen_like.scenarios import SCENARIOS, Options, Scenario, run
from jepsen_like.verdict import Result
from jepsen_like.waiting import cancel_on_signals

ALL = "all"
ROUNDS, CRASH_ROUNDS, ROUNDS_LIMIT = 10, 200, 1000

SEED_LIMIT = 2**32
KEYS, KEYS_IN_ALL = 100_000, 10_000
KEYS_LIMIT = 1_000_000
ACKS = ("quorum", "durable")

EPILOG = """\
scenarios:
  shard       the leader of a shard is killed, every node in turn, while quorum writes go on
  metadata    the leader of the metadata group is killed while policies of namespaces are written
  frontend    as shard, with a front end of its own between clients and nodes
  pause       the whole cluster is paused and goes on
  crash       one node, a leader, two nodes or all are killed at random moments; everything is read back at times
  empty-disk  the data of one node is removed, then that of the metadata leader; each must be refilled by itself
  damage      one byte of a log, then of a snapshot, is flipped; that replica alone must be refilled
  disk-full   the disk of a shard's leader is full for a while, then that of the metadata leader; both must go on
  all         one after the other
Each runs on a cluster of its own, on free ports and in a temporary folder, which is kept if it fails.
Exit codes: 0 everything held; 1 it did not, or the drill could not be run; 2 it was called wrongly."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Raises SystemExit(2)."""
    parser = argparse.ArgumentParser(
        prog="drill",
        description="Break a real cluster under load; measure how it comes back; check what it acknowledged.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="?", choices=(*SCENARIOS, ALL), default=ALL, help=f"default: {ALL}")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"faults a scenario (default: {ROUNDS}; crash alone: {CRASH_ROUNDS})"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="what crash kills and when (default: a new one)")
    parser.add_argument(
        "--keys", type=int, metavar="N", help=f"keys of the drills on disks (default: {KEYS}; all: {KEYS_IN_ALL})"
    )
    parser.add_argument("--ack", choices=ACKS, default=ACKS[0], help="level of crash's writes (default: quorum)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    args = parser.parse_args(argv)
    if args.rounds is None:
        args.rounds = CRASH_ROUNDS if args.scenario == "crash" else ROUNDS
    if args.seed is None:
        args.seed = secrets.randbelow(SEED_LIMIT)
    if args.keys is None:
        args.keys = KEYS_IN_ALL if args.scenario == ALL else KEYS
    for field, value, least, limit in (
        ("--rounds", args.rounds, 1, ROUNDS_LIMIT),
        ("--seed", args.seed, 0, SEED_LIMIT - 1),
        ("--keys", args.keys, 1, KEYS_LIMIT),
    ):
        if not least <= value <= limit:
            parser.error(f"{field} must be from {least} to {limit}, got {value}")
    return args


async def drill(args: argparse.Namespace) -> list[Result]:
    """Run what was asked for. Raises DriverError; cancelled by SIGINT, SIGTERM and SIGHUP."""
    cancel_on_signals()
    names = list(SCENARIOS) if args.scenario == ALL else [args.scenario]
    chosen = [SCENARIOS[name] for name in names]
    options = Options(args.rounds, args.seed, args.ack, args.keys)
    if "crash" in names:
        print(f"drill: crash runs with --seed {args.seed}", file=sys.stderr)
    with Bar(sum(_rounds(scenario, options) for scenario in chosen)) as bar:
        return [await run(scenario, options, bar.round_done) for scenario in chosen]


def _rounds(scenario: Scenario, options: Options) -> int:
    return options.rounds if scenario.rounds is None else scenario.rounds


def main(argv: Sequence[str] | None = None) -> int:
    """Run the drill; returns its exit code."""
    args = parse(argv)
    try:
        results = asyncio.run(drill(args))
    except (DriverError, NoPorts) as error:
        print(f"drill: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        print("drill: interrupted; its cluster is stopped", file=sys.stderr)
        return 130
    show(results, args.output == "json")
    return 1 if any(result.complaints() for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
