"""Availability: gaps, errors, rates; and liveness after a majority was healed."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checkers.availability import Availability
from jepsen_like.checkers.liveness import Liveness
from jepsen_like.checking import Verdict
from tests.jepsen.story import Story, fails, is_open, passes

K = "q:k"


def check(story: Story, **how: Any) -> Verdict:
    return Availability(**how).check(story.history())


def served() -> Story:
    """Answers at 100, 200, 1200 and 1300 ms, with a fault from 300 to 900."""
    story = Story().fault("kill", (300, 900))
    for at_ms in (0, 150, 1000, 1250):
        story.read(K, 1, (at_ms, {0: 100, 150: 200, 1000: 1200, 1250: 1300}[at_ms]), "va.1.1")
    return story.lost_its_answer("write", K, 1, (1260, 2000)).refused("write", K, 1, (310, 320))


def test_gaps_are_measured_between_successes() -> None:
    figures = check(served()).figures
    assert figures["longest_gap_ms"] == 890
    assert figures["longest_gap_faulty_ms"] == 890
    assert figures["longest_gap_quiet_ms"] == 700
    assert figures["longest_recovery_ms"] == 300


def test_who_asks_nothing_misses_nothing() -> None:
    """Nobody waits between 100 and 5000 ms, and then for 50 ms; a refusal at 5200 began 150 ms after the answer."""
    story = Story().read(K, 1, (0, 100)).read(K, 1, (5000, 5050)).refused("read", K, None, (5150, 5200))
    assert check(story).figures["longest_gap_ms"] == 100
    waiting = Story().read(K, 1, (0, 100)).read(K, 1, (5000, 5050)).lost_its_answer("read", K, None, (50, 4000))
    assert check(waiting).figures["longest_gap_ms"] == 4950
    assert check(waiting.refused("read", K, None, (5100, 5900))).figures["longest_gap_ms"] == 4950


def test_recovery_is_measured_from_the_end_of_the_fault() -> None:
    figures = check(served()).figures
    assert figures["longest_recovery_ms"] == 300


def test_the_time_before_the_first_success_is_a_gap_too() -> None:
    assert check(served().lost_its_answer("read", K, None, (-5000, 10))).figures["longest_gap_quiet_ms"] == 5100


def test_outcomes_are_counted_by_kind() -> None:
    figures = check(served().did("write", K, 1, at=(500, 500), kind=None)).figures
    assert (figures["successes"], figures["failures"], figures["unknown"]) == (4, 1, 2)
    assert figures["errors"] == {"no_leader": 1, "outcome_unknown": 1, "unanswered": 1}
    assert figures["unknown_by_name"] == {"write": 2}


@pytest.mark.parametrize("error", ["condition_failed", "not_an_integer", "unknown_namespace"])
def test_an_answer_that_refuses_is_service(error: str) -> None:
    assert check(Story().refused("cas", K, [1, 2], (0, 10), error)).figures["successes"] == 1


@pytest.mark.parametrize("error", ["no_leader", "unavailable", "overloaded", "internal", "nobody_knows_this"])
def test_an_answer_that_asks_to_come_again_is_none(error: str) -> None:
    assert check(Story().refused("cas", K, [1, 2], (0, 10), error)).figures["successes"] == 0


def test_a_batch_is_served_if_all_of_it_is() -> None:
    story = Story().did("write-many", "", [["q:a", 1], ["q:b", 2]], at=(0, 10), answer=["va.1.1", "va.1.2"])
    story.did("write-many", "", [["q:a", 1], ["q:b", 2]], at=(20, 30), answer=["va.1.3", "error no_leader"])
    assert check(story).figures["successes"] == 1
    assert check(story).figures["errors"] == {"no_leader": 1}


def test_too_low_a_rate_is_a_failure() -> None:
    """Four in two seconds."""
    assert passes(check(served()))
    assert passes(check(served(), minimum_rate_per_s=2.0))
    assert fails(check(served(), minimum_rate_per_s=2.1), "too few operations succeeded: 2.00 a second, and 2.1")


def test_the_header_says_what_is_too_low() -> None:
    story = Story(minimumRatePerS=3).read(K, 1, (0, 100)).read(K, 1, (100, 1000))
    assert fails(check(story), "too few")
    assert fails(check(Story().refused("read", K, None, (0, 10))), "too few operations succeeded: 0.00 a second")


def test_a_run_without_operations_is_a_failure() -> None:
    assert fails(check(Story().fault("kill", (0, 10))), "nothing was asked")


# -- liveness ------------------------------------------------------------------------------------


def alive(story: Story) -> Verdict:
    return Liveness(bound_ms=1000).check(story.history())


def healed(until_ms: float = 7000, **details: Any) -> Story:
    """Two shards, known from before; a majority is whole again at 5000 ms."""
    story = Story().read("q:a", 1, (0, 10), "va.1.1").read("q:b", 1, (0, 10), "vb.1.1").read("q:z", 1, (8000, 8010))
    return story.fault("kill", (100, 8000)).fault("majority-healed", (5000, until_ms), **details)


def test_each_shard_serves_again() -> None:
    story = healed().read("q:a", 1, (5100, 5990), "va.2.1").read("q:b", 1, (5100, 6000), "vb.2.1")
    assert passes(alive(story))
    assert alive(story).figures == {"marks": 1, "judged": 2, "served": 2, "slowest_ms": 1000}


def test_a_shard_that_does_not_serve_is_named() -> None:
    story = healed().read("q:a", 1, (5100, 5990), "va.2.1").refused("read", "q:b", None, (5100, 5600))
    assert fails(alive(story), "shard b does not serve: a majority was healed at 5.0 s, and 1 s is the bound")


def test_an_answer_that_comes_too_late_is_none() -> None:
    assert fails(alive(healed().read("q:a", 1, (5100, 6001), "va.2.1")), "shard a does not serve")


def test_what_was_asked_before_shows_nothing() -> None:
    story = healed().read("q:a", 1, (4999, 5500), "va.1.1")
    assert is_open(alive(story))
    assert fails(alive(story.lost_its_answer("read", "q:a", None, (5001, 9000))), "shard a does not serve")


def test_who_asks_once_at_once_has_shown_nothing() -> None:
    assert is_open(alive(healed().refused("read", "q:a", None, (5100, 5499))))
    assert fails(alive(healed().refused("read", "q:a", None, (5100, 5500))), "shard a does not serve")


def test_an_operation_that_is_never_answered_shows_it() -> None:
    assert fails(alive(healed().did("read", "q:a", at=(5100, 5100), kind=None)), "shard a does not serve")


def test_keys_of_no_known_shard_and_policies_are_groups() -> None:
    story = healed().refused("read", "q:z", None, (5100, 5900)).policy("q", (5100, 5900), kind="info")
    assert fails(alive(story), "keys of q, of no known shard,", "metadata does not serve")
    assert passes(alive(healed().policy("q", (5100, 5900))))


def test_a_key_that_nobody_was_answered_for_belongs_to_the_shard_of_its_slot() -> None:
    """`q:w2` and `q:w3` are in the upper half of the slots, `q:w1` in the lower. Where one key lies
    elsewhere than its slot says, slots say nothing."""
    story = Story(shards=["a", "b"]).fault("majority-healed", (5000, 7000)).read("q:w1", 1, (5100, 5200), "va.1.1")
    story.refused("write", "q:w2", 1, (5100, 5900))
    assert fails(alive(story), "shard b does not serve")
    assert passes(alive(story.write("q:w3", 1, (5300, 5400), "vb.1.1")))
    moved = story.read("q:w6", 1, (5300, 5400), "va.1.1")
    assert fails(alive(moved), "keys of q, of no known shard,")


def test_who_asks_what_was_left_broken_has_shown_nothing() -> None:
    left = {"majority": ["n0", "n1"], "rest": ["n2"]}
    story = healed(**left).refused("read", "q:a", None, (5100, 5900), node="n2").read("q:b", 1, (5100, 5200), "vb.1.1")
    assert passes(alive(story))
    assert fails(alive(story.refused("read", "q:a", None, (5200, 5900), node="n1")), "shard a does not serve")


def test_the_items_of_a_batch_are_served_one_by_one() -> None:
    story = healed().did("read-many", "", ["q:a", "q:b"], at=(5100, 5900), answer=[[1, "va.2.1"], "error no_leader"])
    assert fails(alive(story), "shard b does not serve")


def test_a_mark_that_ends_too_early_is_not_judged() -> None:
    assert is_open(alive(healed(until_ms=5999).refused("read", "q:a", None, (5100, 5900))))
    assert is_open(alive(Story().read("q:a", 1, (0, 10))))
    just = healed(until_ms=6000).refused("read", "q:a", None, (5100, 5900))
    assert fails(alive(just), "shard a does not serve")


def test_what_concerns_no_key_belongs_to_no_group() -> None:
    assert is_open(alive(healed().refused("lost-writes", "", "q", (5100, 5900))))


def test_the_mark_may_name_its_bound() -> None:
    story = healed(boundMs=500).read("q:a", 1, (5100, 5700), "va.2.1")
    assert fails(alive(story), "and 0.5 s is the bound")
