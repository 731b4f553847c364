"""`raftcache snapshot`: take snapshots of what the nodes hold, and look at one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from raftcache.cli.api import Api
from raftcache.cli.output import Failed, add_api_command, add_command, add_output, print_json

TIMEOUT_SECONDS = 630.0
"""Longer than a node waits, so that its own answer arrives."""

TAKE_EXAMPLES = """\
  raftcache snapshot take                            every replica of every group
  raftcache snapshot take --node n1 n2
  raftcache snapshot take --shard 7c1f --shard meta -o json"""


INSPECT_EXAMPLES = """\
  raftcache snapshot inspect raftcache-data/n0/groups/meta/snapshots/00000000000003e8.snap
Every checksum is verified, and the content is decoded, a block at a time. Damage is told with its place in the file;
the exit code is 1 then."""


def add_commands(commands: Any) -> None:
    """Add `snapshot` and its commands to the parser."""
    parser = add_command(commands, "snapshot", "take snapshots of what the nodes hold, and look at one")
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    taking = add_api_command(group, "take", take, "take snapshots now, and wait for them", TAKE_EXAMPLES)
    taking.add_argument("--node", nargs="+", action="extend", default=[], metavar="NODE", help="default: all nodes")
    taking.add_argument(
        "--shard", nargs="+", action="extend", default=[], metavar="SHARD", help='or "meta"; default: all groups'
    )
    inspecting = add_command(group, "inspect", "check a snapshot file and show what is in it", INSPECT_EXAMPLES)
    inspecting.add_argument("file", type=Path, metavar="FILE", help="a file of `groups/<group>/snapshots/`")
    add_output(inspecting)
    inspecting.set_defaults(run=inspect)


def take(args: argparse.Namespace) -> int:
    """Take snapshots; fails where one could not be taken, once the others are told."""
    wanted = {"nodes": args.node, "shards": args.shard}
    rows = Api(args.url, TIMEOUT_SECONDS).send("POST", "/v1/snapshots", wanted)["snapshots"]
    if args.output == "json":
        print_json({"snapshots": rows})
    else:
        _print_table([row for row in rows if row["error"] is None])
    failed = [f"{row['node']} {row['group'] or ''}".strip() + f": {row['error']}" for row in rows if row["error"]]
    if failed:
        raise Failed("; ".join(failed))
    return 0


def _print_table(rows: list[dict[str, Any]]) -> None:
    from raftcache.supervisor.report import make_console, new_table

    console = make_console()
    table = new_table(console, "node", "group", "index", "keys", "bytes", "seconds")
    for row in rows:
        keys = "-" if row["keys"] is None else f"{row['keys']:,}"
        counts = (f"{row['index']:,}", keys, f"{row['bytes']:,}", f"{row['seconds']:.1f}")
        table.add_row(row["node"], row["group"], *counts)
    console.print(table)


def inspect(args: argparse.Namespace) -> int:
    """Check a snapshot file and show what it is of; fails where it is damaged."""
    from raftcache.cli.snapshot_file import describe

    document = describe(str(args.file.absolute()))
    if args.output == "json":
        print_json(document)
        return 0
    for name, value in document.items():
        shown = f"{value:,}" if isinstance(value, int) else " ".join(value) if isinstance(value, list) else value
        print(f"{name.replace('_', ' '):<18} {shown}")
    return 0
