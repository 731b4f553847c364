"""Dropping tags and namespaces at one shard: seen by nobody, undone with its leadership, reclaimed in steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from shard_harness import POLICIES, Bench, follower_of

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import DEFAULT, Namespace, ReadLevel
from raftcache.commands.types import Expire, Get, Incr, Persist, Set
from raftcache.shard import reclaim
from raftcache.shard.sweep import BUSY_INTERVAL_S, SWEEP_INTERVAL_S
from raftcache.store.effects import TAG, decode_batch
from raftcache.store.entry import TaggedEntry
from raftcache.store.tags import MAX_DROPPED_TAGS
from raftcache.testing.plants import planted


def drop(bench: Bench, tag: str, namespace: str = DEFAULT, named_at: int = 1) -> list[Any]:
    """Ask for a drop; the answer comes into the list."""
    answers: list[Any] = []
    bench.replica.drop_tag(namespace, tag, named_at, answers.append)
    return answers


def fill(bench: Bench, number: int, *tags: str) -> None:
    for n in range(number):
        bench.send(Set(b"k%d" % n, b"v", tags=tags or None))
    bench.settle()


def value(bench: Bench, key: bytes) -> bytes | None:
    found: bytes | None = bench.ask(Get(key)).value
    return found


def drive(bench: Bench, seconds: float) -> None:
    for _ in range(round(seconds / SWEEP_INTERVAL_S)):
        bench.runtime.advance(SWEEP_INTERVAL_S)
        bench.settle()


def invalidated(epoch: int = 2, id_: int = 50, name: str = "safe") -> Namespaces:
    old = POLICIES.by_name[name]
    emptied = Namespace(name, id_, old.ack, origin=old.id)
    return Namespaces(epoch, tuple(emptied if ns.name == name else ns for ns in POLICIES.by_name.values()))


# -- tags ----------------------------------------------------------------------------------------


def test_what_carries_a_dropped_tag_is_a_miss_at_once_and_other_keys_are_not() -> None:
    bench = Bench().lead()
    bench.send(Set(b"a", b"1", tags=("x", "y")))
    bench.send(Set(b"b", b"2", tags=("y",)))
    bench.send(Set(b"c", b"3"))
    answers = drop(bench, "x")
    assert [value(bench, key) for key in (b"a", b"b", b"c")] == [None, b"2", b"3"]
    assert answers == [None]
    assert bench.ask(Set(b"a", b"4", if_absent=True, tags=("x",))).written
    assert value(bench, b"a") == b"4", "it was written after the drop"


def test_a_drop_is_answered_when_it_is_committed_and_no_older_leader_serves() -> None:
    bench = Bench().lead()
    fill(bench, 1, "x")
    bench.group.alone_from_s = bench.runtime.now_s + 5
    answers = drop(bench, "x")
    bench.settle()
    assert answers == []
    bench.runtime.advance(4.9)
    assert answers == []
    bench.runtime.advance(0.2)
    assert answers == [None]


def test_a_drop_that_is_confirmed_too_early_is_noticed() -> None:
    with planted("drop-confirmed-at-once"), pytest.raises(AssertionError):
        test_a_drop_is_answered_when_it_is_committed_and_no_older_leader_serves()


def test_a_drop_that_is_undone_brings_back_what_it_dropped() -> None:
    bench = Bench().lead()
    fill(bench, 3, "x")
    before = bench.replica.digest()
    answers = drop(bench, "x")
    bench.send(Set(b"k0", b"new", tags=("x",)))
    bench.group.truncate(bench.group.applied)
    bench.group.lose()
    assert answers and answers[0] is not None and answers[0].code == "not_leader"
    assert bench.replica.digest() == before
    bench.lead()
    assert [value(bench, b"k%d" % n) for n in range(3)] == [b"v"] * 3


def test_a_proposed_drop_may_hold_all_the_same_and_is_not_said_to_have_failed_for_good() -> None:
    bench = Bench().lead()
    fill(bench, 2, "x")
    answers = drop(bench, "x")
    bench.runtime.turn()
    bench.group.lose()
    assert answers and answers[0].code in ("not_leader", "outcome_unknown")
    bench.group.commit()
    bench.lead()
    assert value(bench, b"k0") is None


def test_followers_and_snapshots_carry_drops() -> None:
    bench = Bench().lead()
    fill(bench, 3, "x")
    drop(bench, "x")
    bench.settle()
    blocks = [*bench.replica.snapshot_blocks()]
    other = Bench(node_id="n2")
    other.replica.install(other.replica.prepare_restore(blocks), bench.group.applied, 1)
    for replica in (follower_of(bench).replica, other.replica):
        assert replica.digest() == bench.replica.digest()
        entry = replica.keyspace.get(b"k0")
        assert isinstance(entry, TaggedEntry) and replica.dropped.drop_of(entry) is not None


def test_tags_stay_with_a_key_through_a_new_time_to_live_and_a_count() -> None:
    bench = Bench().lead()
    bench.send(Set(b"n", b"1", tags=("x",)))
    for command in (Expire(b"n", 5000), Persist(b"n"), Incr(b"n")):
        bench.ask(command)
        entry = bench.replica.keyspace.get(b"n")
        assert isinstance(entry, TaggedEntry) and entry.tags == ("x",)
    bench.ask(Set(b"n", b"1"))
    assert not isinstance(bench.replica.keyspace.get(b"n"), TaggedEntry)


def test_a_committed_read_of_what_is_dropped_waits_for_the_drop() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"shown:k", b"v", tags=("x",)))
    drop(bench, "x", "shown")
    replies = bench.send(Get(b"shown:k", ReadLevel.COMMITTED))
    assert replies == [], "the absence shows the drop, which may be lost"
    bench.settle()
    assert replies[0].value is None


def test_a_tag_that_nobody_carries_costs_nothing() -> None:
    bench = Bench().lead()
    fill(bench, 2, "x")
    answers = drop(bench, "other")
    bench.settle()
    assert answers == [None] and not len(bench.replica.dropped)
    effects = [effect for _, payload in bench.group.log for effect in decode_batch(payload).effects]
    assert TAG not in [effect[0] for effect in effects]


@pytest.mark.parametrize(("name", "named_at", "code"), [("none", 1, "unknown_namespace"), ("none", 9, "not_following")])
def test_a_namespace_that_is_not_there(name: str, named_at: int, code: str) -> None:
    answers = drop(Bench().lead(), "x", name, named_at)
    assert answers[0].code == code


def test_the_table_of_drops_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.shard.executor.MAX_DROPPED_TAGS", 2)
    bench = Bench().lead()
    for n in range(3):
        bench.send(Set(b"k%d" % n, b"v", tags=(f"t{n}",)))
    answers = [drop(bench, f"t{n}") for n in range(3)]
    bench.settle()
    assert answers[:2] == [[None], [None]] and answers[2][0].code == "overloaded"
    assert str(2) in answers[2][0].message and MAX_DROPPED_TAGS == 4096
    assert drop(bench, "t0") is not None, "again costs no row"


# -- memory comes back ---------------------------------------------------------------------------


def test_what_a_tag_dropped_is_reclaimed_and_the_drop_forgotten() -> None:
    bench = Bench().lead()
    fill(bench, 20, "x")
    bench.ask(Set(b"kept", b"v", tags=("y",)))
    drop(bench, "x")
    bench.settle()
    assert len(bench.replica.keyspace) == 21
    drive(bench, 1)
    assert bench.replica.keyspace.all_keys() == [b"kept"] and not len(bench.replica.dropped)
    assert bench.replica.stats.reclaimed == 20
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_nothing_is_reclaimed_before_its_drop_is_committed() -> None:
    bench = Bench().lead()
    fill(bench, 5, "x")
    drop(bench, "x")
    bench.runtime.advance(1)
    assert len(bench.replica.keyspace) == 5
    bench.group.truncate(bench.group.applied)
    bench.group.lose()
    bench.lead()
    drive(bench, 1)
    assert len(bench.replica.keyspace) == 5 and value(bench, b"k0") == b"v"


def test_a_tick_reclaims_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaim, "SCANNED_PER_TICK", 3000)
    monkeypatch.setattr(reclaim, "RECLAIMED_PER_TICK", 30)
    bench = Bench().lead()
    fill(bench, 300, "x")
    drop(bench, "x")
    bench.settle()
    counts = [300]
    for _ in range(60):
        bench.runtime.advance(BUSY_INTERVAL_S)
        bench.settle()
        counts.append(len(bench.replica.keyspace))
    steps = [before - after for before, after in pairwise(counts)]
    assert counts[-1] == 0 and 10 < max(steps) <= 35


# -- namespaces ----------------------------------------------------------------------------------


def test_an_invalidated_namespace_is_empty_keeps_its_policy_and_its_reply_records() -> None:
    bench = Bench().lead()
    first = bench.ask(Incr(b"safe:n", idempotency=b"once"))
    bench.ask(Set(b"safe:k", b"v"))
    bench.follow(invalidated())
    assert value(bench, b"safe:k") is None
    assert bench.ask(Incr(b"safe:n", idempotency=b"once")) == first, "a repeat is answered as before"
    assert bench.ask(Incr(b"safe:n", idempotency=b"twice")).value == 1
    drive(bench, 1)
    assert bench.replica.keyspace.all_keys() == [b"safe:n"]
    assert bench.replica.stats.invalidations["namespace"] == 1
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_an_invalidation_that_is_undone_brings_the_keys_back() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"safe:k", b"v"))
    bench.follow(invalidated())
    bench.send(Set(b"safe:k", b"new"))
    bench.group.truncate(bench.group.applied)
    bench.policies = bench.first_policies
    bench.group.lose()
    bench.lead()
    assert value(bench, b"safe:k") == b"v"
