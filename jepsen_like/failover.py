"""The fail-over drill: `scripts/drill [SCENARIO]`.

Exit codes: 0 everything held; 1 it did not, or the drill could not be run; 2 it was called wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from jepsen_like.cluster import DriverError
from jepsen_like.ports import NoPorts
from jepsen_like.report import Bar, show
from jepsen_like.scenarios import SCENARIOS, run
from jepsen_like.verdict import Result

ALL = "all"
ROUNDS_LIMIT = 1000

EPILOG = """\
scenarios:
  shard      the leader of a shard is killed, every node in turn, while quorum writes go on
  metadata   the leader of the metadata group is killed while policies of namespaces are written
  frontend   as shard, with a front end of its own between clients and nodes
  pause      the whole cluster is paused and goes on
  all        one after the other
Each runs on a cluster of its own, on free ports and in a temporary folder, which is kept if it fails."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Raises SystemExit(2)."""
    parser = argparse.ArgumentParser(
        prog="drill",
        description="Break a real cluster under load; measure how it comes back; check what it acknowledged.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="?", choices=(*SCENARIOS, ALL), default=ALL, help=f"default: {ALL}")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="faults a scenario (default: 10)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    args = parser.parse_args(argv)
    if not 1 <= args.rounds <= ROUNDS_LIMIT:
        parser.error(f"--rounds must be from 1 to {ROUNDS_LIMIT}, got {args.rounds}")
    return args


async def drill(args: argparse.Namespace) -> list[Result]:
    """Run what was asked for. Raises DriverError; cancelled by SIGINT, SIGTERM and SIGHUP."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    names = list(SCENARIOS) if args.scenario == ALL else [args.scenario]
    with Bar(len(names) * args.rounds) as bar:
        return [await run(SCENARIOS[name], args.rounds, bar.round_done) for name in names]


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
