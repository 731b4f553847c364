"""Quotas: too many keys in the end, and keys of others that are missing."""

from __future__ import annotations

from jepsen_like.checkers.quota import Quotas
from jepsen_like.checking import Verdict
from tests.jepsen.story import Story, fails, is_open, passes

SPACES = {"full": {"ack": "primary", "quotaItems": 2}, "other": {"ack": "quorum"}}


def check(story: Story) -> Verdict:
    return Quotas().check(story.history())


def filled(present: int, neighbour: int | None = 7) -> Story:
    story = Story("quorum", namespaces=SPACES)
    for number in range(4):
        story.write(f"full:k{number}", number, (100, 200), f"va.1.{number + 1}", "primary")
    story.write("other:k", 7, (100, 200), "vb.1.1")
    for number in range(4):
        value = number if number < present else None
        story.read(f"full:k{number}", value, (300, 400), f"va.1.{number + 1}" if value is not None else "")
    return story.read("other:k", neighbour, (300, 400), "vb.1.1" if neighbour is not None else "")


def test_no_more_than_the_quota_is_there() -> None:
    assert passes(check(filled(2)))
    assert fails(check(filled(3)), "full has 3 keys, its quota is 2")


def test_a_write_of_unknown_outcome_may_come_late() -> None:
    assert passes(check(filled(3).lost_its_answer("write", "full:k9", 9, (100, 250))))


def test_others_lose_nothing() -> None:
    assert fails(check(filled(2, None)), "other:k is missing")


def test_reads_before_the_last_write_count_for_nothing() -> None:
    assert is_open(check(filled(3).write("full:k9", 9, (500, 600), "va.1.9", "primary")))
