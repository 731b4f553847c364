"""The Space-Saving sketch keeps its bounds whatever the stream."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from raftcache.store.space_saving import SpaceSaving

KEYS = st.integers(0, 40).map(lambda number: b"k%d" % number)
STREAMS = st.lists(st.tuples(KEYS, st.integers(1, 100)), max_size=300)


@given(STREAMS, st.integers(1, 12))
def test_the_bounds_hold_at_every_moment(stream: list[tuple[bytes, int]], capacity: int) -> None:
    sketch, truth = SpaceSaving(capacity), Counter[bytes]()
    for key, weight in stream:
        sketch.add(key, weight)
        truth[key] += weight
        assert_bounds(sketch, truth)


def assert_bounds(sketch: SpaceSaving, truth: Counter[bytes]) -> None:
    tallies, total = sketch.tallies(), truth.total()
    smallest = min(tally.count for tally in tallies)
    assert sketch.total == total == sum(tally.count for tally in tallies)
    assert len(sketch) == len(tallies) == min(sketch.capacity, len(tallies))
    assert sketch.floor == (smallest if len(tallies) == sketch.capacity else 0) <= total / sketch.capacity
    for tally in tallies:
        assert tally.sure <= truth[tally.key] <= tally.count and 0 <= tally.error <= smallest
        assert sketch.get(tally.key) is tally
    for key, count in truth.items():
        assert sketch.get(key) is not None or count <= sketch.floor
        assert count <= total / sketch.capacity or sketch.get(key) is not None


@given(STREAMS)
def test_it_is_exact_as_long_as_there_are_counters(stream: list[tuple[bytes, int]]) -> None:
    sketch, truth = SpaceSaving(41), Counter[bytes]()
    for key, weight in stream:
        sketch.add(key, weight)
        truth[key] += weight
    assert {tally.key: tally.count for tally in sketch.tallies()} == truth
    assert sketch.taken_over == 0 and all(tally.error == 0 for tally in sketch.tallies())


@given(STREAMS, STREAMS, st.integers(1, 12))
def test_sketches_add_up_with_their_bounds(
    one: list[tuple[bytes, int]], other: list[tuple[bytes, int]], capacity: int
) -> None:
    sketches, truth = [SpaceSaving(capacity), SpaceSaving(capacity)], Counter[bytes]()
    for sketch, stream in zip(sketches, (one, other), strict=True):
        for key, weight in stream:
            sketch.add(key, weight)
            truth[key] += weight
    for key, count in truth.items():
        tallies = [sketch.get(key) for sketch in sketches]
        least = sum(tally.sure for tally in tallies if tally is not None)
        most = sum(s.floor if t is None else t.count for s, t in zip(sketches, tallies, strict=True))
        assert least <= count <= most


def test_a_key_that_takes_a_counter_over_begins_its_tallies_anew() -> None:
    sketch = SpaceSaving(1)
    first = sketch.add(b"a", 5)
    first.reads = first.hits = first.size_bytes = 5
    second = sketch.add(b"b", 2)
    assert (second.count, second.error, second.sure) == (7, 5, 2)
    assert (second.reads, second.hits, second.size_bytes) == (0, 0, 0)
    assert sketch.taken_over == 1 and sketch.get(b"a") is None and len(sketch) == 1


def test_the_same_stream_gives_the_same_sketch() -> None:
    dice = random.Random(3)
    stream = [b"k%d" % dice.randrange(500) for _ in range(5000)]
    found = []
    for _ in range(2):
        sketch = SpaceSaving(16)
        for key in stream:
            sketch.add(key, 1)
        found.append([(tally.key, tally.count, tally.error) for tally in sketch.tallies()])
    assert found[0] == found[1]
