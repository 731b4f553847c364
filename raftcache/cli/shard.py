"""`raftcache shard`: the shards, and the way out where one of them is lost."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from raftcache.cli.api import Api
from raftcache.cli.output import add_api_command, add_command, print_json

REPLACE_EXAMPLES = """\
  raftcache shard replace 7c1f --from n2    start from what node n2 holds of the lost shard
  raftcache shard replace 7c1f --empty      start with nothing
Only a shard that `raftcache shard list` calls lost can be replaced. What the lost shard's other replicas hold is
set aside on their nodes. The choice cannot be taken back."""


def add_commands(commands: Any) -> None:
    """Add `shard` and its commands to the parser."""
    parser = add_command(commands, "shard", "list shards, and replace lost ones")
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    add_api_command(
        group, "list", list_all, "show all shards, and what is left of lost ones", "  raftcache shard list -o json"
    )
    replacing = add_api_command(
        group, "replace", replace, "start a new shard in the place of a lost one", REPLACE_EXAMPLES
    )
    replacing.add_argument("shard", metavar="SHARD")
    start = replacing.add_mutually_exclusive_group(required=True)
    start.add_argument("--from", dest="source", metavar="NODE", help="the node of the survivor to start from")
    start.add_argument("--empty", action="store_true", help="start with nothing: every key of the shard is gone")


def list_all(args: argparse.Namespace) -> int:
    """Show every shard, and the survivors of those that are lost."""
    shards = Api(args.url).send("GET", "/v1/cluster")["shards"]
    if args.output == "json":
        print_json({"shards": shards})
    else:
        _print_tables(shards)
    return 0


def _print_tables(shards: list[dict[str, Any]]) -> None:
    from raftcache.supervisor.report import make_console, new_table
    from raftcache.supervisor.views import in_slot_order

    console = make_console()
    table = new_table(console, "shard", "state", "slots", "leader", "replicas")
    for shard in in_slot_order({"shards": shards}):
        slots = " ".join(f"{first}-{last}" for first, last in shard["slots"])
        replicas = " ".join(f"{replica['node']}:{replica['state']}" for replica in shard["replicas"])
        table.add_row(shard["id"], _state(shard), slots, shard["leader"] or "-", replicas)
    console.print(table)
    for shard in shards:
        if _state(shard) == "lost":
            _print_survivors(console, shard)


def _print_survivors(console: Any, shard: dict[str, Any]) -> None:
    from raftcache.supervisor.report import new_table

    survivors = shard.get("survivors", [])
    if survivors:
        table = new_table(console, "left of " + shard["id"], "term", "last entry", "keys")
        for each in survivors:
            keys = "?" if each["keys"] is None else f"{each['keys']:,}"
            table.add_row(each["node"], str(each["term"]), str(each["lastIndex"]), keys)
        console.print(table)
    way = f"--from {survivors[0]['node']} (or --empty)" if survivors else "--empty"
    console.print(f"shard {shard['id']} is lost; raftcache shard replace {shard['id']} {way}", markup=False)


def _state(shard: Mapping[str, Any]) -> str:
    return str(shard.get("state", "active"))


def replace(args: argparse.Namespace) -> int:
    """Start a new shard in the place of a lost one."""
    answer = Api(args.url).send("POST", "/v1/shards/replace", {"shard": args.shard, "from": args.source})
    if args.output == "json":
        print_json(answer)
    else:
        start = "starts empty" if args.source is None else f"starts from what {args.source} holds of it"
        print(f"shard {answer['shard']} takes the place of {args.shard} and {start}")
    return 0
