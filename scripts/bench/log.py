"""What the log costs: `quorum` writes of a cluster with its log on disk against one that keeps nothing on disk.

Both are three processes with one shard; 50 clients each wait for one write at a time. The two take turns, each on
fresh files and alone on the machine. Exit code 1 where the ratio of median throughputs is under 0.75, 2 where the
benchmark could not run.
"""

from __future__ import annotations

import argparse
import sys

from writes.arguments import options_of, parser, run
from writes.report import Bar, Comparison, document, show
from writes.rounds import Raftcache, System, interleaved

AT_LEAST = 0.75


def measure(args: argparse.Namespace) -> int:
    """Compare, show, and say whether it is enough."""
    logged = Raftcache("quorum, log on disk", args.shards, "quorum")
    memory = Raftcache("quorum, memory only", args.shards, "quorum", memory=True)
    systems: list[System] = [logged, memory]
    with Bar(2 * args.rounds) as bar:
        outcomes = interleaved(systems, args.rounds, options_of(args), args.dir, bar.step)
    shown = document(outcomes, [Comparison(logged.name, memory.name, AT_LEAST)], {"shards": args.shards})
    show(shown, args.output == "json")
    return 0 if shown["passed"] else 1


def main() -> int:
    """Parse and measure."""
    made = parser("log", __doc__)
    made.add_argument("--shards", type=int, default=1, help="shards of each cluster (default 1)")
    args = made.parse_args()
    return run(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
