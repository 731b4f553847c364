"""`raftcache receipt`, `raftcache lost-writes`: what became of what was acknowledged."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote, quote_from_bytes, urlencode

from raftcache.cli.api import TIMEOUT_SECONDS, Api
from raftcache.cli.output import add_api_command, print_json

RECEIPT_EXAMPLES = """\
  raftcache receipt default greeting v7c1f.3.42
  raftcache receipt default greeting v7c1f.3.42 --wait 2000    wait while it is pending, at most two seconds
  raftcache receipt default greeting v7c1f.3.42 -o json
VERSION is what the answer to the write said. It prints "pending", "committed", "committed, durable" or "lost";
the exit code is 0 for all of them."""

LOST_EXAMPLES = """\
  raftcache lost-writes
  raftcache lost-writes --namespace sessions -o json
What a leader had acknowledged at "primary" and lost; of leaders that were killed nobody knows it."""


def add_commands(commands: Any) -> None:
    """Add `receipt` and `lost-writes` to the parser."""
    asking = add_api_command(commands, "receipt", receipt, "say what became of an acknowledged write", RECEIPT_EXAMPLES)
    asking.add_argument("namespace", metavar="NAMESPACE")
    asking.add_argument("key", metavar="KEY")
    asking.add_argument("version", metavar="VERSION")
    asking.add_argument("--wait", type=int, default=0, metavar="MS", help="while it is pending; at most 30000")
    listing = add_api_command(
        commands, "lost-writes", lost_writes, "list what was acknowledged and lost", LOST_EXAMPLES
    )
    listing.add_argument("--namespace", metavar="NAME", help="default: all namespaces")


def receipt(args: argparse.Namespace) -> int:
    """Print the fate of one version."""
    key = quote_from_bytes(args.key.encode(errors="surrogateescape"), safe="")
    path = f"/v1/receipts/{quote(args.namespace, safe='')}/{key}/{quote(args.version, safe='')}"
    query = f"?waitMs={args.wait}" if args.wait else ""
    answer = Api(args.url, TIMEOUT_SECONDS + max(0, args.wait) / 1000).send("GET", path + query)
    if args.output == "json":
        print_json(answer)
    else:
        print(answer["state"] + (", durable" if answer["durable"] else ""))
    return 0


def lost_writes(args: argparse.Namespace) -> int:
    """Print the lost-write report."""
    query = f"?{urlencode({'namespace': args.namespace})}" if args.namespace is not None else ""
    answer = Api(args.url).send("GET", "/v1/lost-writes" + query)
    if args.output == "json":
        print_json(answer)
    else:
        _print_table(answer)
    return 0


def _print_table(answer: dict[str, Any]) -> None:
    from raftcache.supervisor.report import make_console, new_table

    console = make_console()
    table = new_table(console, "namespace", "key", "version", "acknowledged at")
    for row in answer["lost"]:
        table.add_row(row["namespace"], row["key"], row["version"], row["ackedAt"])
    console.print(table)
    shown = f", the newest {len(answer['lost'])} of them above" if answer["truncated"] else ""
    console.print(f"{answer['total']:,} acknowledged writes are lost{shown}", markup=False)
    if answer["unreachable"]:
        console.print(f"no answer from {', '.join(answer['unreachable'])}: theirs are missing", markup=False)
