"""Receipts and lost-write reports against each other, and against what is there."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checkers.receipts import Receipts
from jepsen_like.checking import Verdict
from tests.jepsen.story import Story, fails, is_open, passes, texts

K = "p:k"
V1, V2 = "va.1.1", "va.1.2"


def check(story: Story) -> Verdict:
    return Receipts().check(story.history())


def written(level: str = "primary") -> Story:
    return Story("primary").write(K, 1, (0, 10), V1, level).fault("final", (100, 999))


@pytest.mark.parametrize(("value", "version"), [(1, V1), (2, V2), (2, "va.2.1"), (2, "vb.1.1")])
def test_what_is_committed_is_there_or_something_newer(value: int, version: str) -> None:
    assert passes(check(written().receipt(K, V1, "committed", (20, 30)).read(K, value, (40, 50), version)))


@pytest.mark.parametrize(("value", "version"), [(None, ""), (0, "va.0.9"), (0, "va.1.0")])
def test_what_is_committed_is_not_gone(value: int | None, version: str) -> None:
    story = written().receipt(K, V1, "committed", (20, 30))
    assert fails(check(story.read(K, value, (40, 50), version)), "a receipt says committed, and it is gone")


@pytest.mark.parametrize("level", ["linearizable", "committed", "replica"])
def test_what_is_lost_is_not_shown(level: str) -> None:
    story = written().receipt(K, V1, "lost", (20, 30))
    assert fails(check(story.read(K, 1, (12, 15), V1, level)), "a receipt calls it lost, and it is there")


def test_what_is_lost_may_have_been_shown_as_latest() -> None:
    assert passes(check(written().receipt(K, V1, "lost", (20, 30)).read(K, 1, (12, 15), V1, "latest")))


@pytest.mark.parametrize("others", [("committed", "lost"), ("lost", "committed")])
def test_a_receipt_never_changes(others: tuple[str, str]) -> None:
    story = written().receipt(K, V1, others[0], (20, 30))
    assert passes(check(story.receipt(K, V1, others[0], (40, 50))))
    assert fails(check(story.receipt(K, V1, others[1], (60, 70))), "lost, and a receipt says committed")


def test_pending_comes_before_and_sometimes_after() -> None:
    story = written().receipt(K, V1, "pending", (11, 12)).receipt(K, V1, "committed", (20, 30))
    assert passes(check(story.receipt(K, V1, "pending", (40, 50))))


def test_nothing_is_pending_at_rest() -> None:
    story = written().receipt(K, V1, "pending", (99, 120)).receipt(K, V1, "committed", (130, 140))
    assert passes(check(story))
    assert fails(check(story.receipt(K, V1, "pending", (150, 160))), "still pending after healing")
    assert fails(check(written().receipt(K, V1, "pending", (100, 120))), "still pending after healing")


@pytest.mark.parametrize("level", ["quorum", "durable"])
def test_what_was_acknowledged_above_primary_is_never_called_lost(level: str) -> None:
    assert fails(check(written(level).receipt(K, V1, "lost", (20, 30))), "acknowledged above primary")
    assert fails(check(written(level).reported("p", [V1], (20, 30))), "acknowledged above primary")
    assert passes(check(written(level).receipt(K, V1, "committed", (20, 30))))


def test_a_version_that_was_given_out_has_a_receipt() -> None:
    story = written().receipt(K, V1, "committed", (20, 30))
    assert passes(check(story.refused("receipt", K, "va.7.7", (40, 50), "unknown_version")))
    assert passes(check(story.refused("receipt", K, V1, (40, 50), "no_leader")))
    assert fails(check(story.refused("receipt", K, V1, (40, 50), "unknown_version")), "as of an unknown version")


# -- reports -------------------------------------------------------------------------------------


def lost(**told: Any) -> Story:
    """A write that is lost, one that is there, and no report yet."""
    story = written().receipt(K, V1, "lost", (20, 30)).write("p:l", 1, (0, 10), V2, "primary")
    return story.receipt("p:l", V2, "committed", (20, 30))


def test_the_report_names_what_is_lost() -> None:
    assert passes(check(lost().reported("p", [V1], (200, 210))))
    assert passes(check(lost().reported("p", [V1, "va.1.77"], (200, 210))))


def test_the_report_names_nothing_that_is_there() -> None:
    story = lost().reported("p", [V1, V2], (200, 210))
    assert fails(check(story), "it is reported as lost, and a receipt says committed")
    shown = lost().reported("p", [V1, "va.1.3"], (50, 60)).read("p:m", 1, (12, 15), "va.1.3", "committed")
    assert fails(check(shown), "it is reported as lost, and it is there")


@pytest.mark.parametrize("proof", ["receipt", "read"])
def test_a_loss_that_is_not_reported_is_complained_of(proof: str) -> None:
    story = written()
    if proof == "receipt":
        story.receipt(K, V1, "lost", (20, 30))
    else:
        story.read(K, None, (20, 30))
    told = texts(check(story.reported("p", [], (200, 210))))
    assert told == [
        "1 writes are lost, and a report says a total of 0",
        f"{V1}: acknowledged at primary and lost, and not reported",
    ]


def test_a_report_is_exact_for_its_own_namespace_at_rest() -> None:
    assert passes(check(lost().reported("q", [], (200, 210))))
    assert passes(check(lost().reported("p", [], (50, 60))))
    assert fails(check(lost().reported("", [], (200, 210))), "a total of 0", "not reported")


@pytest.mark.parametrize("fault", ["kill-leader", "rolling-restart", "power", "empty-disk", "torn-log", "crash"])
def test_a_leader_that_was_killed_reports_nothing(fault: str) -> None:
    assert passes(check(lost().fault(fault, (12, 15)).reported("p", [], (200, 210))))


def test_a_killed_leader_excuses_no_wrong_name() -> None:
    assert fails(check(lost().fault("kill", (12, 15)).reported("p", [V2], (200, 210))), "committed")


def test_only_faults_that_end_processes_excuse_it() -> None:
    assert passes(check(lost().fault("pause", (12, 15), stops=True).reported("p", [], (200, 210))))
    assert fails(check(lost().fault("pause", (12, 15)).reported("p", [], (200, 210))), "total of 0", "not reported")
    assert passes(check(lost().reported("p", [], (200, 210), unreachable=["n1"])))


def test_what_is_cut_off_from_the_list_is_in_the_total() -> None:
    assert passes(check(lost().reported("p", [], (200, 210), total=1, truncated=True)))
    story = lost().receipt("p:m", "va.1.4", "lost", (20, 30)).write("p:m", 1, (0, 10), "va.1.4", "primary")
    assert fails(check(story.reported("p", [], (200, 210), total=1, truncated=True)), "2 writes are lost, and a report")


@pytest.mark.parametrize(("total", "truncated"), [(0, False), (2, False), (1, True)])
def test_a_report_agrees_with_itself(total: int, truncated: bool) -> None:
    story = lost().fault("kill", (12, 15)).reported("p", [V1], (200, 210), total=total, truncated=truncated)
    assert fails(check(story), f"lists 1, and says a total of {total}")


def test_a_report_of_all_namespaces_names_none() -> None:
    story = lost().did("lost-writes", "", None, at=(100, 210), answer=[], told={"total": 0, "truncated": False})
    assert fails(check(story), "a total of 0", "not reported")


def test_what_was_never_to_be_lost_is_complained_of_once() -> None:
    story = written("quorum").receipt(K, V1, "lost", (20, 30)).reported("p", [], (200, 210))
    assert fails(check(story), "acknowledged above primary")


# -- what is not judged --------------------------------------------------------------------------


def test_a_majority_that_forgets_excuses_what_was_said_before() -> None:
    def story(durable: bool) -> Story:
        told = written().receipt(K, V1, "committed", (11, 15), durable).fault("power", (20, 30), forgets=["a"])
        return told.receipt(K, V1, "lost", (40, 50))

    assert passes(check(story(durable=False)))
    assert fails(check(story(durable=True)), "lost, and a receipt says committed")
    assert passes(check(written("quorum").fault("power", (20, 30), forgets=["a"]).receipt(K, V1, "lost", (40, 50))))
    forgot = written().fault("freeze", (20, 30), forgets=["a"]).receipt(K, V1, "lost", (40, 50))
    assert passes(check(forgot.reported("p", [], (200, 210))))
    assert passes(check(forgot.refused("receipt", K, V1, (60, 70), "unknown_version")))
    early = written().reported("p", [V1], (11, 15)).fault("freeze", (20, 30), forgets=["a"])
    assert passes(check(early.receipt(K, V1, "committed", (40, 50))))
    other = written("quorum").fault("power", (20, 30), forgets=["b"]).receipt(K, V1, "lost", (40, 50))
    assert fails(check(other), "acknowledged above primary")


def test_nothing_told_is_no_pass() -> None:
    assert is_open(check(written()))
    assert is_open(check(written().receipt(K, V1, "pending", (20, 30))))
