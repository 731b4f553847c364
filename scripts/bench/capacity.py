"""What the capacity model of docs/capacity.md stands on: processor time of an operation and memory of a key, by role.

Three nodes with one shard are asked with redis-benchmark at several depths and sizes. Each process' time is divided by
the operations: the leader's, a follower's, and, where another node is asked, that of the node that forwards. A linear
model is fitted to it, and held against points that it was not fitted to; then it is extrapolated."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
import redis
from beside.fit import Model, Point, fit
from beside.requests import value
from beside.rows import BENCHMARK, FORWARDED, GET, LEADER, RAFTCACHE, SET, Measurement
from beside.systems import HOST, Raftcache
from beside.tools import Effort, measure
from writes.arguments import positive, run
from writes.rounds import folder_in
from writes.spec import Outcome

from raftcache.cli.local import Local
from raftcache.supervisor.progress import COUNT, StepBar
from raftcache.supervisor.report import make_console, new_table

SIZES_BYTES, DEPTHS = (64, 1024, 4096, 10240), (1, 4, 16)
HELD_OUT = ((2, 512), (8, 2048), (12, 8192))
"""Depth and size of points that the model is not fitted to."""
KEY_SIZES_BYTES, KEYS = (64, 1024, 4096), 50_000
LEADS, FOLLOWS, FORWARDS = "leader", "follower", "forwarding"

TARGET_PER_S, READ_SHARE, BUSY = 2_000_000, 0.9, 0.6
"""The design's load, and how much of its processor a process is to use: what is left takes failovers and peaks."""
MODEL_DEPTH, MODEL_BYTES = 8, 1024
"""How many requests of a connection a loop turn finds, and the size of values, in the extrapolation."""
HEADERS_BYTES = 120
"""What requests, replies and the frames between nodes add to a value, with TCP's and IP's headers at this depth."""


class Cost(NamedTuple):
    """What one operation cost each role, in microseconds. `forwards` is 0 where the leader itself was asked."""

    leads: float
    follows: float
    forwards: float


def points() -> Iterator[tuple[str, str, int, int]]:
    """Operation, place, depth and size of everything that is measured."""
    grid = [(depth, size) for size in SIZES_BYTES for depth in DEPTHS]
    for size_depth in sorted([*grid, *HELD_OUT], key=lambda pair: pair[1]):
        for operation in (SET, GET):
            for at in (LEADER, FORWARDED):
                yield operation, at, *size_depth


def cost(system: Raftcache, at: str, outcome: Outcome) -> Cost:
    """An outcome by role."""
    ready = system.cluster.wait_ready()
    leader = next(node for shard, node in system.cluster.leaders().items() if shard != "meta")
    asked_port = system.place(at).port
    spent = dict(zip(ready, outcome.servers_cpu_s, strict=True))
    nodes = Local(system.cluster.data_dir).cluster.nodes
    asked = next(node.id for node in nodes if node.redis_router == f"{HOST}:{asked_port}")
    us = {node: seconds / outcome.writes * 1e6 for node, seconds in spent.items()}
    idle = [each for node, each in us.items() if node not in (leader, asked)]
    follows = sum(idle) / len(idle)
    return Cost(us[leader or ""], follows, us[asked] - follows if asked != leader else 0.0)


def measured(system: Raftcache, args: argparse.Namespace) -> dict[tuple[str, str, int, int], Cost]:
    """The medians of all rounds."""
    wanted, effort = list(points()), Effort(args.connections, args.seconds)
    costs: dict[tuple[str, str, int, int], list[Cost]] = {each: [] for each in wanted}
    with StepBar(args.rounds * len(wanted), COUNT) as bar:
        for _ in range(args.rounds):
            filled = 0
            for each in wanted:
                operation, at, depth, size = each
                if size != filled:
                    system.fill(size)
                    filled = size
                asked = Measurement(RAFTCACHE, operation, BENCHMARK, depth, size, at)
                outcome = measure(asked, system, effort)
                costs[each].append(cost(system, at, outcome))
                bar.advance(f"{asked.title}: {outcome.per_second:,.0f}/s")
    return {each: Cost(*(median(part) for part in zip(*rounds, strict=True))) for each, rounds in costs.items()}


def models(costs: dict[tuple[str, str, int, int], Cost]) -> dict[str, tuple[Model, list[dict[str, Any]]]]:
    """A model by operation and role, with what it says of the points that were held out."""
    made = {}
    for operation in (GET, SET):
        for role, at, part in ((LEADS, LEADER, 0), (FOLLOWS, LEADER, 1), (FORWARDS, FORWARDED, 2)):
            if (operation, role) == (GET, FOLLOWS):
                continue  # A read is none of a follower's business.
            known = {(depth, size): each[part] for (what, where, depth, size), each in costs.items()
                     if (what, where) == (operation, at)}  # fmt: skip
            model = fit([Point(*place, us) for place, us in known.items() if place not in HELD_OUT])
            made[f"{operation}, {role}"] = model, [_checked(model, place, known[place]) for place in HELD_OUT]
    return made


def _checked(model: Model, place: tuple[int, int], us: float) -> dict[str, Any]:
    said = model.at(*place)
    return {"depth": place[0], "value_bytes": place[1], "measured_us": round(us, 2), "model_us": round(said, 2),
            "off_percent": round((said / us - 1) * 100, 1)}  # fmt: skip


def memory(folder: Path) -> dict[str, Any]:
    """Bytes a key takes at a node, over key and value, by resident memory: once a snapshot has let the log go."""
    rows = []
    for size in KEY_SIZES_BYTES:
        system = Raftcache(folder / f"memory-{size}", memory=True)
        system.start()
        try:
            before = _resident(system)
            _write_keys(system, size)
            over = (_resident(system) - before) / KEYS - size - len(_name(0))
            rows.append({"value_bytes": size, "over_bytes": round(over)})
        finally:
            system.stop()
    return {"keys": KEYS, "rows": rows}


def _write_keys(system: Raftcache, size: int) -> None:
    place, content = system.place(LEADER), value(size)
    with redis.Redis(place.host, place.port) as client:
        for first in range(0, KEYS, 1000):
            pipeline = client.pipeline(transaction=False)
            for number in range(first, first + 1000):
                pipeline.set(_name(number), content)
            pipeline.execute()
    time.sleep(1.0)  # Real processes: followers apply what is left.


def _name(number: int) -> bytes:
    return b"memory:%012d" % number


def _resident(system: Raftcache) -> float:
    """Of a node, on average."""
    pids = system.cluster.wait_ready().values()
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) / len(pages) * 4096


def extrapolated(made: dict[str, tuple[Model, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Processes and bytes a second for the design's load: asked at leaders, and through nodes that forward."""
    us = {name: model.at(MODEL_DEPTH, MODEL_BYTES) for name, (model, _) in made.items()}
    write = us["SET, leader"] + 2 * us["SET, follower"]
    at_leader = READ_SHARE * us["GET, leader"] + (1 - READ_SHARE) * write
    forwarding = READ_SHARE * us["GET, forwarding"] + (1 - READ_SHARE) * us["SET, forwarding"]
    plain = MODEL_BYTES + HEADERS_BYTES
    carried = {"asked at leaders": plain, "forwarded": 2 * plain}
    costs = {"asked at leaders": at_leader, "forwarded": at_leader + forwarding}
    return {
        name: {
            "cpu_us": round(cpu_us, 2),
            "processes": round(TARGET_PER_S * cpu_us / 1e6 / BUSY),
            "clients_gbit_per_s": round(TARGET_PER_S * plain * 8 / 1e9, 1),
            "replication_gbit_per_s": round(TARGET_PER_S * (1 - READ_SHARE) * 2 * plain * 8 / 1e9, 1),
            "forwarding_gbit_per_s": round(TARGET_PER_S * (carried[name] - plain) * 8 / 1e9, 1),
        }
        for name, cpu_us in costs.items()
    }


def show(shown: dict[str, Any]) -> None:
    """The tables."""
    console = make_console()
    table = new_table(console, "CPU us", "own", "once a batch", "for a KiB", "held out: off by")
    for name, each in shown["models"].items():
        off = ", ".join(f"{point['off_percent']:+.0f} %" for point in each["held_out"])
        table.add_row(name, *(f"{part:.2f}" for part in each["coefficients"]), off)
    console.print(table)
    columns = ("CPU us", "processes", "clients Gbit/s", "replication Gbit/s", "forwarding Gbit/s")
    table = new_table(console, f"{TARGET_PER_S:,} operations/s, {READ_SHARE:.0%} reads", *columns)
    for name, each in shown["extrapolated"].items():
        table.add_row(name, *map(str, each.values()))
    console.print(table)
    for row in shown["memory"]["rows"]:
        console.print(f"a key with {row['value_bytes']:,} bytes takes {row['over_bytes']} bytes more than it has")


def work(args: argparse.Namespace) -> int:
    """Measure, fit, extrapolate, show."""
    with folder_in(args.dir) as folder:
        system = Raftcache(folder.resolve() / "cpu", memory=True)
        system.start()
        try:
            costs = measured(system, args)
        finally:
            system.stop()
        kept = memory(folder.resolve())
    made = models(costs)
    shown = {
        "date": time.strftime("%Y-%m-%d"),
        "models": {name: {"coefficients": [round(part, 3) for part in model], "held_out": checks}
                   for name, (model, checks) in made.items()},
        "extrapolated": extrapolated(made),
        "memory": kept,
        "points": [_point(each, cost) for each, cost in costs.items()],
    }  # fmt: skip
    show(shown)
    if args.to is not None:
        args.to.write_bytes(msgspec.json.format(msgspec.json.encode(shown), indent=1) + b"\n")
        print(f"written: {args.to}")
    return 0


def _point(each: Sequence[Any], spent: Cost) -> dict[str, Any]:
    named = dict(zip(("operation", "at", "depth", "value_bytes"), each, strict=True))
    return {**named, **{role: round(us, 2) for role, us in spent._asdict().items()}}


def main() -> int:
    """The command line."""
    made = argparse.ArgumentParser(prog="scripts/bench/capacity", description=__doc__)
    made.add_argument("--rounds", type=positive, default=3, help="how often everything is measured (default 3)")
    made.add_argument("--seconds", type=float, default=2.0, help="how long each time (default 2)")
    made.add_argument("--connections", type=positive, default=50, help="of each load (default 50)")
    made.add_argument("--dir", type=Path, default=Path(), help="where the nodes keep their files (default: here)")
    made.add_argument("--to", type=Path, help="a file for all of it as JSON")
    return run(lambda: work(made.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
