"""`raftcache fault`: break a local cluster on purpose.

`kill` and `pause` are signals to the node's process. `isolate` is an RPC call that makes a node drop its links to
the other nodes, while its clients reach it still.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raftcache.cli.output import Failed, add_command, add_data_dir, add_output, print_json

if TYPE_CHECKING:
    from raftcache.cli.local import Local

RPC_TIMEOUT_SECONDS = 5.0

LEADER_EXAMPLES = """\
  raftcache fault kill-leader              the leader of the shard that owns slot 0
  raftcache fault kill-leader 7c1f         the leader of shard 7c1f
  raftcache fault kill-leader meta         the leader of the metadata group"""

Act = Callable[["Local", str], dict[str, Any]]
"""Does something to one node and says what, as JSON."""


def add_commands(commands: Any) -> None:
    """Add `fault` and its commands to the parser."""
    parser = add_command(commands, "fault", "kill, pause and isolate nodes of a cluster on this machine")
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, act, summary in (
        ("kill", _signaller("killed", signal.SIGKILL), "kill nodes; the supervisor starts them again"),
        ("pause", _signaller("paused", signal.SIGSTOP), "stop nodes in their tracks"),
        ("resume", _signaller("resumed", signal.SIGCONT), "let paused nodes go on"),
        ("isolate", _isolator("isolated", True), "cut nodes from their peers, but not from clients"),
        ("heal", _isolator("healed", False), "join isolated nodes to their peers again"),
    ):
        _add_nodes_command(group, name, act, summary)
    leader = add_command(group, "kill-leader", "kill the leader of a shard or of the metadata group", LEADER_EXAMPLES)
    leader.add_argument("group", nargs="?", metavar="SHARD|meta", help="default: the shard that owns slot 0")
    _add_common(leader, _kill_leader)


def _add_nodes_command(group: Any, name: str, act: Act, summary: str) -> None:
    parser = add_command(group, name, summary, f"  raftcache fault {name} n1\n  raftcache fault {name} --all")
    parser.add_argument("nodes", nargs="*", metavar="NODE")
    parser.add_argument("--all", action="store_true", help="every node")
    _add_common(parser, lambda args: _each(parser, args, act))


def _add_common(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    add_data_dir(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def _each(parser: argparse.ArgumentParser, args: argparse.Namespace, act: Act) -> int:
    """Do it to every node named; all names are checked before the first is touched."""
    if args.all == bool(args.nodes):
        parser.error("name nodes, or give --all")
    local = _local(args)
    nodes = [node.id for node in local.cluster.nodes] if args.all else list(args.nodes)
    for node_id in nodes:
        local.cluster.node(node_id)
    for node_id in nodes:
        _say(args, act(local, node_id))
    return 0


def _kill_leader(args: argparse.Namespace) -> int:
    from raftcache.cli.local import choose_leader

    local = _local(args)
    group_id, leader = choose_leader(list(local.bodies().values()), args.group)
    _say(args, {**_signal(local, leader, "killed", signal.SIGKILL), "leader_of": group_id})
    return 0


def _local(args: argparse.Namespace) -> Local:
    from raftcache.cli.local import Local

    return Local(args.data_dir)


def _signaller(done: str, number: signal.Signals) -> Act:
    return lambda local, node_id: _signal(local, node_id, done, number)


def _signal(local: Local, node_id: str, done: str, number: signal.Signals) -> dict[str, Any]:
    pid = local.pid(node_id)
    try:
        os.kill(pid, number)
    except OSError as error:
        raise Failed(f"{node_id} (pid {pid}) cannot be signalled: {error.strerror}") from error
    return {"done": done, "node": node_id, "pid": pid}


def _isolator(done: str, isolate: bool) -> Act:
    return lambda local, node_id: _call_fault(local, node_id, done, isolate)


def _call_fault(local: Local, node_id: str, done: str, isolate: bool) -> dict[str, Any]:
    from raftcache.node import admin

    cluster, node = local.cluster, local.cluster.node(node_id)
    secret = local.data_dir.secret(cluster)
    admin.call(node.rpc, secret, cluster.cluster_id, "fault", {"isolate": isolate}, RPC_TIMEOUT_SECONDS)
    return {"done": done, "node": node_id, "pid": local.data_dir.pid(node_id)}


def _say(args: argparse.Namespace, event: dict[str, Any]) -> None:
    if args.output == "json":
        print_json(event)
        return
    led = f", leader of {event['leader_of']}" if "leader_of" in event else ""
    print(f"{event['done']} {event['node']} (pid {event['pid']}{led})")
