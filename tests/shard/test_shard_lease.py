"""Linearizable replies under a lease: at once where they show nothing speculative, else when that commits."""

from __future__ import annotations

import pytest
from shard_harness import Bench

from raftcache.commands.types import (
    AckLevel,
    Command,
    Counted,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    Many,
    MultiGet,
    Persist,
    ReadLevel,
    Reply,
    Set,
    Value,
    Written,
)

KEY = b"strict:k"


def leased(value: bytes = b"1") -> Bench:
    """A leader that holds the lease, and has `value` at KEY, committed."""
    bench = Bench().lead()
    bench.group.lease = True
    bench.ask(Set(KEY, value))
    return bench


def value_of(replies: list[Reply]) -> bytes | None:
    (reply,) = replies
    assert isinstance(reply, Value)
    return reply.value


def test_a_read_of_what_is_committed_is_answered_at_once_and_costs_no_batch() -> None:
    bench = leased()
    entries = len(bench.group.log)
    replies = bench.send(Get(KEY))
    assert value_of(replies) == b"1"
    assert replies[0].level == ReadLevel.LINEARIZABLE  # type: ignore[union-attr]
    bench.settle()
    assert len(bench.group.log) == entries
    assert bench.replica.stats.proofs == {"lease": 1}


def test_without_the_lease_it_is_a_barrier() -> None:
    bench = leased()
    bench.group.lease = False
    entries = len(bench.group.log)
    replies = bench.send(Get(KEY))
    assert replies == []
    bench.settle()
    assert (value_of(replies), len(bench.group.log)) == (b"1", entries + 1)
    assert bench.replica.stats.proofs == {"barrier": 1}


@pytest.mark.parametrize("turns", [0, 1])
def test_a_read_of_what_is_speculative_waits_for_its_commit_and_costs_no_batch(turns: int) -> None:
    """The write stands in the open batch, or is in flight."""
    bench = leased()
    bench.send(Set(KEY, b"2"))
    for _ in range(turns):
        bench.runtime.turn()
    replies = bench.send(Get(KEY))
    assert replies == []
    bench.runtime.turn()
    entries = len(bench.group.log)
    bench.group.commit()
    assert (value_of(replies), len(bench.group.log)) == (b"2", entries)
    bench.settle()
    assert len(bench.group.log) == entries


def test_it_waits_for_the_newest_of_several_batches() -> None:
    bench = leased()
    for value in (b"2", b"3"):
        bench.send(Set(KEY, value))
        bench.runtime.turn()
    replies = bench.send(Get(KEY))
    bench.group.commit(len(bench.group.log) - 1)
    assert replies == []
    bench.group.commit()
    assert value_of(replies) == b"3"


def test_an_absence_that_is_speculative_waits_too() -> None:
    bench = leased()
    bench.send(Delete(KEY))
    replies = bench.send(Get(KEY))
    assert replies == []
    bench.settle()
    assert value_of(replies) is None


def test_an_expired_key_is_missing_only_once_its_removal_is_committed() -> None:
    bench = leased()
    bench.ask(Set(KEY, b"2", ttl_ms=100))
    bench.runtime.advance(0.2)
    replies = bench.send(Get(KEY))
    assert replies == []
    bench.settle()
    assert value_of(replies) is None


@pytest.mark.parametrize(
    "command",
    [
        Set(KEY, b"2", if_absent=True),
        Delete(b"strict:gone"),
        Expire(b"strict:gone", 5),
        Persist(KEY),
        Set(b"safe:k", b"2", if_version=None, if_absent=True),
    ],
)
def test_a_reply_that_wrote_nothing_needs_no_more_than_a_read(command: Command) -> None:
    bench = leased()
    bench.ask(Set(b"safe:k", b"1"))
    (reply,) = bench.send(command)
    assert isinstance(reply, Written)
    assert (reply.written, reply.ack) == (False, AckLevel.QUORUM)


def test_a_counter_that_is_none_is_refused_at_once() -> None:
    (reply,) = leased(b"text").send(Incr(KEY))
    assert isinstance(reply, Failure)


def test_writes_wait_as_ever() -> None:
    bench = leased()
    replies = bench.send(Incr(KEY))
    assert replies == []
    bench.settle()
    assert isinstance(replies[0], Counted)
    assert not bench.replica.stats.proofs


def test_durable_asks_for_more_than_a_read() -> None:
    """That what it reveals is on the disks of a quorum, which the lease says nothing about."""
    bench = leased()
    assert bench.send(Delete(b"strict:gone", ack=AckLevel.DURABLE)) == []


def test_each_item_of_many_goes_by_the_lease() -> None:
    bench = leased()
    (reply,) = bench.send(MultiGet((Get(KEY), Get(b"strict:gone"))))
    assert isinstance(reply, Many)
    assert bench.replica.stats.proofs == {"lease": 2}


def test_leadership_lost_meanwhile_is_a_definite_failure() -> None:
    bench = leased()
    bench.send(Set(KEY, b"2"))
    replies = bench.send(Get(KEY))
    bench.group.lose("n1")
    (reply,) = replies
    assert isinstance(reply, Failure)
    assert reply.code == "not_leader"
    assert bench.replica.pipeline.waiting == 0
