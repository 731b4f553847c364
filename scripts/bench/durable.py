"""Durable writes of raftcache against etcd's quorum puts, on the same machine and disk, in one run.

Both run three processes on loopback; 50 clients each XX"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec

from writes import etcd_cluster
from writes.arguments import options_of, parser, run
from writes.disk import sync_ms
from writes.report import Bar, Comparison, document, show
from writes.rounds import Etcd, Options, Raftcache, System, folder_in, interleaved

AT_LEAST = 3.0
JUDGED, SHOWN = 1, 4
"""Shards: as etcd has them, and as `raftcache up` does."""
TRIAL_SECONDS = 2.0
STYLES = tuple((style, channels) for style in ("aio", "threads") for channels in (1, 4, 16))
"""How grpcio may be driven."""


def missing() -> str:
    """What is not installed here, and how it is; empty where everything is there."""
    if not etcd_cluster.installed():
        return "etcd is not installed (Debian: `apt-get install etcd-server`)"
    if find_spec("grpc") is None:
        return "grpcio is not installed (`.venv/bin/pip install -e '.[bench]'`)"
    return ""


def best_style(args: argparse.Namespace, options: Options, bar: Bar) -> tuple[Etcd, dict[str, float]]:
    """The way of driving grpcio that gives etcd the highest throughput, and the throughput of each."""
    trial = options._replace(seconds=min(TRIAL_SECONDS, options.seconds))
    tried = [Etcd(f"etcd ({style}, {channels} channels)", style, channels) for style, channels in STYLES]
    outcomes = interleaved(tried, 1, trial, args.dir, bar.step)
    rates = {system.name: outcomes[system.name][0].per_second for system in tried}
    return max(tried, key=lambda system: rates[system.name]), {name: round(rate) for name, rate in rates.items()}


def measure(args: argparse.Namespace) -> int:
    """Compare, show, and say whether it is enough."""
    options = options_of(args)
    ours = [Raftcache(f"raftcache {args.ack}, {n} shard{'s' * (n > 1)}", n, args.ack) for n in (JUDGED, SHOWN)]
    with folder_in(args.dir) as folder:
        disk_ms = sync_ms(folder)
    with Bar(len(STYLES) + args.rounds * (len(ours) + 1)) as bar:
        etcd, tried = best_style(args, options, bar)
        systems: list[System] = [*ours, etcd]
        outcomes = interleaved(systems, args.rounds, options, args.dir, bar.step)
    notes = {"etcd_version": etcd_cluster.version(), "etcd_tried_writes_per_s": tried, "fdatasync_ms": disk_ms}
    wanted = [Comparison(each.name, etcd.name, AT_LEAST if each.shards == JUDGED else 0.0) for each in ours]
    shown = document(outcomes, wanted, notes)
    show(shown, args.output == "json")
    if args.output != "json":
        print(f"etcd {notes['etcd_version']}; one fdatasync of 4 KiB takes {disk_ms:.2f} ms here")
    return 0 if shown["passed"] else 1


def main() -> int:
    """Parse, look whether everything is there, measure."""
    made = parser("durable", __doc__)
    made.add_argument("--ack", choices=("quorum", "durable"), default="durable", help="raftcache's level")
    args = made.parse_args()
    reason = missing()
    if reason:
        print(f"skipped: {reason}", file=sys.stderr)
        return 0
    return run(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
