"""Changes of policy in a whole cluster: what was answered is obeyed at every node, whoever leads and knows what."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from msgspec.structs import replace

from raftcache.commands.types import (
    AckLevel,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    MultiSet,
    Persist,
    Set,
    Value,
    Written,
)
from raftcache.errors import OutcomeUnknown, RaftcacheError, UnknownNamespace
from raftcache.frontends.backend import PolicyWritten
from raftcache.node.backend import ViewBackend
from raftcache.testing.cluster import ClusterSettings, SimCluster
from raftcache.testing.plants import planted

from .clusters import SEED, created, leader_of, metadata_leader, read, run, run_until, the_shard, write

KEY = b"x:k"


def begin(
    cluster: SimCluster,
    node_id: str,
    ask: Callable[[ViewBackend, float, Callable[..., None]], None],
    seconds: float = 5.0,
) -> list[Any]:
    """Ask something of a node, within so many seconds; the answer comes into the list."""
    answers: list[Any] = []
    process = cluster.processes[node_id]
    deadline = process.runtime.now() + seconds
    process.runtime.deliver(lambda: ask(process.backend, deadline, answers.append))
    return answers


def start_put(cluster: SimCluster, node_id: str, ack: str, seconds: float = 5.0, name: str = "x") -> list[Any]:
    """Begin to change a policy; the result comes into the list."""
    return begin(
        cluster, node_id, lambda backend, end, done: backend.put_namespace(name, {"ack": ack}, end, done), seconds
    )


def put(cluster: SimCluster, node_id: str, ack: str) -> Any:
    results = start_put(cluster, node_id, ack)
    assert run_until(cluster, lambda: bool(results), 6.0)
    return results[0]


def delete(cluster: SimCluster, node_id: str) -> Any:
    results = begin(cluster, node_id, lambda backend, end, done: backend.delete_namespace("x", end, done))
    assert run_until(cluster, lambda: bool(results), 6.0)
    return results[0]


def at_once(cluster: SimCluster, node_id: str) -> Any:
    """What a write gets within the same moment; None where it waits."""
    replies = begin(cluster, node_id, lambda backend, end, done: backend.execute(Set(KEY, b"v"), end, done), 3.0)
    return replies[0] if replies else None


def parts(cluster: SimCluster) -> tuple[str, list[str]]:
    """The shard's leader, and the other nodes."""
    leader = leader_of(cluster, the_shard(cluster).id)
    assert leader is not None
    return leader, [node_id for node_id in cluster.ids if node_id != leader]


def test_a_change_is_answered_when_every_shard_follows_it() -> None:
    cluster = created(shards=3)
    result = put(cluster, "n1", "quorum")
    assert isinstance(result, PolicyWritten) and result.created
    replicas = [replica for process in cluster.running() for replica in process.core.shards.values()]
    epochs = [replica.policies.applied.epoch for replica in replicas if replica.serving]
    assert len(epochs) == 3 and min(epochs) >= 2
    for node_id in cluster.ids:
        reply = write(cluster, node_id, KEY, b"v")
        assert isinstance(reply, Written) and reply.ack == AckLevel.QUORUM


def test_the_same_policy_again_is_confirmed_again() -> None:
    cluster = created()
    put(cluster, "n0", "quorum")
    result = put(cluster, "n2", "quorum")
    assert isinstance(result, PolicyWritten) and not result.created


def test_a_deleted_namespace_takes_its_keys_along_and_a_new_one_starts_without() -> None:
    cluster = created()
    put(cluster, "n0", "quorum")
    write(cluster, "n1", KEY, b"old")
    assert delete(cluster, "n2") is None
    assert isinstance(delete(cluster, "n1"), UnknownNamespace)
    found = read(cluster, "n0", KEY)
    assert isinstance(found, Value) and found.value is None
    put(cluster, "n1", "primary")
    found = read(cluster, "n0", KEY)
    assert isinstance(found, Value) and found.value is None


def deaf(cluster: SimCluster, node_id: str) -> int:
    """Have a node hear of no change of the metadata any more. Returns the epoch that it knows."""
    there = cluster.processes[node_id].core
    there.metadata._subscribers.clear()
    there.view.update_state = lambda _state: None  # type: ignore[method-assign]
    return there.view.epoch


NAMED = (
    Set(KEY, b"v"),
    Get(KEY),
    Get(KEY, replica=True),
    Delete(KEY),
    Incr(KEY),
    Expire(KEY, 1000),
    Persist(KEY),
    Set(KEY, b"v", idempotency=b"once"),
)


def named(cluster: SimCluster, node_id: str, command: Any, epoch: int) -> Any:
    """What a command gets that names the namespace as of an epoch."""
    command = replace(command, named_at=epoch)
    replies = begin(cluster, node_id, lambda backend, end, done: backend.execute(command, end, done), 3.0)
    assert run_until(cluster, lambda: bool(replies), 4.0)
    return replies[0]


@pytest.mark.parametrize("command", NAMED, ids=lambda command: type(command).__name__)
def test_after_a_deletion_nothing_is_done_for_its_name_at_a_node_that_has_not_heard_of_it(command: Any) -> None:
    cluster = created()
    leader, others = parts(cluster)
    put(cluster, leader, "primary")
    run(cluster, 1.0)
    epoch = deaf(cluster, others[0])
    assert not isinstance(named(cluster, others[0], command, epoch), Failure)
    assert delete(cluster, leader) is None
    refused = named(cluster, others[0], command, epoch)
    assert isinstance(refused, Failure) and refused.code == "unknown_namespace"
    put(cluster, leader, "primary")
    again = named(cluster, others[0], command, epoch)
    assert not isinstance(again, Failure)


def deleted_unheard() -> tuple[SimCluster, str, int]:
    """A namespace that acknowledged at `quorum` is deleted; a node that has not heard of that; its epoch."""
    cluster = created()
    leader, others = parts(cluster)
    put(cluster, leader, "quorum")
    run(cluster, 1.0)
    epoch = deaf(cluster, others[0])
    assert delete(cluster, leader) is None
    return cluster, others[0], epoch


@pytest.mark.replaces_methods
def test_a_shard_that_does_not_heed_the_name_is_caught() -> None:
    with planted("name-unheeded"):
        cluster, node_id, epoch = deleted_unheard()
        reply = named(cluster, node_id, Set(KEY, b"v"), epoch)
    assert isinstance(reply, Written) and reply.ack == AckLevel.PRIMARY


def test_of_a_batch_only_what_names_a_deleted_namespace_is_refused() -> None:
    cluster, node_id, epoch = deleted_unheard()
    batch = MultiSet((Set(KEY, b"v", named_at=epoch), Set(b"plain", b"v"), Set(KEY + b"2", b"v")))
    replies = begin(cluster, node_id, lambda backend, end, done: backend.execute(batch, end, done), 3.0)
    assert run_until(cluster, lambda: bool(replies), 4.0)
    refused, plain, unnamed = replies[0].items
    assert refused.code == "unknown_namespace" and isinstance(plain, Written) and isinstance(unnamed, Written)


def test_what_names_a_namespace_that_the_shard_has_not_heard_of_waits_for_it() -> None:
    """The creation is in the metadata, and the shard's leader hears of it a second later."""
    cluster = created()
    leader, others = parts(cluster)
    shard = cluster.processes[leader].core.shards[the_shard(cluster).id]
    old = shard.policies.applied
    follower, known = shard._follower, shard._follower._known
    follower._known = lambda: old
    cluster.loop.call_later(1.0, lambda: setattr(follower, "_known", known))
    creating = start_put(cluster, others[0], "quorum")
    node = cluster.processes[others[0]].backend
    assert run_until(cluster, lambda: "x" in node.namespaces().by_name, 2.0)
    epoch, before = node.namespaces().epoch, cluster.loop.time
    reply = named(cluster, others[0], Set(KEY, b"v"), epoch)
    assert isinstance(reply, Written) and reply.ack == AckLevel.QUORUM and cluster.loop.time - before > 0.3
    assert run_until(cluster, lambda: bool(creating), 5.0)


@pytest.mark.parametrize("plant", ["", pytest.param("policy-at-view", marks=pytest.mark.replaces_methods)])
def test_a_leader_whose_node_is_behind_obeys_what_was_confirmed(plant: str) -> None:
    with planted(plant) if plant else nullcontext():
        cluster = created()
        leader, others = parts(cluster)
        put(cluster, leader, "primary")
        run(cluster, 1.0)
        late = others[0]
        deaf(cluster, late)
        assert isinstance(put(cluster, leader, "quorum"), PolicyWritten)
        shard_id = the_shard(cluster).id
        old = cluster.processes[leader]
        old.runtime.deliver(lambda: old.core.host.groups[shard_id].transfer_leadership(late))
        assert run_until(cluster, lambda: leader_of(cluster, shard_id) == late, 3.0)
        reply = at_once(cluster, late)
    assert (isinstance(reply, Written) and reply.ack == AckLevel.PRIMARY) == bool(plant)


@pytest.mark.parametrize("plant", ["", "confirm-at-once"])
def test_no_older_leader_serves_when_a_change_is_answered(plant: str) -> None:
    """The leader is cut off and goes on for its fallback time; meanwhile the others elect one and follow a change."""
    with planted(plant) if plant else nullcontext():
        cluster = created()
        leader, others = parts(cluster)
        if metadata_leader(cluster) == leader:
            there = cluster.processes[leader]
            there.runtime.deliver(lambda: there.core.host.groups["meta"].transfer_leadership(others[0]))
            assert run_until(cluster, lambda: cluster.processes[others[0]].core.metadata.serving, 3.0)
        put(cluster, leader, "primary")
        run(cluster, 1.0)
        shard_id = the_shard(cluster).id
        cluster.network.isolate(leader)

        def successor() -> str | None:
            return next((n for n in others if cluster.processes[n].core.shards[shard_id].serving), None)

        assert at_once(cluster, leader) is not None
        assert run_until(cluster, lambda: successor() is not None, 3.0)
        results = start_put(cluster, successor() or "", "quorum")
        while not results:
            cluster.loop.run_until(cluster.loop.time + 0.01)
        assert isinstance(results[0], PolicyWritten)
        reply = at_once(cluster, leader)
    assert isinstance(reply, Written) == bool(plant)


def test_no_older_leader_serves_when_a_change_is_answered_whatever_the_clocks_do() -> None:
    """The leader hands over and does not hear of its successor's election. Its clock is as slow as clocks may be, so it
    goes on for long, and the successor's is as fast, so it takes little time for much."""
    cluster = SimCluster(SEED, ClusterSettings(shards=1))
    worst = cluster.settings.consensus.max_clock_drift
    cluster.drifts = {"n0": -worst, "n1": worst, "n2": worst}
    cluster.create()
    run(cluster, 3.0)
    shard_id = the_shard(cluster).id
    lead(cluster, shard_id, "n0")
    lead(cluster, "meta", "n1")
    put(cluster, "n0", "primary")
    groups = {node_id: cluster.processes[node_id].core.host.groups[shard_id] for node_id in cluster.ids}
    cluster.processes["n0"].runtime.deliver(lambda: groups["n0"].transfer_leadership("n1"))
    while not groups["n0"].transfer.asked:
        cluster.loop.run_until(cluster.loop.time + 0.001)
    for node_id in ("n1", "n2"):
        cluster.network.block(node_id, "n0")
    assert run_until(cluster, lambda: cluster.processes["n1"].core.shards[shard_id].serving, 1.0)
    results = start_put(cluster, "n1", "quorum")
    while not results:
        cluster.loop.run_until(cluster.loop.time + 0.01)
    assert isinstance(results[0], PolicyWritten)
    assert not isinstance(at_once(cluster, "n0"), Written)


def lead(cluster: SimCluster, group_id: str, node_id: str) -> None:
    """Have a node lead a group."""
    groups = {each: cluster.processes[each].core.host.groups[group_id] for each in cluster.ids}
    for each, group in groups.items():
        if each != node_id and group.is_leader:
            cluster.processes[each].runtime.deliver(lambda group=group: group.transfer_leadership(node_id))  # type: ignore[misc]
    assert run_until(cluster, groups[node_id].leads_now, 3.0)
    run(cluster, 0.5)


def test_a_change_that_a_shard_cannot_confirm_is_unknown_and_takes_effect_by_itself() -> None:
    cluster = created(nodes=5)
    shard = the_shard(cluster)
    put(cluster, "n0", "primary")
    outsider = next(node_id for node_id in cluster.ids if node_id not in shard.nodes)
    cut = [node_id for node_id in shard.nodes if node_id != metadata_leader(cluster)][:2]
    for node_id in cut:
        cluster.kill(node_id)
    results = start_put(cluster, outsider, "quorum", 4.0)
    assert run_until(cluster, lambda: bool(results), 5.0)
    assert isinstance(results[0], OutcomeUnknown) and shard.id in results[0].message
    for node_id in cut:
        cluster.start(node_id)
    assert run_until(cluster, lambda: _acks(cluster, outsider) == AckLevel.QUORUM, 8.0)


def _acks(cluster: SimCluster, node_id: str) -> AckLevel | None:
    reply = write(cluster, node_id, KEY, b"v")
    return reply.ack if isinstance(reply, Written) else None


def test_a_leader_that_dies_while_it_is_asked_is_followed_by_another_who_confirms() -> None:
    cluster = created()
    leader, others = parts(cluster)
    results = start_put(cluster, others[0], "quorum", 10.0)
    cluster.kill(leader)
    assert run_until(cluster, lambda: bool(results), 12.0)
    assert isinstance(results[0], PolicyWritten | RaftcacheError)
    again = put(cluster, others[0], "quorum")
    assert isinstance(again, PolicyWritten)


def test_a_process_asks_once_for_all_names_that_it_does_not_know() -> None:
    cluster = created()
    process = cluster.processes["n1"]
    answers: list[Any] = []
    deadline = process.runtime.now() + 5.0
    refresh = process.backend._refresh
    for _ in range(200):
        process.runtime.deliver(lambda: process.backend.refresh_namespaces(deadline, answers.append))
    assert run_until(cluster, lambda: len(answers) == 200, 3.0)
    assert answers == [None] * 200 and refresh.asked == 2


def test_a_refresh_brings_what_was_created_elsewhere_and_fails_without_a_leader() -> None:
    cluster = created()
    put(cluster, "n0", "primary")
    process = cluster.processes["n2"]
    answers: list[Any] = []
    deadline = process.runtime.now() + 5.0
    process.runtime.deliver(lambda: process.backend.refresh_namespaces(deadline, answers.append))
    assert run_until(cluster, lambda: bool(answers), 3.0)
    assert answers == [None] and "x" in process.backend.namespaces().by_name
    cluster.network.isolate("n2")
    run(cluster, 3.0)
    late: list[Any] = []
    soon = process.runtime.now() + 1.0
    process.runtime.deliver(lambda: process.backend.refresh_namespaces(soon, late.append))
    assert run_until(cluster, lambda: bool(late), 1.2)
    assert late[0].code == "no_leader"


def test_a_flood_of_unknown_names_is_answered_in_ever_longer_steps() -> None:
    cluster = created()
    process = cluster.processes["n1"]
    refresh, answers = process.backend._refresh, list[Any]()

    def ask() -> None:
        deadline = process.runtime.now() + 5.0
        process.runtime.deliver(lambda: process.backend.refresh_namespaces(deadline, answers.append))

    before = refresh.asked
    for _ in range(1000):
        ask()
        run(cluster, 0.005)
    assert refresh.asked - before < 60
    assert run_until(cluster, lambda: len(answers) == 1000, 2.0)
