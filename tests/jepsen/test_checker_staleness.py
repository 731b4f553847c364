"""Replica reads: how old they say they are, and what they must hold."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checkers.staleness import Staleness
from jepsen_like.checking import Verdict
from tests.jepsen.story import Span, Story, fails, is_open, passes

K = "q:k"
V1, V2, V3 = "va.1.1", "va.1.2", "va.1.3"


def check(story: Story) -> Verdict:
    return Staleness().check(story.history())


def replica(
    story: Story, value: Any, version: str, at: Span, stale_ms: Any = 100, newest: str = "", process: int | None = None,
    key: str = K, **asked: Any,
) -> Story:  # fmt: skip
    told = {"stalenessMs": stale_ms} if stale_ms is not None else {}
    if newest:
        told["newestVersion"] = newest
    asked = {"readPreference": "replica"} | asked
    return story.did(
        "read", key, at=at, answer=value, version=version, level="replica", asked=asked, told=told, process=process
    )


def written(level: str = "quorum", **asked: Any) -> Story:
    """1 at 10 ms, 2 at 500 ms."""
    return Story(level).write(K, 1, (0, 10), V1, level, **asked).write(K, 2, (490, 500), V2, level, **asked)


@pytest.mark.parametrize(("at_ms", "honest"), [(600, True), (601, True), (602, False), (900, False)])
def test_what_was_acknowledged_longer_ago_is_shown(at_ms: float, honest: bool) -> None:
    verdict = check(replica(written(), 1, V1, (at_ms, at_ms + 300)))
    assert (
        passes(verdict) if honest else fails(verdict, f"does not show {V2}, older than that: it is older than it says")
    )


def test_a_newer_one_is_as_good() -> None:
    assert passes(check(replica(written(), 2, V2, (900, 910))))
    assert passes(check(replica(written(), 3, V3, (900, 910))))
    assert passes(check(replica(written(), 3, "vb.1.1", (900, 910))))


def test_a_miss_is_older_than_it_says() -> None:
    assert passes(check(replica(written(), None, "", (100, 105))))
    assert fails(check(replica(written(), None, "", (120, 130))), f"does not show {V1}")


@pytest.mark.parametrize("taken", ["delete", "ttl", "drop"])
def test_a_miss_may_have_another_reason(taken: str) -> None:
    story = written(**({"ttlSeconds": 1} if taken == "ttl" else {}))
    if taken == "delete":
        story.lost_its_answer("delete", K, None, (520, 530))
    if taken == "drop":
        story.dropped("q", (520, 530))
    assert passes(check(replica(story, None, "", (900, 910))))


def test_what_was_acknowledged_at_primary_may_be_missing() -> None:
    assert passes(check(replica(written("primary"), 1, V1, (900, 910))))


def test_a_replay_counts_from_when_it_was_answered_above_primary() -> None:
    story = Story().write(K, 1, (0, 10), V1, "primary", idempotencyKey="x")
    story.write(K, 1, (490, 500), V1, "quorum", idempotencyKey="x")
    assert passes(check(replica(story, None, "", (300, 310))))
    assert fails(check(replica(story, None, "", (900, 910))), f"does not show {V1}")


def test_a_miss_names_a_state_as_new_as_all_of_its_shard() -> None:
    def other(newest: str, at: Span = (900, 910)) -> Story:
        return replica(written(), None, "", at, newest=newest, key="q:other")

    assert passes(check(other(V2)))
    assert passes(check(other(V1, (550, 560))))
    assert passes(check(other("vb.1.1")))
    assert fails(check(other(V1)), f"a miss names the state {V1}, 100 ms old; {V2} is older")


def test_what_tells_no_version_proves_nothing() -> None:
    assert passes(check(replica(written(), 1, "", (900, 910), minVersion=V2)))
    unnamed = Story().write(K, 1, (0, 10), V1).write(K, 2, (490, 500))
    assert passes(check(replica(unnamed, 1, V1, (900, 910))))


def test_figures_tell_what_was_judged() -> None:
    story = replica(replica(written(), 2, V2, (900, 910), minVersion=V2), 1, V1, (20, 25), stale_ms=50)
    asked, told = {"readPreference": "replica"}, {"stalenessMs": 0}
    story.did("read", K, at=(30, 40), answer=1, version=V1, level="latest", asked=asked, told=told)
    assert check(story).figures == {
        "replica_reads": 3,
        "by_replicas": 2,
        "bound_by_min_version": 1,
        "held_to_writes": 2,
        "largest_staleness_ms": 100,
    }


def test_the_age_is_told_and_no_more_than_asked_for() -> None:
    for stale_ms in (None, True, "100"):
        assert fails(check(replica(written(), 2, V2, (900, 910), stale_ms=stale_ms)), "does not say how old it is")
    assert passes(check(replica(written(), 2, V2, (900, 910), maxStalenessMs=100)))
    assert fails(check(replica(written(), 2, V2, (900, 910), maxStalenessMs=99)), "older than asked for: 99 ms")


def test_the_items_of_batches_have_no_age() -> None:
    story = written().did("read-many", "", [K], at=(900, 910), answer=[[1, V1]], asked={"readPreference": "replica"})
    assert passes(check(story))


# -- minVersion ----------------------------------------------------------------------------------


def test_a_state_holds_the_version_that_is_asked_for() -> None:
    assert passes(check(replica(written(), 2, V2, (510, 520), minVersion=V2)))
    assert passes(check(replica(written(), 1, V1, (510, 520), minVersion=V1)))
    assert fails(check(replica(written(), 1, V1, (510, 520), minVersion=V2)), "is behind minVersion")
    assert fails(check(replica(written(), 1, V1, (510, 520), minVersion=V3)), "is behind minVersion")
    missing = replica(written(), None, "", (510, 520), stale_ms=600, minVersion=V1)
    assert fails(check(missing), "and shows nothing: it is behind")
    deleted = written().lost_its_answer("delete", K, None, (505, 506))
    assert passes(check(replica(deleted, None, "", (510, 520), stale_ms=600, minVersion=V1)))
    only_read = Story().read(K, 1, (0, 10), V1)
    assert passes(check(replica(only_read, None, "", (510, 520), minVersion=V1)))
    speculative = Story("primary").read(K, 2, (0, 10), V2, "latest")
    assert passes(check(replica(speculative, 1, V1, (510, 520), minVersion=V3)))


def test_a_miss_names_a_state_that_holds_it() -> None:
    assert passes(check(replica(written(), None, "", (510, 520), newest=V2, key="q:other", minVersion=V2)))
    story = replica(written(), None, "", (510, 520), newest=V1, key="q:other", minVersion=V2)
    assert fails(check(story), f"a miss names the state {V1}, which is behind minVersion {V2}")


def test_a_version_of_another_key_or_shard_says_what_it_can() -> None:
    other = written().write("q:other", 1, (505, 506), V3)
    assert fails(check(replica(other, 1, V1, (510, 520), minVersion=V3)), "is behind minVersion")
    assert passes(check(replica(written(), 1, V1, (510, 520), minVersion="vb.9.9")))


def test_what_was_not_committed_before_it_need_not_be_there() -> None:
    assert passes(check(replica(written("primary"), 1, V1, (510, 520), minVersion="va.2.1")))
    known = replica(written("primary"), 1, V1, (510, 520), minVersion="va.2.1")
    assert fails(check(known.receipt(K, V2, "committed", (600, 610))), "is behind minVersion")


def test_a_process_that_passes_its_newest_version_never_goes_back() -> None:
    def story(second: str) -> Story:
        told = replica(written("primary"), 2, V2, (510, 520), process=1)
        return replica(told, 1 if second == V1 else 2, second, (530, 540), process=1, minVersion=V2)

    assert passes(check(story(V2)))
    assert fails(check(story(V1)), "it went back")


def test_without_it_a_process_may_go_back() -> None:
    told = replica(written("primary"), 2, V2, (510, 520), process=1)
    assert passes(check(replica(told, 1, V1, (530, 540), process=1)))


def test_a_lost_version_is_an_error() -> None:
    story = written("primary").receipt(K, V2, "lost", (800, 810))
    asked = {"readPreference": "replica", "minVersion": V2}
    failed = replica(story, 1, V1, (820, 830)).refused("read", K, None, (820, 830), "version_lost", **asked)
    assert passes(check(failed))
    assert fails(check(replica(failed, 1, V1, (510, 520), minVersion=V2)), f"the lost minVersion {V2} was answered")


def test_no_committed_version_is_called_lost() -> None:
    story = replica(written(), 2, V2, (820, 830))
    story.refused("read", K, None, (820, 830), "version_lost", readPreference="replica", minVersion=V2)
    assert fails(check(story), f"minVersion {V2} is called lost, and it is committed")
    stale = replica(written(), 2, V2, (820, 830))
    stale.refused("read", K, None, (820, 830), "too_stale", readPreference="replica", minVersion=V2)
    assert passes(check(stale))
    assert passes(
        check(replica(written(), 2, V2, (820, 830)).refused("read", K, None, (1, 2), "version_lost", minVersion=V3))
    )


# -- what is not judged --------------------------------------------------------------------------


def test_a_majority_that_forgets_excuses_what_was_before() -> None:
    forgot = written().fault("power", (510, 520), forgets=["a"])
    assert passes(check(replica(forgot, 1, V1, (900, 910), minVersion=V1)))
    assert passes(check(replica(written().fault("power", (510, 520), forgets=["a"]), None, "", (900, 910))))
    answered = replica(written(), 2, V2, (505, 508), minVersion=V2).fault("power", (510, 520), forgets=["a"])
    assert passes(check(answered.receipt(K, V2, "lost", (600, 610))))
    called = replica(written(), 2, V2, (505, 508)).fault("power", (510, 520), forgets=["a"])
    called.refused("read", K, None, (502, 503), "version_lost", readPreference="replica", minVersion=V2)
    assert passes(check(called.receipt(K, V2, "committed", (600, 610))))
    other = written().fault("power", (510, 520), forgets=["b"])
    assert fails(check(replica(other, None, "", (900, 910))), "does not show")


def test_other_reads_are_not_judged() -> None:
    assert is_open(check(written().read(K, 1, (900, 910), V1)))
