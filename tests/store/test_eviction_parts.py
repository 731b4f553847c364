"""What eviction orders are made of: index, ghosts, sketch, digest; the work of a call, and memory."""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.store.eviction.digest import DIGEST_TIMES_LIMIT, ReadDigest
from raftcache.store.eviction.evictor import Admission, Eviction, Evictor
from raftcache.store.eviction.ghost import Ghosts
from raftcache.store.eviction.growing import FIRST_BUCKETS, Doubling
from raftcache.store.eviction.sketch import COUNTER_LIMIT, KEYS_PER_BLOCK, USES_PER_KEY, Sketch
from raftcache.store.eviction.table import KeyTable

EVERY = [(eviction, admission) for eviction in Eviction for admission in Admission]
SKETCHED_AT_LEAST = FIRST_BUCKETS * KEYS_PER_BLOCK
KEY = b"key:%08d"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)), max_size=400))
def test_a_table_equals_a_dict(changes: list[tuple[int, int]]) -> None:
    table, expected = KeyTable(3), dict[bytes, int]()
    for number, size in changes:
        key, slot = b"%d" % number, table.find(b"%d" % number)
        assert (slot != 0) == (key in expected)
        if not slot:
            assert table.add(key, size) >= 3
            expected[key] = size
        elif size < 5:
            assert table.drop(slot) == key
            del expected[key]
        else:
            assert table.resize(slot, size) == size - expected[key]
            expected[key] = size
        assert (table.items, table.bytes) == (len(expected), sum(expected.values()))
    assert {table.key(table.find(key)): table.sizes[table.find(key)] for key in expected} == expected


@given(st.integers(0, 2000), st.integers(0, 1 << 40))
def test_a_bucket_more_moves_hashes_of_one_bucket_only(grown: int, hashed: int) -> None:
    doubling = Doubling()
    for _ in range(grown):
        before = doubling.bucket(hashed)
        old, new = doubling.grow()
        assert doubling.bucket(hashed) in ((old, new) if before == old else (before,))
        assert doubling.bucket(hashed) < doubling.count == new + 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200), st.integers(0, 12))
def test_ghosts_equal_a_list(changes: list[tuple[bool, int]], limit: int) -> None:
    ghosts, expected = Ghosts(), list[int]()
    for adds, number in changes:
        if adds:
            ghosts.add(b"%d" % number, limit)
            expected = ([other for other in expected if other != number] + [number])[-limit or len(expected) + 1 :]
        else:
            assert ghosts.take(b"%d" % number) == (number in expected)
            expected = [other for other in expected if other != number]
        assert len(ghosts) == len(expected) <= limit


class PlainSketch:
    """Exact counts, all halved when the time has come."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}
        self.uses = 0

    def count(self, key: bytes, kept: int, times: int) -> None:
        self.counts[key] = min(self.counts.get(key, 0) + times, COUNTER_LIMIT)
        self.uses += times
        if self.uses >= USES_PER_KEY * max(kept, SKETCHED_AT_LEAST):
            self.uses, self.counts = 0, {key: count // 2 for key, count in self.counts.items()}


def test_a_sketch_is_never_too_low_and_seldom_too_high() -> None:
    rng, sketch, plain = random.Random(4), Sketch(), PlainSketch()
    for step in range(60_000):
        kept = min(step, 3000)
        key = KEY % int(kept * rng.random() ** 3)
        sketch.grow(kept)
        sketch.count(key, kept, 1 + step % 2)
        plain.count(key, kept, 1 + step % 2)
    off = [sketch.estimate(key) - count for key, count in plain.counts.items()]
    assert min(off) >= 0, "halving late, or growing, has lost counts"
    assert sum(error > 1 for error in off) < len(off) * 0.1


def test_a_sketch_forgets_what_was_before_many_eras() -> None:
    sketch = Sketch()
    sketch.count(b"once", 0, COUNTER_LIMIT)
    for number in range(USES_PER_KEY * SKETCHED_AT_LEAST * 300):
        sketch.count(b"%d" % (number % 7), 0)
    assert sketch.estimate(b"once") == 0


def test_a_digest_is_bounded_and_counts_each_key() -> None:
    digest = ReadDigest(limit=3)
    for key in b"abacadae":
        digest.read(bytes([key]))
    for _ in range(400):
        digest.read(b"c")
    assert list(digest.take().items()) == [(b"a", 4), (b"b", 1), (b"c", DIGEST_TIMES_LIMIT)]
    assert digest.take() == {}


def lines_run(call: Callable[..., Any], *arguments: Any) -> int:
    """How many lines of Python a call executes: what it works, on however busy a machine."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call(*arguments)
    finally:
        sys.settrace(before)
    return count


def most_lines(evictor: Evictor, numbers: range) -> int:
    """The most that any call works while keys are written, read, removed and evicted."""
    counts = []
    for number in numbers:
        now_ms = number * 50
        counts.append(lines_run(evictor.write, KEY % number, 9, now_ms + 7 - number % 7, now_ms))
        counts.append(lines_run(evictor.read, KEY % (number // 2), now_ms, 300))
        if number % 40 == 0:
            counts.append(lines_run(evictor.victims, 0, 1, now_ms))
            counts.append(lines_run(evictor.remove, KEY % (number // 3)))
    return max(counts)


@pytest.mark.parametrize(("eviction", "admission"), EVERY)
def test_no_call_works_more_for_there_being_more_keys(eviction: Eviction, admission: Admission) -> None:
    evictor = Evictor(eviction, admission, random.Random(1).random)
    for number in range(30_000):
        evictor.write(KEY % number, 9, number % 999, number * 50)
        evictor.read(KEY % number, number * 50, 9)
    assert most_lines(evictor, range(30_000, 31_000)) < 2500, "64 steps of `s3fifo` take about 1,800"


@pytest.mark.parametrize(("eviction", "admission"), EVERY)
def test_a_key_takes_few_bytes(eviction: Eviction, admission: Admission) -> None:
    """Ghosts, window and sketch included, and filled."""
    keys = [KEY % number for number in range(30_000)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        evictor = Evictor(eviction, admission, random.Random(1).random)
        for number, key in enumerate(keys):
            evictor.write(key, 9, number, 0)
            for _ in range(number % 3):
                evictor.read(key, 0)
            evictor.victims(0, len(evictor) - 15_000, 0)
        used_bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used_bytes / len(evictor) < 70
