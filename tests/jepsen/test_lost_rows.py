"""The rows of the lost-per-acked table."""

from __future__ import annotations

import pytest

from jepsen_like.checking import Judgement
from jepsen_like.history import NEMESIS, Event, History
from jepsen_like.lost.rows import Cell, Row, document, judgement_of, row_of, table
from jepsen_like.lost.writes import Writes
from jepsen_like.marks import marks
from jepsen_like.workloads.workload import Options
from tests.jepsen.driven import Driven
from tests.jepsen.fake_target import FakeTarget

WINDOW = {"ms": 5000, "writes": 1000, "bytes": 1 << 20}
FAULT = [
    Event(kind="invoke", process=NEMESIS, name="kill", time_ms=1, details={"target": "leader", "node": "n1"}),
    Event(kind="info", process=NEMESIS, name="kill", time_ms=2, details={"nodes": ["n1"], "back": True}),
]


def driven(ack: str, bugs: tuple[str, ...] = ()) -> History:
    """The workload of the table over the cluster in miniature, whose leader is cut off and replaced."""
    options = Options(ack=ack, seconds=4.0, liveness_bound_s=1.0, window=WINDOW)
    ran = Driven(Writes.name, options, FakeTarget(bugs=bugs), Writes(options))
    history = ran.history
    history.events[:0] = FAULT
    history.header.nemeses = ["kill"]
    return history


def row(ack: str, bugs: tuple[str, ...] = (), trouble: tuple[str, ...] = ()) -> Row:
    return row_of(Cell(ack, "kill"), driven(ack, bugs), trouble)


def test_primary_loses_within_its_window_and_that_is_no_broken_promise() -> None:
    found = row("primary")
    assert found.faults == 1 and found.acknowledged > 100
    assert 0 < found.largest_writes <= found.lost < found.acknowledged
    assert found.largest_ms > 0 and found.longest_gap_ms > 0
    assert (found.complaints, found.broken) == ([], False)


@pytest.mark.parametrize("ack", ["quorum", "durable"])
def test_the_others_lose_nothing(ack: str) -> None:
    found = row(ack)
    assert (found.lost, found.largest_writes, found.largest_ms) == (0, 0, 0.0)
    assert (found.complaints, found.broken) == ([], False)


def test_what_quorum_loses_is_a_broken_promise() -> None:
    found = row("quorum", bugs=("lose-acked",))
    assert found.lost > 0 and found.broken
    assert any("was acknowledged at quorum" in text for text in found.complaints)
    assert judgement_of([row("quorum"), found]) is Judgement.FAIL


def test_a_run_that_did_not_go_through_is_no_answer() -> None:
    assert row("quorum", trouble=("it did not end",)).broken
    history = driven("quorum")
    del history.events[:2]
    found = row_of(Cell("quorum", "kill"), history, ())
    assert (found.broken, found.complaints) == (False, ["run: no fault of kill struck"])
    assert judgement_of([found]) is Judgement.UNKNOWN
    assert judgement_of([]) is Judgement.UNKNOWN


ROW = Row(
    ack="primary",
    nemesis="kill:leader",
    faults=4,
    acknowledged=12345,
    lost=17,
    largest_writes=9,
    largest_ms=12.6,
    longest_gap_ms=1234.4,
)


def test_the_table_is_markdown() -> None:
    head, rule, line = table([ROW]).splitlines()
    assert line == "| `primary` | `kill:leader` | 4 | 12,345 | 17 | 9 | 13 | 1,234 |"
    assert head.count("|") == rule.count("|") == line.count("|")
    assert document([ROW])["judgement"] == "pass" and document([ROW])["rows"][0]["lost"] == 17


def test_the_readme_has_a_place_for_it() -> None:
    from pathlib import Path

    assert marks("lost-per-acked").stand_in(Path(__file__).parents[2] / "README.md")
