"""What a drill shows: a bar on standard error while it runs, then a table, or JSON alone, on standard output."""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from jepsen_like.ledger import Violation, shown_violations
from jepsen_like.load import Load
from jepsen_like.verdict import Result
from raftcache.supervisor.progress import StepBar
from raftcache.supervisor.report import make_console, new_table

ROUNDS_SHOWN = 40
"""Rows of one scenario, its last rounds; JSON has all of them."""


class Bar(StepBar):
    """One step for each round."""

    def round_done(self, what: str, load: Load) -> None:
        """One more round."""
        counts = load.ledger.counts()
        text = f"{what}: {counts['acknowledged']:,} writes acknowledged, {counts['unknown']:,} of unknown outcome"
        self.advance(text)


def document(result: Result) -> dict[str, Any]:
    """One scenario as JSON; times in ms."""
    complaints = result.complaints()
    return {
        "scenario": result.scenario,
        "passed": not complaints,
        "complaints": complaints,
        "service_back_median_ms": _rounded(median(result.service_times_ms)) if result.service_times_ms else None,
        "service_back_max_ms": _rounded(max(result.service_times_ms, default=None)),
        "full_voter_max_ms": _rounded(max(result.voter_times_ms, default=None)),
        "attempts": result.attempts,
        "refusals": result.refusals,
        "figures": result.figures,
        "rounds": [
            {
                "nodes": each.nodes,
                "group": each.group,
                "service_back_ms": _rounded(each.service_back_ms),
                "full_voter_ms": _rounded(each.full_voter_ms),
            }
            for each in result.rounds
        ],
        "violations": [each._asdict() for each in shown_violations(result.violations)],
        "logs": result.kept or None,
    }


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(value_ms, 1)


def show(results: list[Result], as_json: bool) -> None:
    """Everything that was measured."""
    if as_json:
        passed = all(not result.complaints() for result in results)
        documents = [document(result) for result in results]
        sys.stdout.write(msgspec.json.encode({"passed": passed, "scenarios": documents}).decode() + "\n")
        return
    console = make_console()
    console.print(_rounds_table(console, results))
    console.print(_summary_table(console, results))
    for result in results:
        for name, figure in result.figures.items():
            console.print(f"{result.scenario}: {name}: {_plain(figure)}", markup=False, soft_wrap=True)
        for line in _troubles(result):
            console.print(line, markup=False, soft_wrap=True)


def _rounds_table(console: Console, results: list[Result]) -> Table:
    table = new_table(console, "scenario", "round", "node", "group", "service back", "full voter")
    for result in results:
        for number, each in list(enumerate(result.rounds, start=1))[-ROUNDS_SHOWN:]:
            nodes, times = " ".join(each.nodes), (each.service_back_ms, each.full_voter_ms)
            table.add_row(result.scenario, str(number), nodes, each.group, *map(_shown, times))
    return table


def _summary_table(console: Console, results: list[Result]) -> Table:
    columns = ("median", "slowest", "full voter", "acknowledged", "refused", "unknown", "violations", "verdict")
    table = new_table(console, "scenario", *columns)
    for result in results:
        times = result.service_times_ms
        shown = (median(times) if times else None, max(times, default=None), max(result.voter_times_ms, default=None))
        counts = [f"{result.attempts[outcome]:,}" for outcome in ("acknowledged", "refused", "unknown")]
        verdict = "FAILED" if result.complaints() else "passed"
        table.add_row(result.scenario, *map(_shown, shown), *counts, str(len(result.violations)), verdict)
    return table


def _shown(time_ms: float | None) -> str:
    return "-" if time_ms is None else f"{time_ms:,.0f} ms"


def _plain(figure: Any) -> str:
    if isinstance(figure, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in figure.items())
    return f"{figure:,}" if isinstance(figure, int) and figure >= 10_000 else str(figure)


def _troubles(result: Result) -> list[str]:
    """Why a scenario failed, in lines."""
    lines = [f"{result.scenario}: {complaint}" for complaint in result.complaints()]
    lines += [_violation(result, violation) for violation in shown_violations(result.violations)]
    return [*lines, f"{result.scenario}: logs are kept in {result.kept}"] if result.kept else lines


def _violation(result: Result, violation: Violation) -> str:
    return f"{result.scenario}: {violation.kind}: {violation.key}: {violation.text}"
