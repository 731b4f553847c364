"""A look says what a read would say, or nothing: it is refused wherever a read may have to wait, or to be refused."""

from __future__ import annotations

import random

import pytest
from shard_harness import POLICIES, Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Limits, Namespace
from raftcache.commands.types import KEY_LIMIT_BYTES, Delete, Get, Incr, ReadLevel, Set, Value
from raftcache.routing.slots import slot_of
from raftcache.shard.executor import Executor
from raftcache.store.entry import Looked

KEYS = [b"a", b"b", b"c", b"safe:a", b"strict:a", b"brief:a", b"brief:b", b"shown:a", b"later:a"]
LATER = Namespaces(2, (*POLICIES.by_name.values(), Namespace("later", 9)))


def look(bench: Bench, key: bytes) -> Looked:
    return bench.replica.look(key, slot_of(key), bench.runtime.now())


def test_any_look_agrees_with_a_read() -> None:
    """Whatever was written, dropped, expired, lost or changed in policy before."""
    said = [0, 0, 0]
    for seed in range(60):
        chance, bench = random.Random(seed), Bench().lead()
        for _ in range(120):
            _happens(bench, chance)
            key = chance.choice(KEYS)
            found = look(bench, key)
            answer = bench.send(Get(key))
            said[2 if found is None else 1 if found else 0] += 1
            if found is not None:
                assert len(answer) == 1, "a look never says what a read would wait for"
                read = answer[0]
                assert isinstance(read, Value) and read.level == ReadLevel.LATEST
                assert read.value == (found.value if found else None)
    assert min(said) > 500, "all three were seen"


def _happens(bench: Bench, chance: random.Random) -> None:
    what, key = chance.randrange(12), chance.choice(KEYS)
    if what < 4:
        ttl_ms = chance.choice((None, None, 50, 500))
        tags = chance.choice((None, None, ("t",), ("t", "u")))
        bench.send(Set(key, b"%d" % chance.randrange(1000), ttl_ms=ttl_ms, tags=tags))
    elif what == 4:
        bench.send(Delete(key))
    elif what == 5:
        bench.send(Incr(key, 1))
    elif what == 6:
        bench.runtime.advance(chance.choice((0.02, 0.3)))
    elif what == 7:
        bench.replica.drop_tag("default", chance.choice("tu"), 1, lambda _said: None)
    elif what == 8:
        bench.follow(LATER if bench.policies is POLICIES else POLICIES)
    elif what == 9:
        bench.foreign_keys = {chance.choice(KEYS)} if chance.random() < 0.3 else set()
    elif what == 10 and chance.random() < 0.3:
        bench.group.lose("n1")
        bench.group.gain("n0")
    else:
        bench.settle()


@pytest.mark.replaces_methods
def test_a_look_that_only_asks_the_keyspace_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executor, "look", lambda ex, key, slot: ex.keyspace.get(key) or False)
    with pytest.raises(AssertionError):
        test_any_look_agrees_with_a_read()


def test_where_a_look_is_not_enough() -> None:
    bench = Bench()
    assert look(bench, b"a") is None, "it does not lead"
    bench.group.gain("n0")
    assert look(bench, b"a") is None, "it does not serve yet"
    bench.group.commit()
    assert look(bench, b"a") is False
    for key in (b"safe:a", b"strict:a", b"shown:a", b"", b"x" * (KEY_LIMIT_BYTES + 1)):
        assert look(bench, key) is None, key
    bench.foreign_keys.add(b"b")
    assert look(bench, b"b") is None, "the slot is another shard's"
    bench.group.confirmed = False
    assert look(bench, b"a") is None, "a quorum has been silent"


def test_namespaces_with_rates_are_charged_and_so_not_looked_at() -> None:
    limited = Namespaces(2, (*POLICIES.by_name.values(), Namespace("slow", 9, limits=Limits(operations_per_second=1))))
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1"))
    assert look(bench, b"a")
    bench.ask(Set(b"slow:a", b"1"))
    assert look(bench, b"slow:a"), "no such namespace yet"
    bench.follow(limited)
    bench.settle()
    assert look(bench, b"slow:a") is None
    assert look(bench, b"a"), "others are looked at all the same"


def test_looks_count_and_are_seen_among_hot_keys() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"123"))
    before = bench.replica.hotkeys.operations
    assert look(bench, b"a") and look(bench, b"b") is False
    assert (bench.replica.stats.hits["default"], bench.replica.stats.misses["default"]) == (1, 1)
    assert bench.replica.hotkeys.operations == before + 2


def test_a_key_whose_time_has_come_is_removed_by_the_look_that_finds_it() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", ttl_ms=100))
    assert look(bench, b"a")
    bench.runtime.advance(0.2)
    assert look(bench, b"a") is False
    assert bench.replica.keyspace.get(b"a") is None
    bench.settle()
    assert bench.replica.stats.expired == 1
