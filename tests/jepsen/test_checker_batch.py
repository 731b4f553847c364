"""Batches: how they are taken apart, and what versions tell of their keys."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checkers.batch import Batches, expanded
from jepsen_like.checking import Verdict
from jepsen_like.history import Operation, Outcome
from tests.jepsen.story import Span, Story, fails, is_open, passes

A, B = "q:a", "q:b"


def check(story: Story) -> Verdict:
    return Batches().check(story.history())


def wrote(*results: str, kind: Any = "ok") -> Story:
    items = [[A, 1], [B, 2]]
    return Story().did("write-many", "", items, at=(0, 10), kind=kind, answer=list(results) or None, level="quorum")


def read(story: Story, *results: Any, at: Span = (20, 30), level: str = "linearizable") -> Story:
    return story.did("read-many", "", [A, B], at=at, answer=list(results), level=level)


def parts(story: Story) -> list[Operation]:
    return expanded(story.history())


# -- taken apart ---------------------------------------------------------------------------------


def test_a_batch_becomes_operations_on_single_keys() -> None:
    first, second, third, fourth = parts(read(wrote("va.1.1", "vb.1.1"), [1, "va.1.1"], [None, ""]))
    assert [each.number for each in (first, second, third, fourth)] == [0, 0, 1, 1]
    assert (first.invoked.name, first.invoked.key, first.invoked.value) == ("write", A, 1)
    assert first.completed is not None and second.completed is not None
    assert (first.completed.version, second.completed.version) == ("va.1.1", "vb.1.1")
    assert (first.completed.level, first.began_ms, first.ended_ms) == ("quorum", 0, 10)
    assert third.completed is not None and fourth.completed is not None
    assert (third.invoked.name, third.completed.value, third.completed.version) == ("read", 1, "va.1.1")
    assert (fourth.invoked.key, fourth.completed.value, fourth.outcome) == (B, None, Outcome.OK)


def test_items_fail_and_stay_open_by_themselves() -> None:
    known, open_ = parts(wrote("error no_leader", "error outcome_unknown"))
    assert (known.outcome, open_.outcome) == (Outcome.FAIL, Outcome.UNKNOWN)
    assert known.completed is not None and known.completed.error == "no_leader"
    first, second = parts(wrote("va.1.1", "error outcome_unknown", kind="info"))
    assert (first.outcome, second.outcome) == (Outcome.OK, Outcome.UNKNOWN)


@pytest.mark.parametrize("answer", [[], ["va.1.1"], ["va.1.1", 7], ["va.1.1", None]])
def test_what_is_no_result_leaves_its_item_open(answer: list[Any]) -> None:
    story = Story().did("write-many", "", [[A, 1], [B, 2]], at=(0, 10), answer=answer, level="quorum")
    assert parts(story)[1].outcome is Outcome.UNKNOWN


def test_a_batch_that_failed_failed_as_a_whole() -> None:
    assert [each.outcome for each in parts(wrote(kind="fail"))] == [Outcome.FAIL] * 2
    assert [each.outcome for each in parts(wrote(kind="info"))] == [Outcome.UNKNOWN] * 2
    assert [each.outcome for each in parts(wrote(kind=None))] == [Outcome.UNKNOWN] * 2


def test_other_operations_stay_as_they_are() -> None:
    story = Story().write(A, 1, (0, 10), "va.1.1")
    assert parts(story) == story.history().operations()


# -- judged --------------------------------------------------------------------------------------


def test_what_was_written_is_read() -> None:
    assert passes(check(read(wrote("va.1.1", "vb.1.1"), [1, "va.1.1"], [2, "vb.1.1"])))


@pytest.mark.parametrize("results", [["va.1.1"], ["va.1.1", "vb.1.1", "vb.1.2"]])
def test_each_item_has_a_result(results: list[str]) -> None:
    assert fails(check(wrote(*results)), "a write-many of 2 items has not as many results")


def test_a_linearizable_read_shows_what_was_acknowledged() -> None:
    story = wrote("va.1.1", "vb.1.1")
    assert fails(check(read(story, [1, "va.1.1"], [None, ""])), "q:b: a linearizable read does not show vb.1.1")
    assert passes(check(read(wrote("va.1.1", "vb.1.1"), [1, "va.1.1"], [None, ""], level="latest")))
    assert passes(check(read(wrote("va.1.1", "vb.1.1"), [1, "va.1.1"], [None, ""], at=(10, 30))))


def test_an_older_version_is_not_shown_again() -> None:
    story = read(wrote("va.1.1", "vb.1.1").write(A, 3, (12, 15), "va.1.2"), [1, "va.1.1"], [2, "vb.1.1"])
    assert fails(check(story), "does not show va.1.2")


def test_an_item_that_failed_is_not_there() -> None:
    story = wrote("va.1.1", "error no_leader")
    assert passes(check(read(story, [1, "va.1.1"], [None, ""])))
    assert fails(check(read(story, [1, "va.1.1"], [2, "vb.1.1"], at=(40, 50))), "q:b: 2 was refused, and is there")


def test_an_item_of_unknown_outcome_may_be_there() -> None:
    story = wrote("va.1.1", "error outcome_unknown").write("q:c", 1, (0, 1))
    assert passes(check(read(read(story, [1, "va.1.1"], [None, ""]), [1, "va.1.1"], [2, "vb.1.1"], at=(40, 50))))


def test_results_that_are_swapped_are_foreign() -> None:
    told = check(read(wrote("va.1.1", "vb.1.1"), [2, "vb.1.1"], [1, "va.1.1"]))
    assert {"foreign" in each.text or "one version" in each.text for each in told.complaints} == {True}
    assert len(told.complaints) == 4


def test_a_version_names_one_value() -> None:
    story = wrote("va.1.1", "vb.1.1").write(A, 9, (0, 10), "va.1.2")
    assert fails(
        check(read(story, [9, "va.1.1"], [2, "vb.1.1"])),
        "one version, va.1.1, names q:a with 1 and q:a with 9",
        "does not show",
    )
    assert fails(check(wrote("va.1.1", "va.1.1")), "one version, va.1.1, names q:a with 1 and q:b with 2")


def test_nothing_is_read_before_it_is_written() -> None:
    story = Story().read(A, 1, (0, 5), "va.1.1").did("write-many", "", [[A, 1]], at=(6, 10), answer=["va.1.1"])
    assert fails(check(story), "va.1.1 was read too early", "foreign")
    kept = Story().read(A, 1, (0, 6), "va.1.1").did("write-many", "", [[A, 1]], at=(6, 10), answer=["va.1.1"])
    assert passes(check(kept))


def test_a_retry_answers_for_its_first_attempt() -> None:
    story = wrote("va.1.1", "vb.1.1").lost_its_answer("write", "q:c", 5, (0, 3), idempotencyKey="x")
    story.read("q:c", 5, (4, 5), "va.1.2").write("q:c", 5, (6, 7), "va.1.2", idempotencyKey="x")
    assert passes(check(story))


def test_a_version_of_an_unknown_value_takes_the_first_that_is_read() -> None:
    story = wrote("va.1.1", "vb.1.1").did("expire", A, 9, at=(11, 12), answer=True, version="va.1.2", level="quorum")
    assert passes(check(story.read(A, 1, (20, 30), "va.1.2").read(A, 1, (20, 30), "va.1.2")))
    assert "names q:a with 1 and q:a with 2" in " ".join(
        each.text for each in check(story.read(A, 2, (20, 30), "va.1.2")).complaints
    )


def test_a_batch_of_unknown_outcome_needs_no_results() -> None:
    assert is_open(check(wrote(kind="info")))
    assert is_open(check(wrote(kind=None)))
    assert fails(check(wrote(kind="info").read(A, 7, (20, 30), "va.1.1")), "7 was read, and is foreign")


def test_counters_have_values_that_nobody_wrote() -> None:
    assert passes(check(wrote("va.1.1", "vb.1.1").incr("q:n", 1, (0, 5), "va.1.5").read("q:n", 1, (6, 7), "va.1.5")))


def test_without_batches_nothing_is_shown() -> None:
    assert is_open(check(Story().write(A, 1, (0, 10), "va.1.1").read(A, 1, (20, 30), "va.1.1")))
