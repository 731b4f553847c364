"""What checkers start from: levels, what may be gone, what the header says, what became of versions."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checkers.fates import Fates
from jepsen_like.checkers.keys import Change, Read
from jepsen_like.checkers.observed import Observed
from jepsen_like.checkers.setting import CLOCK_DRIFT_PERCENT, CLOCK_ERROR_MS, NEVER_MS
from jepsen_like.history import Outcome
from raftcache.commands.types import AckLevel, ReadLevel, Version
from tests.jepsen.story import Story

K = "q:k"
V1, V2 = Version("a", 1, 1), Version("a", 1, 2)
NEVER = float("inf")


def observed(story: Story) -> Observed:
    return Observed(story.history())


def change(story: Story, key: str = K) -> Change:
    return observed(story).changes[key][0]


def read(story: Story) -> Read:
    return observed(story).reads[K][0]


# -- levels --------------------------------------------------------------------------------------


def test_a_level_is_what_was_told_or_asked_or_the_policy() -> None:
    policy = {"q": {"ack": "durable"}}
    assert change(Story().write(K, 1, (0, 1), level="quorum")).level is AckLevel.QUORUM
    asking = Story("").did("write", K, 1, at=(0, 1))
    asking._events[0][2].level = "quorum"
    assert change(asking).level is AckLevel.QUORUM
    assert change(Story(namespaces=policy).write(K, 1, (0, 1), level="")).level is AckLevel.DURABLE
    assert change(Story("quorum").write(K, 1, (0, 1), level="")).level is AckLevel.QUORUM
    assert change(Story("").write(K, 1, (0, 1), level="")).level is AckLevel.PRIMARY


def test_the_weakest_policy_of_the_run_counts() -> None:
    story = Story(namespaces={"q": {"ack": "durable"}}).write(K, 1, (0, 1), level="")
    assert change(story.policy("q", (5, 6), ack="quorum")).level is AckLevel.QUORUM
    assert change(story.policy("q", (7, 8), kind="fail", ack="primary")).level is AckLevel.QUORUM
    assert change(story.policy("q", (9, 10), kind="info", ack="primary")).level is AckLevel.PRIMARY


@pytest.mark.parametrize(
    ("policy", "level"),
    [
        ({"ack": "quorum"}, ReadLevel.LINEARIZABLE),
        ({"ack": "primary"}, ReadLevel.LATEST),
        ({"ack": "primary", "readLevel": "committed"}, ReadLevel.COMMITTED),
    ],
)
def test_a_read_without_a_level_is_at_the_policy(policy: dict[str, Any], level: ReadLevel) -> None:
    assert read(Story(namespaces={"q": policy}).read(K, 1, (0, 1), level="")).level is level


def test_a_read_without_a_level_or_policy_goes_by_the_ack() -> None:
    assert read(Story("quorum").read(K, 1, (0, 1), level="")).proved
    assert not read(Story("primary").read(K, 1, (0, 1), level="")).proved
    asking = Story("primary").read(K, 1, (0, 1), level="")
    asking._events[0][2].level = "linearizable"
    assert read(asking).proved
    replica = Story().did("read", K, at=(0, 1), answer=1, asked={"readPreference": "replica"})
    assert read(replica).level is ReadLevel.REPLICA


# -- changes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asked", "answer", "value"),
    [
        ("write", 5, None, 5),
        ("cas", [4, 5], None, 5),
        ("cas", 5, None, None),
        ("incr", 2, 7, 7),
        ("delete", None, True, None),
        ("expire", 3, True, None),
    ],
)
def test_what_a_change_leaves_behind(name: str, asked: Any, answer: Any, value: Any) -> None:
    assert change(Story().did(name, K, asked, at=(0, 1), answer=answer, version="va.1.1")).value == value


@pytest.mark.parametrize("name", ["delete", "expire"])
def test_what_changed_nothing_has_no_version_of_its_own(name: str) -> None:
    assert change(Story().did(name, K, 1, at=(0, 1), answer=True, version="va.1.1")).version == V1
    assert change(Story().did(name, K, 1, at=(0, 1), answer=False, version="va.1.1")).version is None
    assert change(Story().did(name, K, 1, at=(0, 1), version="va.1.1")).version is None


def test_sizes_are_what_a_window_counts() -> None:
    def size(name: str, asked: Any, answer: Any = None, key: str = K) -> int:
        return change(Story().did(name, key, asked, at=(0, 1), answer=answer), key).size_bytes

    assert size("write", "abc") == 3 + 40 + 5
    assert size("incr", 1, 100) == 3 + 40 + 3
    assert size("delete", None, True) == 3 + 40
    assert size("write", 1, key="default:k") == 1 + 40 + 1


def test_only_what_was_answered_is_kept() -> None:
    for story, kept in (
        (Story().write(K, 1, (0, 1)), True),
        (Story().write(K, 1, (0, 1), level="primary"), False),
        (Story().lost_its_answer("write", K, 1, (0, 1)), False),
        (Story().refused("write", K, 1, (0, 1)), False),
        (Story().write(K, 1, (0, 1)).fault("power", (1, 2), forgets="all"), False),
        (Story().write(K, 1, (2, 3)).fault("power", (1, 2), forgets="all"), False),
        (Story().write(K, 1, (3, 4)).fault("power", (1, 2), forgets="all"), True),
        (Story().write(K, 1, (0, 1), level="durable").fault("power", (1, 2), forgets="all"), True),
    ):
        seen = observed(story)
        assert seen.kept(seen.changes[K][0]) is kept


# -- what may be gone ----------------------------------------------------------------------------


def gone_after(story: Story, key: str = K) -> float:
    seen = observed(story)
    return seen.gone_after_ms(seen.changes[key][-1])


def test_nothing_goes_by_itself() -> None:
    assert gone_after(Story().refused("delete", K, None, (20, 30)).write(K, 1, (50, 60))) == NEVER
    assert gone_after(Story().write(K, 1, (50, 60), ttlSeconds=9)) == 50
    policy = {"q": {"ack": "quorum", "defaultTtlSeconds": 9}}
    assert gone_after(Story(namespaces=policy).write(K, 1, (50, 60))) == 50


@pytest.mark.parametrize(("at", "after"), [((20, 49), NEVER), ((20, 50), 20), ((45, 70), 45)])
def test_a_delete_that_may_come_later_takes_it(at: tuple[float, float], after: float) -> None:
    assert gone_after(Story().did("delete", K, at=at, answer=True).write(K, 1, (50, 60))) == after
    assert gone_after(Story().lost_its_answer("delete", K, None, (1, 2)).write(K, 1, (50, 60))) == 1


def test_a_counter_inherits_the_time_to_live() -> None:
    story = Story().write(K, 1, (0, 10), ttlSeconds=9)
    assert gone_after(story.incr(K, 2, (50, 60))) == 0
    other = Story().write("q:other", 1, (0, 10), ttlSeconds=9)
    assert gone_after(other.incr(K, 2, (50, 60))) == NEVER


def dropped(story: Story, since_ms: float = 50) -> bool:
    return observed(story).dropped_since(K, since_ms)


def test_a_deletion_drops_what_was_before() -> None:
    known = {"q": {"ack": "quorum"}}
    assert dropped(Story(namespaces=known).dropped("q", (60, 70)))
    assert dropped(Story(namespaces=known).dropped("q", (0, 50)))
    assert dropped(Story(namespaces=known).dropped("q", (0, 10), kind="info"))
    assert not dropped(Story(namespaces=known).dropped("q", (0, 49)))
    assert not dropped(Story(namespaces=known).dropped("q", (60, 70), kind="fail"))
    assert not dropped(Story(namespaces=known).dropped("p", (60, 70)))


def test_a_creation_drops_the_prefix_and_another_policy_nothing() -> None:
    def policy(story: Story, at: tuple[float, float] = (60, 70)) -> Story:
        return story.policy("q", at, ack="quorum")

    known = {"q": {"ack": "quorum"}}
    assert dropped(policy(Story()))
    assert not dropped(policy(Story(), (10, 20)))
    assert not dropped(policy(Story(namespaces=known)))
    assert not dropped(policy(policy(Story(), (10, 20))))
    assert dropped(policy(policy(Story(), (10, 60))))
    assert dropped(policy(Story().policy("q", (10, 20), kind="info", ack="quorum")))


def test_what_may_have_been_deleted_may_be_created_again() -> None:
    def again(deleted_at: tuple[float, float], kind: Any = "ok") -> Story:
        story = Story(namespaces={"q": {"ack": "quorum"}}).dropped("q", deleted_at, kind=kind)
        return story.policy("q", (100, 110), ack="quorum").policy("q", (200, 210), ack="quorum")

    assert not dropped(again((20, 30)), since_ms=111)
    assert dropped(again((20, 30)), since_ms=99)
    assert dropped(again((20, 30), kind="info"), since_ms=111)
    assert dropped(again((210, 220)), since_ms=111)


# -- the header ----------------------------------------------------------------------------------


def test_options_that_are_none_are_as_if_missing() -> None:
    setting = observed(Story(namespaces=[1], shards="ab", clockDriftPercent="x", clockErrorMs=-1)).setting
    assert (setting.namespaces, setting.shards) == ({}, [])
    assert setting.drift == CLOCK_DRIFT_PERCENT / 100
    assert setting.clock_error_ms == CLOCK_ERROR_MS
    assert setting.place_of("a") is None
    assert observed(Story(namespaces={"q": {"ack": "soon"}, "!": {}, "p": {}})).setting.namespaces.keys() == {"p"}
    assert observed(Story(clockDriftPercent=True)).setting.drift == CLOCK_DRIFT_PERCENT / 100


def test_the_margin_of_clocks_grows_with_the_run() -> None:
    setting = observed(Story(clockDriftPercent=10, clockErrorMs=5)).setting
    assert setting.clock_margin_ms(0) == 5
    assert setting.clock_margin_ms(1000) == 105


def test_a_shard_has_a_place() -> None:
    setting = observed(Story(shards=["b", "a"])).setting
    assert (setting.place_of("a"), setting.place_of("c")) == ((1, 2), None)


def test_faults_say_who_forgot() -> None:
    def until(shard: str | None, **details: Any) -> float:
        return observed(Story().fault("power", (1, 5), **details)).setting.forgotten_ms(shard)

    assert until("a", forgets="all") == until("a", forgets=["a"]) == until(None, forgets=["a"]) == 5
    assert until("a", forgets=["b"]) == until(None, forgets=[]) == until(None) == until("a", forgets="b") == NEVER_MS
    assert observed(Story()).setting.final_ms == NEVER


@pytest.mark.parametrize(("name", "ends"), [("kill", True), ("partition", False), ("final", False)])
def test_faults_say_whether_memory_is_gone(name: str, ends: bool) -> None:
    assert observed(Story().fault(name, (0, 1))).setting.memory_lost is ends


@pytest.mark.parametrize("name", ["pause", "majority-healed"])
def test_or_say_it_in_so_many_words(name: str) -> None:
    assert observed(Story().fault(name, (0, 1), stops=True)).setting.memory_lost


# -- fates ---------------------------------------------------------------------------------------


def fates(story: Story) -> Fates:
    return Fates(observed(story))


def test_what_is_known_of_a_version() -> None:
    story = Story("primary").write(K, 1, (0, 10), "va.1.1", "primary")
    for known, committed, lost in (
        (story, False, False),
        (Story().write(K, 1, (0, 10), "va.1.1", "quorum"), True, False),
        (Story().read(K, 1, (0, 10), "va.1.1", "committed"), True, False),
        (Story().read(K, 1, (0, 10), "va.1.1", "latest"), False, False),
        (Story().receipt(K, "va.1.1", "committed", (0, 10)), True, False),
        (Story().receipt(K, "va.1.1", "pending", (0, 10)), False, False),
        (Story().receipt(K, "va.1.1", "lost", (0, 10)), False, True),
        (Story().reported("q", ["va.1.1", "what"], (0, 10)), False, True),
        (Story().did("lost-writes", "", "q", at=(0, 10), kind="info", answer=["va.1.1"]), False, False),
        (Story().did("receipt", K, "va.1.1", at=(0, 10), kind="fail", answer="lost"), False, False),
    ):
        assert (fates(known).is_committed(V1), fates(known).is_lost(V1)) == (committed, lost)
    assert not fates(story).is_lost(None) and not fates(story).is_committed(None)


def test_what_was_told_before_a_majority_forgot_binds_nobody() -> None:
    for told in (
        Story().receipt(K, "va.1.1", "committed", (0, 10)),
        Story().receipt(K, "va.1.1", "lost", (0, 10)),
        Story().read(K, 1, (0, 10), "va.1.1"),
        Story().reported("q", ["va.1.1"], (0, 10)),
    ):
        forgot = fates(told.fault("power", (15, 20), forgets=["a"]))
        assert not forgot.is_committed(V1) and not forgot.is_lost(V1)
    durable = Story().receipt(K, "va.1.1", "committed", (0, 10), durable=True)
    assert fates(durable.fault("power", (15, 20), forgets=["a"])).is_committed(V1)


def test_a_version_belongs_to_the_answer_that_came_first() -> None:
    story = (
        Story().write(K, 1, (0, 30), "va.1.1", idempotencyKey="x").write(K, 1, (5, 20), "va.1.1", idempotencyKey="x")
    )
    assert fates(story).acknowledged[V1].ended_ms == 20


def test_a_read_proves_every_version_lost_that_it_should_show() -> None:
    story = Story("primary").write(K, 0, (0, 1), "va.0.1", "primary")
    story.write(K, 1, (0, 10), "va.1.1", "primary").write(K, 2, (20, 30), "va.1.2", "primary")
    assert fates(story.read(K, 0, (40, 50), "va.0.1")).lost_by_read == {V1: [3], V2: [3]}
    told = Story("primary").write(K, 1, (0, 10), "va.1.1", "primary").write(K, 2, (20, 30), "va.1.2", "primary")
    told.write(K, 3, (20, 30), "vb.1.9", "primary")
    assert fates(told.read(K, 1, (31, 50), "va.1.1").read(K, 2, (60, 70), "va.1.2")).lost_by_read == {V2: [3]}


@pytest.mark.parametrize("name", ["write", "incr"])
def test_what_failed_has_no_fate(name: str) -> None:
    story = Story().did(name, K, 1, at=(0, 10), kind="fail", answer=1, version="va.1.1")
    assert fates(story).acknowledged == {}
    assert observed(story).changes[K][0].outcome is Outcome.FAIL
