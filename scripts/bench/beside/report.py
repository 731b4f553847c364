"""What a comparison shows: a table for people, and a document that the plot is drawn from. Pure but for printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from writes.spec import Outcome

from beside.rows import FORWARDED, REDIS_PY, Measurement, Row
from raftcache.supervisor.report import make_console, new_table

Outcomes = Mapping[Measurement, Sequence[Outcome]]


def figures(measured: Measurement, rounds: Sequence[Outcome]) -> dict[str, Any]:
    """One measurement's rounds in numbers: medians, and the throughput of each round."""
    failures: dict[str, int] = {}
    for outcome in rounds:
        for name, count in outcome.failures.items():
            failures[name] = failures.get(name, 0) + count
    return {
        **measured._asdict(),
        "per_s": round(median(each.per_second for each in rounds)),
        "per_s_rounds": [round(each.per_second) for each in rounds],
        "p50_ms": round(median(each.p50_ms for each in rounds), 3),
        "p99_ms": round(median(each.p99_ms for each in rounds), 3),
        "server_cpu_us": round(median(each.server_cpu_us for each in rounds), 2),
        "busiest_server": round(median(each.busiest_server for each in rounds), 2),
        "load_cpu_us": round(median(each.load_cpu_us for each in rounds), 2),
        "failures": failures,
    }


def document(rows: Sequence[Row], outcomes: Outcomes, notes: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as JSON: the rows with both sides' figures, and what is asked of them."""
    compared = [_row(row, outcomes) for row in rows if row.ours in outcomes and row.theirs in outcomes]
    return {"passed": all(each["ratio"] >= each["at_least"] for each in compared), "rows": compared, **notes}


def _row(row: Row, outcomes: Outcomes) -> dict[str, Any]:
    """The ratio is the median of the rounds' ratios: the two sides of a round were measured one after the other."""
    ours, theirs = outcomes[row.ours], outcomes[row.theirs]
    ratios = [one.per_second / other.per_second for one, other in zip(ours, theirs, strict=True)]
    sides = figures(row.ours, ours), figures(row.theirs, theirs)
    return {
        "title": title(row),
        "ratio": round(median(ratios), 3),
        "ratios": [round(each, 3) for each in ratios],
        "at_least": row.at_least,
        "ours": sides[0],
        "theirs": sides[1],
    }


def title(row: Row) -> str:
    """What a row is called."""
    ours, theirs = row.ours, row.theirs
    log = ", log" if "log" in ours.system else ""
    place = ", forwarded" if ours.at == FORWARDED else ""
    tool = "" if ours.tool == theirs.tool else f" ({ours.tool} / {theirs.tool})"
    if ours.tool == theirs.tool == REDIS_PY:
        tool = f" ({REDIS_PY}, one client)"
    return f"{ours.operation}{log}{place} / {rival(theirs)}{tool}"


def rival(theirs: Measurement) -> str:
    """The other side, with what it was asked where that is not the same."""
    asked = {("redis", "SET quorum"): "redis SET + WAIT 1", ("etcd", "SET quorum"): "etcd put"}
    return asked.get((theirs.system, theirs.operation), theirs.system)


def group(row: Mapping[str, Any]) -> str:
    """Which rows are shown together."""
    ours = row["ours"]
    return f"{ours['value_bytes']:,} B, depth {ours['depth']}"


def show(shown: Mapping[str, Any]) -> None:
    """The table."""
    console = make_console()
    columns = ("ratio", "asked", "per second", "CPU us", "p50 ms", "p99 ms")
    table = new_table(console, "raftcache / rival", *columns)
    last = ""
    for row in shown["rows"]:
        if (own := group(row)) != last:
            table.add_row(f"[bold]{own}[/bold]", *[""] * len(columns))
            last = own
        table.add_row(row["title"], *_cells(row))
    console.print(table)


def _cells(row: Mapping[str, Any]) -> list[str]:
    sides = row["ours"], row["theirs"]
    asked = f">= {row['at_least']:g} {'ok' if row['ratio'] >= row['at_least'] else 'FAILED'}" if row["at_least"] else ""
    cells = [f"{row['ratio']:.2f}x", asked, " / ".join(f"{side['per_s']:,}" for side in sides)]
    cells += [" / ".join(f"{side['server_cpu_us']:.1f}" for side in sides)]
    cells += [" / ".join(f"{side[name]:.2f}" for side in sides) for name in ("p50_ms", "p99_ms")]
    failures = {name: count for side in sides for name, count in side["failures"].items()}
    if failures:
        cells[1] += " " + ", ".join(f"{name}: {count}" for name, count in failures.items())
    return cells
