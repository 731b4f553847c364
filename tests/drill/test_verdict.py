"""What passes and what does not: every limit from both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from jepsen_like.ledger import Violation
from jepsen_like.verdict import Limits, Result, Round

NODES = ("n0", "n1", "n2")


def result(
    service_ms: Sequence[float | None], voter_ms: float | None = 900.0, kills: bool = True, acknowledged: int = 1000
) -> Result:
    """Rounds with these service-back times, which kill the nodes in turn."""
    rounds = [Round((NODES[number % 3],), "a1", time_ms, voter_ms, kills) for number, time_ms in enumerate(service_ms)]
    return Result("shard", rounds, {"acknowledged": acknowledged, "refused": 0, "unknown": 0})


def complaint(judged: Result) -> str:
    """The one complaint."""
    (text,) = judged.complaints()
    return text


def test_ten_quick_rounds_pass() -> None:
    assert result([500.0] * 10).complaints() == []


def test_one_slow_round_of_ten_is_allowed() -> None:
    assert result([500.0] * 9 + [2500.0]).complaints() == []


def test_two_slow_rounds_of_ten_are_not() -> None:
    assert complaint(result([500.0] * 8 + [2000.0] * 2)) == "service back within 2000 ms in only 8 of 10 rounds"


def test_the_median_has_a_limit_of_its_own() -> None:
    assert result([999.0] * 10).complaints() == []
    assert "1000 ms (median)" in complaint(result([1000.0] * 10))


def test_service_that_never_came_back_counts_even_as_the_slow_one_of_ten() -> None:
    assert complaint(result([500.0] * 9 + [None])) == "service did not come back in 1 of 10 rounds"


def test_a_full_voter_has_five_seconds() -> None:
    assert result([500.0], voter_ms=5000.0).complaints() == []
    assert complaint(result([500.0], voter_ms=5001.0)) == "n0 was a full voter after 5001 ms, limit 5000 ms"
    assert complaint(result([500.0], voter_ms=None)) == "n0 was a full voter not at all, limit 5000 ms"


def test_a_pause_kills_nobody() -> None:
    assert result([500.0], voter_ms=None, kills=False).complaints() == []


@pytest.mark.parametrize(("rounds", "complaints"), [(10, 0), (8, 1)])
def test_every_node_must_be_killed_often_enough(rounds: int, complaints: int) -> None:
    judged = result([500.0] * rounds)
    judged.node_ids, judged.kills_each = NODES, 3
    assert [text.split()[0] for text in judged.complaints()] == ["n2"] * complaints


def test_hardly_any_load_shows_nothing() -> None:
    assert "only 19 writes" in complaint(result([500.0], acknowledged=19))
    assert result([500.0], acknowledged=20).complaints() == []


def test_no_round_is_no_pass() -> None:
    assert complaint(result([])) == "not one round was run"


def test_violations_and_defects_are_complaints() -> None:
    judged = result([500.0])
    judged.violations = [Violation("lost", "k1", ""), Violation("lost", "k2", "")]
    judged.defects = ["a traceback in n0/log: KeyError"]
    assert judged.complaints() == ["2 times lost", "a traceback in n0/log: KeyError"]


# -- drills with limits of their own -----------------------------------------------------------------


def unlimited(service_ms: Sequence[float | None], awaited: bool = True) -> Result:
    judged = result(service_ms, voter_ms=None)
    judged.limits = Limits(None, None, None)
    judged.rounds = [replace(each, awaited=awaited) for each in judged.rounds]
    return judged


def test_without_limits_only_coming_back_counts() -> None:
    assert unlimited([29_000.0] * 10).complaints() == []
    assert complaint(unlimited([500.0] * 9 + [None])) == "service did not come back in 1 of 10 rounds"


def test_a_round_that_was_not_waited_for_has_no_time_to_judge() -> None:
    judged = unlimited([500.0] * 10)
    judged.rounds[3] = replace(judged.rounds[3], service_back_ms=None, awaited=False)
    assert judged.complaints() == []


def test_not_waiting_for_any_round_shows_nothing() -> None:
    assert complaint(unlimited([None] * 10, awaited=False)) == "not one round was run"


def test_a_refill_has_the_time_that_its_drill_gives_it() -> None:
    judged = result([500.0], voter_ms=30_000.0)
    judged.limits = Limits(None, None, 30_000.0)
    assert judged.complaints() == []
    judged.rounds = [replace(judged.rounds[0], full_voter_ms=30_001.0)]
    assert complaint(judged) == "n0 was a full voter after 30001 ms, limit 30000 ms"
