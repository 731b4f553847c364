"""A look says what a read would say, or nothing: it is refused wherever a read may have to wait, or to be refused.
Likewise the short ways of a write and of a counter."""

from __future__ import annotations

import random

import pytest
from shard_harness import POLICIES, Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Limits, LossWindow, Namespace
from raftcache.commands.types import (
    INT64_MAX,
    KEY_LIMIT_BYTES,
    VALUE_LIMIT_BYTES,
    AckLevel,
    Counted,
    Delete,
    Get,
    Incr,
    ReadLevel,
    Set,
    Value,
    Version,
    Written,
)
from raftcache.shard import pipeline
from raftcache.shard.joint import JointWrites
from raftcache.shard.moment import ShardMoment
from raftcache.store.entry import Looked
from raftcache.store.tenants import Tenant

KEYS = [b"a", b"b", b"c", b"safe:a", b"strict:a", b"brief:a", b"brief:b", b"shown:a", b"later:a"]
LATER = Namespaces(2, (*POLICIES.by_name.values(), Namespace("later", 9)))
FEWER = Namespaces(3, (Namespace("default", 1),))
"""All others are deleted: while that is under way the stricter of two policies holds for each, under default's id."""
TURNED = Namespaces(4, (Namespace("default", 1, ack=AckLevel.QUORUM), *list(POLICIES.by_name.values())[1:]))


def write(bench: Bench, key: bytes, value: bytes) -> Version | None:
    wrote = bench.write(key, value)
    assert not isinstance(wrote, JointWrites)
    return wrote


def look(bench: Bench, key: bytes) -> Looked:
    return bench.look(key)


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
        bench.follow(chance.choice((POLICIES, LATER, FEWER, TURNED)))
    elif what == 9:
        bench.foreign_keys = {chance.choice(KEYS)} if chance.random() < 0.3 else set()
    elif what == 10 and chance.random() < 0.3:
        bench.group.lose("n1")
        bench.group.gain("n0")
    else:
        bench.settle()


@pytest.mark.replaces_methods
def test_a_look_that_only_asks_the_keyspace_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardMoment, "look", lambda self, key, slot: self._executor.keyspace.get(key) or False)
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


def test_a_write_of_the_short_way_can_be_lost_and_is_reported() -> None:
    bench = Bench().lead()
    version = write(bench, b"a", b"1")
    assert version == Version("7c1f", bench.group.term, bench.replica._executor.seq)
    bench.group.lose("n1")
    assert bench.replica.keyspace.get(b"a") is None
    assert bench.replica._losses.waiting == 1, "until it is known whether it has survived"


def test_where_a_write_needs_a_command() -> None:
    bench = Bench()
    assert write(bench, b"a", b"1") is None, "it does not lead"
    bench.lead()
    for key in (b"safe:a", b"brief:a", b"", b"x" * (KEY_LIMIT_BYTES + 1)):
        assert write(bench, key, b"1") is None, key
    assert write(bench, b"a", b"x" * (VALUE_LIMIT_BYTES + 1)) is None
    assert write(bench, b"strict:a", b"1") and write(bench, b"shown:a", b"1"), "what reads may show is no matter"
    bench.foreign_keys.add(b"b")
    assert write(bench, b"b", b"1") is None, "the slot is another shard's"
    bench.replica._executor.blocked = {1}
    assert write(bench, b"a", b"1") is None, "a write is held, and comes first"
    bench.replica._executor.blocked = ()
    bench.budget.limit_bytes = bench.budget.used_bytes
    assert write(bench, b"a", b"1") is None, "room has to be made"
    bench.budget.limit_bytes = 1 << 30
    bench.group.confirmed = False
    assert write(bench, b"a", b"1") is None, "a quorum has been silent"


def test_a_write_that_the_loss_window_has_no_room_for_needs_a_command() -> None:
    narrow = Namespaces(2, (*POLICIES.by_name.values(), Namespace("few", 9, loss_window=LossWindow(writes=3))))
    bench = Bench(policies=narrow).lead()
    assert all(write(bench, b"few:%d" % number, b"1") for number in range(3))
    assert write(bench, b"few:3", b"1") is None
    answer = bench.ask(Set(b"few:3", b"1"))
    assert isinstance(answer, Written) and answer.ack == AckLevel.QUORUM


def test_full_pipelines_and_batches_are_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_SPECULATIVE_BYTES", 400)
    bench = Bench().lead()
    assert write(bench, b"a", b"x" * 400)
    assert write(bench, b"b", b"1") is None
    bench.settle()
    monkeypatch.setattr(pipeline, "MAX_SPECULATIVE_BYTES", 64 << 20)
    monkeypatch.setattr(pipeline, "MAX_BATCH_EFFECTS", 2)
    before = len(bench.group.log)
    assert all(write(bench, b"%d" % number, b"1") for number in range(6))
    bench.settle()
    assert len(bench.group.log) - before >= 3


def test_while_a_namespace_is_being_deleted_its_stricter_policy_holds() -> None:
    """Found in review: its prefix has the id of `default` then, which is plain, under a policy that is not."""
    bench = Bench().lead()
    bench.follow(FEWER)
    assert bench.replica.policies.in_force.resolve(b"safe:a").ack == AckLevel.QUORUM
    assert write(bench, b"safe:a", b"1") is None and bench.send(Set(b"safe:a", b"1")) == []
    assert look(bench, b"strict:a") is None and bench.send(Get(b"strict:a")) == []
    assert write(bench, b"brief:a", b"x" * 101) is None
    bench.settle()
    assert write(bench, b"safe:a", b"1") and look(bench, b"strict:a") is False


def _settled(bench: Bench) -> tuple[object, ...]:
    """All by which it can be told which way a write went, if it can: the log, the entries and the account."""
    bench.settle()
    entries = {key: bench.replica.keyspace.get(key) for key in bench.replica.keyspace.all_keys()}
    stats, used_bytes = bench.replica.stats, bench.budget.used_bytes
    return bench.group.log, entries, used_bytes, stats.sets, stats.undone_writes


def test_any_writes_agree_with_commands() -> None:
    """Whatever happens between them, it makes no difference which way a plain write goes: with and without the short
    one a seed has the same answers, the same log, the same entries and the same account."""
    for seed in range(60):
        told = []
        for short in (True, False):
            chance, bench = random.Random(seed), Bench().lead()
            answers: list[object] = []
            for number in range(100):
                key, value = chance.choice(KEYS), b"%d" % number
                version = write(bench, key, value) if short else None
                if version is not None:
                    assert bench.replica.keyspace.get(key).value == value
                    answers.append([Written(True, version, None, AckLevel.PRIMARY)])
                else:
                    answers.append(bench.send(Set(key, value)))
                _happens(bench, chance)
            told.append((answers, *_settled(bench)))
        assert told[0] == told[1], seed


def test_a_refusal_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_SPECULATIVE_BYTES", 400)
    bench = Bench().lead()
    bench.ask(Set(b"old", b"1", ttl_ms=50))
    assert write(bench, b"a", b"x" * 400)
    bench.runtime.advance(0.1)
    assert write(bench, b"b", b"1") is None and look(bench, b"old") is None
    bench.send(Set(b"b", b"1"))
    assert bench.replica.stats.overloaded == {"speculative bytes": 1}


def test_any_counters_agree_with_commands() -> None:
    """As for plain writes. Between them are counters that live for a while, have tags, are no integers, or overflow."""
    short_ways = 0
    for seed in range(80):
        told = []
        for short in (True, False):
            chance, bench = random.Random(seed), Bench().lead()
            answers: list[object] = []
            for _ in range(100):
                key, delta = chance.choice(KEYS), chance.choice((1, 1, -1, 7, INT64_MAX))
                added = bench.add(key, delta) if short else None
                if added is not None:
                    value, version = added
                    entry = bench.replica.keyspace.get(key)
                    assert entry is not None and entry.value == b"%d" % value
                    answers.append([Counted(value, version, entry.expires_ms or None, AckLevel.PRIMARY)])
                    short_ways += 1
                else:
                    answers.append(bench.send(Incr(key, delta)))
                _happens(bench, chance)
                if chance.random() < 0.05:
                    bench.send(Set(chance.choice(KEYS), chance.choice((b"x", b"", b"007", b"%d" % INT64_MAX))))
            told.append((answers, *_settled(bench)))
        assert told[0] == told[1], seed
    assert short_ways > 1000


def test_where_a_counter_needs_a_command() -> None:
    bench = Bench()
    assert bench.add(b"a", 1) is None, "it does not lead"
    bench.lead()
    for key in (b"safe:a", b"brief:a", b"", b"x" * (KEY_LIMIT_BYTES + 1)):
        assert bench.add(key, 1) is None, key
    assert bench.add(b"strict:a", 1) is None and bench.add(b"shown:a", 1) is None, "its value may not be shown yet"
    for value in (b"x", b"", b"%d" % INT64_MAX):
        bench.ask(Set(b"a", value))
        assert bench.add(b"a", 1) is None, value
    bench.ask(Set(b"a", b"5", tags=("t",)))
    assert bench.add(b"a", 1) is None, "its tags have to be kept"
    bench.foreign_keys.add(b"b")
    assert bench.add(b"b", 1) is None, "the slot is another shard's"
    bench.replica._executor.blocked = {1}
    assert bench.add(b"c", 1) is None, "a write is held, and comes first"
    bench.replica._executor.blocked = ()
    bench.budget.limit_bytes = bench.budget.used_bytes
    assert bench.add(b"c", 1) is None, "room has to be made"
    bench.budget.limit_bytes = 1 << 30
    assert bench.add(b"c", 1)
    bench.group.confirmed = False
    assert bench.add(b"c", 1) is None, "a quorum has been silent"


def test_a_counter_that_the_loss_window_has_no_room_for_needs_a_command() -> None:
    narrow = Namespaces(2, (*POLICIES.by_name.values(), Namespace("few", 9, loss_window=LossWindow(writes=3))))
    bench = Bench(policies=narrow).lead()
    assert [added and added[0] for added in (bench.add(b"few:n", 1) for _ in range(4))] == [1, 2, 3, None]
    answer = bench.ask(Incr(b"few:n", 1))
    assert isinstance(answer, Counted) and (answer.value, answer.ack) == (4, AckLevel.QUORUM)


def test_a_counter_lives_as_long_as_it_did_and_is_a_new_one_afterwards() -> None:
    bench = Bench().lead()
    first = bench.ask(Incr(b"a", 5, ttl_ms=100))
    assert bench.add(b"a", 1) is not None
    entry = bench.replica.keyspace.get(b"a")
    assert entry is not None and (entry.value, entry.expires_ms) == (b"6", first.expires_at_ms)
    bench.runtime.advance(0.2)
    added = bench.add(b"a", 1)
    entry = bench.replica.keyspace.get(b"a")
    assert added is not None and added[0] == 1 and entry is not None and entry.expires_ms == 0
    assert bench.replica.stats.expired == 1


def test_counters_of_the_short_way_are_seen_among_hot_keys() -> None:
    bench = Bench().lead()
    before = bench.replica.hotkeys.operations
    assert bench.add(b"a", 1) and bench.replica.hotkeys.operations == before + 1


@pytest.mark.replaces_methods
def test_one_incr_is_one_use_of_a_counter_whichever_way_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in review: the short way had looked, and counted that, before it gave up on a counter with tags."""
    uses: list[bytes] = []
    monkeypatch.setattr(Tenant, "read", lambda self, key, now_ms: uses.append(key))
    bench = Bench(limit_bytes=40_000).lead()
    for number in range(120):
        bench.ask(Set(b"f%d" % number, b"x"))
    bench.ask(Set(b"tagged", b"1", tags=("t",)))
    bench.ask(Set(b"plain", b"1"))
    bench.runtime.advance(2)
    assert any(tenant.kind is not None for tenant in bench.replica.keyspace.tenants.by_id.values())
    uses.clear()
    for key in (b"plain", b"tagged"):
        assert (bench.add(key, 1) is None) == (key == b"tagged")
        if key == b"tagged":
            bench.ask(Incr(key, 1))
    assert uses == [b"plain", b"tagged"]
