"""Sets: lost, stale, never read, recovered."""

from __future__ import annotations

import pytest

from jepsen_like.checkers.sets import Sets
from jepsen_like.checking import Verdict
from tests.jepsen.story import Story, fails, is_open, passes, texts

K = "q:e1"


def check(story: Story) -> Verdict:
    return Sets().check(story.history())


def inserted(level: str = "quorum") -> Story:
    return Story(level).write(K, 1, (0, 10), "va.1.1", level)


def states(story: Story) -> dict[str, int]:
    figures = check(story).figures
    return {name: count for name, count in figures.items() if count and name != "elements"}


def test_an_element_that_stays_is_ok() -> None:
    story = inserted().read(K, 1, (20, 30), "va.1.1").read(K, 1, (40, 50), "va.1.1")
    assert passes(check(story))
    assert states(story) == {"ok": 1}


def test_an_element_that_is_gone_is_lost() -> None:
    story = inserted().read(K, 1, (20, 30), "va.1.1").read(K, None, (40, 50))
    assert fails(check(story), "acknowledged at quorum as va.1.1, and is lost")
    assert check(story).complaints[0].operations == [0, 2]
    assert states(story) == {"lost": 1}


def test_an_element_that_is_missing_for_a_while_is_stale() -> None:
    story = inserted().read(K, None, (20, 30)).read(K, 1, (40, 50), "va.1.1")
    assert fails(check(story), "was missing for a while: a stale read")
    assert states(story) == {"stale": 1}


def test_a_read_at_the_same_time_may_miss_it() -> None:
    story = inserted().read(K, None, (5, 30)).read(K, None, (10, 30)).read(K, 1, (40, 50), "va.1.1")
    assert passes(check(story))
    assert states(story) == {"ok": 1}


@pytest.mark.parametrize("level", ["latest", "committed", "replica"])
def test_only_a_linearizable_read_proves_a_loss(level: str) -> None:
    story = inserted().read(K, None, (20, 30), level=level).read(K, 1, (40, 50), "va.1.1")
    assert passes(check(story))
    assert is_open(check(inserted().read(K, None, (20, 30), level=level)))


def test_an_element_that_nobody_read_is_no_pass() -> None:
    other = inserted().write("q:e2", 2, (0, 10), "va.1.2").read(K, 1, (20, 30), "va.1.1")
    assert is_open(check(other))
    assert states(other) == {"ok": 1, "never_read": 1}


def test_what_is_lost_at_primary_is_counted_only() -> None:
    story = inserted("primary").write("q:e2", 2, (0, 10), "va.1.2", "primary").read(K, None, (20, 30))
    story.read("q:e2", 2, (20, 30), "va.1.2")
    assert passes(check(story))
    assert states(story) == {"ok": 1, "lost": 1}


def test_what_was_committed_is_lost_at_no_level() -> None:
    story = inserted("primary").receipt(K, "va.1.1", "committed", (11, 12)).read(K, None, (20, 30))
    assert fails(check(story), "is lost")


def test_a_primary_element_that_comes_back_was_a_stale_read() -> None:
    story = inserted("primary").read(K, None, (20, 30)).read(K, 1, (40, 50), "va.1.1")
    assert fails(check(story), "a stale read")


def test_a_retry_may_put_back_what_was_lost() -> None:
    story = Story("primary").write(K, 1, (0, 10), "va.1.1", "primary", idempotencyKey="a").read(K, None, (20, 30))
    story.write(K, 1, (31, 35), "va.2.1", "primary", idempotencyKey="a").read(K, 1, (40, 50), "va.2.1")
    assert passes(check(story))


def test_what_has_no_known_outcome_may_be_found_at_any_time() -> None:
    story = Story().lost_its_answer("write", K, 1, (0, 10)).read(K, None, (20, 30)).read(K, 1, (40, 50), "va.1.1")
    ok = story.write("q:e2", 2, (0, 10), "va.1.2").read("q:e2", 2, (20, 30), "va.1.2")
    assert passes(check(ok))
    assert states(ok) == {"ok": 1, "recovered": 1}


def test_what_was_refused_is_never_found() -> None:
    story = Story().refused("write", K, 1, (0, 10)).read(K, None, (20, 30))
    assert texts(check(story)) == []
    assert fails(check(story.read(K, 1, (40, 50), "va.1.1")), "it was refused, and is there after all")


def test_a_refused_attempt_beside_one_of_unknown_outcome_proves_nothing() -> None:
    story = Story().refused("write", K, 1, (0, 10)).lost_its_answer("write", K, 1, (11, 12))
    assert texts(check(story.read(K, 1, (40, 50), "va.1.1"))) == []


def test_a_value_that_nobody_wrote_is_foreign() -> None:
    assert fails(check(inserted().read(K, 9, (20, 30), "va.1.9")), "9 was read, and is foreign")
    assert fails(check(Story().read(K, 1, (0, 1), "va.1.1").write(K, 1, (5, 10), "va.1.1")), "foreign")


def test_an_element_stands_under_the_version_that_was_answered() -> None:
    assert fails(check(inserted().read(K, 1, (20, 30), "va.1.2")), "acknowledged as va.1.1, and repeated")
    unkeyed = inserted().lost_its_answer("write", K, 1, (11, 12))
    assert passes(check(unkeyed.read(K, 1, (20, 30), "va.1.2")))
    keyed = Story().write(K, 1, (0, 10), "va.1.1", idempotencyKey="a")
    keyed.lost_its_answer("write", K, 1, (11, 12), idempotencyKey="a")
    assert fails(check(keyed.read(K, 1, (20, 30), "va.1.2")), "repeated")


def test_attempts_under_different_keys_may_both_have_been_executed() -> None:
    story = Story().write(K, 1, (0, 10), "va.1.1", idempotencyKey="a")
    story.lost_its_answer("write", K, 1, (11, 12), idempotencyKey="b")
    assert passes(check(story.read(K, 1, (20, 30), "va.1.2")))


def test_what_tells_no_version_repeats_nothing() -> None:
    assert passes(check(inserted().read(K, 1, (20, 30))))
    unnamed = Story().write(K, 1, (0, 10)).read(K, 1, (20, 30), "va.1.2")
    assert passes(check(unnamed))
    assert fails(check(unnamed.read(K, None, (40, 50))), "is lost")


def test_what_is_found_by_a_deposed_leader_is_lost_all_the_same() -> None:
    story = inserted().read(K, None, (20, 30)).read(K, 1, (40, 50), "va.1.1", "latest")
    assert fails(check(story), "and is lost")


def test_an_attempt_that_begins_as_a_read_ends_may_be_in_it() -> None:
    story = inserted().write("q:e2", 2, (30, 40), "va.1.2").read("q:e2", 2, (20, 30), "va.1.2")
    assert texts(check(story)) == []


def test_a_speculative_version_repeats_nothing() -> None:
    """A deposed leader may show an earlier attempt, which will be undone."""
    story = Story().lost_its_answer("write", K, 1, (0, 5), idempotencyKey="a")
    story.write(K, 1, (6, 10), "va.2.1", idempotencyKey="a").read(K, 1, (20, 30), "va.2.1")
    assert passes(check(story.read(K, 1, (20, 30), "va.1.1", "latest")))
    assert passes(check(story.read(K, 1, (20, 30), "", "latest")))
    assert fails(check(story.read(K, 1, (20, 30), "va.1.1", "committed")), "repeated")


def test_a_majority_that_forgets_excuses_what_was_not_durable() -> None:
    def story(level: str) -> Story:
        return inserted(level).fault("power", (11, 15), forgets="all").read(K, None, (20, 30))

    assert is_open(check(story("quorum")))
    assert states(story("quorum")) == {"excused": 1}
    assert fails(check(story("durable")), "is lost")


@pytest.mark.parametrize("change", ["delete", "cas", "expire", "incr"])
def test_keys_that_are_changed_otherwise_are_no_elements(change: str) -> None:
    story = inserted().did(change, K, 1, at=(11, 15), answer=True).read(K, None, (20, 30))
    assert is_open(check(story))
    assert states(story) == {"unjudged": 1}


def test_keys_with_several_values_or_times_to_live_are_no_elements() -> None:
    assert states(inserted().write(K, 2, (11, 15)).read(K, None, (20, 30))) == {"unjudged": 1}
    assert states(Story().write(K, 1, (0, 10), ttlSeconds=1).read(K, None, (20, 30))) == {"unjudged": 1}
    assert states(inserted().dropped("q", (11, 15)).read(K, None, (20, 30))) == {"unjudged": 1}


def test_elements_in_batches_are_elements() -> None:
    story = Story().did(
        "write-many", "", [[K, 1], ["q:e2", 2]], at=(0, 10), answer=["va.1.1", "va.1.2"], level="quorum"
    )
    reading = [[1, "va.1.1"], [None, ""]]
    story.did("read-many", "", [K, "q:e2"], at=(20, 30), answer=reading, level="linearizable")
    assert fails(check(story), "q:e2: acknowledged at quorum as va.1.2, and is lost")
