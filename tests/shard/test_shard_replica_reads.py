"""Reads that any replica may answer: from committed state, with its age, and never older than the read takes."""

from __future__ import annotations

from typing import Any

import pytest
from shard_harness import POLICIES, Bench, follower_of

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.types import (
    Delete,
    Failure,
    Get,
    MultiGet,
    ReadLevel,
    Reply,
    Set,
    Value,
    Version,
)
from raftcache.shard import replica_reads
from raftcache.shard.replica_reads import PATIENCE_S
from raftcache.store.effects import LEADER_STARTED, PUT, Batch, encode_batch

REPLICA = ReadLevel.REPLICA


def read(key: bytes = b"k", **options: Any) -> Get:
    return Get(key, replica=True, **options)


def version(seq: int, term: int = 1, shard: str = "7c1f") -> Version:
    return Version(shard, term, seq)


def code_of(replies: list[Reply]) -> str:
    (reply,) = replies
    assert isinstance(reply, Failure), reply
    return reply.code


def pair() -> tuple[Bench, Bench]:
    """A leader with one committed write, and its follower."""
    leader = Bench().lead()
    leader.ask(Set(b"k", b"1"))
    follower = follower_of(leader)
    follower.group.leader, follower.group.staleness = "n0", 40
    return leader, follower


def catch_up(leader: Bench, follower: Bench) -> None:
    leader.settle()
    follower.group.log = list(leader.group.log)
    follower.group.commit(leader.group.applied)
    follower.runtime.turn()


def test_a_follower_answers_from_its_committed_state() -> None:
    _, follower = pair()
    assert follower.send(read()) == [Value(b"1", 0, version(2), None, REPLICA, 40)]
    assert follower.send(read(b"none")) == [Value(None, 0, version(2), None, REPLICA, 40)]
    assert follower.replica.stats.replica_reads == 2
    assert code_of(follower.send(Get(b"k"))) == "not_leader", "other reads are for the leader"


def test_how_old_is_not_known_is_not_answered_and_names_the_leader() -> None:
    _, follower = pair()
    follower.group.staleness = None
    (reply,) = follower.send(read())
    assert isinstance(reply, Failure) and reply.code == "too_stale"
    assert reply.details == {"leader": "n0", "term": 0}


def test_one_older_than_the_read_takes_is_refused() -> None:
    _, follower = pair()
    assert code_of(follower.send(read(max_staleness_ms=39))) == "too_stale"
    assert len(follower.send(read(max_staleness_ms=40))) == 1 and follower.replica.stats.rejected == {"too_stale": 1}


def test_an_unwanted_replica_read_is_a_bad_request_there_too() -> None:
    _, follower = pair()
    assert code_of(follower.send(read(b"safe:k"))) == "bad_request"
    assert code_of(follower.send(read(b""))) == "invalid_key"
    follower.foreign_keys.add(b"k")
    assert code_of(follower.send(read())) == "wrong_shard"


def test_an_entry_of_another_namespace_is_a_miss() -> None:
    leader, follower = pair()
    leader.ask(Set(b"shown:k", b"1"))
    leader.follow(Namespaces(2, tuple(ns for ns in POLICIES.by_name.values() if ns.name != "shown"))).settle()
    catch_up(leader, follower)
    assert follower.send(read(b"shown:k")) == [Value(None, 0, version(4), None, REPLICA, 40)]


def test_a_followers_time_is_no_less_than_the_newest_batchs_and_what_passed_since() -> None:
    leader, follower = pair()
    leader.runtime.now_s += 500
    leader.ask(Set(b"k", b"1", ttl_ms=1000))
    catch_up(leader, follower)
    (reply,) = follower.send(read())
    assert isinstance(reply, Value) and reply.ttl_ms == 1000
    follower.runtime.now_s += 0.4
    (reply,) = follower.send(read())
    assert isinstance(reply, Value) and reply.ttl_ms == 600
    follower.runtime.now_s += 0.6
    (reply,) = follower.send(read())
    assert isinstance(reply, Value) and reply.value is None


def test_a_deposed_leaders_time_goes_on_where_it_was() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"1", ttl_ms=1000))
    bench.runtime.now_s += 0.9
    bench.group.lose("n1")
    (reply,) = bench.send(read())
    assert isinstance(reply, Value) and reply.ttl_ms == 100


# -- min_version -----------------------------------------------------------------------------------


def test_a_version_that_has_not_come_is_waited_for() -> None:
    leader, follower = pair()
    leader.ask(Set(b"k", b"2"))
    replies = follower.send(read(min_version=version(3)))
    assert replies == [] and follower.replica.replica_reads.parked == 1
    catch_up(leader, follower)
    assert replies == [Value(b"2", 0, version(3), None, REPLICA, 40)]
    assert follower.replica.replica_reads.parked == 0


def test_patience_ends_and_sends_the_read_on() -> None:
    _, follower = pair()
    first = follower.send(read(min_version=version(3)))
    follower.runtime.advance(PATIENCE_S / 2)
    second = follower.send(read(min_version=version(1, 9)))
    follower.runtime.advance(PATIENCE_S / 2 + 0.001)
    assert code_of(first) == "too_stale" and second == []
    follower.runtime.advance(PATIENCE_S)
    assert code_of(second) == "too_stale"


def test_reads_that_wait_are_bounded_and_end_with_the_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_reads, "MAX_PARKED", 2)
    _, follower = pair()
    waiting = [follower.send(read(min_version=version(9))) for _ in range(2)]
    assert code_of(follower.send(read(min_version=version(9)))) == "too_stale"
    assert follower.replica.stats.overloaded["parked replica reads"] == 1
    follower.replica.close()
    assert [code_of(replies) for replies in waiting] == ["too_stale"] * 2


def test_versions_of_closed_terms_are_held_or_lost_for_good() -> None:
    leader, follower = pair()
    leader.send(Set(b"k", b"lost"))
    leader.group.lose()
    leader.lead()
    leader.ask(Set(b"k", b"2"))
    catch_up(leader, follower)
    assert len(follower.send(read(min_version=version(2)))) == 1
    for bench in (leader, follower):
        (reply,) = bench.send(read(min_version=version(3)))
        assert isinstance(reply, Failure) and reply.code == "version_lost" and reply.details == {"version": "v7c1f.1.3"}
    assert isinstance(follower.send(read(min_version=version(2, 2)))[0], Value)


def test_a_version_whose_loss_becomes_known_while_it_is_waited_for() -> None:
    _, follower = pair()
    replies = follower.send(read(min_version=version(3)))
    follower.group.append_foreign(2, encode_batch(Batch(2, 1, 0, [(LEADER_STARTED, "n2")])))
    follower.group.commit()
    follower.runtime.turn()
    assert code_of(replies) == "version_lost"


def test_another_shards_version_is_a_bad_request() -> None:
    leader, follower = pair()
    for bench in (leader, follower):
        (reply,) = bench.send(read(min_version=version(1, shard="other")))
        assert isinstance(reply, Failure) and reply.code == "bad_request" and "minVersion" in reply.message


# -- at the leader ---------------------------------------------------------------------------------


def test_the_leader_shows_only_what_is_committed() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"1"))
    bench.group.staleness = 7
    assert bench.send(read()) == [Value(b"1", 0, version(2), None, REPLICA, 7)]
    bench.send(Delete(b"k"))
    bench.runtime.turn()
    replies = bench.send(read())
    assert replies == [] and len(bench.send(read(b"none"))) == 1
    bench.runtime.now_s += 0.0195
    bench.settle()
    assert replies == [Value(None, 0, version(3), None, REPLICA, 27)], "it has grown older while it waited"


def test_the_leader_removes_nothing_for_it() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"1", ttl_ms=10))
    bench.runtime.now_s += 0.02
    (reply,) = bench.send(read())
    assert isinstance(reply, Value) and reply.value is None and bench.replica.pipeline.writes == 0


def test_a_speculative_min_version_is_waited_for_and_a_future_one_refused() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"1"))
    bench.send(Set(b"other", b"2"))
    replies = bench.send(read(min_version=version(3)))
    assert replies == [] and len(bench.send(read(min_version=version(2)))) == 1
    assert code_of(bench.send(read(min_version=version(4)))) == "bad_request"
    assert code_of(bench.send(read(min_version=version(1, 5)))) == "too_stale"
    bench.settle()
    assert replies == [Value(b"1", 0, version(2), None, REPLICA, 0)]


def test_the_later_of_two_batches_counts() -> None:
    bench = Bench().lead()
    bench.send(Set(b"k", b"1"))
    bench.runtime.turn()
    bench.send(Set(b"other", b"2"))
    bench.runtime.turn()
    by_version, by_key = bench.send(read(min_version=version(3))), bench.send(read(b"other", min_version=version(2)))
    bench.group.commit(2)
    assert by_version == by_key == []
    bench.group.commit(3)
    assert len(by_version) == len(by_key) == 1


def test_a_leader_whose_proof_is_older_than_the_read_takes_proves_it_anew() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"1"))
    bench.group.staleness = 90
    before = len(bench.group.log)
    replies = bench.send(read(max_staleness_ms=50))
    late = bench.send(read(max_staleness_ms=2))
    assert replies == []
    bench.runtime.now_s += 0.0095
    bench.settle()
    assert len(bench.group.log) == before + 1, "one barrier for both"
    assert replies == [Value(b"1", 0, version(2), None, REPLICA, 10)]
    assert code_of(late) == "too_stale"


def test_a_leader_that_cannot_serve_answers_replica_reads_by_the_same_rules() -> None:
    """Its live keys are still ahead of the committed ones."""
    bench = Bench().lead()
    bench.ask(Set(b"k", b"1"))
    bench.send(Set(b"k", b"2"))
    bench.group.confirmed, bench.group.staleness = False, 1200
    assert bench.send(read(b"none")) == [Value(None, 0, version(2), None, REPLICA, 1200)]
    replies = bench.send(read())
    assert replies == []
    bench.group.lose("n1")
    assert code_of(replies) == "not_leader"
    assert bench.send(read()) == [Value(b"1", 0, version(2), None, REPLICA, 1200)]


def test_many_keys_at_a_follower() -> None:
    _, follower = pair()
    (reply,) = follower.send(MultiGet((read(), Get(b"k"), read(b"safe:k"))))
    first, second, third = reply.items  # type: ignore[union-attr]
    assert isinstance(first, Value) and (second.code, third.code) == ("not_leader", "bad_request")
    assert code_of(follower.send(MultiGet((read(),) * 1001))) == "not_leader"


def test_the_leader_of_now_says_what_time_it_is_also_where_an_earlier_one_was_ahead() -> None:
    bench = Bench()
    started = (LEADER_STARTED, "n2")
    bench.group.append_foreign(1, encode_batch(Batch(1, 1, 5000, [started])))
    bench.group.append_foreign(2, encode_batch(Batch(2, 1, 5000, [started, (PUT, b"k", b"1", 0, 6000, 1)])))
    bench.group.commit(1)
    bench.runtime.now_s += 10
    bench.group.on_time(5000)
    bench.group.commit(2)
    (reply,) = bench.send(read())
    assert isinstance(reply, Value) and reply.ttl_ms == 1000


def test_a_batch_of_long_ago_does_not_take_the_followers_clock_back() -> None:
    leader, follower = pair()
    leader.ask(Set(b"k", b"1", ttl_ms=1000))
    follower.group.on_time(leader.replica.history.time_ms + 600)
    catch_up(leader, follower)
    (reply,) = follower.send(read())
    assert isinstance(reply, Value) and reply.ttl_ms == 400


def test_a_leader_says_what_time_it_is_while_it_serves() -> None:
    bench = Bench()
    assert bench.group.time_ms() == 0
    bench.lead()
    assert bench.group.time_ms() == bench.runtime.wall_ms()
    bench.group.lose()
    assert bench.group.time_ms() == 0
    bench.group.on_time(0)
    assert bench.replica.replica_reads._time.now_ms() == bench.runtime.wall_ms()
