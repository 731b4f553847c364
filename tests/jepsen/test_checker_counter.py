"""Counters: what the bounds allow, and what they do not."""

from __future__ import annotations

import pytest

from jepsen_like.checkers.counter import Counters
from tests.jepsen.story import Story, fails, is_open, passes, texts

K = "q:n"


def check(story: Story):  # type: ignore[no-untyped-def]
    return Counters().check(story.history())


def counted(ack: str = "quorum") -> Story:
    """Two increments, one after the other."""
    return Story(ack).incr(K, 1, (0, 10), "va.1.1", ack).incr(K, 2, (20, 30), "va.1.2", ack)


def test_counts_in_order_pass() -> None:
    assert passes(check(counted().read(K, 2, (40, 50), "va.1.2")))


@pytest.mark.parametrize(
    ("value", "at", "about"),
    [
        (1, (40, 50), "1 was read, and 2 is the least: lost"),
        (None, (40, 50), "0 was read, and 2 is the least: lost"),
        (3, (40, 50), "3 was read, and attempts come to 2 at most: repeated"),
        (2, (11, 19), "2 was read, and attempts come to 1 at most: repeated"),
        ("x", (40, 50), '"x" was read, which is no integer'),
        (True, (40, 50), "true was read, which is no integer"),
    ],
)
def test_a_read_outside_the_bounds_is_complained_of(value: object, at: tuple[float, float], about: str) -> None:
    assert fails(check(counted().read(K, value, at)), about)


@pytest.mark.parametrize("value", [1, 2])
def test_what_is_under_way_may_count_or_not(value: int) -> None:
    assert passes(check(counted().read(K, value, (15, 25))))
    assert passes(check(Story().incr(K, 1, (0, 10)).incr(K, 2, (20, 30)).read(K, value, (10, 20))))


def test_what_has_no_known_outcome_may_count_at_any_later_time() -> None:
    story = counted().lost_its_answer("incr", K, 1, (31, 35))
    assert passes(check(story.read(K, 3, (40, 50)).read(K, 2, (60, 70))))
    assert fails(check(story.read(K, 4, (80, 90))), "repeated")


def test_what_was_refused_counts_nowhere() -> None:
    assert fails(check(counted().refused("incr", K, 1, (31, 35)).read(K, 3, (40, 50))), "repeated")


@pytest.mark.parametrize(("value", "about"), [(5, ""), (2, ""), (1, "lost"), (6, "repeated")])
def test_deltas_of_both_signs_widen_the_bounds(value: int, about: str) -> None:
    """5 for certain; -3 at the same time as the read."""
    story = Story().incr(K, 5, (0, 10), by=5).incr(K, 2, (40, 60), by=-3).read(K, value, (45, 50))
    assert fails(check(story), about) if about else passes(check(story))


def test_a_certain_negative_delta_lowers_the_most() -> None:
    story = Story().incr(K, 5, (0, 10), by=5).incr(K, 2, (20, 30), by=-3)
    assert passes(check(story.read(K, 2, (40, 50))))
    assert fails(check(story.read(K, 5, (60, 70))), "repeated")


# -- counts --------------------------------------------------------------------------------------


def test_a_count_that_forgets_what_was_acknowledged_is_lost() -> None:
    story = counted().incr(K, 2, (40, 50), "va.1.3")
    assert fails(check(story), "2 was counted, and 3 is the least: lost", "same count, 2")


def test_a_count_beyond_all_attempts_is_repeated() -> None:
    assert fails(check(counted().incr(K, 4, (40, 50), "va.1.3")), "4 was counted, and attempts come to 3")


def test_counts_of_increments_at_the_same_time_are_unique() -> None:
    story = Story().incr(K, 1, (0, 50), "va.1.1")
    assert passes(check(story.incr(K, 2, (0, 50), "va.1.2")))
    assert fails(check(story.incr(K, 2, (0, 50), "va.1.3")), "the same count, 2")


def test_counts_keep_the_order_in_which_they_were_answered() -> None:
    """Others are under way all the time, so bounds alone allow both counts."""
    story = Story()
    for _ in range(2):
        story.lost_its_answer("incr", K, 1, (0, 10))
    ordered, swapped = (2, 3), (3, 2)
    first, second = ordered
    assert passes(check(story.incr(K, first, (20, 30), "va.1.2").incr(K, second, (40, 50), "va.1.3")))
    story = Story()
    for _ in range(2):
        story.lost_its_answer("incr", K, 1, (0, 10))
    first, second = swapped
    assert fails(check(story.incr(K, first, (20, 30), "va.1.2").incr(K, second, (40, 50), "va.1.3")), "out of order")


def test_each_count_is_further_than_the_furthest_before_it() -> None:
    def story(*begins_ms: float) -> Story:
        told = Story()
        for _ in range(5):
            told.lost_its_answer("incr", K, 1, (0, 5))
        for number, (count, begin_ms) in enumerate(zip((2, 5, 4), begins_ms, strict=True)):
            told.incr(K, count, (begin_ms, begin_ms + 10), f"va.1.{number}")
        return told

    assert fails(check(story(20, 40, 60)), "4 was counted after 5 had been answered: out of order")
    assert passes(check(story(20, 40, 50)))


def test_counts_that_move_nothing_have_no_order() -> None:
    story = counted().incr(K, 2, (40, 50), "va.1.3", by=0).incr(K, 2, (60, 70), "va.1.4", by=0)
    assert passes(check(story.incr(K, 3, (80, 90), "va.1.5")))


def test_a_refused_delta_of_the_other_sign_changes_no_order() -> None:
    story = Story().incr(K, 1, (0, 50), "va.1.1").incr(K, 1, (0, 50), "va.1.3")
    assert fails(check(story.refused("incr", K, -1, (60, 70))), "the same count, 1")
    mixed = Story().incr(K, 1, (0, 50), "va.1.1").incr(K, 1, (0, 50), "va.1.3")
    assert passes(check(mixed.lost_its_answer("incr", K, -1, (0, 70))))


def test_a_counter_that_goes_down_has_its_order_too() -> None:
    story = Story().lost_its_answer("incr", K, -1, (0, 5)).lost_its_answer("incr", K, -1, (0, 5))
    story.incr(K, -3, (20, 30), "va.1.3", by=-1).incr(K, -2, (40, 50), "va.1.4", by=-1)
    assert fails(check(story), "out of order")


def test_two_increments_never_have_one_version() -> None:
    assert fails(check(Story().incr(K, 1, (0, 10), "va.1.1").incr(K, 2, (20, 30), "va.1.1")), "same version, va.1.1")


# -- retries -------------------------------------------------------------------------------------


def retried(count: int, version: str, level: str = "quorum") -> Story:
    """An attempt without an answer, one that was answered by 1, and one more."""
    story = Story(level).lost_its_answer("incr", K, 1, (0, 10), idempotencyKey="a")
    story.incr(K, 1, (20, 30), "va.1.1", level, idempotencyKey="a")
    return story.incr(K, count, (40, 50), version, level, idempotencyKey="a")


def test_all_attempts_under_one_key_count_once() -> None:
    assert passes(check(retried(1, "va.1.1").read(K, 1, (60, 70))))
    assert fails(check(retried(1, "va.1.1").read(K, 2, (60, 70))), "repeated")


def test_all_answers_of_one_key_are_equal() -> None:
    assert "answered twice, by 1 as va.1.1 and 2 as va.1.2" in texts(check(retried(2, "va.1.2")))[0]
    assert "answered twice, by 1 as va.1.1 and 2 as va.1.1" in texts(check(retried(2, "va.1.1", "primary")))[0]


def test_a_record_may_be_lost_with_its_increment() -> None:
    again = Story("primary").incr(K, 1, (0, 10), "va.1.1", "primary", idempotencyKey="a")
    again.incr(K, 1, (40, 50), "va.2.1", "primary", idempotencyKey="a")
    assert passes(check(again.receipt(K, "va.1.1", "lost", (60, 70)).read(K, 1, (80, 90), "va.2.1")))
    assert "answered twice" in texts(check(again.receipt(K, "va.1.1", "committed", (60, 70))))[0]


def test_a_replay_says_what_was_counted_first() -> None:
    """Its count is of the time of the first attempt, when the other increment had not begun."""
    story = Story().incr(K, 1, (0, 10), "va.1.1", idempotencyKey="a").incr(K, 2, (20, 30), "va.1.2")
    assert passes(check(story.incr(K, 1, (40, 50), "va.1.1", idempotencyKey="a")))


def test_one_key_answers_for_one_body() -> None:
    story = Story().incr(K, 1, (0, 10), "va.1.1", idempotencyKey="a")
    refused = story.refused("incr", K, 2, (20, 30), "idempotency_mismatch", idempotencyKey="a")
    assert passes(check(refused))
    assert fails(check(refused.incr(K, 3, (40, 50), "va.1.2", by=2, idempotencyKey="a")), "two bodies, 1 and 2")


# -- where acknowledged increments may be lost ---------------------------------------------------


def test_primary_counts_may_go_back() -> None:
    story = Story("primary").incr(K, 1, (0, 10), "va.1.1", "primary").incr(K, 2, (20, 30), "va.1.2", "primary")
    story.incr(K, 1, (40, 50), "va.2.1", "primary").read(K, 1, (60, 70), "va.2.1", "latest")
    assert passes(check(story))


def test_primary_counts_have_an_upper_bound() -> None:
    story = Story("primary").incr(K, 2, (0, 10), "va.1.1", "primary")
    assert fails(check(story), "2 was counted, and attempts come to 1")
    assert fails(check(counted("primary").read(K, 3, (40, 50), level="latest")), "repeated")


def test_receipts_give_primary_counters_both_bounds() -> None:
    def story() -> Story:
        told = counted("primary").receipt(K, "va.1.1", "committed", (60, 70))
        return told.receipt(K, "va.1.2", "lost", (60, 70))

    assert passes(check(story().read(K, 1, (40, 50), "va.1.1")))
    assert fails(check(story().read(K, 0, (40, 50))), "1 is the least: lost")
    assert fails(check(story().read(K, 2, (40, 50), "va.1.9")), "attempts come to 1 at most: repeated")
    assert passes(check(story().read(K, 2, (31, 39), "va.1.2", "latest")))


def test_what_nobody_told_of_may_be_there_or_not() -> None:
    assert passes(check(counted("primary").read(K, 2, (40, 50), "va.1.2").read(K, 1, (60, 70), "va.1.9")))


def test_committed_primary_counts_have_their_order() -> None:
    story = counted("primary").incr(K, 2, (40, 50), "va.1.3", "primary").lost_its_answer("incr", K, 1, (0, 1))
    for version in ("va.1.2", "va.1.3"):
        story.receipt(K, version, "committed", (60, 70))
    assert "same count, 2" in " ".join(texts(check(story)))


def test_a_majority_that_forgets_excuses_what_was_not_durable() -> None:
    def story(level: str) -> Story:
        return Story().incr(K, 1, (0, 10), "va.1.1", level).fault("power", (20, 30), forgets=["a"])

    assert passes(check(story("quorum").read(K, None, (40, 50))))
    assert fails(check(story("durable").read(K, None, (40, 50))), "lost")
    assert fails(check(story("quorum").incr(K, 1, (40, 50), "va.2.1").read(K, None, (60, 70))), "lost")


# -- what is not judged --------------------------------------------------------------------------


def test_other_changes_leave_a_counter_without_a_judgement() -> None:
    assert is_open(check(counted().write(K, 9, (11, 12)).read(K, 7, (40, 50))))
    assert is_open(check(counted().did("delete", K, at=(11, 12), answer=True).read(K, None, (40, 50))))
    assert is_open(check(counted().dropped("q", (11, 12)).read(K, None, (40, 50))))
    assert is_open(check(Story().incr(K, 1, (0, 10), ttlSeconds=1).read(K, None, (4000, 5000))))
    assert check(counted().write(K, 9, (11, 12))).figures["unjudged_counters"] == 1


def test_a_refused_change_leaves_it_judged() -> None:
    assert fails(check(counted().refused("write", K, 9, (11, 12)).read(K, 9, (40, 50))), "repeated")


def test_what_is_no_integer_is_complained_of_and_not_counted() -> None:
    assert fails(check(counted().did("incr", K, 1, at=(40, 50), answer="x")), '"x" was counted, which is no integer')
    assert is_open(check(counted().did("incr", K, "x", at=(40, 50), answer=1)))


def test_nothing_to_judge_is_no_pass() -> None:
    assert is_open(check(Story().write("q:other", 1, (0, 10))))
