"""What the linearizability checker calls right, what wrong, and what it does not judge.

Every rule has a history that keeps it and one, as like it as can be, that breaks it.
"""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checkers.linearizability import Linearizability
from jepsen_like.checking import Judgement, Verdict
from jepsen_like.history import CONDITION, NEMESIS, Event, Header, History

RIGHT, WRONG, UNKNOWN = Judgement.PASS, Judgement.FAIL, Judgement.UNKNOWN


def asks(process: int, name: str, value: Any = None, key: str = "k", **details: Any) -> Event:
    return Event(kind="invoke", process=process, name=name, key=key, value=value, time_ms=0, details=details)


def ok(process: int, value: Any = None, version: str = "", **details: Any) -> Event:
    return Event(kind="ok", process=process, name="", value=value, version=version, time_ms=0, details=details)


def fails(process: int, error: str = CONDITION, **details: Any) -> Event:
    return Event(kind="fail", process=process, name="", error=error, time_ms=0, details=details)


def lost(process: int) -> Event:
    return Event(kind="info", process=process, name="", time_ms=0)


def checked(*events: Event, configurations: int = 100_000) -> Verdict:
    return Linearizability(lambda: 0.0, configurations=configurations).check(History(Header(), list(events)))


def judged(*events: Event) -> Judgement:
    return checked(*events).judgement


def wrote(value: Any, version: str = "") -> tuple[Event, Event]:
    """By a process of its own kind, one after the other."""
    return asks(90, "write", value), ok(90, version=version)


def read(value: Any, version: str = "") -> tuple[Event, Event]:
    return asks(91, "read"), ok(91, value, version)


# -- values ----------------------------------------------------------------------------------------


def test_a_read_sees_the_last_write() -> None:
    assert judged(*wrote(1), *wrote(2), *read(2)) is RIGHT
    assert judged(*wrote(1), *wrote(2), *read(1)) is WRONG


def test_at_first_there_is_nothing() -> None:
    assert judged(*read(None), *wrote(1), *read(1)) is RIGHT
    assert judged(*wrote(1), *read(None)) is WRONG


def test_concurrent_writes_come_in_one_order_for_all() -> None:
    begin = [asks(0, "write", 1), asks(1, "write", 2)]
    assert judged(*begin, *read(1), *read(2), ok(0), ok(1)) is RIGHT
    assert judged(*begin, *read(1), *read(2), *read(1), ok(0), ok(1)) is WRONG


def test_values_of_different_types_are_different() -> None:
    assert judged(*wrote(1), *read(1)) is RIGHT
    assert judged(*wrote(1), *read("1")) is WRONG
    assert judged(*wrote(1), *read(True)) is WRONG
    assert judged(*wrote({"a": [1]}), *read({"a": [1]})) is RIGHT


def test_keys_are_registers_of_their_own() -> None:
    other = [asks(1, "write", 2, key="other"), ok(1)]
    assert judged(*wrote(1), *other, *read(1)) is RIGHT
    found = checked(*wrote(1), *other, *read(2))
    assert found.judgement is WRONG
    assert found.figures["longest"] == {"k": [0]} and found.complaints[0].operations == [2]


def test_a_cas_sets_where_it_finds_the_expected_and_only_there() -> None:
    cas = [asks(0, "cas", [1, 2]), ok(0)]
    assert judged(*wrote(1), *cas, *read(2)) is RIGHT
    assert judged(*wrote(3), *cas, *read(2)) is WRONG


def test_a_refused_cas_shows_that_something_else_was_there() -> None:
    refused = [asks(0, "cas", [1, 2]), fails(0)]
    assert judged(*wrote(3), *refused, *read(3)) is RIGHT
    assert judged(*wrote(1), *refused) is WRONG


def test_what_failed_otherwise_had_no_effect_and_shows_nothing() -> None:
    assert judged(*wrote(1), asks(0, "cas", [1, 2]), fails(0, "overloaded"), *read(1)) is RIGHT
    assert judged(*wrote(1), asks(0, "write", 2), fails(0, "overloaded"), *read(2)) is WRONG


def test_a_delete_leaves_nothing_and_says_whether_there_was_something() -> None:
    def deleted(told: Any) -> list[Event]:
        return [asks(0, "delete"), ok(0, told)]

    assert judged(*wrote(1), *deleted(True), *read(None), *deleted(False)) is RIGHT
    assert judged(*wrote(1), *deleted(False)) is WRONG
    assert judged(*wrote(1), *deleted(True), *deleted(True)) is WRONG
    assert judged(*wrote(1), *deleted(True), *read(1)) is WRONG
    assert judged(*wrote(1), *deleted(None), *deleted(None), *read(None)) is RIGHT


# -- unknown outcomes --------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [[lost(0)], []], ids=["info", "no answer"])
def test_an_unknown_write_takes_effect_once_at_any_later_time_or_never(end: list[Event]) -> None:
    begin = [*wrote(1), asks(0, "write", 2), *end]
    assert judged(*begin, *read(1)) is RIGHT
    assert judged(*begin, *read(1), *read(2)) is RIGHT
    assert judged(*begin, *read(2), *read(1)) is WRONG
    assert judged(*begin, *read(2), *wrote(3), *read(2)) is WRONG
    assert judged(*wrote(1), *read(2), asks(0, "write", 2), *end) is WRONG


def test_unknown_operations_lead_to_each_other() -> None:
    begin = [*wrote(1), asks(0, "write", 2), lost(0), asks(1, "cas", [2, 3]), lost(1)]
    assert judged(*begin, *read(3)) is RIGHT
    assert judged(*begin, *read(3), *read(2)) is WRONG
    assert judged(*wrote(1), asks(1, "cas", [2, 3]), lost(1), *read(3)) is WRONG


def test_an_unknown_write_explains_a_refusal() -> None:
    refused = [asks(1, "cas", [1, 5]), fails(1)]
    assert judged(*wrote(1), asks(0, "write", 9), lost(0), *refused) is RIGHT
    assert judged(*wrote(1), asks(0, "write", 9), lost(0), *refused, *read(1)) is WRONG
    assert judged(*wrote(1), asks(0, "write", 1), lost(0), *refused) is WRONG


def test_an_unknown_read_shows_nothing() -> None:
    assert judged(*wrote(1), asks(0, "read"), lost(0)) is RIGHT


def test_an_unknown_delete_may_remove() -> None:
    begin = [*wrote(1), asks(0, "delete"), lost(0)]
    assert judged(*begin, *read(1), *read(None)) is RIGHT
    assert judged(*begin, *read(None), *read(1)) is WRONG


# -- versions ----------------------------------------------------------------------------------------


def test_a_version_says_which_write_was_read() -> None:
    writes = [asks(0, "write", 1), asks(1, "write", 1)]
    ends = [ok(0, version="v1.1.1"), ok(1, version="v1.1.2")]
    assert judged(*writes, *read(1, "v1.1.1"), *read(1, "v1.1.2"), *ends) is RIGHT
    assert judged(*writes, *read(1, "v1.1.1"), *read(1, "v1.1.2"), *read(1, "v1.1.1"), *ends) is WRONG


def test_a_version_has_one_value() -> None:
    assert judged(*wrote(1, "v1.1.1"), *read(1, "v1.1.1")) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *read(2, "v1.1.1")) is WRONG


def test_a_version_that_no_write_was_told_is_that_of_an_unknown_one() -> None:
    unknown = [asks(0, "write", 2), lost(0)]
    assert judged(*wrote(1, "v1.1.1"), *unknown, *read(2, "v1.1.2"), *read(2, "v1.1.2")) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *unknown, *read(2, "v1.1.2"), *read(2, "v1.1.3")) is WRONG
    assert judged(*wrote(1, "v1.1.1"), *read(2, "v1.1.2")) is WRONG


def test_a_version_does_not_come_back() -> None:
    unknown = [asks(0, "write", 2), lost(0), asks(1, "write", 2), lost(1)]
    assert judged(*unknown, *read(2, "v1.1.1"), *wrote(3, "v1.1.2"), *read(2, "v1.1.3")) is RIGHT
    assert judged(*unknown, *read(2, "v1.1.1"), *wrote(3, "v1.1.2"), *read(2, "v1.1.1")) is WRONG


def test_a_cas_by_version_found_that_version() -> None:
    cas = [asks(0, "cas", [1, 2], ifVersion="v1.1.1"), ok(0, version="v1.1.9")]
    assert judged(*wrote(1, "v1.1.1"), *cas, *read(2, "v1.1.9")) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *wrote(1, "v1.1.2"), *cas) is WRONG


@pytest.mark.parametrize("details", [{}, {"current": "v1.1.2"}], ids=["no word", "current"])
def test_a_refusal_by_version_shows_another(details: dict[str, Any]) -> None:
    refused = [asks(0, "cas", [1, 2], ifVersion="v1.1.1"), fails(0, **details)]
    assert judged(*wrote(1, "v1.1.1"), *wrote(1, "v1.1.2"), *refused) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *refused, *wrote(1, "v1.1.2")) is WRONG


def test_a_refusal_says_what_was_there() -> None:
    def refused(current: str) -> list[Event]:
        return [asks(0, "cas", [5, 6], ifVersion="v1.1.0"), fails(0, current=current)]

    assert judged(*wrote(1, "v1.1.1"), *wrote(2, "v1.1.2"), *refused("v1.1.2")) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *wrote(2, "v1.1.2"), *refused("v1.1.1")) is WRONG
    assert judged(*refused(""), *wrote(1, "v1.1.1")) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *refused("")) is WRONG
    assert judged(*wrote(1, "v1.1.1"), *refused("v1.1.7")) is WRONG
    assert judged(*wrote(1, "v1.1.1"), asks(2, "write", 3), lost(2), *refused("v1.1.7")) is RIGHT


def test_a_condition_that_held_is_not_refused() -> None:
    def refused(version: str) -> list[Event]:
        return [asks(0, "cas", [1, 2], ifVersion=version), fails(0, current="v1.1.1")]

    assert judged(*wrote(1, "v1.1.1"), *refused("v1.1.0")) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *refused("v1.1.1")) is WRONG


def test_a_cas_if_absent_found_nothing() -> None:
    def created(*end: Event) -> list[Event]:
        return [asks(0, "cas", [None, 2], ifAbsent=True), *end]

    assert judged(*created(ok(0, version="v1.1.1")), *read(2, "v1.1.1")) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *created(ok(0, version="v1.1.2"))) is WRONG
    assert judged(*wrote(1, "v1.1.1"), *created(fails(0, current="v1.1.1"))) is RIGHT
    assert judged(*created(fails(0, current=""))) is WRONG
    assert judged(*created(fails(0))) is WRONG


def test_a_delete_by_version_found_that_version() -> None:
    def deleted(version: str, *end: Event) -> list[Event]:
        return [asks(0, "delete", ifVersion=version), *end]

    assert judged(*wrote(1, "v1.1.1"), *deleted("v1.1.1", ok(0, True)), *read(None)) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *deleted("v1.1.0", ok(0, True))) is WRONG
    assert judged(*wrote(1, "v1.1.1"), *deleted("v1.1.0", fails(0, current="v1.1.1"))) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *deleted("v1.1.1", fails(0))) is WRONG
    assert judged(*wrote(1, "v1.1.1"), *deleted("v1.1.0", lost(0)), *read(None)) is WRONG


# -- what counts, and as what ------------------------------------------------------------------------


def test_attempts_under_one_idempotency_key_are_one_write() -> None:
    def tries(key_of_second: str) -> list[Event]:
        first = [asks(0, "write", 1, idempotencyKey="a"), lost(0)]
        second = [asks(1, "write", 1, idempotencyKey=key_of_second), ok(1, version="v1.1.1")]
        return [*first, *read(1, "v1.1.1"), *wrote(2, "v1.1.2"), *second]

    assert judged(*tries("a"), *read(2, "v1.1.2")) is RIGHT
    assert judged(*tries("b"), *read(2, "v1.1.2")) is WRONG


def test_a_refused_retry_leaves_the_first_attempt_unknown() -> None:
    attempts = [
        asks(0, "cas", [1, 2], ifVersion="v1.1.1", idempotencyKey="a"),
        lost(0),
        asks(1, "cas", [1, 2], ifVersion="v1.1.1", idempotencyKey="a"),
        fails(1, current="v1.1.5"),
    ]
    assert judged(*wrote(1, "v1.1.1"), *attempts, *read(2, "v1.1.2")) is RIGHT
    assert judged(*wrote(1, "v1.1.1"), *attempts, *read(3, "v1.1.2")) is WRONG


def test_items_of_batches_are_operations_of_their_own() -> None:
    batch = [asks(0, "write-many", [["k", 1], ["l", 2]], key=""), ok(0, ["v1.1.1", "error outcome_unknown"])]
    both = [asks(1, "read-many", ["k", "l"], key=""), ok(1, [[1, "v1.1.1"], [2, "v1.1.2"]])]
    wrong = [asks(1, "read-many", ["k", "l"], key=""), ok(1, [[None, ""], [None, ""]])]
    assert judged(*batch, *both) is RIGHT
    found = checked(*batch, *wrong)
    assert found.judgement is WRONG and list(found.figures["longest"]) == ["k"]


@pytest.mark.parametrize("asked", [{"readPreference": "replica"}, {}], ids=["asked for", "told"])
def test_reads_from_replicas_promise_nothing(asked: dict[str, Any]) -> None:
    stale = [asks(0, "read", **asked), ok(0, 1)]
    stale[1].level = "" if asked else "replica"
    assert judged(*wrote(1), *wrote(2), *stale) is RIGHT
    stale[0].details, stale[1].level = {}, "linearizable"
    assert judged(*wrote(1), *wrote(2), *stale) is WRONG


def test_faults_and_questions_are_no_operations_on_keys() -> None:
    kill = [Event(kind=kind, process=NEMESIS, name="kill", time_ms=0) for kind in ("invoke", "info")]
    receipt = [asks(0, "receipt", "v1.1.1"), ok(0, "committed")]
    assert judged(*wrote(1), *kill, *receipt, *read(1)) is RIGHT


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([asks(0, "incr", 1), ok(0, 1)], "incr is not modelled"),
        ([asks(0, "expire", 1), lost(0)], "expire is not modelled"),
        ([asks(0, "write", 1, ttlSeconds=1), ok(0)], "it expires"),
        ([asks(0, "delete-namespace", key="ns"), ok(0)], "its namespace was deleted"),
        ([asks(0, "cas", 1), ok(0)], "operation 2 is a cas without [expected, new]"),
    ],
)
def test_what_is_not_modelled_leaves_its_key_without_a_judgement(events: list[Event], reason: str) -> None:
    for event in events:
        event.key = event.key and (event.key if event.key == "ns" else "ns:k")
    other = [asks(1, "write", 1, key="ns:k"), ok(1), asks(1, "write", 1, key="other"), ok(1)]
    found = checked(*other, *events)
    assert found.judgement is UNKNOWN
    assert found.figures["undecided"] == {"ns:k": reason}
    assert reason in found.summary and "ns:k" in found.summary
    assert checked(*other, *events, asks(1, "read", key="other"), ok(1, 9)).judgement is WRONG


def test_what_failed_does_not_matter_to_the_model() -> None:
    assert judged(*wrote(1), asks(0, "incr", 1), fails(0, "not_a_counter"), *read(1)) is RIGHT


def test_a_history_that_says_nothing_is_not_judged() -> None:
    assert checked().judgement is UNKNOWN
    assert "not a well-formed history" in checked(ok(0)).summary


# -- budgets and words -------------------------------------------------------------------------------


def crowd() -> list[Event]:
    """Nine writes at once, in any of 2^9 orders that matter, and answers that say that none of them was the last."""
    writes = [asks(process, "write", process) for process in range(9)]
    refused = [event for value in range(9) for event in (asks(91, "cas", [value, 99]), fails(91))]
    return [*writes, *map(ok, range(9)), *refused]


def test_out_of_budget_the_key_is_named() -> None:
    found = checked(*crowd(), configurations=500)
    assert found.judgement is UNKNOWN
    assert found.figures["undecided"] == {"k": "out of budget"} and "key k (out of budget)" in found.summary
    assert checked(*crowd(), configurations=500_000).judgement is WRONG


def test_out_of_time_the_key_is_named_and_the_others_are_judged() -> None:
    ticks = iter(range(10**9))
    easy = [asks(40, "write", 1, key="easy"), ok(40), asks(40, "read", key="easy"), ok(40, 1)]
    checker = Linearizability(lambda: float(next(ticks)), timeout_s=5)
    found = checker.check(History(Header(), [*crowd(), *easy]))
    assert found.figures["undecided"] == {"k": "out of budget"}
    assert next(ticks) < 50


def test_a_complaint_shows_the_longest_order_and_what_cannot_follow() -> None:
    found = checked(*wrote(1, "v1.1.1"), asks(0, "cas", [1, 2]), fails(0), *read(3))
    assert found.complaints[0].text == (
        "key k: no order of its operations explains the answers. The longest has 1: #0 process 90 write 1 as v1.1.1. "
        "Whichever of these comes next, an answer is wrong: #1 process 0 cas [1,2] (failed)"
    )
    assert found.complaints[0].operations == [1]
    assert found.summary == "1 of 1 keys are not linearizable: key k"
