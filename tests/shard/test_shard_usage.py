"""How a leader says a key is used: by its eviction's order, without that counting as a use."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from shard_harness import Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Admission, Eviction, Limits, Namespace
from raftcache.commands.types import Delete, Failure, Get, Many, ReadLevel, Set, Transaction, Usage, Used
from raftcache.routing.retry import is_read


def bench_with(eviction: Eviction, admission: Admission = Admission.ALL, level: ReadLevel | None = None) -> Bench:
    limits = Limits(quota_items=10)
    space = Namespace("q", 2, read_level=level, limits=limits, eviction=eviction, admission=admission)
    return Bench(policies=Namespaces(1, (Namespace("default", 1), space))).lead()


def key(number: int) -> bytes:
    return b"q:%d" % number


def fill(bench: Bench, count: int) -> None:
    for number in range(count):
        bench.ask(Set(key(number), b"v"))


def pressed(eviction: Eviction, admission: Admission = Admission.ALL, level: ReadLevel | None = None) -> Bench:
    """One with an order, of eight keys."""
    bench = bench_with(eviction, admission, level)
    fill(bench, 8)
    bench.runtime.advance(1.5)
    return bench


def test_lru_knows_when_a_key_was_used_last() -> None:
    bench = pressed(Eviction.LRU)
    bench.ask(Set(key(0), b"w"))
    bench.runtime.advance(7)
    bench.ask(Get(key(1)))
    bench.runtime.advance(20)
    told = [bench.ask(Usage(key(number))) for number in (0, 1)]
    assert told == [Used(True, "lru", "all", None, 27), Used(True, "lru", "all", None, 20)]
    assert bench.ask(Usage(b"q:none")) == Used(False, "lru", "all")


def test_lrm_knows_when_a_key_was_written_last() -> None:
    bench = pressed(Eviction.LRM)
    bench.ask(Set(key(0), b"w"))
    bench.runtime.advance(7)
    bench.ask(Get(key(0)))
    bench.runtime.advance(20)
    assert bench.ask(Usage(key(0))) == Used(True, "lrm", "all", None, 27)


def test_lfu_counts_uses_and_lets_them_fade() -> None:
    bench = pressed(Eviction.LFU)
    assert bench.ask(Usage(key(0))).frequency == 5
    bench.ask(Get(key(0)))
    assert bench.ask(Usage(key(0))) == Used(True, "lfu", "all", 6)
    bench.runtime.advance(180)
    assert bench.ask(Usage(key(0))).frequency == 3


@pytest.mark.parametrize("eviction", [Eviction.LRU, Eviction.LFU, Eviction.TTL])
def test_tinylfu_estimates_in_front_of_any_order(eviction: Eviction) -> None:
    bench = pressed(eviction, Admission.TINYLFU)
    before = [bench.ask(Usage(key(number))).frequency for number in range(8)]
    for number in range(8):
        for _ in range(number % 4):
            bench.ask(Get(key(number)))
    told = [bench.ask(Usage(key(number))) for number in range(8)]
    assert [used.frequency - was for used, was in zip(told, before, strict=True)] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert all((used.idle_s is not None) == (eviction is Eviction.LRU) for used in told), "in the window and behind it"


@pytest.mark.parametrize("eviction", [Eviction.TTL, Eviction.RANDOM, Eviction.S3FIFO, Eviction.NONE])
def test_others_keep_neither(eviction: Eviction) -> None:
    assert pressed(eviction).ask(Usage(key(0))) == Used(True, eviction.value, "all")


def test_nothing_is_kept_below_half_of_a_quota() -> None:
    bench = bench_with(Eviction.LRU)
    fill(bench, 4)
    bench.runtime.advance(1.5)
    assert bench.ask(Usage(key(0))) == Used(True, "lru", "all")
    assert bench.ask(Usage(b"no-quota")) == Used(False, "lru", "all")


@pytest.mark.parametrize("eviction", [Eviction.LRU, Eviction.LFU, Eviction.S3FIFO])
@pytest.mark.parametrize("admission", Admission)
def test_asking_is_no_use(eviction: Eviction, admission: Admission) -> None:
    """What is evicted afterwards is what would be evicted had nobody asked; and nothing is counted or told on."""
    gone = []
    for asks in (0, 30):
        bench = pressed(eviction, admission)
        counted = dict(bench.replica.stats.hits), dict(bench.replica.stats.misses)
        for number in [0, 1, 99] * asks:
            bench.ask(Usage(key(number)))
        assert counted == (dict(bench.replica.stats.hits), dict(bench.replica.stats.misses))
        assert bench.replica.keyspace.tenants.get(2).reads.take() == {}
        for number in range(8, 14):
            bench.ask(Set(key(number), b"v"))
        gone.append(bench.replica.keyspace.all_keys())
    assert gone[0] == gone[1]
    bench = pressed(Eviction.LRU)
    bench.runtime.advance(9)
    assert bench.ask(Usage(key(0))).idle_s == bench.ask(Usage(key(0))).idle_s >= 9


def test_a_policy_that_is_changed_begins_anew() -> None:
    bench = pressed(Eviction.LFU)
    bench.runtime.advance(100)
    space = replace(bench.policies.by_name["q"], eviction=Eviction.LRU)
    bench.follow(Namespaces(2, (Namespace("default", 1), space)))
    bench.settle()
    bench.runtime.advance(5)
    used = bench.ask(Usage(key(0)))
    assert used.eviction == "lru" and 4 <= used.idle_s <= 6, "what was before its order counts as of then"


def test_a_replica_that_was_filled_from_a_snapshot_knows_what_time_it_is() -> None:
    """Its order is made before anything is applied, of keys that were used when the snapshot says it is."""
    bench = pressed(Eviction.LRU)
    blocks = [*bench.replica.snapshot_blocks()]
    other = Bench(policies=bench.first_policies, node_id="n1")
    other.runtime.now_s = bench.runtime.now_s + 60
    other.replica.install(other.replica.prepare_restore(blocks), bench.group.applied, 1)
    other.group.term = bench.group.term
    other.lead()
    assert 59 <= other.ask(Usage(key(0))).idle_s <= 62


@pytest.mark.parametrize("level", [ReadLevel.LATEST, ReadLevel.COMMITTED, ReadLevel.LINEARIZABLE])
def test_what_may_be_lost_is_not_shown(level: ReadLevel) -> None:
    bench = pressed(Eviction.LRU, level=level)
    bench.send(Delete(key(0)))
    replies = bench.send(Usage(key(0)))
    assert (replies == [Used(False, "lru", "all")]) is (level == ReadLevel.LATEST)
    bench.settle()
    assert replies == [Used(False, "lru", "all")]
    bench.group.lose()
    assert bench.send(Usage(key(0)))[0].code == "not_leader"  # type: ignore[union-attr]


def test_an_expired_key_is_not_there() -> None:
    bench = pressed(Eviction.LRU)
    bench.ask(Set(key(0), b"v", ttl_ms=500))
    bench.runtime.advance(2)
    assert not bench.ask(Usage(key(0))).exists


def test_it_is_a_read_like_others() -> None:
    assert is_read(Usage(b"a")) and is_read(Transaction((Usage(b"a"), Get(b"a"))))
    assert not is_read(Transaction((Usage(b"a"), Set(b"a", b"v"))))
    bench = pressed(Eviction.LRU)
    both = bench.ask(Transaction((Set(key(0), b"w"), Usage(key(0)), Usage(b""))))
    assert isinstance(both, Many) and both.items[1] == Used(True, "lru", "all", None, 0)
    assert isinstance(both.items[2], Failure)
