"""Plain writes of one client at `quorum` that share a waiter in their batch."""

from __future__ import annotations

from typing import Any

import pytest
from shard_harness import POLICIES, Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Limits, Namespace
from raftcache.commands.types import KEY_LIMIT_BYTES, AckLevel, Failure, Reply, Set, Version, Written
from raftcache.shard import pipeline
from raftcache.shard.joint import Joint, JointWrites


class Client:
    """One client's writes, and what they were answered with, in the order answered."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.joint = bench, Joint(2.0)
        self.answers: list[tuple[int, Reply]] = []

    def write(self, key: bytes, value: bytes = b"1") -> JointWrites | Version | None:
        bench = self.bench
        wrote = bench.write(key, value, self.joint)
        if isinstance(wrote, JointWrites):
            wrote.answered = lambda writes, reply: self.answers.append((len(writes.items), reply))
        return wrote


def joined(client: Client, key: bytes) -> JointWrites:
    wrote = client.write(key)
    assert isinstance(wrote, JointWrites)
    return wrote


def test_those_of_one_batch_are_answered_together_when_it_commits_and_not_before() -> None:
    bench = Bench().lead()
    client, other = Client(bench), Client(bench)
    first = joined(client, b"safe:a")
    assert joined(other, b"safe:b") is not first
    assert joined(client, b"safe:c") is first
    bench.runtime.turn()
    assert not client.answers, "proposed"
    waiting = bench.replica.pipeline.waiting
    bench.settle()
    assert waiting == 2, "one a client"
    assert [(count, type(reply)) for count, reply in client.answers] == [(2, Written)]
    assert [(count, type(reply)) for count, reply in other.answers] == [(1, Written)]
    for key, value, version in first.items:
        entry = bench.replica.keyspace.get(key)
        assert entry is not None and (entry.value, entry.term, entry.seq) == (value, version.term, version.seq)


def test_each_batch_has_a_waiter_of_its_own() -> None:
    bench = Bench().lead()
    client = Client(bench)
    first = joined(client, b"safe:a")
    bench.runtime.turn()
    assert joined(client, b"safe:a") is not first
    bench.settle()
    assert [count for count, _ in client.answers] == [1, 1]


def test_a_full_batch_and_a_full_place_begin_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_BATCH_EFFECTS", 5)
    bench = Bench().lead()
    client = Client(bench)
    places = [joined(client, b"safe:%d" % number) for number in range(12)]
    assert [len(place.items) for place in dict.fromkeys(places)] == [5, 5, 2]
    bench.settle()
    assert sum(count for count, _ in client.answers) == 12
    monkeypatch.setattr(pipeline, "MAX_BATCH_EFFECTS", 2048)
    places = [joined(client, b"safe:%d" % number) for number in range(300)]
    assert [len(place.items) for place in dict.fromkeys(places)] == [256, 44]


def test_none_is_added_to_what_is_answered_already_or_has_others_behind_it() -> None:
    bench = Bench().lead()
    client = Client(bench)
    first = joined(client, b"safe:a")
    first.done = True
    second = joined(client, b"safe:b")
    assert second is not first
    client.joint.newest = None
    assert joined(client, b"safe:c") is not second


def test_levels_decide_who_waits() -> None:
    bench = Bench().lead()
    client = Client(bench)
    assert isinstance(client.write(b"a"), Version), "acknowledged from memory"
    assert bench.write(b"safe:a", b"1") is None, "nobody to wait"
    assert client.write(b"brief:a") is None
    assert client.write(b"x" * (KEY_LIMIT_BYTES + 1)) is None
    assert client.write(b"safe:a", bytes(POLICIES.at("safe").max_item_bytes + 1)) is None
    bench.group.confirmed = False
    assert client.write(b"safe:a") is None, "a quorum has been silent"


@pytest.mark.parametrize(
    "namespace",
    [
        Namespace("safe", 2, ack=AckLevel.DURABLE),
        Namespace("safe", 2, ack=AckLevel.QUORUM, default_ttl_ms=1000),
        Namespace("safe", 2, ack=AckLevel.QUORUM, limits=Limits(operations_per_second=1000)),
        Namespace("safe", 2, ack=AckLevel.QUORUM, limits=Limits(quota_items=1000)),
    ],
)
def test_only_plain_namespaces_have_them(namespace: Namespace) -> None:
    bench = Bench(policies=Namespaces(1, (Namespace("default", 1), namespace))).lead()
    assert Client(bench).write(b"safe:a") is None


def test_a_level_that_is_on_its_way_up_or_down_is_the_stricter_one() -> None:
    """From the moment that the change is in the log until it is committed."""
    bench = Bench().lead()
    client = Client(bench)
    raised = Namespaces(2, (Namespace("default", 1, ack=AckLevel.QUORUM), *list(POLICIES.by_name.values())[1:]))
    bench.follow(raised)
    bench.runtime.turn()
    assert isinstance(client.write(b"a"), JointWrites)
    bench.settle()
    lowered = Namespaces(3, tuple(POLICIES.by_name.values()))
    bench.follow(lowered)
    bench.runtime.turn()
    assert isinstance(client.write(b"a"), JointWrites)
    bench.settle()
    assert [count for count, _ in client.answers] == [1, 1]
    assert isinstance(client.write(b"a"), Version)


def test_a_namespace_under_way_is_never_taken_for_another() -> None:
    """While `safe` is being deleted, its prefix has its level under `default`'s id."""
    bench = Bench().lead()
    bench.follow(Namespaces(2, (Namespace("default", 1),)))
    bench.runtime.turn()
    client = Client(bench)
    assert client.write(b"safe:a") is None
    assert client.write(b"a") is None


def test_where_the_leadership_ends_the_failure_says_what_can_have_happened() -> None:
    bench = Bench().lead()
    client = Client(bench)
    proposed = joined(client, b"safe:a")
    bench.runtime.turn()
    open_ = joined(client, b"safe:b")
    bench.group.lose("n1")
    failures: list[Any] = [reply for _, reply in client.answers]
    assert all(isinstance(reply, Failure) for reply in failures)
    assert {reply.code for reply in failures} == {"outcome_unknown", "not_leader"}
    assert failures[0].details == {"version": str(proposed.items[0][2])}
    assert bench.replica.keyspace.get(open_.items[0][0]) is None, "it is undone"


def test_they_are_as_visible_as_any_write_that_waits() -> None:
    bench = Bench().lead()
    client = Client(bench)
    joined(client, b"safe:a")
    assert bench.ask(Set(b"safe:a", b"2", if_absent=True)).written is False
    assert bench.replica.stats.sets == 1
    assert not bench.replica.pipeline._open.acked and bench.replica._losses.waiting == 0
