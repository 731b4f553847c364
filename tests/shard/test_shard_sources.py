"""By how many front ends a hot key was asked for."""

from __future__ import annotations

import random

from shard_harness import Bench, VirtualRuntime, follower_of

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import LossWindow, Namespace, OnExceeded
from raftcache.commands.types import RAW, Get, MultiGet, ReadLevel, Set, Value, Version
from raftcache.shard.hotkeys import TALLIES, HotKeys
from raftcache.shard.sources import SOURCES_LIMIT, Sources

MISS = Value(None, RAW, Version("7c1f", 1, 1), None, ReadLevel.LATEST)


def front_ends(bench: Bench) -> dict[bytes, set[str]]:
    """By which ones each key was asked for."""
    [span] = bench.replica.hotkeys.spans(60, bench.runtime.wall_ms() // 1000)
    bits = Sources(span.sources)
    return {row.key: {name for name in span.sources if row.sources & bits.bit(name)} for row in span.keys}


def test_a_set_has_a_bit_for_each_name_up_to_a_limit() -> None:
    names = Sources()
    first, second = names.bit("a"), names.bit("b")
    assert first == names.bit("a") and first & second == 0 and names.names == ("a", "b")
    sets = [names.bit(f"n{n}") for n in range(SOURCES_LIMIT)]
    assert sum(sets).bit_count() == SOURCES_LIMIT - 2 and sets[-2:] == [0, 0]
    assert len(names.names) == SOURCES_LIMIT and sum(sets) < 1 << 64


def test_a_set_of_another_table_is_translated() -> None:
    ours, theirs = Sources(("a", "b")), Sources(("c", "b"))
    assert ours.taken_from(theirs, theirs.bit("c") | theirs.bit("b")) == ours.bit("c") | ours.bit("b")
    assert ours.taken_from(theirs, theirs.bit("b")) == ours.bit("b") == 2
    assert ours.taken_from(theirs, 0) == 0 and ours.names == ("a", "b", "c")


def test_each_front_end_counts_once_and_this_node_is_one_of_them() -> None:
    bench = Bench().lead()
    for source in ("n1", "n2", "n1"):
        bench.replica.submit_from(source, Get(b"k"), lambda _reply: None)
    bench.send(Set(b"k", b"1"))
    bench.replica.submit_from("n1", MultiGet((Get(b"one"), Get(b"two"))), lambda _reply: None)
    bench.send(Get(b"own"))
    assert front_ends(bench) == {b"k": {"n0", "n1", "n2"}, b"one": {"n1"}, b"two": {"n1"}, b"own": {"n0"}}


def test_a_front_end_is_remembered_of_what_is_held() -> None:
    policies = Namespaces(1, (Namespace("default", 1, loss_window=LossWindow(writes=1), on_exceeded=OnExceeded.WAIT),))
    bench = Bench(policies=policies).lead()
    bench.send(Set(b"first", b"0"))
    bench.replica.submit_from("n2", Set(b"held", b"1"), lambda _reply: None)
    assert bench.replica.held.count == 1
    bench.settle()
    assert front_ends(bench) == {b"first": {"n0"}, b"held": {"n2"}}


def test_a_front_end_is_remembered_of_a_replica_read_that_waits() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"1"))
    other = follower_of(bench)
    bench.ask(Set(b"k", b"2"))
    wanted = Version("7c1f", 1, 3)
    other.replica.submit_from("n7", Get(b"k", replica=True, min_version=wanted), lambda _reply: None)
    other.send(Get(b"own", replica=True))
    assert other.replica.replica_reads.parked == 1
    other.group.log = list(bench.group.log)
    other.group.commit(bench.group.applied)
    other.runtime.turn()
    assert front_ends(other) == {b"k": {"n7"}, b"own": {"n1"}}


def test_seconds_with_other_front_ends_are_put_together() -> None:
    runtime = VirtualRuntime()
    runtime.wall_base_ms = int(6_000_000 - runtime.now_s * 1000)
    hot = HotKeys(runtime, random.Random(1).random, "n0")
    for sources in (("n0", "n1"), ("n2", "n1"), ("n1",)):
        for source in sources:
            hot.source = source
            hot.see(Get(b"k"), MISS)
        runtime.wall_base_ms += 1000
    [span] = hot.spans(10, 6002)
    assert set(span.sources) == {"n0", "n1", "n2"} and span.keys[0].sources.bit_count() == 3


def test_a_key_that_takes_a_counter_over_begins_with_no_front_ends() -> None:
    hot = HotKeys(VirtualRuntime(), random.Random(1).random, "n0")
    for number in range(TALLIES):
        hot.see(Get(b"k%d" % number), MISS)
    hot.source = "n1"
    hot.see(Get(b"new"), MISS)
    [span] = hot.spans(10, VirtualRuntime().wall_ms() // 1000)
    [new] = [row for row in span.keys if row.key == b"new"]
    assert span.sources == ("n0", "n1") and new.sources == 2
