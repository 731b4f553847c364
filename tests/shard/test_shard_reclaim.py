"""The memory of what was dropped comes back, in bounded steps, and nothing comes back that must not."""

from __future__ import annotations

from itertools import pairwise

import pytest
from shard_harness import POLICIES, Bench, follower_of
from test_shard_invalidate import drop, dropped, emptied, value

from raftcache.commands.types import Set
from raftcache.shard import reclaim, sweep
from raftcache.shard.reclaim import Reclaimer
from raftcache.store.entry import entry_bytes
from raftcache.store.keyspace import PAGES

KEYS = 40


def filled(bench: Bench, namespace: bytes = b"", *tags: str) -> Bench:
    for number in range(KEYS):
        bench.send(Set(namespace + b"k%d" % number, b"x" * 100, tags=tags))
    bench.settle()
    return bench


def drive(bench: Bench, seconds: float) -> None:
    """Let time pass in small steps, committing as it goes."""
    for _ in range(round(seconds / 0.1)):
        bench.runtime.advance(0.1)
        bench.settle()


def test_what_a_tag_dropped_is_reclaimed_and_the_drop_is_forgotten() -> None:
    bench = filled(Bench().lead(), b"", "t")
    bench.ask(Set(b"stays", b"1", tags=("u",)))
    kept_bytes = bench.replica.keyspace.used_bytes
    dropped(bench, "t")
    drive(bench, 1)
    assert bench.replica.keyspace.all_keys() == [b"stays"] and bench.replica.stats.reclaimed == KEYS
    assert not len(bench.replica.dropped) and bench.replica.keyspace.used_bytes < kept_bytes / 10
    assert bench.replica.keyspace.families.count((1, "t")) == 0
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_what_an_invalidation_dropped_is_reclaimed() -> None:
    bench = filled(filled(Bench().lead(), b"safe:"))
    bench.follow(emptied(POLICIES, "safe")).settle()
    drive(bench, 1)
    assert len(bench.replica.keyspace) == bench.replica.stats.reclaimed == KEYS
    assert value(bench, b"k0") is not None
    assert set(bench.replica.keyspace.tenants.by_id) == {1} or bench.replica.keyspace.tenants.by_id[2].items == 0
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_a_drop_that_is_not_committed_is_not_reclaimed() -> None:
    bench = filled(Bench().lead(), b"", "t")
    drop(bench, "t")
    for _ in range(20):
        bench.runtime.advance(0.1)
    assert bench.replica.stats.reclaimed == 0
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    assert value(bench.lead(), b"k0") is not None


def test_a_key_written_after_the_drop_is_left_alone() -> None:
    bench = filled(Bench().lead(), b"", "t")
    dropped(bench, "t")
    bench.ask(Set(b"k7", b"new", tags=("t",)))
    drive(bench, 1)
    assert bench.replica.keyspace.all_keys() == [b"k7"] and value(bench, b"k7") == b"new"
    assert not len(bench.replica.dropped)


def test_a_tag_dropped_again_while_it_is_reclaimed_keeps_its_row_until_the_next_walk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reclaim, "SCANNED_PER_TICK", PAGES // 2)
    bench = filled(Bench().lead(), b"", "t")
    drive(bench, 1)
    dropped(bench, "t")
    bench.runtime.advance(0.1)
    bench.ask(Set(b"k7", b"new", tags=("t",)))
    dropped(bench, "t")
    assert len(bench.replica.dropped) == 1
    for _ in range(200):
        assert value(bench, b"k7") is None
        bench.runtime.advance(sweep.BUSY_INTERVAL_S)
        bench.settle()
    assert not len(bench.replica.dropped) and not len(bench.replica.keyspace)


@pytest.mark.replaces_methods
def test_each_tick_removes_and_looks_at_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is looked at as a whole; here one has few keys."""
    monkeypatch.setattr(reclaim, "RECLAIMED_PER_TICK", 4)
    monkeypatch.setattr(reclaim, "SCANNED_PER_TICK", PAGES)
    bench = filled(Bench().lead(), b"", "t")
    drive(bench, 2)
    dropped(bench, "t")
    removed, looks = [0], []
    monkeypatch.setattr(
        bench.replica.keyspace, "rows_of_page", lambda number, stock=bench.replica.keyspace.rows_of_page: (
            looks.append(number), stock(number),
        )[1],
    )  # fmt: skip
    looked_at = [0]
    for _ in range(60):
        bench.runtime.advance(sweep.BUSY_INTERVAL_S)
        bench.settle()
        removed.append(bench.replica.stats.reclaimed)
        looked_at.append(len(looks))
    steps = [after - before for before, after in pairwise(removed)]
    assert removed[-1] == KEYS and 0 < max(steps) <= 5
    assert max(after - before for before, after in pairwise(looked_at)) <= PAGES


def test_it_counts_before_it_reclaims(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first tick counts, to the last page, and has no room for more."""
    monkeypatch.setattr(reclaim, "RECLAIMED_PER_TICK", 4)
    monkeypatch.setattr(reclaim, "SCANNED_PER_TICK", PAGES + KEYS)
    bench = filled(Bench().lead(), b"", "t")
    drive(bench, 2)
    cost_bytes = sum(
        entry_bytes(key, entry) for number in range(PAGES) for key, entry in bench.replica.keyspace.rows_of_page(number)
    )
    dropped(bench, "t")
    seen = []
    for _ in range(200):
        bench.runtime.advance(sweep.BUSY_INTERVAL_S)
        bench.settle()
        seen.append(bench.replica.awaiting_reclaim)
    assert (KEYS, cost_bytes) in seen and seen[-1] == (0, 0)
    counted = seen[seen.index((KEYS, cost_bytes)) :]
    assert counted == sorted(counted, reverse=True)


def test_it_leaves_half_of_the_pipeline_to_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = filled(Bench().lead(), b"", "t")
    dropped(bench, "t")
    monkeypatch.setattr("raftcache.shard.pipeline.BACKGROUND_SPECULATIVE_BYTES", 3000)
    bench.runtime.advance(0.5)
    assert 0 < bench.replica.stats.reclaimed < KEYS and bench.replica.pipeline.held_bytes < 4000
    drive(bench, 3)
    assert bench.replica.stats.reclaimed == KEYS


@pytest.mark.parametrize("ticks", [1, 3, 6])
def test_a_new_leader_goes_on_where_the_older_one_stopped(monkeypatch: pytest.MonkeyPatch, ticks: int) -> None:
    monkeypatch.setattr(reclaim, "RECLAIMED_PER_TICK", 4)
    monkeypatch.setattr(reclaim, "SCANNED_PER_TICK", PAGES)
    bench = filled(Bench().lead(), b"", "t")
    drive(bench, 2)
    dropped(bench, "t")
    for _ in range(ticks):
        bench.runtime.advance(sweep.BUSY_INTERVAL_S)
        bench.runtime.turn()
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    bench.lead()
    assert all(value(bench, b"k%d" % number) is None for number in range(KEYS))
    drive(bench, 3)
    assert not len(bench.replica.keyspace) and not len(bench.replica.dropped)


def test_a_drop_is_forgotten_in_the_end_where_all_its_keys_went_by_themselves() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", ttl_ms=1000, tags=("t",)))
    drop(bench, "t")
    bench.ask(Set(b"a", b"2"))
    drive(bench, 1)
    assert not len(bench.replica.dropped) and value(bench, b"a") == b"2"


def test_the_tests_above_notice_rows_that_are_forgotten_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that forgets whatever stands there lets a newer drop's keys come back."""
    stock = Reclaimer._pages

    def pages(self: Reclaimer) -> object:
        for family, _ in self._ex.dropped.rows():
            self._ex.forget_tag(family)
        yield from stock(self)

    monkeypatch.setattr(Reclaimer, "_pages", pages)
    with pytest.raises(AssertionError):
        test_what_a_tag_dropped_is_reclaimed_and_the_drop_is_forgotten()
