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


def test_values_of_a_key_must_grow(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="not greater"):
        ledger.begin(KEY, 5)


def test_attempts_are_counted_by_their_ends(ledger: Ledger) -> None:
    assert ledger.counts() == {"acknowledged": 1, "refused": 2, "unknown": 2}


def test_a_flood_of_violations_is_cut_kind_by_kind() -> None:
    flood = [Violation("lost", str(i), "") for i in range(VIOLATIONS_SHOWN + 5)] + [Violation("foreign", "k", "")]
    assert len(list(shown_violations(flood))) == VIOLATIONS_SHOWN + 1
