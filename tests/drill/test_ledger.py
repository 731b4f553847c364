"""The ledger's check on recorded endings with known verdicts: each kind of violation, and what is allowed."""

from __future__ import annotations

import pytest

from jepsen_like.ledger import VIOLATIONS_SHOWN, Found, Ledger, Violation, shown_violations
from raftcache.commands.types import Version

KEY = "k"


def at(seq: int, term: int = 1, shard: str = "a1") -> Version:
    return Version(shard, term, seq)


def acked(ledger: Ledger, value: int, version: Version | None, key: str = KEY) -> None:
    ledger.begin(key, value)
    ledger.acknowledged(key, value, version)


def refused(ledger: Ledger, value: int) -> None:
    ledger.begin(KEY, value)
    ledger.refused(KEY, value)


def kinds(ledger: Ledger, *found: Found | None) -> list[str]:
    """The kinds of violation when node after node shows `found`."""
    reads = {f"n{i}": {} if each is None else {KEY: each} for i, each in enumerate(found)}
    return [violation.kind for violation in ledger.check(reads)]


@pytest.fixture
def ledger() -> Ledger:
    """Value 3 is the newest acknowledged one, between an unknown and a refused attempt on either side."""
    ledger = Ledger()
    ledger.begin(KEY, 1)
    refused(ledger, 2)
    acked(ledger, 3, at(30))
    refused(ledger, 4)
    ledger.begin(KEY, 5)
    return ledger


def test_the_acknowledged_value_under_its_version_is_right(ledger: Ledger) -> None:
    assert kinds(ledger, Found(3, at(30)), Found(3, at(30)), Found(3, at(30))) == []


def test_a_key_that_is_gone_is_lost(ledger: Ledger) -> None:
    assert kinds(ledger, None) == ["lost"]


def test_an_older_acknowledged_value_is_a_loss(ledger: Ledger) -> None:
    acked(ledger, 6, at(60))
    assert kinds(ledger, Found(3, at(30))) == ["lost"]


def test_an_older_acknowledged_value_under_a_newer_version_is_a_loss_too(ledger: Ledger) -> None:
    acked(ledger, 6, at(60))
    assert kinds(ledger, Found(3, at(70))) == ["lost"]


def test_a_changed_value_is_foreign(ledger: Ledger) -> None:
    assert kinds(ledger, Found(99, at(30))) == ["foreign"]


def test_a_duplicate_shows_by_its_version(ledger: Ledger) -> None:
    assert kinds(ledger, Found(3, at(31))) == ["repeated"]


@pytest.mark.parametrize("version", [at(31), at(1, term=2)])
@pytest.mark.parametrize("value", [1, 5])
def test_a_write_of_unknown_outcome_may_take_effect_late(ledger: Ledger, value: int, version: Version) -> None:
    assert kinds(ledger, Found(value, version)) == []


@pytest.mark.parametrize("version", [at(29), at(30), at(99, term=0), at(31, shard="b2")])
def test_a_write_of_unknown_outcome_does_not_excuse_an_older_state(ledger: Ledger, version: Version) -> None:
    assert kinds(ledger, Found(1, version)) == ["lost"]


@pytest.mark.parametrize("value", [2, 4])
def test_what_was_refused_must_not_be_there(ledger: Ledger, value: int) -> None:
    assert kinds(ledger, Found(value, at(40))) == ["refused-write"]


@pytest.mark.parametrize("found", [None, Found(1, at(1))])
def test_without_an_acknowledgement_an_unknown_write_may_be_there_or_not(found: Found | None) -> None:
    ledger = Ledger()
    ledger.begin(KEY, 1)
    assert kinds(ledger, found) == []


def test_a_key_of_refused_writes_only_must_be_empty() -> None:
    ledger = Ledger()
    refused(ledger, 1)
    assert kinds(ledger, None) == []
    assert kinds(ledger, Found(1, at(1))) == ["refused-write"]


def test_nodes_that_disagree_are_named(ledger: Ledger) -> None:
    ledger.check({"n0": {KEY: Found(3, at(30))}, "n1": {KEY: Found(5, at(31))}, "n2": {}})
    assert [(each.kind, "n1" in each.text, "n2" in each.text) for each in ledger.violations] == [
        ("disagreement", True, False),
        ("disagreement", False, True),
    ]


# -- policies: no versions ---------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "verdict"), [(3, []), (5, []), (1, ["lost"]), (4, ["refused-write"])])
def test_without_versions_only_later_unknown_attempts_count(value: int, verdict: list[str]) -> None:
    ledger = Ledger()
    ledger.begin(KEY, 1)
    acked(ledger, 3, None)
    refused(ledger, 4)
    ledger.begin(KEY, 5)
    assert kinds(ledger, Found(value, None)) == verdict


# -- while the writers write -------------------------------------------------------------------------


@pytest.mark.parametrize("version", [at(29), at(99, term=0), at(31, shard="b2")])
def test_versions_of_a_key_go_forward(ledger: Ledger, version: Version) -> None:
    acked(ledger, 6, version)
    assert [violation.kind for violation in ledger.violations] == ["reordered"]


@pytest.mark.parametrize("key", [KEY, "another"])
def test_a_version_belongs_to_one_write(ledger: Ledger, key: str) -> None:
    acked(ledger, 6, at(30), key)
    assert [violation.kind for violation in ledger.violations] == ["same-version"]


def test_what_was_seen_on_the_way_stays_a_violation(ledger: Ledger) -> None:
    acked(ledger, 6, at(29))
    assert kinds(ledger, Found(6, at(29))) == ["reordered"]


# -- removals ----------------------------------------------------------------------------------------


@pytest.fixture
def removable() -> Ledger:
    """A key whose only value was acknowledged."""
    ledger = Ledger()
    acked(ledger, 1, at(10))
    return ledger


def test_only_what_is_certain_may_be_removed(removable: Ledger) -> None:
    assert removable.certain(KEY)
    removable.begin(KEY, 2)
    assert not removable.certain(KEY)
    with pytest.raises(ValueError, match="certain"):
        removable.begin(KEY, 3, removes=True)


@pytest.mark.parametrize(
    ("found", "verdict"), [(None, []), (Found(1, at(10)), ["lost"]), (Found(2, at(11)), ["foreign"])]
)
def test_an_acknowledged_removal_leaves_nothing(removable: Ledger, found: Found | None, verdict: list[str]) -> None:
    removable.begin(KEY, 2, removes=True)
    removable.acknowledged(KEY, 2, at(11))
    assert removable.newest(KEY) is None
    assert kinds(removable, found) == verdict


@pytest.mark.parametrize(("found", "verdict"), [(None, []), (Found(1, at(10)), []), (Found(1, at(11)), ["repeated"])])
def test_a_removal_of_unknown_outcome_may_have_taken_effect(
    removable: Ledger, found: Found | None, verdict: list[str]
) -> None:
    removable.begin(KEY, 2, removes=True)
    assert kinds(removable, found) == verdict


@pytest.mark.parametrize(("found", "verdict"), [(None, ["lost"]), (Found(1, at(10)), [])])
def test_a_refused_removal_leaves_the_value(removable: Ledger, found: Found | None, verdict: list[str]) -> None:
    removable.begin(KEY, 2, removes=True)
    removable.refused(KEY, 2)
    assert kinds(removable, found) == verdict


def test_a_removal_that_found_nothing_tells_of_a_loss(removable: Ledger) -> None:
    removable.begin(KEY, 2, removes=True)
    removable.acknowledged(KEY, 2, None)
    removable.missed(KEY)
    assert kinds(removable, None) == ["lost"]


# -- compare-and-set ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "verdict"),
    [
        (at(31), []),
        (at(1, term=2), []),
        (at(30), ["misjudged"]),
        (at(29), ["lost"]),
        (at(31, shard="b2"), ["lost"]),
        (None, ["lost"]),
    ],
)
def test_a_conflict_must_name_a_newer_version(ledger: Ledger, current: Version | None, verdict: list[str]) -> None:
    ledger.begin(KEY, 6)
    ledger.conflicted(KEY, 6, current)
    assert [violation.kind for violation in ledger.violations] == verdict
    assert ledger.counts()["refused"] == 3


def test_a_conflict_needs_somebody_who_wrote_the_newer_version() -> None:
    ledger = Ledger()
    acked(ledger, 1, at(10))
    ledger.begin(KEY, 2)
    ledger.conflicted(KEY, 2, at(11))
    assert [violation.kind for violation in ledger.violations] == ["foreign"]


# -- counters ----------------------------------------------------------------------------------------


@pytest.fixture
def counter() -> Ledger:
    """Counted to 2 for certain; one attempt of unknown outcome, one refused."""
    ledger = Ledger()
    for attempt, count in ((1, 1), (2, 2)):
        ledger.begin(KEY, attempt, counts=True)
        ledger.acknowledged(KEY, attempt, at(10 * attempt), count)
    ledger.begin(KEY, 3, counts=True)
    ledger.begin(KEY, 4, counts=True)
    ledger.refused(KEY, 4)
    return ledger


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (Found(2, at(20)), []),
        (Found(3, at(21)), []),
        (Found(3, at(19)), ["lost"]),
        (Found(2, at(21)), ["lost"]),
        (Found(1, at(10)), ["lost"]),
        (Found(4, at(22)), ["repeated"]),
        (None, ["lost"]),
    ],
)
def test_a_counter_keeps_within_its_bounds(counter: Ledger, found: Found | None, verdict: list[str]) -> None:
    assert kinds(counter, found) == verdict


@pytest.mark.parametrize(("count", "verdict"), [(3, []), (4, []), (2, ["lost"]), (5, ["repeated"])])
def test_an_acknowledged_count_keeps_within_them_too(counter: Ledger, count: int, verdict: list[str]) -> None:
    counter.begin(KEY, 5, counts=True)
    counter.acknowledged(KEY, 5, at(50), count)
    assert [violation.kind for violation in counter.violations] == verdict


def test_a_counter_that_nobody_saw_acknowledged_may_be_missing() -> None:
    ledger = Ledger()
    ledger.begin(KEY, 1, counts=True)
    assert kinds(ledger, None) == []


def test_values_of_a_key_must_grow(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="not greater"):
        ledger.begin(KEY, 5)


def test_attempts_are_counted_by_their_ends(ledger: Ledger) -> None:
    assert ledger.counts() == {"acknowledged": 1, "refused": 2, "unknown": 2}


def test_a_flood_of_violations_is_cut_kind_by_kind() -> None:
    flood = [Violation("lost", str(i), "") for i in range(VIOLATIONS_SHOWN + 5)] + [Violation("foreign", "k", "")]
    assert len(list(shown_violations(flood))) == VIOLATIONS_SHOWN + 1
