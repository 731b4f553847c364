"""What `raftcache up` shows: a table when the cluster serves, lines to paste, and one line for each event."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.box import ASCII, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from raftcache.supervisor.cluster import LocalCluster, LocalNode
from raftcache.supervisor.views import METADATA, Body, in_slot_order, leaders, led_by

PLAIN_WIDTH = 160
"""Where the output is no terminal, lines are this wide rather than cut."""


def make_console() -> Console:
    """Standard output; without colours and frames where that is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH, no_color=True)


class Report:
    """Writes to one console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def event(self, text: str) -> None:
        """One line with the time of day."""
        stamp = time.strftime("%H:%M:%S")
        self._console.print(f"{stamp}  {text}", markup=False, soft_wrap=True)

    def lines(self, text: str) -> None:
        """Lines as they are, never wrapped, so that they can be pasted."""
        self._console.print(text, markup=False, soft_wrap=True)

    def overview(self, cluster: LocalCluster, pids: Mapping[str, int | None], bodies: Iterable[Body]) -> None:
        """The tables of nodes and shards."""
        bodies = list(bodies)
        known = leaders(bodies)
        self._console.print(self._nodes(cluster, pids, known))
        if bodies:
            self._console.print(shard_table(self._console, bodies[0], known))

    def _nodes(
        self, cluster: LocalCluster, pids: Mapping[str, int | None], known: Mapping[str, str | None]
    ) -> Table:
        table = new_table(self._console, "node", "pid", "http", "redis", "rpc", "peer", "leads")
        for node in cluster.nodes:
            pid = pids.get(node.id)
            led = " ".join(led_by(node.id, known))
            addresses = f"http://{node.http}", _redis_ports(node), node.rpc, node.peer
            table.add_row(node.id, str(pid or "-"), *addresses, led or "-")
        return table


def shard_table(console: Console, body: Body, known: Mapping[str, str | None]) -> Table:
    """The shards of one `/v1/cluster` body, and the metadata group; leaders are taken from `known`."""
    table = new_table(console, "shard", "slots", "leader", "term", "replicas")
    groups = [(str(shard["id"]), shard) for shard in in_slot_order(body)]
    if body.get("metadata"):
        groups.append((METADATA, body["metadata"]))
    for group_id, group in groups:
        slots = " ".join(f"{first}-{last}" for first, last in group.get("slots", ()))
        replicas = " ".join(f"{replica['node']}:{replica['state']}" for replica in group.get("replicas", ()))
        leader = "LOST" if group.get("state") == "lost" else known.get(group_id) or "-"
        table.add_row(group_id, slots or "-", leader, str(group.get("term", "-")), replicas or "-")
    return table


def new_table(console: Console, *columns: str) -> Table:
    """An empty table in the style of all others: framed lightly on a terminal, in plain characters elsewhere."""
    table = Table(box=SIMPLE_HEAD if console.is_terminal else ASCII, pad_edge=False, highlight=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def lines_to_paste(cluster: LocalCluster, data_dir: Path, program: str, trace: str) -> str:
    """Commands that work against this cluster as they stand; `program` is how raftcache is called from here."""
    first = cluster.nodes[0]
    url = f"http://{first.http}"
    data, trace = shlex.quote(str(data_dir)), shlex.quote(trace)
    return f"""\
Try it:
  curl -X PUT {url}/v1/cache/default/greeting -d '{{"value": "hello", "ttlSeconds": 300}}'
  curl {url}/v1/cache/default/greeting
  {program} kv set --url {url} --namespace safe balance 100
  {program} kv incr --url {url} --namespace safe balance
{_redis_line(first.redis_router)}{_redis_line(first.redis_cluster, " -c")}\
  {program} replay {trace} --url {url} --limit 10000
  {program} fault kill-leader --data-dir {data}
  {program} status --data-dir {data}
Ctrl-C stops the cluster."""


def _redis_ports(node: LocalNode) -> str:
    """The router port, and behind it the cluster port, which is on the same host."""
    cluster_port = node.redis_cluster.rpartition(":")[2]
    return f"{node.redis_router} :{cluster_port}" if cluster_port else node.redis_router or "-"


def _redis_line(address: str, options: str = "") -> str:
    """A line for whoever has redis-cli; it ends with its line end, or is empty."""
    host, _, port = address.rpartition(":")
    return f"  redis-cli{options} -h {host} -p {port} GET greeting\n" if address else ""
