"""The rate at which a node sends snapshots."""

from __future__ import annotations

from raftcache.consensus.pacing import TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def now(self) -> float:
        return self.now_s


def test_the_rate_holds_over_time_whatever_the_size_of_a_chunk() -> None:
    for chunk_bytes in (7, 100, 2500):
        clock = Clock()
        bucket = TokenBucket(1000, 100, clock.now)
        taken = 0
        for _ in range(10_000):
            clock.now_s += 0.001
            while bucket.take(chunk_bytes):
                taken += chunk_bytes
        assert 10_000 <= taken <= 10_000 + 100 + chunk_bytes


def test_a_rest_earns_no_more_than_the_burst() -> None:
    clock = Clock()
    bucket = TokenBucket(1000, 300, clock.now)
    clock.now_s += 3600
    assert [bucket.take(100) for _ in range(5)] == [True, True, True, False, False]
    assert bucket.refusals == 2


def test_a_debt_is_paid_before_anything_goes_again() -> None:
    clock = Clock()
    bucket = TokenBucket(1000, 1, clock.now)
    assert bucket.take(501)
    clock.now_s += 0.49
    assert not bucket.take(1)
    clock.now_s += 0.02
    assert bucket.take(1)


def test_without_a_rate_everything_goes() -> None:
    bucket = TokenBucket(0, 0, Clock().now)
    assert all(bucket.take(1 << 30) for _ in range(100))
    assert bucket.refusals == 0
