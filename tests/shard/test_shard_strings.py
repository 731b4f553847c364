"""What the Redis protocol asks beside get and set: XX, KEEPTTL, GET, GETDEL, GETEX, APPEND, conditions of EXPIRE."""

from __future__ import annotations

import pytest
from shard_harness import Bench

from raftcache.commands.table import validate
from raftcache.commands.types import (
    JSON,
    RAW,
    AckLevel,
    Append,
    Command,
    Counted,
    Delete,
    Expire,
    ExpireIf,
    Failure,
    Get,
    Persist,
    Set,
    Value,
    Version,
    Written,
)
from raftcache.errors import BadRequest

P, Q = AckLevel.PRIMARY, AckLevel.QUORUM


@pytest.fixture
def bench() -> Bench:
    return Bench().lead()


def previous(bench: Bench, command: Command) -> tuple[bool, bytes | None]:
    reply = bench.ask(command)
    assert isinstance(reply, Written)
    return reply.written, reply.previous


def test_set_if_present_writes_only_over_something(bench: Bench) -> None:
    assert not bench.ask(Set(b"k", b"1", if_present=True)).written
    bench.ask(Set(b"k", b"1"))
    assert bench.ask(Set(b"k", b"2", if_present=True)).written
    assert bench.ask(Get(b"k")).value == b"2"


def test_set_keeps_a_time_to_live_that_is_there(bench: Bench) -> None:
    bench.ask(Set(b"k", b"1", ttl_ms=5000))
    bench.runtime.now_s += 1
    kept = bench.ask(Set(b"k", b"2", keep_ttl=True))
    assert kept.expires_at_ms == bench.runtime.wall_ms() + 4000
    assert (bench.ask(Get(b"k")).value, bench.ask(Get(b"k")).ttl_ms) == (b"2", 4000)
    bench.ask(Persist(b"k"))
    assert bench.ask(Set(b"k", b"3", keep_ttl=True)).expires_at_ms is None
    bench.runtime.now_s += 10
    assert bench.ask(Set(b"new", b"1", keep_ttl=True)).written


def test_what_stood_there_is_told_where_it_is_asked_for(bench: Bench) -> None:
    assert previous(bench, Set(b"k", b"1", reveal=True)) == (True, None)
    assert previous(bench, Set(b"k", b"2", reveal=True)) == (True, b"1")
    assert previous(bench, Set(b"k", b"3")) == (True, None)
    assert previous(bench, Set(b"k", b"4", if_absent=True, reveal=True)) == (False, b"3")
    assert previous(bench, Expire(b"k", 5000, reveal=True)) == (True, b"3")
    assert previous(bench, Persist(b"k", reveal=True)) == (True, b"3")
    assert previous(bench, Persist(b"k", reveal=True)) == (False, b"3")
    assert previous(bench, Delete(b"k", reveal=True)) == (True, b"3")
    assert previous(bench, Delete(b"k", reveal=True)) == (False, None)


def test_what_stood_there_is_not_told_before_it_is_committed_where_reads_are(bench: Bench) -> None:
    bench.send(Set(b"shown:k", b"1"))
    for command in (
        Set(b"shown:k", b"2", reveal=True),
        Set(b"shown:k", b"3", keep_ttl=True),
        Set(b"shown:k", b"3", if_present=True),
        Append(b"shown:k", b"4"),
        Expire(b"shown:k", 5000, when=ExpireIf.VOLATILE, reveal=True),
        Delete(b"shown:k", reveal=True),
    ):
        replies = bench.send(command)
        assert replies == [], command
        bench.settle()
        (reply,) = replies
        assert isinstance(reply, Written | Counted) and reply.ack == Q
        bench.send(Set(b"shown:k", b"1", ttl_ms=10_000))


def test_append_adds_to_the_end_and_says_how_long_it_is(bench: Bench) -> None:
    assert bench.ask(Append(b"k", b"ab")) == Counted(2, Version("7c1f", 1, 2), None, P)
    bench.ask(Expire(b"k", 5000))
    assert bench.ask(Append(b"k", b"cd")).value == 4
    assert bench.ask(Get(b"k")) == Value(b"abcd", RAW, Version("7c1f", 1, 4), 5000, bench.ask(Get(b"k")).level)
    bench.ask(Set(b"json", b'"x"', JSON, tags=("t",)))
    bench.ask(Append(b"json", b" "))
    assert bench.ask(Get(b"json")).flag == JSON


def test_append_never_makes_a_value_longer_than_values_may_be(bench: Bench) -> None:
    bench.ask(Set(b"k", b"x" * (1 << 20)))
    refused = bench.ask(Append(b"k", b"y"))
    assert isinstance(refused, Failure) and refused.code == "value_too_large"
    assert "1048577" in refused.message and len(bench.ask(Get(b"k")).value) == 1 << 20


@pytest.mark.parametrize(
    ("when", "persistent", "shorter", "longer"),
    [
        (ExpireIf.ALWAYS, True, True, True),
        (ExpireIf.PERSISTENT, True, False, False),
        (ExpireIf.VOLATILE, False, True, True),
        (ExpireIf.LONGER, False, False, True),
        (ExpireIf.SHORTER, True, True, False),
        (ExpireIf.VOLATILE_SHORTER, False, True, False),
    ],
)
def test_expire_looks_at_the_time_to_live_that_is_there(
    bench: Bench, when: ExpireIf, persistent: bool, shorter: bool, longer: bool
) -> None:
    bench.ask(Set(b"k", b"1"))
    assert bench.ask(Expire(b"k", 5000, when=when)).written is persistent
    for ttl_ms, expected in ((1000, shorter), (9000, longer)):
        bench.ask(Set(b"k", b"1", ttl_ms=5000))
        assert bench.ask(Expire(b"k", ttl_ms, when=when)).written is expected
        assert bench.ask(Get(b"k")).ttl_ms == (ttl_ms if expected else 5000)


@pytest.mark.parametrize(
    "command",
    [
        Set(b"k", b"1", if_present=True, if_absent=True),
        Set(b"k", b"1", if_present=True, if_version=Version("7c1f", 1, 1)),
        Set(b"k", b"1", keep_ttl=True, ttl_ms=1000),
        Set(b"k", b"1", reveal=True, idempotency=b"a"),
        Delete(b"k", reveal=True, idempotency=b"a"),
        Expire(b"k", 1000, reveal=True, idempotency=b"a"),
        Persist(b"k", reveal=True, idempotency=b"a"),
    ],
)
def test_what_cannot_be_meant_is_refused(bench: Bench, command: Command) -> None:
    with pytest.raises(BadRequest):
        validate(command, bench.replica.policies.in_force)
    reply = bench.ask(command)
    assert isinstance(reply, Failure) and reply.code == "bad_request"


def test_a_repeated_append_counts_once(bench: Bench) -> None:
    for _ in range(3):
        assert bench.ask(Append(b"k", b"ab", idempotency=b"once")).value == 2
    assert bench.ask(Get(b"k")).value == b"ab"
