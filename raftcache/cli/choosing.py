"""`raftcache replay TRACE --policies ...`: what each policy would make of a trace, as a table, JSON and a picture."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from raftcache.cli.hit_plot import draw
from raftcache.cli.output import Failed, print_json
from raftcache.cli.simulating import Setup, SimulatedCache, measure, share, simulate
from raftcache.cli.trace import Timed, read_timed
from raftcache.store.eviction.evictor import Admission, Eviction

CACHES_LIMIT = 256
"""Combinations of policies, admissions and sizes in one pass."""
CAPACITY_LIMIT = 1 << 50
"""Items, or bytes: what an absolute size may be."""

DEFAULT_POLICIES, DEFAULT_ADMISSION, DEFAULT_SIZES = "lru,lfu,lrm,s3fifo", "all", "1%,5%,10%,20%"
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(%|[kmg]i?(?:b)?|b|)", re.IGNORECASE | re.ASCII)

Named = TypeVar("Named", bound=Enum)


class Size(NamedTuple):
    """A size as it was given, in percent of the footprint or absolute."""

    text: str
    number: Decimal
    is_share: bool

    def capacity(self, whole: int) -> int:
        """What it means where the footprint is `whole`, in the same measure."""
        return share(self.number, whole) if self.is_share else int(self.number)


def run(args: argparse.Namespace) -> int:
    """Simulate every combination and print the figures. Raises Failed."""
    by_items = args.count != "bytes"
    evictions = names("--policies", args.policies or DEFAULT_POLICIES, Eviction)
    admissions = names("--admission", args.admission or DEFAULT_ADMISSION, Admission)
    sizes = [parse_size(text.strip(), by_items) for text in (args.sizes or DEFAULT_SIZES).split(",")]
    count = len(evictions) * len(admissions) * len(sizes)
    if count > CACHES_LIMIT:
        raise Failed(f"policies times admissions times sizes must be at most {CACHES_LIMIT}, got {count}")
    with _Bar() as bar:
        whole = _whole(args, sizes, by_items, bar)
        setups = [Setup(e, a, s.text, s.capacity(whole)) for e in evictions for a in admissions for s in sizes]
        caches = [SimulatedCache(setup, by_items) for setup in setups]
        requests = simulate(_trace(args, bar), caches, bar.told)
    results = [_result(cache, requests) for cache in caches]
    _show(args, results, "items" if by_items else "bytes")
    return 0


def names(option: str, text: str, kind: type[Named]) -> list[Named]:
    """The members of `kind` that a list separated by commas names, each once. Raises Failed."""
    known = {member.value: member for member in kind}
    given = dict.fromkeys(name.strip() for name in text.split(","))
    for name in given:
        if name not in known:
            raise Failed(f"{option} must name some of {', '.join(known)}, got {name!r}")
    return [known[name] for name in given]


def parse_size(text: str, by_items: bool) -> Size:
    """A share such as `5%`, or a number of items, or of bytes such as `64MiB`. Raises Failed."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Failed(f"--sizes must be shares such as 5%, or numbers such as 1000, 64MiB or 2GB, got {text!r}")
    number, unit = Decimal(match[1]), match[2].lower()
    if unit == "%":
        if not 0 < number <= 100:
            raise Failed(f"--sizes: a share must be over 0% and at most 100%, got {text!r}")
        return Size(text, number, True)
    if by_items and "b" in unit:
        raise Failed(f"--sizes: {text!r} is a number of bytes, and --count is items")
    capacity = number * UNITS[unit.removesuffix("b")]
    if not 1 <= capacity <= CAPACITY_LIMIT:
        raise Failed(f"--sizes must be from 1 to {CAPACITY_LIMIT}, got {text!r}")
    return Size(text, capacity, False)


def _whole(args: argparse.Namespace, sizes: list[Size], by_items: bool, bar: _Bar) -> int:
    """The footprint in the measure asked for; 0 where no size is a share of it, so that nobody needs to know."""
    if not any(size.is_share for size in sizes):
        return 0
    bar.begin("measuring the footprint")
    footprint = measure(_trace(args, bar))
    return footprint.items if by_items else footprint.bytes


def _trace(args: argparse.Namespace, bar: _Bar) -> Iterator[Timed]:
    return read_timed(args.trace, args.limit, bar.read)


def _result(cache: SimulatedCache, requests: int) -> dict[str, Any]:
    return {
        "policy": cache.setup.eviction.value,
        "admission": cache.setup.admission.value,
        "size": cache.setup.size,
        "capacity": cache.setup.capacity,
        "requests": requests,
        "hits": cache.hits,
        "hit_ratio": cache.hits / requests if requests else 0.0,
    }


def _show(args: argparse.Namespace, results: list[dict[str, Any]], unit: str) -> None:
    if args.plot is not None:
        args.plot.write_text(draw(results, unit, args.trace.name), encoding="utf-8")
    if args.output == "json":
        print_json(results)
    else:
        _print_table(results, unit)


def _print_table(results: list[dict[str, Any]], unit: str) -> None:
    """A row for each policy with its admission, a column for each size; the best of each column is marked."""
    columns = dict.fromkeys((row["size"], row["capacity"]) for row in results)
    best = dict.fromkeys(columns, 0)
    for row in results:
        column = row["size"], row["capacity"]
        best[column] = max(best[column], row["hits"])
    rows: dict[tuple[str, str], list[str]] = {}
    for row in results:
        mark = "*" if row["hits"] == best[row["size"], row["capacity"]] else " "
        rows.setdefault((row["policy"], row["admission"]), []).append(f"{row['hit_ratio']:.4f}{mark}")
    print(f"hit ratios over {results[0]['requests']:,} requests; * the best of a size")
    print(f"{'policy':<8} {'admission':<10}" + "".join(f"{size:>14} " for size, _ in columns))
    print(f"{'':<8} {unit:<10}" + "".join(f"{capacity:>14,} " for _, capacity in columns))
    for (policy, admission), ratios in rows.items():
        print(f"{policy:<8} {admission:<10}" + "".join(f"{ratio:>15}" for ratio in ratios))


class _Bar:
    """A progress bar on standard error: how much of the trace is read."""

    def __init__(self) -> None:
        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%  {task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("", total=1.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, text: str) -> None:
        """Something else is done from here on."""
        self._progress.update(self._task, completed=0.0, description=text)

    def read(self, part: float) -> None:
        """So much of the file was read."""
        self._progress.update(self._task, completed=part)

    def told(self, requests: int) -> None:
        """So many requests were played."""
        self._progress.update(self._task, description=f"{requests:,} requests played")
