"""Dropping tags and namespaces in a whole cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.commands.types import Set, Value
from raftcache.errors import NoLeader, OutcomeUnknown
from raftcache.metadata.view import MetadataView
from raftcache.node.backend import ViewBackend
from raftcache.testing.cluster import SimCluster

from .clusters import created, leader_of, read, run, run_until, the_shard
from .test_policies import begin


def drop(cluster: SimCluster, node_id: str, tag: str | None, seconds: float = 5.0) -> list[Any]:
    """Begin to drop a tag of `default`, or all of it."""

    def ask(backend: ViewBackend, end: float, done: Callable[..., None]) -> None:
        if tag is None:
            backend.invalidate_namespace("default", end, done)
        else:
            backend.invalidate_tag("default", tag, end, done)

    return begin(cluster, node_id, ask, seconds)


def put(cluster: SimCluster, key: bytes, *tags: str) -> None:
    process = cluster.running()[0]
    replies: list[Any] = []
    command = Set(key, b"v", tags=tags or None)
    process.runtime.deliver(
        lambda: process.dispatcher.execute(command, process.runtime.now() + 5.0, replies.append)
    )
    assert run_until(cluster, lambda: bool(replies), 6.0)


def found(cluster: SimCluster, key: bytes) -> list[bytes | None]:
    """The value of a key as each node's front end reads it."""
    replies = [read(cluster, process.node_id, key) for process in cluster.running()]
    assert all(isinstance(reply, Value) for reply in replies)
    return [reply.value for reply in replies if isinstance(reply, Value)]


def test_a_tag_is_dropped_in_every_shard_through_any_node() -> None:
    cluster = created(shards=3)
    for n in range(12):
        put(cluster, b"k%d" % n, "even" if n % 2 == 0 else "odd")
    answers = drop(cluster, "n2", "even")
    assert run_until(cluster, lambda: bool(answers), 6.0) and answers == [None]
    assert [found(cluster, b"k%d" % n) for n in range(12)] == [[None] * 3, [b"v"] * 3] * 6


def test_what_was_dropped_stays_so_through_a_failover() -> None:
    cluster = created()
    put(cluster, b"a", "x")
    put(cluster, b"b")
    for tag in ("x", None):
        answers = drop(cluster, "n0", tag)
        assert run_until(cluster, lambda answers=answers: bool(answers), 6.0) and answers == [None]
        leader = leader_of(cluster, the_shard(cluster).id)
        assert leader is not None
        cluster.kill(leader)
        run(cluster, 3.0)
        assert set(found(cluster, b"a")) == {None}
        cluster.start(leader)
        run(cluster, 3.0)
    assert set(found(cluster, b"a")) == set(found(cluster, b"b")) == {None}


def test_it_is_not_acknowledged_while_a_shard_cannot_say_so() -> None:
    cluster = created(shards=1)
    put(cluster, b"a", "x")
    for node_id in ("n1", "n2"):
        cluster.kill(node_id)
    run(cluster, 2.0)
    answers = drop(cluster, "n0", "x", 3.0)
    assert run_until(cluster, lambda: bool(answers), 4.0)
    assert isinstance(answers[0], OutcomeUnknown) and "repeat" in answers[0].message


def test_a_process_that_knows_of_no_shards_does_not_take_that_for_all_of_them() -> None:
    """Seed 1 of the sweep: a node that had just started answered that a tag was dropped, and had asked nobody."""
    cluster = created()
    cluster.processes["n0"].backend.view = MetadataView(cluster.processes["n0"].runtime)
    answers = drop(cluster, "n0", "x")
    run(cluster, 0.1)
    assert isinstance(answers[0], NoLeader)
