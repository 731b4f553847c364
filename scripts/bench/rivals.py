"""raftcache beside Redis, memcached and etcd: in turn, in one run, on the same processors.

All systems are up during the whole run, on loopback. In each round every load is put on every system that it is for,
one after the other; a row of the report is the median of the rounds' ratios."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from beside import markdown, plot, report
from beside.rows import DEPTHS, ETCD, SIZES_BYTES, Measurement, Row, measurements, rows
from beside.systems import PACKAGES, SYSTEMS, System, missing
from beside.tools import Effort, measure
from writes.arguments import positive, run
from writes.measure import cpu_of
from writes.rounds import folder_in
from writes.spec import Outcome

from jepsen_like.marks import marks
from raftcache.compiled import is_compiled
from raftcache.supervisor.progress import COUNT, StepBar

IDLE_S = 2.0
MARKS = marks("rivals")
VERSIONS = {
    "redis": ["redis-server", "--version"],
    "memcached": ["memcached", "--version"],
    "etcd": ["etcd", "--version"],
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="scripts/bench/rivals", description=__doc__)
    made.add_argument("--install", action="store_true", help="install the rivals first (apt-get, as root; and grpcio)")
    made.add_argument("--rounds", type=positive, default=5, help="how often everything is measured (default 5)")
    made.add_argument("--seconds", type=float, default=5.0, help="how long each time (default 5)")
    made.add_argument("--connections", type=positive, default=50, help="of each load (default 50)")
    made.add_argument("--sizes", type=positive, nargs="+", default=list(SIZES_BYTES), help="bytes of a value")
    made.add_argument("--depths", type=positive, nargs="+", default=list(DEPTHS), help="requests in flight each")
    made.add_argument("--only", default="", help="only rows with this text in their title, such as `SET` or `etcd`")
    made.add_argument("--dir", type=Path, default=Path(), help="where the systems keep their files (default: here)")
    made.add_argument("--to", type=Path, help="a folder for rivals.json and rivals.svg")
    made.add_argument("--write", type=Path, metavar="FILE", help=f"put the tables behind {MARKS.begin!r} in there")
    made.add_argument("--shown", type=Path, metavar="JSON", help="show this rivals.json again, and measure nothing")
    return made


def install() -> None:
    """Install what is measured, and what drives etcd."""
    subprocess.run(["apt-get", "install", "-y", "-q", *sorted(set(PACKAGES.values()))], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "grpcio>=1.60"], check=True)


def possible(wanted: Sequence[Row]) -> list[Row]:
    """The rows that can be measured here; what is missing is said."""
    lacking = missing({name: SYSTEMS[name] for name in SYSTEMS})
    if find_spec("grpc") is None and ETCD not in lacking:
        lacking[ETCD] = "grpcio (from PyPI)"
    for name, package in lacking.items():
        print(f"skipped: {name}, for {package} is not installed (--install does it)", file=sys.stderr)
    return [row for row in wanted if not {row.ours.system, row.theirs.system} & set(lacking)]


@contextmanager
def up(names: Sequence[str], folder: Path) -> Iterator[dict[str, System]]:
    """The systems, all started; ended afterwards."""
    started: dict[str, System] = {}
    try:
        for number, name in enumerate(names):
            started[name] = SYSTEMS[name](folder / str(number))
            started[name].start()
        yield started
    finally:
        for system in started.values():
            system.stop()


def idle_share(systems: Mapping[str, System]) -> dict[str, float]:
    """How much of a processor each system takes while nobody asks it."""
    pids = {name: system.place("leader").pids for name, system in systems.items()}
    before = {name: sum(cpu_of(each)) for name, each in pids.items()}
    time.sleep(IDLE_S)  # Real processes: their processor time passes by the wall clock.
    return {name: round((sum(cpu_of(each)) - before[name]) / IDLE_S, 3) for name, each in pids.items()}


def interleaved(
    systems: Mapping[str, System], wanted: Sequence[Measurement], args: argparse.Namespace
) -> dict[Measurement, list[Outcome]]:
    """The rounds' outcomes by measurement. Keys are written anew where the size of their values changes."""
    outcomes: dict[Measurement, list[Outcome]] = {each: [] for each in wanted}
    effort, filled = Effort(args.connections, args.seconds), 0
    with StepBar(args.rounds * len(wanted), COUNT) as bar:
        for number in range(args.rounds):
            for each in wanted if number % 2 == 0 else reversed(wanted):
                if each.value_bytes != filled:
                    filled = each.value_bytes
                    for system in systems.values():
                        system.fill(filled)
                outcome = measure(each, systems[each.system], effort)
                outcomes[each].append(outcome)
                bar.advance(f"{each.title}: {outcome.per_second:,.0f}/s, p99 {outcome.p99_ms:.1f} ms")
    return outcomes


def version(command: list[str]) -> str:
    """The first line that a program says of its version; empty where it is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except OSError:
        return ""


def notes(systems: Mapping[str, System], args: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "compiled": is_compiled(),
        "versions": {name: version(command) for name, command in VERSIONS.items()},
        "idle_processors": idle_share(systems),
        "rounds": args.rounds,
        "seconds": args.seconds,
        "connections": args.connections,
    }


def save(shown: Mapping[str, Any], folder: Path) -> None:
    """The document and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rivals.json").write_bytes(msgspec.json.format(msgspec.json.encode(shown), indent=1) + b"\n")
    (folder / "rivals.svg").write_text(plot.draw(shown))
    print(f"written: {folder / 'rivals.json'} and {folder / 'rivals.svg'}")


def compare(args: argparse.Namespace) -> int:
    """Measure, show, and say whether it is enough."""
    if args.write is not None and not MARKS.stand_in(args.write):
        raise SystemExit(f"--write: {args.write} has no lines {MARKS.begin!r} and {MARKS.end!r}")
    shown = measured(args) if args.shown is None else msgspec.json.decode(args.shown.read_bytes())
    report.show(shown)
    if args.to is not None:
        save(shown, args.to)
    if args.write is not None:
        MARKS.put(args.write, markdown.tables(shown))
    return 0 if shown["passed"] else 1


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Run all that is asked for; the document."""
    if args.install:
        install()
    wanted = [row for row in possible(rows(args.sizes, args.depths)) if args.only.lower() in report.title(row).lower()]
    names = [name for name in SYSTEMS if any(name in (row.ours.system, row.theirs.system) for row in wanted)]
    with folder_in(args.dir) as folder, up(names, folder.resolve()) as systems:
        noted = notes(systems, args)
        outcomes = interleaved(systems, measurements(wanted), args)
    return report.document(wanted, outcomes, noted)


if __name__ == "__main__":
    sys.exit(run(lambda: compare(parser().parse_args())))
