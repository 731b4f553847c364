"""What a comparison shows: a bar on standard error while it runs, then a table, or JSON alone, on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import msgspec

from raftcache.supervisor.progress import COUNT, StepBar
from raftcache.supervisor.report import make_console, new_table
from writes.measure import ratio_of_medians
from writes.spec import Outcome

FULL = 0.9
"""From this share of a processor on, whoever needs that processor is called the limit."""


class Comparison(NamedTuple):
    """`system` is to reach `at_least` times the median throughput of `base`; where that is 0, it is only shown."""

    system: str
    base: str
    at_least: float = 0.0


class Bar(StepBar):
    """One step for each measurement."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps, COUNT)

    def step(self, system: str, outcome: Outcome) -> None:
        """One more measurement."""
        self.advance(f"{system}: {outcome.per_second:,.0f} writes/s, p99 {outcome.p99_ms:.1f} ms")


def middle(outcomes: Sequence[Outcome], figure: Callable[[Outcome], float]) -> float:
    """The median of a figure over the rounds."""
    return median(figure(outcome) for outcome in outcomes)


def ratio(outcomes: Mapping[str, Sequence[Outcome]], wanted: Comparison) -> float:
    """The ratio of the median throughputs."""
    rates = {name: [each.per_second for each in rounds] for name, rounds in outcomes.items()}
    return ratio_of_medians(rates[wanted.system], rates[wanted.base])


def limit(outcomes: Sequence[Outcome], processors: int) -> str:
    """What a system's throughput stood against, as far as processor time tells."""
    if middle(outcomes, lambda each: each.processors) >= FULL * processors:
        return "all processors"
    if middle(outcomes, lambda each: each.generator) >= FULL:
        return "the load generator"
    if middle(outcomes, lambda each: each.busiest_server) >= FULL:
        return "one server's processor"
    return "waiting: disk, or other work on this machine"


def figures(outcomes: Sequence[Outcome], processors: int) -> dict[str, Any]:
    """One system's rounds in numbers. CPU is microseconds a write, over all servers, and of the generator."""
    failures = {name for outcome in outcomes for name in outcome.failures}
    return {
        "writes_per_s": round(middle(outcomes, lambda each: each.per_second)),
        "writes_per_s_best": round(max(each.per_second for each in outcomes)),
        "writes_per_s_rounds": [round(each.per_second) for each in outcomes],
        "p50_ms": round(middle(outcomes, lambda each: each.p50_ms), 2),
        "p99_ms": round(middle(outcomes, lambda each: each.p99_ms), 2),
        "server_cpu_us": round(middle(outcomes, lambda each: each.server_cpu_us), 1),
        "load_cpu_us": round(middle(outcomes, lambda each: each.load_cpu_us), 1),
        "busiest_server": round(middle(outcomes, lambda each: each.busiest_server), 2),
        "generator": round(middle(outcomes, lambda each: each.generator), 2),
        "processors": round(middle(outcomes, lambda each: each.processors), 2),
        "limit": limit(outcomes, processors),
        "failures": {name: sum(each.failures.get(name, 0) for each in outcomes) for name in sorted(failures)},
    }


def document(
    outcomes: Mapping[str, Sequence[Outcome]], wanted: Sequence[Comparison], notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything as JSON."""
    processors = os.cpu_count() or 1
    compared = [
        {**each._asdict(), "ratio": round(ratio(outcomes, each), 2), "cpu_ratio": round(cpu_ratio(outcomes, each), 2)}
        for each in wanted
    ]
    return {
        "passed": passed(outcomes, wanted),
        "comparisons": compared,
        "systems": {name: figures(rounds, processors) for name, rounds in outcomes.items()},
        **notes,
    }


def cpu_ratio(outcomes: Mapping[str, Sequence[Outcome]], wanted: Comparison) -> float:
    """How many times the processor time of a write at `system`'s servers one at `base`'s takes: what the ratio would
    be on a machine where the servers' processors are the limit, and generators cost nothing."""
    base, system = (middle(outcomes[name], lambda each: each.server_cpu_us) for name in (wanted.base, wanted.system))
    return base / system if system else 0.0


def passed(outcomes: Mapping[str, Sequence[Outcome]], wanted: Sequence[Comparison]) -> bool:
    """Whether every comparison holds."""
    return all(ratio(outcomes, each) >= each.at_least for each in wanted)


def show(shown: dict[str, Any], as_json: bool) -> None:
    """A `document`, for people or for programs."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
        return
    console = make_console()
    columns = ("writes/s", "best", "p50 ms", "p99 ms", "server CPU", "generator CPU", "processors", "limit", "failures")
    table = new_table(console, "system", *columns)
    for name, system in shown["systems"].items():
        used = f"{system['processors']:.2f} ({system['busiest_server']:.2f} busiest server)"
        rates = (f"{system['writes_per_s']:,}", f"{system['writes_per_s_best']:,}")
        costs = (f"{system['server_cpu_us']:.0f} us/write", f"{system['load_cpu_us']:.0f} us/write")
        failures = ", ".join(f"{error}: {count}" for error, count in system["failures"].items()) or "none"
        times = (str(system["p50_ms"]), str(system["p99_ms"]))
        table.add_row(name, *rates, *times, *costs, used, system["limit"], failures)
    console.print(table)
    for each in shown["comparisons"]:
        console.print(
            f"{each['system']} / {each['base']}: {each['ratio']:.2f}x in writes/s ({verdict(each)}); "
            f"{each['cpu_ratio']:.2f}x by the servers' CPU for a write",
            soft_wrap=True,
        )


def verdict(compared: dict[str, Any]) -> str:
    """What a comparison came to."""
    if not compared["at_least"]:
        return "nothing is asked of it"
    reached = "passed" if compared["ratio"] >= compared["at_least"] else "FAILED"
    return f"at least {compared['at_least']:g}x: {reached}"
