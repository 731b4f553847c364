"""The pure parts of the comparison with rivals: like is compared with like, replies are counted right, fits fit."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from beside import markdown, plot, report
from beside.fit import Point, fit
from beside.load import MemcachedReplies, RespReplies
from beside.requests import KEYS, Request, batches, key, memcached, redis, value
from beside.rows import (
    ETCD,
    GET,
    LEADER,
    MEMCACHED,
    RAFTCACHE,
    REDIS,
    RPC,
    SET_QUORUM,
    TWITTER,
    Measurement,
    measurements,
    rows,
)
from hypothesis import given
from hypothesis import strategies as st
from writes.spec import Outcome

PYTHON = "python"


def test_both_sides_of_a_row_do_the_same_at_the_same_size_and_depth() -> None:
    for ours, theirs, _ in rows():
        assert ours.system.startswith(RAFTCACHE) and not theirs.system.startswith(RAFTCACHE)
        assert (ours.depth, ours.value_bytes) == (theirs.depth, theirs.value_bytes)
        assert ours.tool == theirs.tool or theirs.system == ETCD or ours.tool == RPC
        assert ours.operation == theirs.operation or theirs.system == ETCD


def test_a_rival_without_a_log_is_never_held_against_one_with_a_log() -> None:
    for ours, theirs, _ in rows():
        if theirs.system in (REDIS, MEMCACHED):
            assert "log" not in ours.system


def test_what_several_rows_need_is_measured_once() -> None:
    wanted = rows((1024,), (1, 16))
    measured = measurements(wanted)
    assert len(measured) == len(set(measured))
    assert set(measured) == {side for row in wanted for side in row[:2]}


def test_a_batch_for_redis_waits_once_for_all_its_writes() -> None:
    one = batches(Measurement(REDIS, SET_QUORUM, PYTHON, 4, 10), redis, 1)[0]
    assert one.count(b"SET") == 4 and one.endswith(b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n")
    ours = batches(Measurement(RAFTCACHE, SET_QUORUM, PYTHON, 4, 10), redis, 1)[0]
    assert one.startswith(ours) and b"safe:key:" in ours


def test_the_twitter_row_reads_and_writes_in_its_share() -> None:
    made = b"".join(batches(Measurement(MEMCACHED, TWITTER, PYTHON, 16), memcached, 1))
    gets, sets = made.count(b"get key:"), made.count(b"set key:")
    assert 0.8 < gets / (gets + sets) < 0.92


RESP = b"+OK\r\n$3\r\nabc\r\n$-1\r\n:1\r\n-ERR no\r\n"
HIT = b"VALUE k 0 3\r\nabc\r\nEND\r\n"


@pytest.mark.parametrize(
    ("replies", "data", "count", "failures"),
    [
        (RespReplies, RESP, 5, 2),
        (MemcachedReplies, HIT + b"END\r\n" + HIT + b"STORED\r\nEND\r\n", 5, 2),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_replies_are_counted_however_they_are_cut(replies, data, count, failures, step) -> None:
    counter = replies()
    parts = [counter.feed(data[at : at + step]) for at in range(0, len(data), step)]
    assert (sum(part[0] for part in parts), sum(part[1] for part in parts)) == (count, failures)


def test_keys_are_those_of_redis_benchmark_and_values_need_no_quotes() -> None:
    assert key(7) == b"key:000000000007" and len(key(7, 36)) == 36
    assert len({key(number) for number in range(KEYS)}) == KEYS
    assert len(value(100)) == 100 and value(100).isalnum() and value(100) == value(100)
    assert memcached(Request(b"k", b"abc")) == b"set k 0 0 3\r\nabc\r\n"


@given(st.floats(1, 50), st.floats(0, 50), st.floats(0, 20))
def test_a_fit_finds_what_points_were_made_of(own: float, once: float, per_kib: float) -> None:
    places = [(depth, size) for depth in (1, 4, 16) for size in (64, 1024, 10240)]
    points = [Point(depth, size, own + once / depth + per_kib * size / 1024) for depth, size in places]
    model = fit(points)
    assert model == pytest.approx((own, once, per_kib), rel=1e-4, abs=1e-4)
    assert model.at(2, 512) == pytest.approx(own + once / 2 + per_kib / 2, rel=1e-4)


def test_points_that_tell_nothing_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="vary depths and sizes"):
        fit([Point(1, 64, 5.0), Point(1, 64, 6.0), Point(1, 64, 5.5)])


def _outcome(writes: int) -> Outcome:
    return Outcome(writes=writes, seconds=1.0, p50_ms=1, p99_ms=2, servers_cpu_s=(0.5,), load_cpu_s=0.1)


def test_a_rows_ratio_is_the_median_of_its_rounds_and_the_plot_is_a_picture() -> None:
    wanted = [row for row in rows((1024,), (1,)) if row.ours.operation == GET and row.ours.at == LEADER]
    outcomes = {side: [_outcome(100), _outcome(200), _outcome(300)] for row in wanted for side in row[:2]}
    outcomes[wanted[0].ours] = [_outcome(50), _outcome(300), _outcome(240)]
    shown = report.document(wanted, outcomes, {"processors": 2, "connections": 50, "rounds": 3, "date": "today"})
    assert shown["rows"][0]["ratio"] == 0.8 and shown["passed"]
    picture = ElementTree.fromstring(plot.draw(shown))
    assert picture.tag.endswith("svg") and len(list(picture.iter())) > 20


NOTES = {
    "date": "2026-01-02", "processors": 2, "connections": 50, "rounds": 3, "seconds": 5.0, "python": "3.11.7",
    "compiled": True, "versions": {"redis": "Redis server v=7.0.15 sha=0", "etcd": ""},
}  # fmt: skip


def _shown(sizes: tuple[int, ...]) -> str:
    wanted = [row for row in rows(sizes, (1, 16)) if row.theirs.system == REDIS and row.ours.at == LEADER]
    outcomes = {side: [_outcome(2_000 if side.system == RAFTCACHE else 4_000)] for row in wanted for side in row[:2]}
    return markdown.tables(report.document(wanted, outcomes, NOTES))


def test_the_tables_say_what_was_measured_with_what() -> None:
    said = _shown((1024,))
    assert said.startswith(
        "Of 2026-01-02: medians of 3 rounds of 5 s, 50 connections, 2 processors; redis 7.0.15; Python 3.11.7, "
        "compiled. Values of 1 KiB:\n\n| raftcache / rival | ratio |"
    )
    assert "\n| *depth 1* | | | | |\n| GET / redis | **0.50** (asked: 0.75) | 2,000 / 4,000 | 250.0 / 125.0 |" in said
    assert "\n| *depth 16* | | | | |\n" in said and "over the sizes" not in said


def test_what_was_measured_at_several_sizes_has_a_table_of_its_own() -> None:
    whole, by_size = _shown((64, 1024, 10240)).split("The ratios over the sizes of values:\n\n")
    assert whole.count("| GET / redis |") == 2, "one a depth, at the size at which floors are asked for"
    lines = by_size.splitlines()
    columns = [f" depth {depth}, {size} " for depth in (1, 16) for size in ("64 B", "1 KiB", "10 KiB")]
    assert lines[0].split("|")[1:-1] == [" raftcache / rival ", *columns]
    assert "| GET / redis | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 |" in lines
    assert not any("INCR" in line for line in lines), "that is measured at one size"
    assert {line.count("|") for line in lines} == {8}
