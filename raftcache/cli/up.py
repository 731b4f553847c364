"""`raftcache up`: a cluster on this machine, under a supervisor."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from raftcache.cli.output import DEFAULT_DATA_DIR, Failed, add_command

if TYPE_CHECKING:
    from raftcache.supervisor.cluster import LocalCluster
    from raftcache.supervisor.layout import DataDir

DEFAULT_NODES, DEFAULT_SHARDS, DEFAULT_REPLICAS, DEFAULT_BASE_PORT = 3, 4, 3, 7100
MODULE = "raftcache.cli.main"
SAMPLE_TRACE = Path(__file__).parents[2] / "tests" / "data" / "cloudphysics-io.csv.gz"
PORT_PATIENCE_SECONDS = 1.0
"""How long to wait for ports that nodes of a supervisor killed a moment ago may still hold."""

EXAMPLES = """\
  raftcache up
  raftcache up --nodes 5 --shards 8 --data-dir /tmp/cache --ready-file /tmp/cache.ready
  raftcache up --memory --data-dir /tmp/cache
A folder that holds a cluster already is started as it was created; options that say otherwise are refused. One that
was created with --memory has ended with its nodes, and a new, empty one of the same shape takes its place."""
MEMORY_ONLY = (
    "nothing is kept on disk: a node that restarts comes back empty, as a new member; data is lost once a majority "
    "of a shard's nodes are down at once, and all of it when this command ends"
)


def add_commands(commands: Any) -> None:
    """Add `up` to the parser. Options that were not given are None, and then taken from the data folder."""
    parser = add_command(commands, "up", "run a cluster on this machine until Ctrl-C", EXAMPLES)
    for name, default, what in (
        ("--nodes", DEFAULT_NODES, "how many nodes"),
        ("--shards", DEFAULT_SHARDS, "how many shards"),
        ("--replicas", f"{DEFAULT_REPLICAS}, or as many as there are nodes", "replicas of each shard"),
        ("--base-port", DEFAULT_BASE_PORT, "node i listens on this + 10*i: HTTP, then RPC, peers, Redis"),
    ):
        parser.add_argument(name, type=int, metavar="N", help=f"{what} (default: {default})")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=DEFAULT_DATA_DIR,
        metavar="DIR",
        help=f"where the cluster keeps everything (default: ./{DEFAULT_DATA_DIR})",
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        default=None,
        help=f"{MEMORY_ONLY}. Without it, a killed node, or all of them, restart with everything",
    )
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="exists while the whole cluster serves")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the cluster; returns when all its processes are gone."""
    from raftcache.supervisor.layout import DataDir

    if args.ready_file is not None and not args.ready_file.absolute().parent.is_dir():
        raise Failed(f"--ready-file {args.ready_file}: its folder does not exist")
    data_dir = DataDir(args.data_dir)
    with data_dir.locked():
        existing = data_dir.load()
        cluster = chosen_cluster(existing, args)
        _require_free_ports(cluster)
        if existing is None:
            data_dir.create(cluster)
        elif cluster.memory:
            data_dir.renew(cluster)
        return _supervise(data_dir, cluster, args.ready_file, fresh=existing is None or cluster.memory)


def chosen_cluster(existing: LocalCluster | None, args: argparse.Namespace) -> LocalCluster:
    """The cluster kept in the folder, or a new one; also a new one in the place of a memory-only one, which has ended.

    Raises Failed where the options contradict the folder.
    """
    from raftcache.supervisor.cluster import plan_cluster

    if existing is None:
        nodes, shards = _given(args.nodes, DEFAULT_NODES), _given(args.shards, DEFAULT_SHARDS)
        replicas = _given(args.replicas, min(DEFAULT_REPLICAS, max(nodes, 1)))
        return plan_cluster(nodes, shards, replicas, _given(args.base_port, DEFAULT_BASE_PORT), bool(args.memory))
    for field, asked, kept in (
        ("--nodes", args.nodes, len(existing.nodes)),
        ("--shards", args.shards, existing.shards),
        ("--replicas", args.replicas, existing.replicas),
        ("--base-port", args.base_port, existing.base_port),
    ):
        if asked is not None and asked != kept:
            raise Failed(f"{field} {asked}: the cluster in {args.data_dir} was created with {kept}; use another folder")
    if args.memory and not existing.memory:
        raise Failed(f"--memory: the cluster in {args.data_dir} was created with a disk; use another folder")
    if existing.memory:
        again = plan_cluster(len(existing.nodes), existing.shards, existing.replicas, existing.base_port, memory=True)
        return msgspec.structs.replace(again, dial=existing.dial)
    return existing


def _given(option: int | None, default: int) -> int:
    return default if option is None else option


def _require_free_ports(cluster: LocalCluster) -> None:
    """Raises BindRefused, which names the field and the port, where a port stays taken."""
    from raftcache.net.protected import BindRefused, listening_socket
    from raftcache.supervisor.cluster import ports

    give_up_at = time.monotonic() + PORT_PATIENCE_SECONDS
    for field, host, port in ports(cluster):
        while True:
            try:
                listening_socket(field, host, port).close()
                break
            except BindRefused:
                if time.monotonic() >= give_up_at:
                    raise
                time.sleep(0.05)  # A port just left is looked at again until it is free; the patience bounds it.


def _supervise(data_dir: DataDir, cluster: LocalCluster, ready_file: Path | None, fresh: bool) -> int:
    import asyncio

    from raftcache.supervisor.initialise import initialise
    from raftcache.supervisor.report import Report, lines_to_paste, make_console
    from raftcache.supervisor.run import Supervisor

    report = Report(make_console())
    report.event(f"{'new cluster' if fresh else 'cluster'} {cluster.cluster_id} in {data_dir.path}")
    if cluster.memory:
        report.event(MEMORY_ONLY)
    paste = lines_to_paste(cluster, data_dir.path, _program(), _from_here(SAMPLE_TRACE))

    async def supervise() -> None:
        await Supervisor(data_dir, cluster, ready_file, report, initialise, paste).run()

    asyncio.run(supervise())
    return 0


def _program() -> str:
    """How to call this program from the folder the user is in."""
    called = Path(sys.argv[0]).absolute()
    return _from_here(called) if called.name == "raftcache" else f"{_from_here(Path(sys.executable))} -m {MODULE}"


def _from_here(path: Path) -> str:
    """`path` relative to the current folder where it is below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
