"""The rows of the table, from histories. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from jepsen_like.checkers.availability import Availability
from jepsen_like.checkers.fates import Fates
from jepsen_like.checkers.loss_window import LossWindows
from jepsen_like.checkers.observed import Observed
from jepsen_like.checkers.sets import Sets
from jepsen_like.checking import Judgement, Verdict
from jepsen_like.concluding import conclude
from jepsen_like.history import History

HEAD = (
    "| ack level | nemesis | faults | writes acknowledged | lost | largest window lost, writes | ms "
    "| longest without service, ms |\n|---|---|--:|--:|--:|--:|--:|--:|"
)


class Cell(NamedTuple):
    """One row's question."""

    ack: str
    nemesis: str


class Row(msgspec.Struct, kw_only=True, frozen=True):
    """What one run answered. A *window* is all that one leadership had acknowledged and lost."""

    ack: str
    nemesis: str
    faults: int
    acknowledged: int
    lost: int
    largest_writes: int
    largest_ms: float
    longest_gap_ms: float
    complaints: list[str] = []
    """Broken promises, and what makes the row no answer."""
    broken: bool = False


def row_of(cell: Cell, history: History, trouble: Sequence[str]) -> Row:
    """Look at what was acknowledged, and hold it against what its level promises. Raises ValueError."""
    fates = Fates(Observed(history))
    whole = conclude(history, trouble)
    windows, elements = LossWindows().check(history), Sets().check(history)
    judged = [whole, elements, *([windows] if windows.judgement is Judgement.FAIL or cell.ack == "primary" else [])]
    return Row(
        ack=cell.ack,
        nemesis=cell.nemesis,
        faults=int(whole.figures["struck"]),
        acknowledged=len(fates.acknowledged),
        lost=sum(fates.is_lost(version) for version in fates.acknowledged),
        largest_writes=int(windows.figures["largest_writes"]),
        largest_ms=float(windows.figures["largest_span_ms"]),
        longest_gap_ms=float(Availability().check(history).figures["longest_gap_ms"]),
        complaints=list(_complaints(judged)),
        broken=any(each.judgement is Judgement.FAIL for each in judged),
    )


def _complaints(verdicts: Iterable[Verdict]) -> Iterator[str]:
    for each in verdicts:
        if each.judgement is not Judgement.PASS:
            yield f"{each.checker}: {each.summary}"
            yield from (complaint.text for complaint in each.complaints)


def judgement_of(rows: Sequence[Row]) -> Judgement:
    """Of the whole table."""
    if any(row.broken for row in rows):
        return Judgement.FAIL
    return Judgement.UNKNOWN if not rows or any(row.complaints for row in rows) else Judgement.PASS


def table(rows: Iterable[Row]) -> str:
    """In Markdown."""
    return "\n".join([HEAD, *map(_line, rows)])


def _line(row: Row) -> str:
    times_ms = (round(row.largest_ms), round(row.longest_gap_ms))
    counts = (row.faults, row.acknowledged, row.lost, row.largest_writes, *times_ms)
    cells = [f"`{row.ack}`", f"`{row.nemesis}`", *(f"{count:,}" for count in counts)]
    return f"| {' | '.join(cells)} |"


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """As JSON."""
    return {"judgement": judgement_of(rows).value, "rows": msgspec.to_builtins(rows)}
