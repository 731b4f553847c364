"""Loss windows on a whole node: what it shows of them, and that deadlines reach the shard that holds a write."""

from __future__ import annotations

from raftcache.commands.types import Reply, Set
from raftcache.metadata.commands import DeleteNamespace, PutNamespace
from raftcache.metadata.policy import parse_policy
from raftcache.node.window_metrics import window_metrics
from raftcache.store.effects import EFFECT_OVERHEAD_BYTES
from raftcache.testing.cluster import SimCluster, SimProcess

from . import clusters as c


def _leader(cluster: SimCluster) -> SimProcess:
    return cluster.processes[c.leader_of(cluster, c.the_shard(cluster).id) or ""]


def test_every_shard_knows_its_place_and_the_shares_sum_to_the_total() -> None:
    cluster = c.created(shards=3)
    for process in cluster.running():
        view = process.core.view
        assert sorted(view.place_of(shard.id) for shard in view.state.shards) == [(0, 3), (1, 3), (2, 3)]
        by_slots = sorted(view.state.shards, key=lambda shard: shard.slots)
        assert [view.place_of(shard.id)[0] for shard in by_slots] == [0, 1, 2]
        assert view.place_of("ffff") == (0, 0)


def test_the_metrics_of_loss_windows() -> None:
    cluster = c.created()
    process = _leader(cluster)
    shard = c.the_shard(cluster)
    policy = parse_policy("small", {"lossWindow": {"writes": 2}, "onExceeded": "wait"}, 3)
    cluster.submit_metadata(PutNamespace(policy))
    assert c.run_until(cluster, lambda: "small" in process.core.view.namespaces.by_name, 5)
    for _ in range(3):
        process.core.shards[shard.id].submit(Set(b"small:k", b"x"), lambda _reply: None)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in window_metrics(process.core.shards)
        for sample in metric.samples
    }
    assert samples["raftcache_window_writes", shard.id, "small"] == 2
    assert samples["raftcache_window_bytes", shard.id, "small"] == 2 * (8 + EFFECT_OVERHEAD_BYTES)
    assert samples["raftcache_window_oldest_age_ms", shard.id, "small"] == 0
    assert samples["raftcache_window_used_ratio", shard.id, "small"] == 1, "the next one has no room"
    assert samples["raftcache_window_exceeded_total", shard.id, "small", "writes", "wait"] == 1
    assert samples["raftcache_held_commands", shard.id] == 1
    assert samples["raftcache_held_bytes", shard.id] == 8 + EFFECT_OVERHEAD_BYTES


def test_a_namespace_that_was_deleted_and_created_anew_has_one_row() -> None:
    cluster = c.created()
    process = _leader(cluster)
    shard = c.the_shard(cluster)

    def change(command: PutNamespace | DeleteNamespace, there: bool) -> None:
        cluster.submit_metadata(command)
        assert c.run_until(cluster, lambda: ("again" in process.core.view.namespaces.by_name) == there, 5)

    for number in (2, 1):
        change(PutNamespace(parse_policy("again", {}, 3)), True)
        for _ in range(number):
            process.core.shards[shard.id].submit(Set(b"again:k", b"x"), lambda _reply: None)
        if number == 2:
            change(DeleteNamespace("again"), False)
    samples = [each for metric in window_metrics(process.core.shards) for each in metric.samples]
    rows = [each.value for each in samples if each.labels.get("namespace") == "again"]
    assert rows == [1, len(b"again:k") + 1 + EFFECT_OVERHEAD_BYTES, 0, 1 / 10_000]


def test_a_held_write_is_answered_at_its_deadline_by_another_node_too() -> None:
    """Through a front end on another node: its deadline travels with the command, and the answer says what happened."""
    cluster = c.created()
    process = _leader(cluster)
    policy = parse_policy("small", {"lossWindow": {"writes": 1}, "onExceeded": "wait"}, 3)
    cluster.submit_metadata(PutNamespace(policy))
    assert c.run_until(cluster, lambda: all("small" in p.core.view.namespaces.by_name for p in cluster.running()), 5)
    other = next(each for each in cluster.running() if each is not process)
    for follower in cluster.ids:
        if follower != process.node_id:
            cluster.network.slow[process.node_id, follower] = 0.5
    replies: list[Reply] = []
    for each in (process, other):
        deadline = each.runtime.now() + 0.4
        execute = each.dispatcher.execute
        each.runtime.deliver(lambda: execute(Set(b"small:k", b"x"), deadline, lambda _reply: None))  # noqa: B023
        each.runtime.deliver(lambda: execute(Set(b"small:k", b"y"), deadline, replies.append))  # noqa: B023
    c.run(cluster, 0.45)
    assert [getattr(reply, "code", reply) for reply in replies] == ["loss_window_full", "loss_window_full"]
