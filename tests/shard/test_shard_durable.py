"""The ack level `durable`: a reply leaves once a quorum has synced the write. And what becomes of those that wait."""

from __future__ import annotations

import pytest
from shard_harness import Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
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
    MultiSet,
    Persist,
    Reply,
    Set,
    Value,
    Written,
)
from raftcache.shard import pipeline as pipeline_module
from raftcache.store.effects import LEADER_STARTED, Batch, encode_batch

P, Q, D = AckLevel.PRIMARY, AckLevel.QUORUM, AckLevel.DURABLE


def slow(bench: Bench) -> Bench:
    """A leader whose disks do not get on from here."""
    bench.lead()
    bench.group.slow_disk = True
    return bench


def commit(bench: Bench) -> None:
    """Propose what is open, and commit it."""
    bench.runtime.turn()
    bench.group.commit()


def levels(replies: list[Reply]) -> list[AckLevel | str]:
    return [reply.code if isinstance(reply, Failure) else reply.ack for reply in replies]  # type: ignore[union-attr]


def test_it_serves_only_once_leader_started_is_synced_on_a_quorum() -> None:
    bench = Bench()
    bench.group.slow_disk = True
    bench.group.gain()
    bench.group.commit()
    assert not bench.replica.serving and bench.group.wished == {1}
    bench.group.sync()
    assert bench.replica.serving and bench.served == [1]


def test_a_leadership_that_ends_before_the_sync_serves_nobody() -> None:
    bench = Bench()
    bench.group.slow_disk = True
    bench.group.gain()
    bench.group.commit()
    bench.group.lose()
    bench.replica.synced(1)
    assert not bench.replica.serving


def test_a_durable_write_is_answered_when_it_is_synced() -> None:
    bench = slow(Bench())
    replies = bench.send(Set(b"k", b"v", ack=D))
    commit(bench)
    assert replies == [], "committed, and not yet on the disks"
    bench.group.sync()
    (answer,) = replies
    assert isinstance(answer, Written) and answer.ack == D


def test_nobody_else_waits_for_the_disk() -> None:
    bench = slow(Bench())
    durable = bench.send(Set(b"a", b"v", ack=D))
    quorum = bench.send(Set(b"b", b"v", ack=Q))
    primary = bench.send(Set(b"c", b"v"))
    read = bench.send(Get(b"safe:x"))
    assert levels(primary) == [P]
    commit(bench)
    assert levels(quorum) == [Q] and isinstance(read[0], Value) and durable == []


def test_only_a_batch_with_a_durable_waiter_is_to_be_synced() -> None:
    bench = Bench().lead()
    wished = set(bench.group.wished)
    bench.ask(Set(b"a", b"v", ack=Q))
    assert bench.group.wished == wished
    bench.ask(Set(b"a", b"v", ack=D))
    assert bench.group.wished == wished | {len(bench.group.log)}


def test_one_sync_answers_all_that_wait() -> None:
    bench = slow(Bench())
    replies = [bench.send(Set(b"%d" % number, b"v", ack=D)) for number in range(3)]
    commit(bench)
    replies.append(bench.send(Incr(b"n", ack=D)))
    commit(bench)
    assert not any(replies)
    bench.group.sync()
    assert [levels(reply) for reply in replies] == [[D]] * 4


def test_a_sync_answers_no_more_than_it_covers() -> None:
    bench = slow(Bench())
    first = bench.send(Set(b"a", b"v", ack=D))
    commit(bench)
    second = bench.send(Set(b"b", b"v", ack=D))
    commit(bench)
    bench.replica.synced(len(bench.group.log) - 1)
    assert levels(first) == [D] and second == []


@pytest.mark.parametrize("committed", [False, True])
def test_a_lost_leadership_leaves_the_outcome_unknown(committed: bool) -> None:
    bench = slow(Bench())
    replies = bench.send(Set(b"k", b"v", ack=D))
    bench.runtime.turn()
    if committed:
        bench.group.commit()
    bench.group.lose()
    (answer,) = replies
    assert isinstance(answer, Failure) and answer.code == "outcome_unknown"
    assert answer.details["version"] == "v7c1f.1.2"
    assert (bench.replica.keyspace.get(b"k") is not None) == committed, "what is committed is not undone"
    assert bench.replica.pipeline.waiting == 0
    bench.replica.synced(99)
    assert len(replies) == 1


def test_a_write_that_changed_nothing_waits_for_what_it_reveals() -> None:
    bench = slow(Bench())
    commands: list[Command] = [
        Set(b"k", b"v", if_absent=True, ack=D),
        Set(b"k", b"v", if_absent=True, ack=D),
        Delete(b"missing", ack=D),
        Expire(b"missing", 1000, ack=D),
        Persist(b"missing", ack=D),
    ]
    replies = [bench.send(command) for command in commands]
    commit(bench)
    assert not any(replies)
    bench.group.sync()
    assert [levels(reply) for reply in replies] == [[D]] * 5
    assert [reply[0].written for reply in replies] == [True, False, False, False, False]  # type: ignore[union-attr]


def test_a_lost_leadership_is_definite_for_who_wrote_nothing() -> None:
    bench = slow(Bench())
    replies = bench.send(Delete(b"missing", ack=D))
    commit(bench)
    bench.group.lose()
    assert levels(replies) == ["not_leader"]


def test_the_items_of_a_multi_set_wait_each_for_its_level() -> None:
    bench = slow(Bench())
    replies = bench.send(MultiSet((Set(b"a", b"1", ack=D), Set(b"b", b"2"), Set(b"c", b"3", ack=Q))))
    commit(bench)
    assert replies == []
    bench.group.sync()
    (many,) = replies
    assert isinstance(many, Many) and [item.ack for item in many.items] == [D, P, Q]  # type: ignore[union-attr]


def test_a_namespace_may_ask_for_it() -> None:
    policies = Namespaces(1, (Namespace("default", 1, ack=D),))
    bench = slow(Bench(policies=policies))
    plain, lower = bench.send(Incr(b"n")), bench.send(Set(b"k", b"v", ack=Q))
    assert levels(lower) == ["level_too_low"]
    commit(bench)
    assert plain == []
    bench.group.sync()
    assert isinstance(plain[0], Counted) and plain[0].ack == D


def test_it_is_refused_where_no_quorum_keeps_anything_on_disk() -> None:
    bench = Bench().lead()
    bench.group.on_disk = False
    before = len(bench.replica.keyspace)
    for command in (Set(b"k", b"v", ack=D), Incr(b"k", ack=D), Delete(b"k", ack=D), Expire(b"k", 9, ack=D)):
        assert levels(bench.send(command)) == ["no_disk"]
    assert len(bench.replica.keyspace) == before and bench.replica.stats.rejected["no_disk"] == 4


def test_durable_waiters_count_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_WAITERS", 2)
    bench = slow(Bench())
    bench.send(Set(b"a", b"v", ack=D))
    bench.send(Set(b"b", b"v", ack=D))
    commit(bench)
    assert levels(bench.send(Set(b"c", b"v", ack=D))) == ["overloaded"], "they still wait, for the disks"
    bench.group.sync()
    assert bench.replica.pipeline.waiting == 0
    bench.send(Set(b"c", b"v", ack=D))
    assert bench.replica.pipeline.waiting == 1


def test_a_sync_that_is_told_of_at_a_follower_answers_nobody() -> None:
    bench = Bench()
    bench.group.append_foreign(3, encode_batch(Batch(3, 1, 0, [(LEADER_STARTED, "n2")])))
    bench.group.commit()
    bench.replica.synced(1)
    assert not bench.replica.serving
