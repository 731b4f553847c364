"""Reads at `committed`, and what else reveals state in a namespace that reads so: nothing shows what can be lost."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace
from shard_harness import Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.types import (
    AckLevel,
    Append,
    Command,
    Counted,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    MultiGet,
    Persist,
    ReadLevel,
    Reply,
    Set,
    Value,
    Version,
    Written,
)
from raftcache.shard import pipeline as pipeline_module

COMMITTED, QUORUM = ReadLevel.COMMITTED, AckLevel.QUORUM
KEY = b"shown:k"


def speculative(bench: Bench, *commands: Command) -> None:
    """Execute commands whose batches do not commit."""
    for command in commands:
        bench.send(command)
    bench.runtime.turn()


def version(seq: int, term: int = 1) -> Version:
    return Version("7c1f", term, seq)


def test_a_committed_read_of_committed_state_leaves_at_once_and_proposes_nothing() -> None:
    bench = Bench().lead()
    bench.ask(Set(KEY, b"v"))
    before = len(bench.group.log)
    assert bench.send(Get(KEY)) == [Value(b"v", 0, version(2), None, COMMITTED)]
    bench.settle()
    assert len(bench.group.log) == before, "no batch of its own"


def test_it_waits_for_the_newest_change_of_its_key_and_for_no_later_batch() -> None:
    bench = Bench().lead()
    speculative(bench, Set(KEY, b"1"))
    speculative(bench, Set(KEY, b"2"))
    replies = bench.send(Get(KEY))
    speculative(bench, Set(b"other", b"later"))
    bench.group.commit(2)
    assert replies == [], "the first of the two is committed"
    bench.group.commit(3)
    assert replies == [Value(b"2", 0, version(3), None, COMMITTED)]
    assert bench.replica.pipeline.writes == 1, "and the later write is not"


def test_it_is_executed_on_arrival() -> None:
    bench = Bench().lead()
    speculative(bench, Set(KEY, b"1"))
    replies = bench.send(Get(KEY))
    bench.send(Set(KEY, b"2"))
    bench.settle()
    assert isinstance(replies[0], Value) and replies[0].value == b"1"


def test_leadership_lost_is_a_definite_not_leader() -> None:
    bench = Bench().lead()
    speculative(bench, Set(KEY, b"1"))
    replies = bench.send(Get(KEY))
    bench.group.lose("n2")
    assert [reply.code for reply in replies if isinstance(reply, Failure)] == ["not_leader"]
    assert not bench.replica.pipeline.writes and not bench.replica.pipeline._removed


def test_a_request_may_ask_for_committed_where_latest_is_the_policy() -> None:
    bench = Bench().lead()
    speculative(bench, Set(b"k", b"1"))
    (latest,), committed = bench.send(Get(b"k")), bench.send(Get(b"k", COMMITTED))
    assert isinstance(latest, Value) and latest.level == ReadLevel.LATEST
    assert committed == []
    bench.settle()
    assert committed == [Value(b"1", 0, version(2), None, COMMITTED)]


def test_absence_by_a_speculative_remove_waits() -> None:
    bench = Bench().lead()
    bench.ask(Set(KEY, b"1"))
    speculative(bench, Delete(KEY))
    replies = bench.send(Get(KEY))
    assert replies == []
    bench.settle()
    assert replies == [Value(None, 0, version(3), None, COMMITTED)]


def test_a_miss_carries_the_newest_version_that_is_committed() -> None:
    bench = Bench().lead()
    speculative(bench, Set(b"other", b"1"))
    assert bench.send(Get(b"shown:none")) == [Value(None, 0, version(1), None, COMMITTED)]
    assert bench.send(Get(b"none")) == [Value(None, 0, version(2), None, ReadLevel.LATEST)]


def test_an_expired_key_is_a_miss_only_after_its_removal_is_committed() -> None:
    bench = Bench().lead()
    bench.ask(Set(KEY, b"1", ttl_ms=50))
    bench.runtime.now_s += 0.06
    replies = bench.send(Get(KEY))
    assert replies == []
    bench.settle()
    assert replies == [Value(None, 0, version(3), None, COMMITTED)]


def test_a_time_to_live_is_shown_when_it_is_committed() -> None:
    bench = Bench().lead()
    bench.ask(Set(KEY, b"1"))
    speculative(bench, Expire(KEY, 5000, ack=AckLevel.PRIMARY))
    replies = bench.send(Get(KEY))
    assert replies == []
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    bench.lead()
    assert bench.send(Get(KEY)) == [Value(b"1", 0, version(2), None, COMMITTED)]


def test_an_entry_of_another_namespace_is_a_miss_that_waits() -> None:
    """The miss shows that the write under the other namespace took the key's place, and that its policy is gone."""
    bench = Bench().lead()
    bench.ask(Set(KEY, b"1"))
    old = tuple(bench.policies.by_name.values())
    bench.follow(Namespaces(2, tuple(ns if ns.name != "shown" else replace(ns, id=77) for ns in old)))
    speculative(bench, Set(KEY, b"other"))
    bench.follow(Namespaces(3, old))
    replies = bench.send(Get(KEY))
    assert replies == []
    bench.settle()
    assert replies == [Value(None, 0, version(5), None, COMMITTED)]


UNCHANGED = [
    (Set(KEY, b"2", if_absent=True), True),
    (Set(KEY, b"2", if_version=version(99)), True),
    (Delete(KEY, if_version=version(99)), True),
    (Persist(KEY), True),
]


@pytest.mark.parametrize(("command", "existed"), UNCHANGED, ids=str)
def test_a_condition_that_fails_waits_for_what_it_observed(command: Command, existed: bool) -> None:
    bench = Bench().lead()
    speculative(bench, Set(KEY, b"1"))
    replies = bench.send(command)
    assert replies == []
    speculative(bench, Set(b"other", b"later"))
    bench.group.commit(2)
    assert replies == [Written(False, version(2), None, QUORUM, existed, version(2))]
    before = len(bench.group.log)
    assert len(bench.send(command)) == 1, "committed by now: at once"
    assert len(bench.group.log) == before


@pytest.mark.parametrize("command", [Delete(KEY), Expire(KEY, 100), Set(KEY, b"", if_version=version(2))], ids=str)
def test_a_write_of_a_missing_key_waits_for_the_remove_that_it_saw(command: Command) -> None:
    bench = Bench().lead()
    bench.ask(Set(KEY, b"1"))
    speculative(bench, Delete(KEY))
    replies = bench.send(command)
    assert replies == []
    bench.settle()
    assert replies == [Written(False, version(3), None, QUORUM, False, None)]


def test_a_refused_incr_reveals_that_the_value_is_no_integer() -> None:
    bench = Bench().lead()
    speculative(bench, Set(KEY, b"word"))
    replies = bench.send(Incr(KEY))
    assert replies == []
    bench.settle()
    assert isinstance(replies[0], Failure) and replies[0].code == "not_an_integer"
    assert len(bench.send(Incr(KEY))) == 1


@pytest.mark.parametrize(
    "command", [Incr(b"shown:n"), Set(b"shown:n", b"", if_absent=True), Delete(KEY), Expire(KEY, 50_000)], ids=str
)
def test_what_wrote_and_reveals_waits_for_its_own_batch(command: Command) -> None:
    bench = Bench().lead()
    bench.ask(Set(KEY, b"1"))
    replies = bench.send(command)
    assert replies == []
    bench.settle()
    (reply,) = replies
    assert isinstance(reply, Written | Counted) and reply.ack == QUORUM and reply.version == version(3)


def test_a_plain_set_there_is_as_fast_as_ever() -> None:
    bench = Bench().lead()
    assert bench.send(Set(KEY, b"1")) == [Written(True, version(2), None, AckLevel.PRIMARY)]


def test_linearizable_namespaces_still_prove_leadership_for_what_wrote_nothing() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"strict:k", b"1"))
    replies = bench.send(Set(b"strict:k", b"2", if_absent=True))
    assert replies == []
    before = len(bench.group.log)
    bench.settle()
    assert len(replies) == 1 and len(bench.group.log) == before + 1


def test_durable_asks_for_more_than_what_was_observed() -> None:
    bench = Bench().lead()
    bench.ask(Set(KEY, b"1"))
    bench.group.slow_disk = True
    replies = bench.send(Delete(b"shown:none", ack=AckLevel.DURABLE))
    bench.settle()
    assert replies == []
    bench.group.sync()
    assert isinstance(replies[0], Written) and replies[0].ack == AckLevel.DURABLE


def test_many_reads_are_answered_when_the_last_may_be() -> None:
    bench = Bench().lead()
    speculative(bench, Set(KEY, b"1"))
    replies = bench.send(MultiGet((Get(KEY), Get(b"shown:none"))))
    assert replies == []
    bench.settle()
    assert len(replies) == 1


def test_readers_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench().lead()
    speculative(bench, Set(KEY, b"1"))
    monkeypatch.setattr(pipeline_module, "MAX_WAITERS", 2)
    waiting = [bench.send(Get(KEY)) for _ in range(2)]
    (refused,) = bench.send(Get(KEY))
    assert isinstance(refused, Failure) and refused.code == "overloaded"
    assert len(bench.send(Get(b"shown:none"))) == 1, "that one does not wait"
    bench.settle()
    assert all(len(replies) == 1 for replies in waiting)
    assert bench.replica.pipeline.waiting == 0


def test_the_index_follows_every_commit_and_undo() -> None:
    """Against a model: the newest uncommitted batch of each key, over random writes, commits and lost leaderships."""
    rnd = random.Random(7)
    bench = Bench().lead()
    for _ in range(3000):
        pick = rnd.random()
        key = b"shown:%d" % rnd.randrange(12)
        if pick < 0.55:
            bench.send(rnd.choice([Set(key, b"v"), Delete(key), Incr(b"n" + key), Set(key, b"x", ttl_ms=5)]))
        elif pick < 0.75:
            bench.runtime.turn()
        elif pick < 0.95:
            bench.group.commit(min(len(bench.group.log), bench.group.applied + 1))
        elif pick < 0.97:
            bench.group.lose()
            bench.group.truncate(bench.group.applied)
            bench.lead()
        else:
            bench.runtime.now_s += 0.01
        pipeline = bench.replica.pipeline
        expected = {key: batch for batch in pipeline._batches() for key, _ in batch.undo}
        every = {*expected, *(b"shown:%d" % number for number in range(12))}
        assert {key: pipeline.newest_change(key) for key in every} == {key: expected.get(key) for key in every}
        assert set(pipeline._removed) <= set(expected)
    bench.settle()
    assert not bench.replica.pipeline.writes and not bench.replica.pipeline._removed


def test_nothing_that_is_lost_was_ever_shown() -> None:
    """Random commands and failovers; every version in a reply of the namespace must be committed in the end."""
    rnd = random.Random(11)
    bench = Bench().lead()
    shown: list[Version] = []

    def note(reply: Reply) -> None:
        if isinstance(reply, Value):
            shown.append(reply.version)
        elif isinstance(reply, Written) and reply.ack >= QUORUM:
            shown.extend(each for each in (reply.version, reply.current) if each is not None)
        elif isinstance(reply, Counted):
            shown.append(reply.version)

    for _ in range(4000):
        key = b"shown:%d" % rnd.randrange(6)
        commands = [Set(key, b"v"), Set(key, b"v", ttl_ms=20), Get(key), Delete(key), Set(key, b"w", if_absent=True)]
        commands += [Incr(b"shown:n"), Expire(key, 30), Persist(key), Set(key, b"c", if_version=version(1))]
        commands += [Append(b"shown:a", b"."), Set(key, b"x", if_present=True, keep_ttl=True), Delete(key, reveal=True)]
        bench.replica.submit(rnd.choice(commands), note)
        pick = rnd.random()
        if pick < 0.3:
            bench.runtime.turn()
        elif pick < 0.5:
            bench.group.commit(min(len(bench.group.log), bench.group.applied + 1))
        elif pick < 0.52:
            bench.group.lose()
            bench.group.truncate(bench.group.applied)
            bench.lead()
        elif pick < 0.6:
            bench.runtime.now_s += 0.01
    bench.settle()
    history = bench.replica.history
    assert len(shown) > 500 and history.term > 20
    assert [each for each in shown if history.last_committed_seq(each.term) < each.seq] == []
