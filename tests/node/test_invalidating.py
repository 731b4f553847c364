"""Dropping tags and namespaces in a whole cluster: acknowledged when every shard has, and never before."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from raftcache.clock import Handle
from raftcache.commands.types import Set, Value, Written
from raftcache.errors import BadRequest, NotLeader, OutcomeUnknown, RaftcacheError, UnknownNamespace
from raftcache.node.core import NodeCore
from raftcache.node.following import Confirmations, Question
from raftcache.node.invalidating import serve_drop_tag
from raftcache.testing.cluster import SimCluster
from raftcache.testing.plants import planted

from .clusters import created, leader_of, metadata_leader, read, run, run_until, the_shard
from .test_policies import begin, delete, parts, put

KEYS = [b"k%d" % number for number in range(24)]
"""Enough for every shard to have some."""


def fill(cluster: SimCluster, prefix: bytes = b"", value: bytes = b"old") -> None:
    for number, key in enumerate(KEYS):
        node_id = cluster.ids[number % len(cluster.ids)]
        command = Set(prefix + key, value, tags=("t",))
        replies = begin(cluster, node_id, lambda backend, end, done, c=command: backend.execute(c, end, done))  # type: ignore[misc]
        assert run_until(cluster, lambda replies=replies: bool(replies), 5.0)  # type: ignore[misc]
        assert isinstance(replies[0], Written)


def start_drop(cluster: SimCluster, node_id: str, tag: str = "t", name: str = "default", seconds: float = 5.0) -> Any:
    return begin(cluster, node_id, lambda backend, end, done: backend.invalidate_tag(name, tag, end, done), seconds)


def start_emptying(cluster: SimCluster, node_id: str, name: str = "default", seconds: float = 5.0) -> Any:
    return begin(cluster, node_id, lambda backend, end, done: backend.invalidate_namespace(name, end, done), seconds)


BEGIN = pytest.mark.parametrize("begin_one", [start_drop, start_emptying], ids=["tag", "namespace"])


def answer_of(cluster: SimCluster, answers: list[Any], seconds: float = 6.0) -> Any:
    assert run_until(cluster, lambda: bool(answers), seconds)
    assert len(answers) == 1
    return answers[0]


def left(cluster: SimCluster, node_id: str, prefix: bytes = b"") -> int:
    replies = [read(cluster, node_id, prefix + key) for key in KEYS]
    assert all(isinstance(reply, Value) for reply in replies), replies
    return sum(reply.value is not None for reply in replies if isinstance(reply, Value))


@BEGIN
def test_everything_is_gone_at_every_node_once_it_is_answered(begin_one: Any) -> None:
    cluster = created(shards=3)
    fill(cluster)
    assert left(cluster, "n0") == len(KEYS)
    assert answer_of(cluster, begin_one(cluster, "n1")) is None
    assert [left(cluster, node_id) for node_id in cluster.ids] == [0, 0, 0]
    fill(cluster, value=b"new")
    assert [left(cluster, node_id) for node_id in cluster.ids] == [len(KEYS)] * 3
    run(cluster, 3.0)
    assert left(cluster, "n0") == len(KEYS)


@BEGIN
def test_another_namespace_is_left_alone(begin_one: Any) -> None:
    cluster = created(shards=3)
    put(cluster, "n0", "primary")
    fill(cluster)
    fill(cluster, b"x:")
    assert answer_of(cluster, begin_one(cluster, "n2", name="x")) is None
    assert (left(cluster, "n1", b"x:"), left(cluster, "n1")) == (0, len(KEYS))


@BEGIN
def test_a_shard_without_a_quorum_is_not_acknowledged(begin_one: Any) -> None:
    cluster = created(nodes=5)
    shard = the_shard(cluster)
    fill(cluster)
    outsider = next(node_id for node_id in cluster.ids if node_id not in shard.nodes)
    cut = [node_id for node_id in shard.nodes if node_id != metadata_leader(cluster)][:2]
    for node_id in cut:
        cluster.kill(node_id)
    error = answer_of(cluster, begin_one(cluster, outsider, seconds=4.0))
    assert isinstance(error, OutcomeUnknown) and shard.id in error.message
    for node_id in cut:
        cluster.start(node_id)
    assert run_until(cluster, lambda: leader_of(cluster, shard.id) is not None, 8.0)
    assert answer_of(cluster, begin_one(cluster, outsider)) is None
    assert left(cluster, outsider) == 0


@BEGIN
@pytest.mark.parametrize("plant", ["", "confirm-at-once"])
def test_no_older_leader_shows_anything_when_it_is_answered(begin_one: Any, plant: str) -> None:
    """The leader is cut off and goes on for its fallback time; meanwhile the others elect one and drop everything."""
    with planted(plant) if plant else nullcontext():
        cluster = created()
        leader, others = parts(cluster)
        if metadata_leader(cluster) == leader:
            there = cluster.processes[leader]
            there.runtime.deliver(lambda: there.core.host.groups["meta"].transfer_leadership(others[0]))
            assert run_until(cluster, lambda: cluster.processes[others[0]].core.metadata.serving, 3.0)
        fill(cluster)
        run(cluster, 1.0)
        shard_id = the_shard(cluster).id
        cluster.network.isolate(leader)

        def successor() -> str | None:
            return next((n for n in others if cluster.processes[n].core.shards[shard_id].serving), None)

        assert run_until(cluster, lambda: successor() is not None, 3.0)
        answers = begin_one(cluster, successor() or "")
        while not answers:
            cluster.loop.run_until(cluster.loop.time + 0.01)
        assert answers == [None]
        old = cluster.processes[leader].core.shards[shard_id]
        shown = old.serving and old._leads_now()
    assert shown == bool(plant)


@BEGIN
def test_a_leader_that_dies_while_it_is_asked_is_followed_by_another(begin_one: Any) -> None:
    cluster = created()
    leader, others = parts(cluster)
    fill(cluster)
    run(cluster, 0.5)
    answers = begin_one(cluster, others[0], seconds=10.0)
    cluster.kill(leader)
    assert answer_of(cluster, answers, 12.0) is None or isinstance(answers[0], OutcomeUnknown)
    assert answer_of(cluster, begin_one(cluster, others[0])) is None
    assert left(cluster, others[0]) == 0
    cluster.kill(others[0])
    cluster.start(leader)
    assert run_until(cluster, lambda: leader_of(cluster, the_shard(cluster).id) is not None, 8.0)
    assert left(cluster, others[1]) == 0


def test_an_isolated_front_end_is_never_told_that_a_tag_is_dropped() -> None:
    cluster = created(shards=3)
    fill(cluster)
    cluster.network.isolate("n2")
    error = answer_of(cluster, start_drop(cluster, "n2", seconds=3.0))
    assert isinstance(error, OutcomeUnknown)


def test_a_shard_that_is_declared_lost_has_to_drop_a_tag_too() -> None:
    """Nobody can say whether what replaces it holds what was to be dropped."""
    cluster = created()
    view = cluster.processes["n0"].core.view
    fill(cluster)
    lost = tuple(replace(shard, state="lost") for shard in view.state.shards)
    view.state = replace(view.state, shards=lost)
    calls: list[str] = []
    asked = Confirmations(cluster.processes["n0"].runtime, view, lambda node, *_: calls.append(node))
    answers: list[Any] = []
    deadline = cluster.processes["n0"].runtime.now() + 1.0
    of_all = Question("drop_tag", lambda _id: b"", lambda ids: OutcomeUnknown(", ".join(ids)), of_lost=True)
    asked.ask(of_all, deadline, answers.append)
    assert not answers and calls
    asked.ask(Question("policy", lambda _id: b"", lambda ids: OutcomeUnknown(", ".join(ids))), deadline, answers.append)
    assert answers == [None]
    assert run_until(cluster, lambda: len(answers) == 2, 2.0)
    assert isinstance(answers[1], OutcomeUnknown)


class Refusing:
    """A shard map of two, a stopped clock, and nodes that answer at once."""

    random: Any = None

    def __init__(self, error: RaftcacheError | None) -> None:
        self.error, self.calls = error, 0

    def now(self) -> float:
        return 100.0

    def call_later(self, _delay: float, _callback: Any) -> Handle:
        return self

    def cancel(self) -> None:
        """A timer that never runs."""

    def call(self, _node: str, _method: str, _body: bytes, _deadline: float, done: Any) -> None:
        self.calls += 1
        done(b"" if self.error is None else self.error)


@pytest.mark.parametrize("error", [None, UnknownNamespace("no such namespace"), BadRequest("no such tag")])
def test_a_question_that_is_answered_while_it_is_put_is_answered_once(error: RaftcacheError | None) -> None:
    cluster = created(shards=2)
    fake: Any = Refusing(error)
    answers: list[Any] = []
    final = (UnknownNamespace, BadRequest)
    question = Question("drop_tag", lambda _id: b"", lambda _ids: OutcomeUnknown(""), of_lost=True, final=final)
    Confirmations(fake, cluster.processes["n0"].core.view, fake.call).ask(question, 101.0, answers.append)
    assert answers == [error]
    assert fake.calls == (2 if error is None else 1)


def test_a_tag_of_a_namespace_that_is_deleted_meanwhile() -> None:
    cluster = created(shards=2)
    put(cluster, "n0", "primary")
    run(cluster, 1.0)
    assert delete(cluster, "n1") is None
    error = answer_of(cluster, start_drop(cluster, "n0", name="x"))
    assert isinstance(error, UnknownNamespace)
    assert isinstance(answer_of(cluster, start_emptying(cluster, "n0", name="x")), UnknownNamespace)


def test_what_the_rpc_refuses() -> None:
    cluster = created()
    core: NodeCore = cluster.processes["n0"].core
    answers: list[Any] = []
    serve_drop_tag(core, b"?", answers.append)
    serve_drop_tag(core, msgspec.msgpack.encode(("ffff", "default", "t", 1)), answers.append)
    assert isinstance(answers[0], BadRequest) and isinstance(answers[1], NotLeader)
    assert "ffff" in answers[1].message
