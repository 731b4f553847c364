"""Linearizable reads over RPC, proved by the leader's lease against proved by a barrier, in one run.

In every round each of the two settings gets a cluster of three nodes of its own, on fresh files, which is read by one
client and then by many."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from writes.arguments import parser, run
from writes.report import Bar
from writes.rounds import Options, Raftcache, folder_in, generate
from writes.spec import Outcome

from jepsen_like.cluster import RealCluster
from raftcache.supervisor.cluster import plan_cluster
from raftcache.supervisor.layout import CONFIG_FILE, DataDir
from raftcache.supervisor.report import make_console, new_table

LEASE, BARRIER = "lease", "barrier"
P50_AT_MOST = 0.5
"""With one client, of the barrier's."""
RATE_AT_LEAST = 1.5
"""With many clients, times the barrier's."""
NODES, SHARDS = 3, 4
WARM_UP_S = 1.0

Outcomes = dict[tuple[str, int], list[Outcome]]
"""The rounds by setting and number of clients."""


def create(cluster: RealCluster, setting: str) -> None:
    """Lay the cluster out as `raftcache up` would, and edit its nodes' files."""
    planned, data_dir = plan_cluster(NODES, SHARDS, NODES, cluster.base_port), DataDir(cluster.data_dir)
    cluster.data_dir.mkdir(parents=True)
    data_dir.create(planned)
    for node in planned.nodes:
        path = data_dir.node_dir(node.id) / CONFIG_FILE
        text = path.read_text()
        stock = f'linearizable_reads = "{LEASE}"'
        assert stock in text, "the setting is not where it is expected"
        path.write_text(text.replace(stock, f'linearizable_reads = "{setting}"'))


def measure_one(folder: Path, setting: str, clients: tuple[int, int], options: Options) -> list[Outcome]:
    """Start a cluster, read from it with each number of clients, stop it. Raises DriverError."""
    cluster = RealCluster(folder, NODES, SHARDS)
    create(cluster, setting)
    with cluster:
        system = Raftcache(setting, SHARDS, "quorum")
        loads = [system.load(cluster, options._replace(clients=count)) for count in clients]
        return [generate("writes.read_load", load, options.lasts_s) for load in loads]


def measure_all(args: argparse.Namespace, clients: tuple[int, int], bar: Bar) -> Outcomes:
    """All rounds."""
    options = Options(1, args.seconds, WARM_UP_S, args.value_bytes)
    outcomes: Outcomes = {(setting, count): [] for setting in (LEASE, BARRIER) for count in clients}
    for number in range(args.rounds):
        for setting in (LEASE, BARRIER) if number % 2 else (BARRIER, LEASE):
            with folder_in(args.dir) as folder:
                measured = measure_one(folder / "run", setting, clients, options)
            for count, outcome in zip(clients, measured, strict=True):
                outcomes[setting, count].append(outcome)
                rate, p50 = f"{outcome.per_second:,.0f} reads/s", f"p50 {outcome.p50_ms:.2f} ms"
                bar.advance(f"{setting}, {count} clients: {rate}, {p50}")
    return outcomes


def figures(rounds: list[Outcome]) -> dict[str, Any]:
    """One setting with one number of clients, in numbers."""
    failures = {name for each in rounds for name in each.failures}
    return {
        "reads_per_s": round(median(each.per_second for each in rounds)),
        "p50_ms": round(median(each.p50_ms for each in rounds), 3),
        "p99_ms": round(median(each.p99_ms for each in rounds), 3),
        "server_cpu_us": round(median(each.server_cpu_us for each in rounds), 1),
        "processors": round(median(each.processors for each in rounds), 2),
        "p50_ms_rounds": [round(each.p50_ms, 3) for each in rounds],
        "reads_per_s_rounds": [round(each.per_second) for each in rounds],
        "failures": {name: sum(each.failures.get(name, 0) for each in rounds) for name in sorted(failures)},
    }


def document(outcomes: Outcomes, clients: tuple[int, int]) -> dict[str, Any]:
    """Everything as JSON."""
    one, many = clients
    shown = {f"{setting}, {count}": figures(rounds) for (setting, count), rounds in outcomes.items()}
    p50 = shown[f"{LEASE}, {one}"]["p50_ms"] / shown[f"{BARRIER}, {one}"]["p50_ms"]
    rate = shown[f"{LEASE}, {many}"]["reads_per_s"] / shown[f"{BARRIER}, {many}"]["reads_per_s"]
    return {
        "passed": p50 <= P50_AT_MOST and rate >= RATE_AT_LEAST,
        "p50_ratio": round(p50, 3),
        "rate_ratio": round(rate, 2),
        "settings": shown,
    }


def show(shown: dict[str, Any]) -> None:
    """A table, and the verdict."""
    console = make_console()
    table = new_table(console, "proof, clients", "reads/s", "p50 ms", "p99 ms", "server CPU", "processors", "failures")
    for name, each in shown["settings"].items():
        failures = ", ".join(f"{error}: {count}" for error, count in each["failures"].items()) or "none"
        times = (f"{each['p50_ms']:.2f}", f"{each['p99_ms']:.2f}")
        cpu = f"{each['server_cpu_us']:.0f} us/read"
        table.add_row(name, f"{each['reads_per_s']:,}", *times, cpu, f"{each['processors']:.2f}", failures)
    console.print(table)
    verdict = "passed" if shown["passed"] else "FAILED"
    console.print(
        f"lease / barrier: {shown['p50_ratio']:.2f}x the p50 with one client (at most {P50_AT_MOST:g}x), "
        f"{shown['rate_ratio']:.2f}x the rate with many (at least {RATE_AT_LEAST:g}x): {verdict}",
        soft_wrap=True,
    )


def measure(args: argparse.Namespace) -> int:
    """Measure, show, and say whether it is enough."""
    clients = (1, args.clients)
    with Bar(args.rounds * 4) as bar:
        outcomes = measure_all(args, clients, bar)
    shown = document(outcomes, clients)
    if args.output == "json":
        sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
    else:
        show(shown)
    return 0 if shown["passed"] else 1


def main() -> int:
    """Parse, measure."""
    made = parser("reads", __doc__)
    made.set_defaults(rounds=9, seconds=3.0)
    args = made.parse_args()
    return run(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
