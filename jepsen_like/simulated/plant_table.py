"""Which workload catches which planted bug, by which checker, after how many seeds: the harness, measured.

A pair of a bug and a workload is tried with one seed after the other, each drawn as for any sweep, until a run breaks a
promise. Nothing is aimed at a certain bug. A run counts as caught where a checker complains of something or the run
does not get to its end; which checkers they were stands in the table, for a bug that is seen only by what it makes of
the time without service is hardly seen.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from itertools import product

import msgspec

from jepsen_like.checking import Judgement
from jepsen_like.simulated.run import Outcome, draw
from jepsen_like.simulated.sweep import run_plan

PLANTS = (
    "ack-before-quorum",
    "no-undo",
    "read-without-proof",
    "lease-from-receive-time",
    "ignore-min-version",
    "retry-counts-twice",
    "window-per-batch",
    "stale-receipts",
    "truncate-on-overlap",
    "vote-twice",
    "speculative-snapshot",
)
"""Those that the harness must catch. There are more in `raftcache.testing.plants`, for `scripts/sim`."""
END = "end of the run"
"""In place of a checker, where the run did not get there."""


class Row(msgspec.Struct, kw_only=True, frozen=True):
    """A bug and a workload. `seed` is the one that caught it, None where none of the `tried` did."""

    plant: str
    workload: str
    tried: int
    seed: int | None = None
    checkers: tuple[str, ...] = ()
    why: str = ""
    """What the first of them complains of."""


class Search(msgspec.Struct, kw_only=True, frozen=True):
    """What to try."""

    plant: str
    workload: str
    max_seeds: int
    first_seed: int = 0


def search(todo: Search) -> Row:
    """Try one seed after the other."""
    for tried in range(1, todo.max_seeds + 1):
        seed = todo.first_seed + tried - 1
        found = _complaints(run_plan(draw(todo.workload, seed), todo.plant))
        if found:
            names = tuple(dict.fromkeys(name for name, _ in found))
            return Row(
                plant=todo.plant, workload=todo.workload, tried=tried, seed=seed, checkers=names, why=found[0][1]
            )
    return Row(plant=todo.plant, workload=todo.workload, tried=todo.max_seeds)


def _complaints(outcome: Outcome) -> list[tuple[str, str]]:
    """Each by its checker, those first that judge what clients saw."""
    failed = [each for each in outcome.verdicts if each.judgement is Judgement.FAIL]
    told = [(each.checker, complaint.text) for each in failed for complaint in each.complaints[:1]]
    return told + [(END, text) for text in outcome.trouble[:1]]


def measure_plants(plants: Sequence[str], workloads: Sequence[str], max_seeds: int, jobs: int) -> list[Row]:
    """All pairs, in so many processes; in the order of the arguments."""
    todo = [Search(plant=plant, workload=name, max_seeds=max_seeds) for plant, name in product(plants, workloads)]
    if jobs == 1:
        return list(map(search, todo))
    with multiprocessing.Pool(jobs) as pool:
        return pool.map(search, todo, chunksize=1)


def markdown(rows: Iterable[Row]) -> str:
    """A table with a line a bug and a column a workload, and below it by what each was caught first."""
    grid: dict[str, dict[str, Row]] = {}
    for row in rows:
        grid.setdefault(row.plant, {})[row.workload] = row
    workloads = list(dict.fromkeys(name for by_workload in grid.values() for name in by_workload))
    lines = [_line(["bug", *workloads]), _line(["---", *[":-:"] * len(workloads)])]
    lines += [_line([f"`{plant}`", *(_cell(found.get(name)) for name in workloads)]) for plant, found in grid.items()]
    quickest = (min(found.values(), key=_slowness) for found in grid.values())
    lines += ["", _line(["bug", "workload", "seeds", "seen by", "complaint"]), _line(["---"] * 5)]
    lines += [_line(_quickest(row)) for row in quickest]
    return "\n".join([*lines, ""])


def _slowness(row: Row) -> tuple[int, bool]:
    """First by the seeds it took; of equals those first that some checker of clients' histories caught."""
    seen_by_clients = any(name not in ("invariants", "liveness", "availability", END) for name in row.checkers)
    return (row.tried if row.seed is not None else 1 << 30, not seen_by_clients)


def _quickest(row: Row) -> list[str]:
    if row.seed is None:
        return [f"`{row.plant}`", "none", f"over {row.tried}", "", ""]
    return [f"`{row.plant}`", row.workload, str(row.tried), ", ".join(row.checkers), row.why]


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return str(row.tried) if row.seed is not None else f">{row.tried}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
