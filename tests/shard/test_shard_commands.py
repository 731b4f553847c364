"""Each command at a serving leader: its answer, its condition, the level that it states."""

from __future__ import annotations

import pytest
from shard_harness import Bench

from raftcache.commands.types import (
    INT64_MAX,
    INT64_MIN,
    JSON,
    RAW,
    AckLevel,
    Counted,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    Many,
    MultiDelete,
    MultiGet,
    MultiSet,
    Persist,
    ReadLevel,
    Set,
    Value,
    Version,
    Written,
)

P, Q = AckLevel.PRIMARY, AckLevel.QUORUM
LATEST, LIN = ReadLevel.LATEST, ReadLevel.LINEARIZABLE


def v(seq: int, term: int = 1) -> Version:
    return Version("7c1f", term, seq)


@pytest.fixture
def bench() -> Bench:
    return Bench().lead()


def test_a_set_is_read_back_with_its_version_and_ttl(bench: Bench) -> None:
    assert bench.send(Set(b"k", b"1", JSON, ttl_ms=5000)) == [Written(True, v(2), bench.runtime.wall_ms() + 5000, P)]
    bench.runtime.now_s += 1
    assert bench.send(Get(b"k")) == [Value(b"1", JSON, v(2), 4000, LATEST)]
    assert bench.replica.stats.hits == {"default": 1} and bench.replica.stats.sets == 1


def test_a_miss_names_the_newest_effect(bench: Bench) -> None:
    assert bench.send(Get(b"k")) == [Value(None, RAW, v(1), None, LATEST)]
    bench.send(Set(b"other", b"x"))
    assert bench.send(Get(b"k")) == [Value(None, RAW, v(2), None, LATEST)]
    assert bench.replica.stats.misses == {"default": 2}


def test_the_default_ttl_of_the_namespace_holds_unless_another_is_given(bench: Bench) -> None:
    now_ms = bench.runtime.wall_ms()
    assert bench.send(Set(b"brief:k", b"x"))[0] == Written(True, v(2), now_ms + 1000, P)
    assert bench.send(Set(b"brief:k", b"x", ttl_ms=7))[0] == Written(True, v(3), now_ms + 7, P)
    assert bench.send(Incr(b"brief:n")) == [Counted(1, v(4), now_ms + 1000, P)]


def test_set_if_absent(bench: Bench) -> None:
    assert bench.send(Set(b"k", b"1", if_absent=True)) == [Written(True, v(2), None, P)]
    refused = Written(False, v(2), None, P, existed=True, current=v(2))
    assert bench.send(Set(b"k", b"2", if_absent=True)) == [refused]


def test_set_if_version(bench: Bench) -> None:
    bench.send(Set(b"k", b"1"))
    assert bench.send(Set(b"k", b"2", if_version=v(2))) == [Written(True, v(3), None, P)]
    refused = Written(False, v(3), None, P, existed=True, current=v(3))
    assert bench.send(Set(b"k", b"3", if_version=v(2))) == [refused]
    assert bench.send(Set(b"k", b"3", if_version=Version("beef", 1, 3))) == [refused]
    assert bench.send(Set(b"gone", b"3", if_version=v(3))) == [Written(False, v(3), None, P)]


def test_delete(bench: Bench) -> None:
    bench.send(Set(b"k", b"1"))
    refused = Written(False, v(2), None, P, existed=True, current=v(2))
    assert bench.send(Delete(b"k", if_version=v(9))) == [refused]
    assert bench.send(Delete(b"k", if_version=v(2))) == [Written(True, v(3), None, P, existed=True)]
    assert bench.send(Delete(b"k")) == [Written(False, v(3), None, P, existed=False)]
    assert bench.replica.keyspace.get(b"k") is None


def test_incr_counts_in_the_bytes_that_every_interface_reads(bench: Bench) -> None:
    bench.send(Set(b"raw", b"-7", RAW))
    assert bench.send(Incr(b"raw", 10)) == [Counted(3, v(3), None, P)]
    assert bench.send(Get(b"raw"))[0] == Value(b"3", RAW, v(3), None, LATEST)
    now_ms = bench.runtime.wall_ms()
    assert bench.send(Incr(b"new", -2, ttl_ms=50)) == [Counted(-2, v(4), now_ms + 50, P)]
    assert bench.send(Incr(b"new", -2, ttl_ms=9999)) == [Counted(-4, v(5), now_ms + 50, P)]
    assert bench.send(Get(b"new"))[0] == Value(b"-4", JSON, v(5), 50, LATEST)


@pytest.mark.parametrize("value", [b"", b"x", b"1.0", b"01", b"+1", b" 1", b"1\n", b"-", "١".encode(), b"1" * 20])
def test_incr_refuses_what_is_no_integer(bench: Bench, value: bytes) -> None:
    bench.send(Set(b"k", value))
    (answer,) = bench.send(Incr(b"k"))
    assert isinstance(answer, Failure) and answer.code == "not_an_integer" and repr(value) in answer.message
    assert bench.send(Get(b"k"))[0] == Value(value, RAW, v(2), None, LATEST)


@pytest.mark.parametrize(("value", "delta"), [(INT64_MAX, 1), (INT64_MIN, -1), (9999999999999999999, 0)])
def test_incr_stays_within_64_bits(bench: Bench, value: int, delta: int) -> None:
    bench.send(Set(b"k", b"%d" % value))
    (answer,) = bench.send(Incr(b"k", delta))
    assert isinstance(answer, Failure) and str(INT64_MAX) in answer.message


def test_incr_reaches_both_bounds(bench: Bench) -> None:
    bench.send(Incr(b"k", INT64_MAX - 1))
    assert bench.send(Incr(b"k", 1))[0] == Counted(INT64_MAX, v(3), None, P)
    assert bench.send(Incr(b"m", INT64_MIN))[0] == Counted(INT64_MIN, v(4), None, P)


def test_expire_and_persist_write_the_key_anew(bench: Bench) -> None:
    bench.send(Set(b"k", b"1", JSON))
    now_ms = bench.runtime.wall_ms()
    assert bench.send(Expire(b"k", 300)) == [Written(True, v(3), now_ms + 300, P, existed=True)]
    assert bench.send(Persist(b"k")) == [Written(True, v(4), None, P, existed=True)]
    assert bench.send(Get(b"k"))[0] == Value(b"1", JSON, v(4), None, LATEST)


def test_expire_and_persist_write_nothing_where_there_is_nothing_to_change(bench: Bench) -> None:
    assert bench.send(Expire(b"k", 300)) == [Written(False, v(1), None, P)]
    assert bench.send(Persist(b"k")) == [Written(False, v(1), None, P)]
    bench.send(Set(b"k", b"1"))
    assert bench.send(Persist(b"k")) == [Written(False, v(2), None, P, existed=True, current=v(2))]
    assert len(bench.replica.keyspace) == 1 and bench.replica.pipeline.writes == 1


def test_a_key_expires_at_its_time_and_not_before(bench: Bench) -> None:
    bench.send(Set(b"k", b"1", ttl_ms=1000))
    bench.runtime.now_s += 0.5
    assert bench.send(Get(b"k"))[0] == Value(b"1", RAW, v(2), 500, LATEST)
    bench.runtime.now_s += 0.5
    assert bench.send(Get(b"k"))[0] == Value(None, RAW, v(3), None, LATEST)
    assert bench.replica.stats.expired == 1 and bench.replica.keyspace.get(b"k") is None


@pytest.mark.parametrize("command", [Delete(b"k"), Expire(b"k", 5), Persist(b"k"), Set(b"k", b"", if_version=v(2))])
def test_an_expired_key_is_gone_for_every_command(bench: Bench, command: Delete) -> None:
    bench.send(Set(b"k", b"5", ttl_ms=1000))
    bench.runtime.now_s += 1
    assert bench.send(command) == [Written(False, v(3), None, P, existed=False, current=None)]


def test_an_expired_counter_starts_anew(bench: Bench) -> None:
    bench.send(Set(b"k", b"5", ttl_ms=1000))
    bench.runtime.now_s += 1
    assert bench.send(Incr(b"k")) == [Counted(1, v(4), None, P)]


def test_multi_commands_answer_in_order_and_items_fail_alone(bench: Bench) -> None:
    bench.foreign_keys = {b"b"}
    (answer,) = bench.send(MultiSet((Set(b"a", b"1"), Set(b"b", b"2"), Set(b"", b"3"), Set(b"d", b"4"))))
    assert isinstance(answer, Many)
    first, wrong, invalid, last = answer.items
    assert (first, last) == (Written(True, v(2), None, P), Written(True, v(3), None, P))
    assert isinstance(wrong, Failure) and wrong.code == "wrong_shard"
    assert isinstance(invalid, Failure) and invalid.code == "invalid_key"
    (gets,) = bench.send(MultiGet((Get(b"d"), Get(b"x"), Get(b"a"))))
    assert isinstance(gets, Many)
    assert [item.value for item in gets.items if isinstance(item, Value)] == [b"4", None, b"1"]
    (deletes,) = bench.send(MultiDelete((Delete(b"a"), Delete(b"x"))))
    assert isinstance(deletes, Many)
    assert [item.existed for item in deletes.items if isinstance(item, Written)] == [True, False]
    assert bench.send(MultiGet(())) == [Many(())]


def test_a_multi_reply_waits_for_its_slowest_item(bench: Bench) -> None:
    replies = bench.send(MultiSet((Set(b"a", b"1"), Set(b"safe:b", b"2"), Set(b"c", b"3", ack=Q))))
    assert replies == []
    bench.settle()
    assert replies == [Many((Written(True, v(2), None, P), Written(True, v(3), None, Q), Written(True, v(4), None, Q)))]


def test_too_many_keys_are_refused_as_a_whole(bench: Bench) -> None:
    (answer,) = bench.send(MultiGet((Get(b"a"),) * 1001))
    assert isinstance(answer, Failure) and answer.code == "too_many_keys" and "1001" in answer.message


def test_what_is_no_command_is_refused(bench: Bench) -> None:
    (answer,) = bench.send(Written(True, v(1), None, P))  # type: ignore[arg-type]
    assert isinstance(answer, Failure) and answer.code == "unknown_command"


def test_a_key_of_another_shard_is_refused_and_counted(bench: Bench) -> None:
    bench.foreign_keys = {b"k"}
    (answer,) = bench.send(Set(b"k", b"1"))
    assert isinstance(answer, Failure) and answer.code == "wrong_shard"
    assert bench.replica.stats.rejected == {"wrong_shard": 1} and len(bench.replica.keyspace) == 0


REVEALING = [
    Set(b"strict:k", b"2", if_absent=True),
    Set(b"strict:k", b"2", if_version=v(9)),
    Set(b"strict:k", b"2", if_version=v(2)),
    Set(b"strict:new", b"2", if_absent=True),
    Delete(b"strict:gone"),
    Delete(b"strict:k"),
    Expire(b"strict:gone", 5),
    Persist(b"strict:gone"),
    Persist(b"strict:k"),
    Incr(b"strict:n"),
]


@pytest.mark.parametrize("command", REVEALING, ids=repr)
def test_what_reveals_state_waits_where_reads_are_linearizable(bench: Bench, command: Set) -> None:
    bench.send(Set(b"strict:k", b"x"))
    replies = bench.send(command)
    assert replies == []
    bench.settle()
    assert isinstance(replies[0], Written | Counted) and replies[0].ack == Q


def test_a_refused_incr_reveals_state_too(bench: Bench) -> None:
    bench.send(Set(b"strict:k", b"x"))
    replies = bench.send(Incr(b"strict:k"))
    assert replies == []
    bench.settle()
    assert isinstance(replies[0], Failure) and replies[0].code == "not_an_integer"


def test_an_unconditional_set_reveals_nothing_and_does_not_wait(bench: Bench) -> None:
    assert bench.send(Set(b"strict:k", b"x")) == [Written(True, v(2), None, P)]


@pytest.mark.parametrize("command", [Delete(b"k", ack=Q), Set(b"k", b"", if_version=v(1), ack=Q)], ids=repr)
def test_a_write_of_nothing_asked_at_quorum_waits_for_a_barrier(bench: Bench, command: Delete) -> None:
    replies = bench.send(command)
    assert replies == []
    bench.settle()
    assert replies == [Written(False, v(1), None, Q)]


def test_the_reply_to_a_linearizable_read_waits_for_what_it_saw(bench: Bench) -> None:
    bench.send(Set(b"k", b"1"))
    replies = bench.send(Get(b"k", LIN))
    bench.runtime.turn()
    assert replies == []
    bench.group.commit()
    assert replies == [Value(b"1", RAW, v(2), None, LIN)]


def test_a_linearizable_read_shows_what_stood_at_its_place_in_the_log(bench: Bench) -> None:
    bench.ask(Set(b"k", b"1"))
    replies = bench.send(Get(b"k", LIN))
    bench.send(Set(b"k", b"2"))
    bench.settle()
    assert replies == [Value(b"1", RAW, v(2), None, LIN)]


def test_an_expired_key_misses_at_linearizable_only_with_its_removal_in_the_log(bench: Bench) -> None:
    bench.ask(Set(b"safe:k", b"1", ttl_ms=1000))
    bench.runtime.now_s += 1
    replies = bench.send(Get(b"safe:k"))
    bench.runtime.turn()
    assert replies == []
    log_before = bench.group.applied
    bench.group.commit()
    assert replies == [Value(None, RAW, v(3), None, LIN)]
    assert b"safe:k" in bench.group.log[log_before][1]
