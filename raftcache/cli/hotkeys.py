"""`raftcache hotkeys`: which keys have most of the traffic."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import urlencode

from raftcache.cli.api import Api
from raftcache.cli.output import add_api_command, print_json

EXAMPLES = """\
  raftcache hotkeys
  raftcache hotkeys --namespace sessions --limit 3 --bucket-seconds 1
  raftcache hotkeys --buckets 12 -o json
The newest bucket is not over yet. "share" is the key's part of all that its shard executed; "hit rate" is of reads, and
"bytes" are those of keys and values that were read and written. "front ends" is by how many the key was asked for.
Rates of busy keys are estimates from a sample."""


def add_commands(commands: Any) -> None:
    """Add `hotkeys` to the parser."""
    parser = add_api_command(commands, "hotkeys", hotkeys, "list the keys with most of the traffic", EXAMPLES)
    parser.add_argument("--namespace", metavar="NAME", help="default: all namespaces")
    parser.add_argument("--limit", type=int, metavar="N", help="keys a bucket, 1 to 100 (default: 10)")
    parser.add_argument("--bucket-seconds", type=int, metavar="S", help="1 to 60 (default: 10)")
    parser.add_argument("--buckets", type=int, metavar="N", help="only the newest N (default: 2, or all with -o json)")


def hotkeys(args: argparse.Namespace) -> int:
    """Print the hot keys."""
    asked = {"namespace": args.namespace, "limit": args.limit, "bucketSeconds": args.bucket_seconds}
    given = {name: value for name, value in asked.items() if value is not None}
    answer = Api(args.url).send("GET", "/v1/hotkeys" + (f"?{urlencode(given)}" if given else ""))
    if args.buckets is not None:
        answer["buckets"] = answer["buckets"][: max(0, args.buckets)]
    if args.output == "json":
        print_json(answer)
    else:
        _print_table(answer, answer["buckets"] if args.buckets is not None else answer["buckets"][:2])
    return 0


def _print_table(answer: dict[str, Any], buckets: list[dict[str, Any]]) -> None:
    from raftcache.supervisor.report import make_console, new_table

    console = make_console()
    table = new_table(console, "from", "namespace", "key", "qps", "hit rate", "bytes", "share", "front ends", "shard")
    for bucket in buckets:
        for row in bucket["keys"]:
            table.add_row(bucket["start"], *_cells(row))
    console.print(table)
    seconds, nodes = answer["bucketSeconds"], answer["nodesAsked"]
    console.print(f"buckets of {seconds} s, of what {nodes} nodes executed", markup=False)
    if answer["unreachable"]:
        console.print(f"no answer from {', '.join(answer['unreachable'])}: theirs is missing", markup=False)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Keys are anybody's text: brackets in them are no markup."""
    from rich.markup import escape

    hit_rate = "-" if row["hitRate"] is None else f"{row['hitRate']:.1%}"
    return (
        row["namespace"], escape(row["key"]), f"{row['qps']:,.1f}", hit_rate, f"{row['bytes']:,}",
        f"{row['shareOfShard']:.1%}", str(row["fanoutCount"]), row["shard"],
    )  # fmt: skip
