"""Hot keys of a shard: what is counted, second by second, and how well a sample tells it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate

import pytest
from shard_harness import Bench, VirtualRuntime, follower_of

from raftcache.commands.types import RAW, Delete, Get, Incr, MultiGet, ReadLevel, Set, Value, Version
from raftcache.shard import hotkeys
from raftcache.shard.hotkeys import FULL_PER_SECOND, KEPT_KEYS, KEPT_SECONDS, SPANS_LIMIT, TALLIES, HotKeys, Span

BEGIN_S = 2_000
"""The second at which a virtual wall clock is set."""
HIT = Value(b"x" * 10, RAW, Version("7c1f", 1, 1), None, ReadLevel.LATEST)
MISS = Value(None, RAW, Version("7c1f", 1, 1), None, ReadLevel.LATEST)


class Watched:
    """Hot keys under a virtual clock."""

    def __init__(self, seed: int = 5) -> None:
        self.runtime = VirtualRuntime()
        self.set_clock(BEGIN_S)
        self.hot = HotKeys(self.runtime, random.Random(seed).random, "n0")

    def set_clock(self, second: float) -> None:
        """Let it be that second."""
        self.runtime.wall_base_ms = int((second - self.runtime.now_s) * 1000)

    def read(self, keys: Iterator[bytes], count: int, seconds: int = 1) -> Counter[bytes]:
        """Read so many keys, in even pace, and let the seconds pass; returns what was read."""
        truth = Counter[bytes]()
        for _ in range(seconds * 100):
            for _ in range(count // seconds // 100):
                key = next(keys)
                truth[key] += 1
                self.hot.see(Get(key), HIT)
            self.runtime.advance(0.01)
        return truth


def zipf(exponent: float, keys: int, seed: int) -> Iterator[bytes]:
    """Keys by Zipf's law, from fixed dice."""
    dice, weights = random.Random(seed), list(accumulate(rank**-exponent for rank in range(1, keys + 1)))
    while True:
        yield from (b"key-%d" % rank for rank in dice.choices(range(keys), cum_weights=weights, k=10_000))


@pytest.mark.parametrize("per_second", (2_000, 20_000))
@pytest.mark.parametrize("seed", (1, 2, 3))
def test_the_ten_hottest_of_a_zipf_load_are_named_within_one_bucket(per_second: int, seed: int) -> None:
    watched = Watched(seed)
    truth = watched.read(zipf(1.2, 100_000, seed), per_second * 10, seconds=10)
    [span] = watched.hot.spans(10, BEGIN_S + 9)
    assert span.operations == truth.total() == per_second * 10
    hottest = [key for key, _ in truth.most_common(10)]
    found = [row.key for row in span.keys[:10]]
    assert len(set(found) & set(hottest)) >= 9 and found[0] == hottest[0], (found, hottest)
    assert set(hottest) <= {row.key for row in span.keys[:15]}
    for row in span.keys[:10]:
        assert 0.5 < row.operations / truth[row.key] < 2, row


def test_up_to_a_rate_everything_is_counted() -> None:
    watched = Watched()
    truth = watched.read(zipf(1.2, TALLIES - 1, 1), (FULL_PER_SECOND - 50) * 10, seconds=10)
    [span] = watched.hot.spans(10, BEGIN_S + 9)
    told = {row.key: row.operations for row in span.keys}
    assert span.operations == truth.total() == watched.hot.operations == watched.hot.samples + watched.hot._looks
    for row in span.keys:
        assert row.operations <= truth[row.key] <= row.operations + row.more
    assert sum(told.values()) >= 0.9 * truth.total()


def test_the_counts_of_a_sampled_second_add_up_to_what_was_executed() -> None:
    watched = Watched()
    for number in range(50_000):
        watched.hot.see(Get(b"k%d" % (number % 4)), HIT)
        assert watched.hot.operations == number + 1
    [span] = watched.hot.spans(1, BEGIN_S)
    assert span.operations == 50_000
    assert sum(row.operations for row in span.keys) == 50_000 - watched.hot._passed_over()
    assert watched.hot._looks < 1_300, "the cost of a second is bounded"
    for row in span.keys:
        assert 0.7 < row.operations / 12_500 < 1.3, "clients that ask for keys in turn are seen all the same"


def test_the_error_is_that_of_the_share_and_not_of_the_rate() -> None:
    for rate in (1_000, 100_000):
        errors = []
        for seed in range(40):
            watched, dice = Watched(seed), random.Random(seed)
            truth = Counter[bytes]()
            for _ in range(rate):
                key = b"hot" if dice.random() < 0.05 else b"k%d" % dice.randrange(50)
                truth[key] += 1
                watched.hot.see(Get(key), HIT)
            told = {row.key: row.operations for row in watched.hot.spans(1, BEGIN_S)[0].keys}
            errors.append(told[b"hot"] / truth[b"hot"] - 1)
        spread = (sum(error**2 for error in errors) / len(errors)) ** 0.5
        assert spread < 1.3 * 0.06 / 0.05**0.5, (rate, spread)
        assert abs(sum(errors) / len(errors)) < 0.1, "it is right on average"


def test_a_gap_of_a_busy_second_does_not_reach_into_a_quiet_one() -> None:
    watched = Watched()
    for _ in range(200_000):
        watched.hot.see(Get(b"busy"), HIT)
    assert watched.hot._mean_gap > 100
    watched.runtime.advance(1.1)
    for _ in range(3):
        watched.hot.see(Get(b"quiet"), MISS)
    now, before = watched.hot.spans(1, BEGIN_S + 1)
    assert now == Span(BEGIN_S + 1, 3, [(b"quiet", 3, 0, 3, 0, 15, 1)], ("n0",))
    assert (before.start_s, before.operations, before.keys[0].key) == (BEGIN_S, 200_000, b"busy")
    assert [timer for timer in watched.runtime.later if not timer.cancelled] == [], "an idle shard has no timer"


def test_a_second_that_comes_before_the_timer_ends_the_one_before() -> None:
    watched = Watched()
    while watched.hot._gap < 3:
        watched.hot.see(Get(b"busy"), HIT)
    watched.set_clock(BEGIN_S + 5)
    executed = watched.hot.operations
    while watched.hot._second == BEGIN_S:
        watched.hot.see(Get(b"later"), HIT)
        executed += 1
    assert watched.hot.operations == executed
    now, before = watched.hot.spans(1, BEGIN_S + 5)
    assert (now.operations, now.keys[0].operations, before.operations) == (1, 1, executed - 1)


def test_a_timer_that_comes_too_early_waits_again() -> None:
    watched = Watched()
    watched.set_clock(BEGIN_S + 0.5)
    for _ in range(FULL_PER_SECOND):
        watched.hot.see(Get(b"busy"), HIT)
    watched.set_clock(BEGIN_S + 0.2)
    watched.runtime.advance(0.6)
    assert watched.hot._second == BEGIN_S, "the clock was set back meanwhile"
    watched.runtime.advance(0.6)
    assert watched.hot._second == BEGIN_S + 1 and watched.hot.operations == FULL_PER_SECOND


# -- spans -----------------------------------------------------------------------------------------


def test_seconds_are_put_together_as_long_as_all_of_them_are_kept() -> None:
    watched = Watched()
    for second in range(KEPT_SECONDS + 50):
        watched.set_clock(BEGIN_S + second)
        watched.hot.see(Get(b"k"), HIT)
    now_s = BEGIN_S + KEPT_SECONDS + 49
    by_minute = watched.hot.spans(60, now_s)
    assert [(span.start_s % 60, span.operations) for span in by_minute] == [(0, now_s % 60 + 1), (0, 60)]
    by_second = watched.hot.spans(1, now_s)
    assert [span.start_s for span in by_second] == list(range(now_s, now_s - SPANS_LIMIT, -1))
    assert watched.hot.spans(10, now_s + 10 * KEPT_SECONDS) == [], "an idle shard has nothing of late"


def test_what_is_kept_is_bounded() -> None:
    watched, keys = Watched(), zipf(0.5, 10_000, 4)
    for second in range(KEPT_SECONDS + 10):
        watched.set_clock(BEGIN_S + second)
        for _ in range(FULL_PER_SECOND - 1):
            watched.hot.see(Get(next(keys)), HIT)
    assert watched.hot.rows_kept == KEPT_SECONDS * KEPT_KEYS + TALLIES
    assert watched.hot.taken_over > 0


def test_a_key_that_is_missing_in_a_second_may_have_had_its_floor() -> None:
    watched, truth = Watched(), Counter[bytes]()
    keys = zipf(0.7, 2_000, 9)
    for second in range(4):
        watched.set_clock(BEGIN_S + second)
        for _ in range(FULL_PER_SECOND - 1):
            key = next(keys)
            truth[key] += 1
            watched.hot.see(Get(key), HIT)
    [span] = watched.hot.spans(60, BEGIN_S + 3)
    for row in span.keys:
        assert row.operations <= truth[row.key] <= row.operations + row.more


def test_the_gauges_are_of_the_last_whole_seconds() -> None:
    watched = Watched()
    assert watched.hot.concentration(BEGIN_S) == (0.0, 0.0, 0.0)
    for number in range(100):
        watched.hot.see(Get(b"hot" if number % 4 else b"k%d" % number), HIT)
    assert watched.hot.concentration(BEGIN_S) == (0.0, 0.0, 0.0), "a second under way does not count"
    assert watched.hot.concentration(BEGIN_S + 1) == (7.5, 0.75, 0.84)
    assert watched.hot.concentration(BEGIN_S + 11) == (0.0, 0.0, 0.0)


# -- what is counted -------------------------------------------------------------------------------


def rows_of(bench: Bench) -> dict[bytes, tuple[int, int, int, int]]:
    """Of each key its operations, reads, hits and bytes."""
    [span] = bench.replica.hotkeys.spans(60, bench.runtime.wall_ms() // 1000)
    return {row.key: (row.operations, row.reads, row.hits, row.size_bytes) for row in span.keys}


def test_reads_and_writes_at_the_leader_are_counted() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"12345"))
    bench.ask(Get(b"k"))
    bench.ask(Get(b"none"))
    bench.ask(Incr(b"n", 7))
    bench.ask(Delete(b"k"))
    bench.ask(Set(b"safe:k", b"1"))
    bench.ask(MultiGet((Get(b"k"), Get(b"safe:k"))))
    assert rows_of(bench) == {
        b"k": (4, 2, 1, 6 + 6 + 1 + 1),
        b"none": (1, 1, 0, 4),
        b"n": (1, 0, 0, 1),
        b"safe:k": (2, 1, 1, 14),
    }


def test_what_is_refused_is_not_counted() -> None:
    bench = Bench().lead()
    bench.foreign_keys.add(b"elsewhere")
    bench.ask(Get(b"elsewhere"))
    bench.ask(Set(b"brief:k", b"x" * 101))
    assert bench.replica.hotkeys.operations == 0
    bench.group.lose()
    bench.send(Get(b"k"))
    assert bench.replica.hotkeys.operations == 0


def test_replica_reads_are_counted_where_they_are_answered() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"12345"))
    bench.ask(Get(b"k", replica=True))
    other = follower_of(bench)
    other.send(Get(b"k", replica=True))
    other.send(MultiGet((Get(b"k", replica=True), Get(b"none", replica=True))))
    assert rows_of(bench)[b"k"] == (2, 1, 1, 12)
    assert rows_of(other) == {b"k": (2, 2, 2, 12), b"none": (1, 1, 0, 4)}


def test_the_dice_are_its_own() -> None:
    def drawn(commands: int) -> float:
        bench = Bench().lead()
        for _ in range(commands):
            bench.send(Get(b"k"))
        return bench.runtime.random.random()

    assert drawn(0) == drawn(4 * FULL_PER_SECOND), "or what a seed of the simulation brings about would change"


def test_samples_are_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotkeys, "PER_GAP", 20)

    def told(make: Callable[[], Watched]) -> list[Span]:
        watched = make()
        watched.read(zipf(1.2, 1_000, 3), 20_000)
        return watched.hot.spans(1, BEGIN_S)

    assert told(Watched) == told(Watched) != told(lambda: Watched(6))
