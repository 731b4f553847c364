"""Reclaiming in the background: expired keys, and entries of namespaces that are gone."""

from __future__ import annotations

import pytest
from shard_harness import POLICIES, Bench, follower_of

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.commands.types import AckLevel, Delete, Get, Set, Value, Version, Written
from raftcache.shard import reclaim, sweep
from raftcache.shard.sweep import EXPIRED_PER_TICK

OTHER = Namespaces(2, (*POLICIES.by_name.values(), Namespace("user", 9)))
"""`user:` is a namespace of its own from here on."""


def drive(bench: Bench, seconds: float) -> None:
    """Let time pass in small steps, committing as it goes."""
    for _ in range(round(seconds / 0.5)):
        bench.runtime.advance(0.5)
        bench.settle()


def test_the_sweep_removes_expired_keys_by_effects() -> None:
    bench = Bench().lead()
    for number in range(20):
        bench.send(Set(b"k%d" % number, b"x", ttl_ms=1000))
    bench.send(Set(b"stays", b"x", ttl_ms=60_000))
    drive(bench, 10)
    assert bench.replica.keyspace.all_keys() == [b"stays"] and bench.replica.stats.expired == 20
    follower = follower_of(bench)
    assert follower.replica.keyspace.all_keys() == [b"stays"]
    assert follower.replica.digest() == bench.replica.digest()


def test_a_follower_never_expires_by_itself() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"x", ttl_ms=1000))
    follower = follower_of(bench)
    follower.runtime.advance(60)
    assert follower.replica.keyspace.all_keys() == [b"k"]


def test_a_tick_is_bounded_and_comes_back_soon() -> None:
    bench = Bench().lead()
    for number in range(EXPIRED_PER_TICK + 10):
        bench.send(Set(b"k%d" % number, b"", ttl_ms=1))
    bench.settle()
    bench.runtime.now_s += 10
    bench.runtime.advance(0.001)
    assert bench.replica.stats.expired == EXPIRED_PER_TICK
    bench.runtime.advance(sweep.BUSY_INTERVAL_S)
    assert bench.replica.stats.expired == EXPIRED_PER_TICK + 10


def test_the_sweep_leaves_half_of_the_pipeline_to_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.shard.pipeline.BACKGROUND_SPECULATIVE_BYTES", 3000)
    bench = Bench().lead()
    for number in range(10):
        bench.ask(Set(b"k%d" % number, b"x" * 1000, ttl_ms=1))
    bench.runtime.now_s += 10
    bench.runtime.advance(0.001)
    assert bench.replica.stats.expired == 3 and bench.replica.pipeline.held_bytes < 5000
    drive(bench, 3)
    assert bench.replica.stats.expired == 10


def test_the_sweep_ends_with_the_leadership() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"x", ttl_ms=1000))
    bench.group.lose()
    bench.runtime.advance(60)
    assert bench.replica.keyspace.all_keys() == [b"k"]


def test_an_entry_of_another_namespace_is_a_miss_and_matches_no_version() -> None:
    bench = Bench().lead()
    bench.send(Set(b"user:1", b"secret"))
    stored = Version("7c1f", 1, 2)
    bench.follow(OTHER)
    newest = Version("7c1f", 1, 3)
    (read,) = bench.send(Get(b"user:1"))
    assert isinstance(read, Value) and read.value is None and read.version == newest
    failed = Written(False, newest, None, AckLevel.PRIMARY, existed=False, current=None)
    assert bench.send(Set(b"user:1", b"x", if_version=stored)) == [failed]
    assert bench.send(Delete(b"user:1", if_version=stored)) == [failed]
    (written,) = bench.send(Set(b"user:1", b"new", if_absent=True))
    assert isinstance(written, Written) and written.written
    (read,) = bench.send(Get(b"user:1"))
    assert isinstance(read, Value) and read.value == b"new"


def test_entries_of_another_namespace_are_reclaimed_once_the_point_is_committed() -> None:
    bench = Bench().lead()
    for number in range(5):
        bench.send(Set(b"user:%d" % number, b"x"))
    bench.send(Set(b"k", b"x"))
    bench.settle()
    drive(bench, 2)
    assert len(bench.replica.keyspace) == 6
    bench.follow(OTHER)
    bench.runtime.advance(5)
    assert len(bench.replica.keyspace) == 6
    drive(bench, 1)
    assert bench.replica.keyspace.all_keys() == [b"k"] and bench.replica.stats.reclaimed == 5
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_the_walk_goes_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaim, "RECLAIMED_PER_TICK", 2)
    monkeypatch.setattr(reclaim, "SCANNED_PER_TICK", 2 << 12)
    bench = Bench().lead()
    for number in range(5):
        bench.send(Set(b"user:%d" % number, b"x"))
    bench.settle()
    drive(bench, 1)
    bench.follow(OTHER)
    for _ in range(3):
        bench.runtime.turn()
        bench.group.commit()
    seen = []
    for _ in range(20):
        bench.runtime.advance(sweep.BUSY_INTERVAL_S)
        seen.append(bench.replica.stats.reclaimed)
    assert sorted(set(seen) - {0}) == [2, 4, 5]


def test_an_epoch_that_changes_no_namespace_starts_no_walk() -> None:
    bench = Bench().lead()
    drive(bench, 1)
    walks = bench.replica._sweeper._reclaimer.walks
    bench.follow(Namespaces(7, tuple(POLICIES.by_name.values())))
    bench.replica.confirm_policies(7, bench.runtime.now_s + 9, lambda _error: None)
    bench.settle()
    assert bench.replica.policies.applied.epoch == 7
    bench.runtime.advance(sweep.SWEEP_INTERVAL_S)
    assert bench.replica._sweeper._reclaimer.walks == walks == 1


def test_a_key_written_behind_a_point_that_is_not_committed_is_left_alone() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"user:1", b"old"))
    drive(bench, 1)
    bench.follow(OTHER)
    bench.send(Set(b"user:1", b"new"))
    bench.runtime.advance(5)
    assert bench.replica.stats.reclaimed == 0
    drive(bench, 1)
    (read,) = bench.send(Get(b"user:1"))
    assert isinstance(read, Value) and read.value == b"new" and bench.replica.stats.reclaimed == 0


def test_the_walk_rests_while_a_point_may_be_undone() -> None:
    """Begun by the election, it must not take for a stranger's what is the key's own again once the point is lost."""
    bench = Bench().lead()
    bench.ask(Set(b"user:1", b"mine"))
    bench.group.lose()
    bench.lead()
    bench.follow(OTHER)
    bench.runtime.advance(5)
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    bench.policies = POLICIES
    bench.lead()
    drive(bench, 2)
    (read,) = bench.send(Get(b"user:1"))
    assert isinstance(read, Value) and read.value == b"mine"
