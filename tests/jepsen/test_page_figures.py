"""Counts, windows and errors of small histories, worked out by hand."""

from __future__ import annotations

import pytest

from jepsen_like.history import NEMESIS, Event, Header, History
from jepsen_like.page.figures import (
    UNANSWERED,
    WITHOUT_CODE,
    error_kinds,
    given_up_ms,
    tallies,
    tally,
    width_ms,
    windows,
)

from .made_up import event


def history(*events: Event) -> History:
    return History(Header(), list(events))


ONE_OF_EACH = history(
    event("invoke", 0, "read", 0.0),
    event("invoke", 1, "write", 1.0),
    event("ok", 0, "read", 4.0),
    event("fail", 1, "write", 2.0, error="not_leader"),
    event("invoke", 0, "read", 5.0),
    event("info", 0, "read", 9.0, error="outcome_unknown"),
    event("invoke", 1, "write", 9.5),
)


def test_what_no_event_completes_is_unknown_as_well() -> None:
    counts = tally(ONE_OF_EACH.operations())
    assert (counts.all, counts.ok, counts.fail, counts.unknown) == (4, 1, 1, 2)


def test_percentiles_are_of_what_succeeded() -> None:
    assert tally(ONE_OF_EACH.operations()).p50_ms == 4.0
    assert tally(ONE_OF_EACH.operations()[1:]).p50_ms is None


def test_percentiles_are_the_usual_ones() -> None:
    events = [each for took in range(1, 201) for each in _read(took, 0.0, float(took))]
    counts = tally(history(*events).operations())
    assert (counts.p50_ms, counts.p99_ms, counts.max_ms) == (100.0, 198.0, 200.0)


def _read(process: int, began_ms: float, ended_ms: float) -> tuple[Event, Event]:
    return event("invoke", process, "read", began_ms), event("ok", process, "read", ended_ms)


def test_names_are_counted_apart() -> None:
    counts = tallies(ONE_OF_EACH.operations())
    assert {name: (each.ok, each.fail, each.unknown) for name, each in counts.items()} == {
        "read": (1, 0, 1),
        "write": (0, 1, 1),
    }


@pytest.mark.parametrize(
    ("duration_ms", "width"), [(0, 1), (250, 1), (251, 2), (501, 2.5), (60_000, 250), (60_004, 250), (62_501, 500)]
)
def test_windows_have_round_widths_and_are_not_too_many(duration_ms: float, width: float) -> None:
    assert width_ms(duration_ms) == width


def test_an_answer_counts_when_it_came_and_a_latency_where_it_was_asked() -> None:
    found = windows(history(*_read(0, 10.0, 490.0)).operations(), 500.0)
    assert found.width_ms == 2.0
    assert found.ok.index(1) == 490 // 2
    assert [place for place, value in enumerate(found.p50_ms) if value is not None] == [10 // 2]
    assert found.p99_ms[5] == 480.0


def test_what_is_unknown_counts_when_it_was_asked() -> None:
    events = (event("invoke", 0, "read", 10.0), event("info", 0, "read", 490.0))
    found = windows(history(*events).operations(), 500.0)
    assert found.unknown.index(1) == 10 // 2
    assert sum(found.unknown) == 1 and sum(found.ok) == sum(found.fail) == 0


def test_the_last_event_has_a_window() -> None:
    found = windows(history(*_read(0, 0.0, 500.0)).operations(), 500.0)
    assert len(found.ok) == 250 and found.ok[-1] == 1


def test_an_empty_run_has_one_empty_window() -> None:
    found = windows([], 0.0)
    assert (found.ok, found.p50_ms) == ([0], [None])


def test_errors_are_counted_by_kind_the_most_frequent_first() -> None:
    more = [
        event("invoke", 7, "cas", 20.0),
        event("fail", 7, "cas", 21.0, error="not_leader"),
        event("invoke", 7, "cas", 22.0),
        event("fail", 7, "cas", 23.0),
    ]
    first, *others = error_kinds(history(*ONE_OF_EACH.events, *more).operations(), [])
    assert (first.error, first.fail, first.unknown, first.names) == ("not_leader", 2, 0, {"write": 1, "cas": 1})
    assert (first.first_ms, first.last_ms) == (1.0, 20.0)
    assert [(each.error, each.fail, each.unknown) for each in others] == [
        (UNANSWERED, 0, 1),
        (WITHOUT_CODE, 1, 0),
        ("outcome_unknown", 0, 1),
    ]


@pytest.mark.parametrize(
    ("fault_ms", "during"), [((0.0, 0.5), 0), ((0.0, 1.0), 1), ((1.5, 1.6), 1), ((2.0, 3.0), 1), ((2.1, 3.0), 0)]
)
def test_an_error_is_one_of_a_fault_where_they_overlap(fault_ms: tuple[float, float], during: int) -> None:
    strikes = [event("invoke", NEMESIS, "kill", fault_ms[0]), event("info", NEMESIS, "kill", fault_ms[1])]
    broken = history(*ONE_OF_EACH.events[:4], *strikes)
    (kind,) = error_kinds(broken.operations(), broken.faults())
    assert kind.during_faults == during


def test_what_was_given_up_overlaps_no_later_fault() -> None:
    operations = ONE_OF_EACH.operations()
    assert [given_up_ms(each) for each in operations] == [4.0, 2.0, 9.0, float("inf")]
