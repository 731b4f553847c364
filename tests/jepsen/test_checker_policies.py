"""Policies: obeyed by what begins after the answer."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checkers.policies import Policies
from jepsen_like.checking import Verdict
from tests.jepsen.story import Span, Story, fails, is_open, passes

K = "p:k"
LATER: Span = (200, 210)


def check(story: Story) -> Verdict:
    return Policies().check(story.history())


def set_to(ack: str = "quorum", **policy: Any) -> Story:
    """`primary` at first, changed between 100 and 150 ms."""
    before = {"p": {"ack": "primary"}}
    return Story(namespaces=before).policy("p", (100, 150), ack=ack, **policy)


def wrote(story: Story, level: str, at: Span = LATER, value: Any = 1) -> Story:
    return story.write(K, value, at, level=level)


@pytest.mark.parametrize("level", ["quorum", "durable"])
def test_a_write_reaches_the_policy(level: str) -> None:
    assert passes(check(wrote(set_to(), level)))


@pytest.mark.parametrize("name", ["write", "cas", "incr", "delete", "expire"])
def test_a_change_below_the_policy_is_complained_of(name: str) -> None:
    story = set_to().did(name, K, [1, 2], at=LATER, answer=True, level="primary")
    assert fails(check(story), f"a {name} was answered at primary, below the policy: quorum")
    assert check(story).complaints[0].operations == [1, 0]
    assert check(story).figures["open"] == 0


def test_a_condition_that_did_not_hold_has_a_level() -> None:
    story = set_to().did("cas", K, [1, 2], at=LATER, kind="fail", error="condition_failed", level="primary")
    assert fails(check(story), "below the policy")


def test_a_level_that_is_not_told_is_not_judged() -> None:
    assert passes(check(wrote(set_to(), "")))


@pytest.mark.parametrize("at", [(90, 95), (90, 120), (120, 140), (120, 300), (150, 300)])
def test_while_the_change_is_in_flight_both_are_right(at: Span) -> None:
    assert is_open(check(wrote(set_to(), "primary", at))) or passes(check(wrote(set_to(), "primary", at)))


def test_a_read_reaches_the_policy() -> None:
    assert passes(check(set_to().read(K, 1, LATER)))
    assert passes(check(set_to(readLevel="committed").read(K, 1, LATER, level="committed")))
    assert fails(check(set_to().read(K, 1, LATER, level="committed")), "a read was answered at committed, below")
    assert is_open(check(set_to().read(K, 1, LATER, level="replica")))
    asked = {"readPreference": "replica"}
    assert is_open(check(set_to().did("read", K, at=LATER, answer=1, level="latest", asked=asked)))


def test_a_value_fits_the_policy() -> None:
    assert passes(check(wrote(set_to(maxItemBytes=7), "quorum", value="xxxxx")))
    assert fails(
        check(wrote(set_to(maxItemBytes=6), "quorum", value="xxxxx")), "a value of 7 bytes was stored, too large"
    )


def test_a_later_change_ends_the_one_before() -> None:
    loose = set_to().policy("p", (160, 170), ack="primary")
    assert passes(check(wrote(loose, "primary")))
    tight = set_to("primary").policy("p", (160, 170), ack="quorum")
    assert fails(check(wrote(tight, "primary")), "below the policy")


def test_an_operation_that_ends_as_a_change_begins_may_obey_it() -> None:
    story = set_to().policy("p", (300, 310), ack="primary")
    assert passes(check(wrote(story, "primary", (250, 300))))
    assert fails(check(wrote(story, "primary", (250, 299))), "below the policy")


def test_a_removal_has_no_size() -> None:
    story = set_to(maxItemBytes=1).did("delete", K, at=LATER, answer=True, level="quorum")
    assert passes(check(story))


def test_changes_at_the_same_time_may_have_either_order() -> None:
    assert passes(check(wrote(set_to().policy("p", (140, 170), ack="primary"), "primary")))


def test_a_change_of_unknown_outcome_stays_open_for_ever() -> None:
    story = Story(namespaces={"p": {"ack": "quorum"}}).policy("p", (0, 10), kind="info", ack="primary")
    story.policy("p", (100, 150), ack="durable")
    assert passes(check(wrote(story, "primary")))
    assert check(story).figures["open"] == 1
    refused = Story(namespaces={"p": {"ack": "quorum"}}).policy("p", (0, 10), kind="fail", ack="primary")
    assert fails(check(wrote(refused.policy("p", (100, 150), ack="durable"), "quorum")), "below the policy: durable")


def test_what_a_namespace_was_before_may_not_be_known() -> None:
    story = Story().policy("p", (100, 150), ack="quorum")
    assert is_open(check(wrote(story, "primary", (10, 20))))
    assert fails(check(wrote(story, "primary")), "below the policy")


# -- namespaces that come and go -----------------------------------------------------------------


def gone() -> Story:
    return set_to().write(K, 1, (160, 170), "va.1.1").dropped("p", (175, 180))


def unknown(story: Story, name: str = "read", at: Span = LATER) -> Story:
    return story.refused(name, K, None, at, "unknown_namespace")


@pytest.mark.parametrize("name", ["read", "write", "incr"])
def test_a_deleted_namespace_is_unknown(name: str) -> None:
    assert passes(check(unknown(gone(), name)))
    assert passes(check(unknown(gone(), name).refused(name, K, None, LATER, "no_leader")))
    story = gone().did(name, K, 1, at=LATER, answer=None, level="durable")
    assert fails(check(story), f"a {name} was answered, though its namespace was deleted")
    assert check(story).figures["judged_in_no_namespace"] == 1


def test_a_namespace_that_exists_is_not_unknown() -> None:
    assert fails(check(unknown(set_to())), "its namespace is called unknown, and exists")
    assert passes(check(unknown(gone(), at=(176, 179))))


def test_one_that_was_not_there_at_first_is_unknown() -> None:
    story = Story(namespaces={}).policy("p", (100, 150), ack="quorum")
    assert passes(check(unknown(wrote(story, "quorum"), at=(10, 20))))
    assert fails(check(story.read(K, None, (10, 20))), "though its namespace was deleted")


def test_a_deletion_of_unknown_outcome_allows_both() -> None:
    story = set_to().dropped("p", (175, 180), kind="info")
    assert passes(check(unknown(wrote(story, "quorum"))))


def test_nothing_comes_back_from_an_earlier_life() -> None:
    def again() -> Story:
        return gone().policy("p", (182, 185), ack="quorum")

    assert passes(check(again().read(K, None, LATER)))
    assert passes(check(again().write(K, 2, (186, 187), "va.1.9").read(K, 2, LATER, "va.1.9")))
    assert fails(check(again().read(K, 1, LATER, "va.1.1")), "va.1.1 was read, of an earlier life of its namespace")
    assert passes(check(again().read(K, 1, (179, 210), "va.1.1")))
    kept = set_to().write(K, 1, (160, 170), "va.1.1").policy("p", (175, 180), ack="quorum")
    assert passes(check(kept.read(K, 1, LATER, "va.1.1")))
    replica = again().read(K, 1, LATER, "va.1.1", "replica").read(K, None, LATER)
    assert passes(check(replica))


def test_nothing_changed_is_no_pass() -> None:
    assert is_open(check(wrote(Story(namespaces={"p": {"ack": "primary"}}), "primary")))
