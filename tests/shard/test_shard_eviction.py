"""Quotas, evictions and the node's memory at one shard."""

from __future__ import annotations

import random
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_harness import Bench, follower_of

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import SHARES_WHOLE, Admission, Eviction, Limits, Namespace
from raftcache.commands.types import Delete, Expire, Get, Incr, Set
from raftcache.shard.eviction import VICTIMS_PER_WRITE
from raftcache.shard.sweep import SWEEP_INTERVAL_S
from raftcache.shard.upkeep import quota_of
from raftcache.store.effects import EVICT, READS, decode_batch
from raftcache.store.entry import entry_bytes

MIB = 1 << 20


def spaces(*namespaces: Namespace, epoch: int = 1) -> Namespaces:
    return Namespaces(epoch, (Namespace("default", 1), *namespaces))


def lru(name: str = "q", id_: int = 2, eviction: Eviction = Eviction.LRU, **limits: int) -> Namespace:
    return Namespace(name, id_, limits=Limits(**limits), eviction=eviction)


def bench_with(*namespaces: Namespace, **options: int) -> Bench:
    return Bench(policies=spaces(*namespaces), **options).lead()


def fill(bench: Bench, number: int, name: str = "q", size_bytes: int = 10) -> None:
    for n in range(number):
        bench.send(Set(b"%s:%05d" % (name.encode(), n), b"x" * size_bytes))
        if size_bytes > 1000:
            bench.settle()
    bench.settle()


def keys(bench: Bench) -> list[bytes]:
    return bench.replica.keyspace.all_keys()


def numbers(bench: Bench) -> list[int]:
    return [int(key[2:]) for key in keys(bench)]


# -- quotas --------------------------------------------------------------------------------------


def test_a_namespace_keeps_its_quota_of_items_and_loses_the_oldest() -> None:
    bench = bench_with(lru(quota_items=10))
    fill(bench, 25)
    assert numbers(bench) == [*range(15, 25)]
    assert bench.replica.stats.evicted == {("q", "quota_items"): 15}
    bench.settle()
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_at_no_step_is_more_in_use_than_the_quota() -> None:
    bench = bench_with(lru(quota_bytes=MIB))
    dice = random.Random(3)
    tenant = bench.replica.keyspace.tenants.get(2)
    for n in range(3000):
        bench.send(Set(b"q:%d" % dice.randrange(900), b"x" * dice.randrange(6000)))
        assert tenant.bytes <= MIB
        if n % 50 == 0:
            bench.settle()
    assert tenant.bytes > MIB * 0.97 and bench.replica.stats.evicted["q", "quota_bytes"] > 500


def test_nobody_else_loses_a_key() -> None:
    bench = bench_with(lru(quota_items=5), lru("other", 3))
    fill(bench, 30, "other")
    fill(bench, 50)
    assert sum(key.startswith(b"other:") for key in keys(bench)) == 30


def test_what_was_read_stays() -> None:
    bench = bench_with(lru(quota_items=10))
    fill(bench, 10)
    bench.runtime.advance(SWEEP_INTERVAL_S)
    assert bench.ask(Get(b"q:00000")).value is not None
    bench.send(Set(b"q:00010", b""))
    assert numbers(bench) == [0, *range(2, 11)]


def test_who_evicts_nothing_is_refused_and_may_still_write_over() -> None:
    bench = bench_with(lru(eviction=Eviction.NONE, quota_items=3))
    fill(bench, 3)
    refused = bench.ask(Set(b"q:00003", b""))
    assert refused.code == "quota_exceeded" and "3 items" in refused.message and refused.details["namespace"] == "q"
    assert bench.ask(Set(b"q:00001", b"y" * 500)).written
    assert bench.ask(Incr(b"q:n")).code == "quota_exceeded"
    assert bench.ask(Delete(b"q:00001")).written
    assert bench.ask(Incr(b"q:n")).value == 1


def test_an_item_beyond_the_whole_part_is_refused_and_evicts_nothing() -> None:
    bench = bench_with(lru(quota_bytes=MIB))
    fill(bench, 5)
    refused = bench.ask(Set(b"q:big", b"x" * MIB))
    assert refused.code == "quota_exceeded" and f"part is {MIB}" in refused.message
    assert len(keys(bench)) == 5


def test_a_value_that_needs_the_room_of_too_many_comes_through_at_a_later_try() -> None:
    bench = bench_with(lru(quota_bytes=MIB))
    fill(bench, 4500)
    tries = next(n for n in count(1) if n > 50 or not hasattr(bench.ask(Set(b"q:big", b"x" * 900_000)), "code"))
    assert 2 < tries < 50
    assert bench.replica.stats.overloaded["eviction"] == tries - 1
    assert bench.replica.stats.evicted["q", "quota_bytes"] >= (tries - 1) * VICTIMS_PER_WRITE


def test_the_key_that_is_written_may_be_its_own_victim() -> None:
    bench = bench_with(lru(quota_bytes=MIB))
    bench.send(Set(b"q:a", b"x" * 700_000))
    bench.send(Set(b"q:b", b"x" * 300_000))
    assert bench.ask(Set(b"q:a", b"x" * 1_000_000)).written
    assert keys(bench) == [b"q:a"]


def test_longer_times_to_live_and_counters_need_room_too() -> None:
    bench = bench_with(lru(quota_items=2))
    fill(bench, 2)
    assert bench.ask(Incr(b"q:n")).value == 1
    assert keys(bench) == [b"q:00001", b"q:n"]
    assert bench.ask(Expire(b"q:n", 1000)).written and len(keys(bench)) == 2


def test_a_quota_that_is_lowered_is_come_down_to_in_the_background() -> None:
    bench = bench_with(lru(quota_items=1000))
    fill(bench, 1000)
    bench.follow(spaces(lru(quota_items=100), epoch=2))
    for _ in range(20):
        bench.runtime.advance(SWEEP_INTERVAL_S)
        bench.settle()
    assert numbers(bench) == [*range(900, 1000)]


def test_an_expired_key_counts_as_expired() -> None:
    bench = bench_with(lru(quota_items=1))
    bench.send(Set(b"q:a", b"", ttl_ms=10))
    bench.runtime.now_s += 1
    bench.send(Set(b"q:b", b""))
    assert bench.replica.stats.expired == 1 and not bench.replica.stats.evicted


def test_what_an_invalidation_dropped_counts_with_nobodys_quota() -> None:
    bench = bench_with(lru(quota_items=5))
    fill(bench, 5)
    bench.follow(spaces(Namespace("q", 9, origin=2, limits=Limits(quota_items=5)), epoch=2))
    for n in range(5):
        assert bench.ask(Set(b"q:new%d" % n, b"")).written
    assert not bench.replica.stats.evicted


@pytest.mark.parametrize(
    ("place", "shares", "part"),
    [((0, 3), (), 4), ((2, 3), (), 3), ((0, 0), (), 10), ((1, 2), (2000, 8000), 8), ((1, 3), (2000, 8000), 3)],
)
def test_the_part_of_a_shard(place: tuple[int, int], shares: tuple[int, ...], part: int) -> None:
    assert quota_of(Namespace("q", 2, limits=Limits(quota_items=10), shares=shares), place) == (None, part)


@given(st.integers(1, 1 << 40), st.integers(1, 300), st.lists(st.integers(1, 100), min_size=1, max_size=40))
def test_parts_never_add_up_to_more_than_the_quota(quota: int, shards: int, weights: list[int]) -> None:
    even = Namespace("q", 2, limits=Limits(quota_items=quota))
    assert sum(quota_of(even, (n, shards))[1] or 0 for n in range(shards)) == quota
    shares = tuple(SHARES_WHOLE * weight // sum(weights) for weight in weights)
    split = Namespace("q", 2, limits=Limits(quota_items=quota), shares=shares)
    assert sum(quota_of(split, (n, len(shares)))[1] or 0 for n in range(len(shares))) <= quota


# -- failovers -----------------------------------------------------------------------------------


def test_an_eviction_that_is_undone_gives_back_key_and_room() -> None:
    bench = bench_with(lru(quota_items=3))
    fill(bench, 3)
    before = bench.replica.digest()
    for n in range(3, 6):
        bench.send(Set(b"q:%05d" % n, b""))
    assert numbers(bench) == [3, 4, 5]
    bench.group.truncate(bench.group.applied)
    bench.group.lose()
    assert numbers(bench) == [0, 1, 2] and bench.replica.digest() == before
    tenant = bench.replica.keyspace.tenants.get(2)
    assert tenant.items == 3 and tenant.order is not None and len(tenant.order) == 3


def test_a_new_leader_knows_what_was_read_at_the_old_one() -> None:
    bench = bench_with(lru(quota_items=10))
    fill(bench, 10)
    bench.runtime.advance(SWEEP_INTERVAL_S)
    for n in (1, 0):
        bench.ask(Get(b"q:%05d" % n))
    bench.runtime.advance(1.2)
    bench.settle()
    effects = [effect for _, payload in bench.group.log for effect in decode_batch(payload).effects]
    assert [effect for effect in effects if effect[0] == READS] == [[READS, 2, [b"q:00001", b"q:00000"], [1, 1]]]
    other = Bench(policies=bench.first_policies, node_id="n1")
    other.group.log = [*bench.group.log]
    other.group.commit(bench.group.applied - 1)
    other.runtime.advance(1)
    other.group.commit(bench.group.applied)
    other.group.term = bench.group.term
    other.lead()
    for n in range(10, 18):
        other.send(Set(b"q:%05d" % n, b""))
    assert numbers(other) == [0, 1, *range(10, 18)]


def test_followers_evict_nothing_of_their_own() -> None:
    bench = bench_with(lru(quota_items=10))
    fill(bench, 25)
    other = follower_of(bench)
    other.runtime.advance(2)
    assert numbers(other) == numbers(bench)
    effects = [effect[0] for _, payload in bench.group.log for effect in decode_batch(payload).effects]
    assert effects.count(EVICT) == 15


def test_a_replica_filled_from_a_snapshot_knows_the_order_of_last_writes() -> None:
    bench = bench_with(lru(quota_items=20_000))
    fill(bench, 12_000)
    blocks = [*bench.replica.snapshot_blocks()]
    other = Bench(policies=bench.first_policies, node_id="n1")
    other.replica.install(other.replica.prepare_restore(blocks), bench.group.applied, 1)
    other.runtime.advance(1)
    tenant = other.replica.keyspace.tenants.get(2)
    assert tenant.order is not None and len(tenant.order) == 12_000
    assert tenant.bytes == sum(entry_bytes(*row) for n in range(1024) for row in other.replica.keyspace.rows_of_page(n))
    first = [int(key[2:]) for key in tenant.order.victims(0, 500, 0, 500)]
    assert max(first) < 5000, "some of the oldest group of versions"


def test_a_change_of_policy_rebuilds_the_order_while_writes_go_on() -> None:
    bench = bench_with(lru(quota_items=10_000))
    fill(bench, 9000)
    bench.follow(spaces(lru(eviction=Eviction.LFU, quota_items=10_000), epoch=2))
    tenant = bench.replica.keyspace.tenants.get(2)
    assert tenant.order is None
    fill(bench, 500)
    for n in range(1500):
        bench.send(Set(b"q:more%d" % n, b""))
    assert tenant.items <= 10_000, "without an order any of its keys goes"
    bench.runtime.advance(2)
    assert tenant.order is not None and len(tenant.order) == tenant.items == 10_000


# -- the node's memory ---------------------------------------------------------------------------


def test_near_the_limit_the_heaviest_for_its_weight_gives_way() -> None:
    light = Namespace("light", 2, limits=Limits(weight=300))
    heavy = Namespace("heavy", 3, limits=Limits(weight=100))
    bench = bench_with(light, heavy, limit_bytes=2 * MIB)
    fill(bench, 40, "heavy", 20_000)
    fill(bench, 40, "light", 20_000)
    fill(bench, 160, "light", 20_000)
    parts = {name: sum(key.startswith(name) for key in keys(bench)) for name in (b"light", b"heavy")}
    assert bench.budget.settled_bytes <= bench.budget.mark_bytes
    assert 2.5 <= parts[b"light"] / parts[b"heavy"] <= 3.6
    assert bench.replica.stats.evicted["heavy", "node_memory"] > 10


def test_who_evicts_nothing_gives_nothing_up_and_is_refused_at_the_limit() -> None:
    bench = bench_with(Namespace("kept", 2, eviction=Eviction.NONE), limit_bytes=MIB)
    fill(bench, 60, "kept", 20_000)
    assert bench.ask(Set(b"kept:more", b"x" * 20_000)).code == "memory_full"
    assert not bench.replica.stats.evicted


def test_memory_of_what_is_not_committed_is_no_reason_to_give_up_for_good() -> None:
    bench = bench_with(lru(), limit_bytes=MIB)
    answers = [bench.send(Set(b"q:a", b"x" * 100_000))[0] for _ in range(8)]
    assert "overloaded" in {getattr(answer, "code", "") for answer in answers}
    assert bench.replica.stats.overloaded["uncommitted memory"]
    bench.settle()
    assert bench.ask(Set(b"q:a", b"x" * 100_000)).written


# -- the accounts --------------------------------------------------------------------------------

KEY = st.integers(0, 12).map(lambda n: b"q:%d" % n)
CALLS = st.lists(
    st.one_of(
        st.builds(Set, KEY, st.binary(max_size=40), ttl_ms=st.sampled_from([None, 500])),
        st.builds(Delete, KEY),
        st.builds(Incr, KEY),
        st.builds(Get, KEY),
        st.sampled_from(["settle", "advance", "lose", "invalidate"]),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(CALLS, st.sampled_from(Eviction), st.sampled_from(Admission))
def test_the_accounts_are_exact_after_any_calls(calls: list[object], eviction: Eviction, admission: Admission) -> None:
    space = Namespace("q", 2, limits=Limits(quota_items=6), eviction=eviction, admission=admission)
    bench = bench_with(space)
    for number, call in enumerate(calls):
        if call == "settle":
            bench.settle()
        elif call == "advance":
            bench.runtime.advance(0.4)
        elif call == "lose":
            bench.group.truncate(bench.group.applied)
            bench.group.lose()
            bench.lead()
        elif call == "invalidate":
            newer = Namespace("q", 10 + number, origin=2, limits=space.limits, eviction=eviction, admission=admission)
            bench.follow(spaces(newer, epoch=2 + number))
        else:
            bench.send(call)
        _hold_accounts(bench)


def _hold_accounts(bench: Bench) -> None:
    keyspace = bench.replica.keyspace
    rows = [row for page in range(1024) for row in keyspace.rows_of_page(page)]
    ids = {entry.namespace_id for _, entry in rows}
    for id_, tenant in keyspace.tenants.by_id.items():
        mine = [row for row in rows if row[1].namespace_id == id_]
        assert (tenant.items, tenant.bytes) == (len(mine), sum(entry_bytes(*row) for row in mine))
        assert tenant.expiring == sum(entry.expires_ms > 0 for _, entry in mine)
        if tenant.order is not None:
            assert len(tenant.order) == tenant.items and tenant.order.used_bytes == tenant.bytes
            assert all(key in tenant.order for key, _ in mine)
    assert ids <= keyspace.tenants.by_id.keys()
    assert keyspace.used_bytes == sum(entry_bytes(*row) for row in rows)
    current = bench.replica.policies.in_force.by_name["q"]
    assert keyspace.tenants.get(current.id).items <= 6
