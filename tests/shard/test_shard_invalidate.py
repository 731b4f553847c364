"""Dropping a namespace's keys, or those that carry a tag, at a shard: who sees what, and when it is confirmed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from shard_harness import POLICIES, Bench, follower_of

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.types import (
    AckLevel,
    Counted,
    Delete,
    Expire,
    Get,
    Incr,
    Persist,
    ReadLevel,
    Set,
    Value,
    Written,
)
from raftcache.errors import BadRequest, NotFollowing, NotLeader, Overloaded, RaftcacheError, UnknownNamespace
from raftcache.shard import invalidating
from raftcache.shard.executor import Executor
from raftcache.store.effects import TAG, decode_batch
from raftcache.store.tags import DroppedTags

Confirmed = list[RaftcacheError | None]


def drop(bench: Bench, tag: str, namespace: str = "default", named_at: int = 1) -> Confirmed:
    """Drop a tag; what comes of it comes into the list."""
    answers: Confirmed = []
    bench.replica.drop_tag(namespace, tag, named_at, answers.append)
    return answers


def dropped(bench: Bench, tag: str, namespace: str = "default") -> None:
    answers = drop(bench, tag, namespace)
    bench.settle()
    assert answers == [None]


def value(bench: Bench, key: bytes, level: ReadLevel | None = None) -> bytes | None:
    read = bench.ask(Get(key, level))
    assert isinstance(read, Value)
    return read.value


def emptied(policies: Namespaces, name: str) -> Namespaces:
    """The policies once a namespace is invalidated."""
    spaces = dict(policies.by_name)
    newest = max(space.id for space in spaces.values()) + 1
    spaces[name] = msgspec.structs.replace(spaces[name], id=newest, origin=spaces[name].identity)
    return Namespaces(policies.epoch + 1, tuple(spaces.values()))


def tag_effects(bench: Bench) -> list[Any]:
    return [effect for _, payload in bench.group.log for effect in decode_batch(payload).effects if effect[0] == TAG]


# -- tags ----------------------------------------------------------------------------------------


def test_a_drop_takes_the_keys_that_carry_the_tag_and_no_others() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t", "u")))
    bench.ask(Set(b"b", b"2", tags=("u",)))
    bench.ask(Set(b"c", b"3"))
    bench.ask(Set(b"safe:a", b"4", tags=("t",)))
    dropped(bench, "t")
    assert [value(bench, key) for key in (b"a", b"b", b"c", b"safe:a")] == [None, b"2", b"3", b"4"]
    dropped(bench, "t", "safe")
    assert value(bench, b"safe:a") is None


def test_what_is_set_after_a_drop_stands_with_the_same_tag() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t",)))
    dropped(bench, "t")
    bench.ask(Set(b"a", b"2", tags=("t",)))
    assert value(bench, b"a") == b"2"
    dropped(bench, "t")
    assert value(bench, b"a") is None


def test_a_set_without_tags_takes_the_key_out_of_its_families() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t",)))
    bench.ask(Set(b"a", b"2"))
    dropped(bench, "t")
    assert value(bench, b"a") == b"2" and not tag_effects(bench)


@pytest.mark.parametrize("change", [Incr(b"a", 1), Expire(b"a", 5000), Persist(b"a")])
def test_a_change_that_keeps_the_value_keeps_the_tags(change: Any) -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", ttl_ms=60_000, tags=("t",)))
    assert isinstance(bench.ask(change), Written | Counted)
    dropped(bench, "t")
    assert value(bench, b"a") is None


def test_what_is_dropped_is_absent_for_every_command() -> None:
    bench = Bench().lead()
    written = bench.ask(Set(b"a", b"7", tags=("t",)))
    for key in (b"b", b"c", b"d", b"e"):
        bench.ask(Set(key, b"7", tags=("t",)))
    dropped(bench, "t")
    assert not bench.ask(Set(b"a", b"8", if_version=written.version)).written
    assert not bench.ask(Delete(b"b")).written
    assert not bench.ask(Expire(b"c", 5000)).written
    assert bench.ask(Incr(b"d", 1)).value == 1
    assert bench.ask(Set(b"e", b"8", if_absent=True)).written


def test_a_drop_holds_at_once_and_is_confirmed_when_it_is_durable() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t",)))
    bench.group.slow_disk = True
    answers = drop(bench, "t")
    (read,) = bench.send(Get(b"a"))
    assert isinstance(read, Value) and read.value is None and not answers
    bench.settle()
    assert not answers and bench.replica.drop_waiters == 1
    bench.group.sync()
    assert answers == [None] and bench.replica.drop_waiters == 0


def test_a_drop_of_what_nobody_carries_waits_for_what_it_saw() -> None:
    """It finds no entry because of a delete that is not committed: until that is, nobody may be told."""
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t",)))
    bench.send(Delete(b"a"))
    answers = drop(bench, "t")
    bench.runtime.turn()
    assert not answers
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    assert isinstance(answers[0], NotLeader)
    bench.lead()
    assert value(bench, b"a") == b"1"


def test_a_drop_is_not_confirmed_while_an_older_leader_may_serve() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t",)))
    bench.group.alone_from_s = bench.runtime.now() + 2
    answers = drop(bench, "t")
    bench.settle()
    bench.runtime.advance(1.9)
    assert not answers
    bench.runtime.advance(0.2)
    assert answers == [None]


@pytest.mark.parametrize("kept", [0, 1])
def test_a_drop_whose_leadership_ends_first_is_never_confirmed(kept: int) -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t",)))
    answers = drop(bench, "t")
    bench.runtime.turn()
    bench.group.lose()
    bench.group.truncate(bench.group.applied + kept)
    assert isinstance(answers[0], NotLeader) and len(answers) == 1
    bench.lead()
    assert value(bench, b"a") == (None if kept else b"1")
    assert len(bench.replica.dropped) == kept


def test_a_drop_that_waits_for_older_leaders_ends_with_the_leadership() -> None:
    bench = Bench().lead()
    bench.group.alone_from_s = bench.runtime.now() + 2
    answers = drop(bench, "t")
    bench.settle()
    bench.group.lose()
    assert len(answers) == 1 and isinstance(answers[0], NotLeader)
    bench.runtime.advance(5)
    assert len(answers) == 1


def test_an_undone_drop_gives_back_the_drop_before_it() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t",)))
    dropped(bench, "t")
    first = bench.replica.dropped.rows()
    drop(bench, "t")
    bench.group.lose()
    assert bench.replica.dropped.rows() == first
    bench.lead()
    assert value(bench, b"a") is None


@pytest.mark.parametrize(
    ("level", "waits"), [(ReadLevel.LATEST, False), (ReadLevel.COMMITTED, True), (ReadLevel.LINEARIZABLE, True)]
)
def test_a_read_that_must_not_show_what_can_be_lost_waits_for_the_drop(level: ReadLevel, waits: bool) -> None:
    bench = Bench().lead()
    bench.group.lease = True
    bench.ask(Set(b"a", b"1", tags=("t",)))
    drop(bench, "t")
    bench.send(Set(b"other", b"x"))
    replies = bench.send(Get(b"a", level))
    assert bool(replies) is not waits
    bench.settle()
    assert len(replies) == 1 and isinstance(replies[0], Value) and replies[0].value is None


def test_a_replica_read_at_the_leader_waits_for_the_drop_and_one_at_a_follower_follows() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t",)))
    before = follower_of(bench)
    drop(bench, "t")
    replies = bench.send(Get(b"a", replica=True))
    assert not replies
    bench.settle()
    (read,) = replies
    assert isinstance(read, Value) and read.value is None
    for follower, expected in ((before, b"1"), (follower_of(bench), None)):
        (read,) = follower.send(Get(b"a", replica=True))
        assert isinstance(read, Value) and read.value == expected


def test_a_follower_and_a_restored_replica_have_the_same_digest() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t", "t", "u")))
    bench.ask(Set(b"b", b"2", tags=("u",)))
    without = follower_of(bench).replica.digest()
    dropped(bench, "t")
    follower, restored = follower_of(bench), Bench(node_id="n2")
    restored.replica.install(restored.replica.prepare_restore(bench.replica.snapshot_blocks()), 1, 1)
    assert bench.replica.digest() == follower.replica.digest() == restored.replica.digest() != without
    assert restored.replica.dropped.rows() == bench.replica.dropped.rows()
    assert restored.replica.keyspace.families.count((1, "u")) == 2
    restored.group.term = bench.group.term
    assert [value(restored.lead(), key) for key in (b"a", b"b")] == [None, b"2"]


def test_a_snapshot_has_no_drop_that_is_not_committed() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", tags=("t",)))
    digest = bench.replica.digest()
    drop(bench, "t")
    assert bench.replica.digest() == digest
    prepared = bench.replica.prepare_restore(bench.replica.snapshot_blocks())
    assert not len(prepared.dropped)


@pytest.mark.parametrize(
    ("namespace", "tag", "named_at", "error"),
    [
        ("default", "", 1, BadRequest),
        ("default", "a b", 1, BadRequest),
        ("default", "t\n", 1, BadRequest),
        ("gone", "t", 1, UnknownNamespace),
        ("new", "t", 2, NotFollowing),
    ],
)
def test_a_drop_that_is_refused(namespace: str, tag: str, named_at: int, error: type[RaftcacheError]) -> None:
    bench = Bench().lead()
    (answer,) = drop(bench, tag, namespace, named_at)
    assert type(answer) is error and bench.replica.drop_waiters == 0


def test_a_follower_drops_nothing() -> None:
    (answer,) = drop(follower_of(Bench().lead()), "t")
    assert isinstance(answer, NotLeader)


def test_an_isolated_leader_takes_a_bounded_number_of_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidating, "MAX_DROP_WAITERS", 3)
    bench = Bench().lead()
    answers = [drop(bench, "t") for _ in range(4)]
    assert [len(each) for each in answers] == [0, 0, 0, 1] and isinstance(answers[3][0], Overloaded)
    assert "3" in answers[3][0].message
    bench.settle()
    assert answers[:3] == [[None]] * 3
    dropped(bench, "t")


def test_dropped_tags_are_bounded_until_their_entries_are_reclaimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.shard.executor.MAX_DROPPED_TAGS", 2)
    bench = Bench().lead()
    for tag in ("s", "t", "u"):
        bench.ask(Set(tag.encode(), b"1", tags=(tag,)))
    dropped(bench, "s")
    dropped(bench, "t")
    (answer,) = drop(bench, "u")
    assert isinstance(answer, Overloaded) and "2" in answer.message and value(bench, b"u") == b"1"
    bench.ask(Set(b"s", b"2", tags=("s",)))
    dropped(bench, "s")
    for _ in range(4):
        bench.runtime.advance(0.5)
        bench.settle()
    dropped(bench, "u")
    assert value(bench, b"u") is None


# -- namespaces ----------------------------------------------------------------------------------


def test_an_invalidated_namespace_is_empty_and_can_be_written() -> None:
    bench = Bench().lead()
    for key in (b"safe:a", b"safe:b", b"a"):
        bench.ask(Set(key, b"1", tags=("t",)))
    bench.follow(emptied(POLICIES, "safe"))
    bench.ask(Set(b"safe:b", b"2", tags=("t",)))
    assert [value(bench, key) for key in (b"safe:a", b"safe:b", b"a")] == [None, b"2", b"1"]
    assert bench.replica.stats.invalidations["namespace"] == 1


def test_the_default_namespace_can_be_invalidated_alone() -> None:
    bench = Bench().lead()
    for key in (b"safe:a", b"a", b"user:a"):
        bench.ask(Set(key, b"1"))
    bench.follow(emptied(POLICIES, "default")).settle()
    assert [value(bench, key) for key in (b"safe:a", b"a", b"user:a")] == [b"1", None, None]


def test_an_invalidation_that_is_undone_gives_the_keys_back_and_takes_what_came_after() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"safe:a", b"1"))
    bench.follow(emptied(POLICIES, "safe"))
    bench.send(Set(b"safe:a", b"2"))
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    bench.policies = POLICIES
    assert value(bench.lead(), b"safe:a") == b"1"


def test_an_invalidation_is_confirmed_when_its_point_is_durable() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"safe:a", b"1"))
    bench.group.slow_disk = True
    bench.follow(emptied(POLICIES, "safe"))
    answers: Confirmed = []
    bench.replica.confirm_policies(2, 1e9, answers.append)
    bench.settle()
    assert not answers
    bench.group.sync()
    assert answers == [None]


def test_a_read_of_what_is_committed_waits_for_the_point_that_emptied_the_namespace() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"shown:a", b"1"))
    bench.follow(emptied(POLICIES, "shown"))
    replies = bench.send(Get(b"shown:a"))
    assert not replies
    bench.settle()
    assert len(replies) == 1 and isinstance(replies[0], Value) and replies[0].value is None


def test_a_retry_is_answered_by_its_record_after_an_invalidation() -> None:
    """The record outlives it: else a write sent twice would be executed twice."""
    bench = Bench().lead()
    command = Incr(b"safe:n", 1, ack=AckLevel.QUORUM, idempotency=b"i")
    first = bench.ask(command)
    bench.follow(emptied(POLICIES, "safe")).settle()
    for _ in range(4):
        bench.runtime.advance(0.5)
        bench.settle()
    assert bench.ask(command) == first
    assert value(bench, b"safe:n") is None


def test_tags_of_an_invalidated_namespace_start_anew() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"safe:a", b"1", tags=("t",)))
    dropped(bench, "t", "safe")
    bench.follow(emptied(POLICIES, "safe"))
    bench.ask(Set(b"safe:a", b"2", tags=("t",)))
    assert value(bench, b"safe:a") == b"2"


# -- defects -------------------------------------------------------------------------------------


def test_the_tests_above_notice_a_drop_that_is_compared_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DroppedTags, "drop_of", lambda self, entry: next(iter(self._rows.values()), None))
    with pytest.raises(AssertionError):
        test_what_is_set_after_a_drop_stands_with_the_same_tag()


@pytest.mark.replaces_methods
def test_the_tests_above_notice_a_read_that_forgets_the_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executor, "_drop_shown", lambda _self, _key: 0)
    with pytest.raises(AssertionError):
        test_a_read_that_must_not_show_what_can_be_lost_waits_for_the_drop(ReadLevel.COMMITTED, True)
