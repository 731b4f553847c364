"""`raftcache status`: nodes, shards, leaders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raftcache.cli.api import Api
from raftcache.cli.output import DEFAULT_URL, Failed, add_command, add_output, print_json

EXAMPLES = """\
  raftcache status
  raftcache status --data-dir raftcache-data
  raftcache status --data-dir raftcache-data --watch
  raftcache status --url http://127.0.0.1:7110 -o json"""


def add_commands(commands: Any) -> None:
    """Add `status` to the parser."""
    parser = add_command(commands, "status", "show nodes, shards and leaders", EXAMPLES)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", help=f"ask this node or front end (default: {DEFAULT_URL})")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="ask all nodes that `raftcache up` runs there")
    parser.add_argument("--watch", action="store_true", help="draw a page every second, until Ctrl-C")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show what one node says, or what all nodes of a local cluster say together."""
    if args.watch:
        return _watch(args)
    return _local_status(args) if args.data_dir is not None else _status_at(args)


def _watch(args: argparse.Namespace) -> int:
    from raftcache.cli.watching import watch

    if args.output == "json":
        raise Failed("--watch draws a page: it has no JSON; ask without it")
    if args.data_dir is None:
        url = args.url or DEFAULT_URL
        watch({url.partition("://")[2]: url}, url)
        return 0
    from raftcache.cli.local import Local

    nodes = Local(args.data_dir).cluster.nodes
    watch({node.id: f"http://{node.http}" for node in nodes}, str(args.data_dir))
    return 0


def _status_at(args: argparse.Namespace) -> int:
    body = Api(args.url or DEFAULT_URL).send("GET", "/v1/cluster")
    if args.output == "json":
        print_json(body)
    else:
        _print_tables([body], [(node["id"], node["state"]) for node in body["nodes"]], ("node", "state"))
    return 0


def _local_status(args: argparse.Namespace) -> int:
    from raftcache.cli.local import Local

    local = Local(args.data_dir)
    bodies, pids = local.bodies(), local.pids()
    if not bodies:
        raise Failed(f"no node of the cluster in {args.data_dir} answers")
    if args.output == "json":
        print_json({**next(iter(bodies.values())), "pids": pids})
        return 0
    rows = [
        (node.id, str(pids[node.id] or "-"), "answers" if node.id in bodies else "silent", f"http://{node.http}")
        for node in local.cluster.nodes
    ]
    _print_tables(list(bodies.values()), rows, ("node", "pid", "state", "http"))
    return 0


def _print_tables(bodies: list[dict[str, Any]], rows: Sequence[tuple[str, ...]], columns: tuple[str, ...]) -> None:
    from raftcache.supervisor.report import make_console, new_table, shard_table
    from raftcache.supervisor.views import leaders, led_by

    console, known = make_console(), leaders(bodies)
    nodes = new_table(console, *columns, "leads")
    for row in rows:
        nodes.add_row(*row, " ".join(led_by(row[0], known)) or "-")
    console.print(nodes)
    console.print(shard_table(console, bodies[0], known))
    for shard in bodies[0]["shards"]:
        if shard.get("state") == "lost":
            console.print(f"shard {shard['id']} is lost; see raftcache shard list", markup=False)
    console.print(f"epoch {bodies[0]['epoch']}", markup=False)
