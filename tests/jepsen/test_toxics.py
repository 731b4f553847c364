"""What can be wrong with a link, and two things at once."""

from __future__ import annotations

import pytest

from jepsen_like.proxy.toxics import CUT, HEALTHY, Toxics, both


def test_nothing_is_wrong_by_default() -> None:
    assert not HEALTHY and not Toxics() and CUT and Toxics(close_delay_ms=1)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"latency_ms": -1}, "latency_ms = -1 is less than 0"),
        ({"reset_after_ms": -0.5}, "reset_after_ms"),
        ({"loss": 1.0}, "nothing would ever arrive"),
        ({"slice_bytes": 8, "slice_variation_bytes": 8}, "under slice_bytes"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Toxics(**values)  # type: ignore[arg-type]


def test_delays_add_up() -> None:
    one, other = Toxics(latency_ms=10, jitter_ms=1, close_delay_ms=5), Toxics(latency_ms=20, jitter_ms=2, loss=0.5)
    assert both(one, other) == Toxics(latency_ms=30, jitter_ms=3, close_delay_ms=5, loss=0.5)
    assert both(Toxics(loss=0.5), Toxics(loss=0.5)).loss == 0.75


def test_of_limits_the_tighter_holds_and_none_is_no_limit() -> None:
    one = Toxics(rate_kb_per_s=8, slice_bytes=100, limit_bytes=0, reset_after_ms=500)
    other = Toxics(
        rate_kb_per_s=4, slice_bytes=10, slice_delay_us=7, limit_bytes=9, reset_after_ms=0, reset_spread_ms=3
    )
    expected = Toxics(
        rate_kb_per_s=4, slice_bytes=10, slice_delay_us=7, limit_bytes=0, reset_after_ms=0, reset_spread_ms=3
    )
    assert both(one, other) == both(other, one) == expected
    assert both(one, Toxics(latency_ms=1)) == Toxics(
        rate_kb_per_s=8, slice_bytes=100, limit_bytes=0, reset_after_ms=500, latency_ms=1
    )


def test_a_cut_is_a_cut_whatever_else_is_wrong() -> None:
    assert both(CUT, Toxics(latency_ms=1)).cut and both(Toxics(latency_ms=1), CUT).cut
    assert (
        both(Toxics(cut=True, cut_closes_after_ms=9), Toxics(cut=True, cut_closes_after_ms=5)).cut_closes_after_ms == 5
    )
    assert both(HEALTHY, CUT) is CUT and both(CUT, HEALTHY) is CUT
