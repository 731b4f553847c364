"""`GET /v1/cluster` and readiness, as one node sees its cluster."""

from __future__ import annotations

from raftcache.metadata.state import METADATA_GROUP
from raftcache.node.metrics import replica_metrics
from raftcache.node.status import cluster_document, readiness
from raftcache.testing.cluster import ClusterSettings, SimCluster

from . import clusters as c


def test_the_document_of_a_whole_cluster() -> None:
    cluster = c.created(shards=2)
    state = c.core(cluster, "n0").view.state
    for node_id in cluster.ids:
        document = cluster_document(c.core(cluster, node_id))
        assert document["epoch"] == state.epoch
        assert document["nodes"] == [{"id": each, "state": "up"} for each in cluster.ids]
        assert document["metadata"]["leader"] in cluster.ids
        for shard, shown in zip(state.shards, document["shards"], strict=True):
            assert (shown["id"], shown["slots"]) == (shard.id, [list(part) for part in shard.slots])
            assert shown["replicas"] == [{"node": node, "state": "voter"} for node in shard.nodes]
            assert shown["leader"] == c.leader_of(cluster, shard.id)
            assert shown["term"] == c.core(cluster, shown["leader"]).host.groups[shard.id].term
    assert sum(last - first + 1 for shown in document["shards"] for first, last in shown["slots"]) == 16_384


def test_a_replica_that_is_down_is_lagging() -> None:
    cluster = c.created()
    shard = c.the_shard(cluster)
    down = next(node for node in shard.nodes if node != shard.preferred)
    cluster.kill(down)
    c.run(cluster, 2)
    expected = {node: "lagging" if node == down else "voter" for node in shard.nodes}
    assert c.replica_states(cluster, shard.preferred, shard.id) == expected
    nodes = cluster_document(c.core(cluster, shard.preferred))["nodes"]
    assert {node["id"]: node["state"] for node in nodes}[down] == "down"
    cluster.start(down)
    assert c.run_until(
        cluster, lambda: set(c.replica_states(cluster, shard.preferred, shard.id).values()) == {"voter"}, 10
    )


def test_a_replica_that_is_wanted_and_no_member_yet_is_joining() -> None:
    """The member that it replaces is listed as well: the group counts on it still."""
    cluster = c.created(nodes=4)
    shard = c.the_shard(cluster)
    new = next(node for node in cluster.ids if node not in shard.nodes)
    kept = [node for node in shard.nodes if node != shard.nodes[-1]]
    cluster.kill(new)
    c.move(cluster, shard, *kept, new)
    c.run(cluster, 3)
    expected = {**dict.fromkeys(shard.nodes, "voter"), new: "joining"}
    assert c.replica_states(cluster, shard.preferred, shard.id) == expected
    cluster.start(new)
    expected = {**dict.fromkeys(kept, "voter"), new: "voter"}
    assert c.run_until(cluster, lambda: c.replica_states(cluster, shard.preferred, shard.id) == expected, 30)


def test_replicas_of_a_group_without_a_leader_are_unknown() -> None:
    cluster = c.created()
    shard = c.the_shard(cluster)
    term = c.core(cluster, "n0").host.groups[shard.id].term
    cluster.kill("n1")
    cluster.kill("n2")
    c.run(cluster, 5)
    for group_id in (shard.id, METADATA_GROUP):
        assert set(c.replica_states(cluster, "n0", group_id).values()) == {"unknown"}
    shown = cluster_document(c.core(cluster, "n0"))["shards"][0]
    assert (shown["leader"], shown["term"] >= term) == (None, True), "the term is the last one known"


def test_a_leader_out_of_reach_is_not_believed_any_more() -> None:
    """Its report is fresh still, but the link is gone."""
    cluster = c.created()
    shard = c.the_shard(cluster)
    other = next(node for node in shard.nodes if node != shard.preferred)
    assert c.core(cluster, other).fresh_report(shard.id) is not None
    cluster.kill(shard.preferred)
    c.run(cluster, 0.05)
    assert c.core(cluster, other).fresh_report(shard.id) is None
    assert set(c.replica_states(cluster, other, shard.id).values()) == {"unknown"}


# -- readiness -------------------------------------------------------------------------------------


def test_a_node_of_an_empty_cluster_is_not_ready() -> None:
    cluster = SimCluster(c.SEED, ClusterSettings())
    cluster.start_all()
    c.run(cluster, 3)
    assert readiness(c.core(cluster, "n0")) == (False, "the cluster has no shards yet")


def test_a_node_that_reaches_every_leader_is_ready_whatever_it_holds_itself() -> None:
    cluster = c.created(nodes=4)
    assert [readiness(process.core) for process in cluster.running()] == [(True, "")] * 4


def test_a_node_names_the_shards_without_a_leader_within_reach() -> None:
    cluster = c.created(shards=2)
    shards = c.core(cluster, "n0").view.state.shards
    cluster.network.isolate("n0")
    c.run(cluster, 6)
    ready, reason = readiness(c.core(cluster, "n0"))
    assert (ready, reason) == (False, f"no leader within reach for shard {', '.join(shard.id for shard in shards)}")
    cluster.network.heal()
    assert c.run_until(cluster, lambda: readiness(c.core(cluster, "n0"))[0], 10)


def test_a_node_names_the_replica_that_has_stopped() -> None:
    cluster = c.created()
    shard = c.the_shard(cluster)
    follower = next(node for node in shard.nodes if node != shard.preferred)
    cluster.files[follower].fail_next("write", OSError(28, "no space left on device"))
    assert c.succeeded(c.write(cluster, shard.preferred, b"key", b"value"))
    assert c.run_until(cluster, lambda: not readiness(c.core(cluster, follower))[0], 5)
    reason = readiness(c.core(cluster, follower))[1]
    assert reason.startswith("the replica of ") and "cannot use its disk just now" in reason
    assert "no space left on device" in reason
    assert readiness(c.core(cluster, shard.preferred)) == (True, ""), "which is that node's matter alone"
    assert c.run_until(cluster, lambda: readiness(c.core(cluster, follower))[0], 10), "and passes by itself"


def test_a_node_that_is_opening_its_groups_says_which_and_how_far_it_has_come() -> None:
    cluster = c.created()
    cluster.kill("n0")
    cluster.start("n0")
    node = c.core(cluster, "n0")
    assert c.run_until(cluster, lambda: METADATA_GROUP in node.replicas.busy, 1)
    assert readiness(node) == (False, "starting: the metadata group: opening")
    node.replicas.busy[METADATA_GROUP].restored(1_234, 5_000)
    assert readiness(node) == (False, "starting: the metadata group: restored 1,234 of 5,000 keys")
    shard = c.the_shard(cluster)
    said = set()
    while not readiness(node)[0] and cluster.loop.time < 60:
        said.add(readiness(node)[1])
        c.run(cluster, 0.001)
    assert f"starting: shard {shard.id}: opening" in said
    assert c.run_until(cluster, lambda: readiness(node) == (True, ""), 10)


def test_votes_that_cannot_be_put_on_disk_are_a_reason() -> None:
    cluster = c.created()
    node = c.core(cluster, "n0")
    node.host.votes_error = "terms and votes cannot be written: read-only"
    assert readiness(node) == (False, "terms and votes cannot be written: read-only")


def test_the_metrics_of_replicas() -> None:
    cluster = c.created()
    node = c.core(cluster, "n0")
    shard = c.the_shard(cluster)
    node.replicas.refuse("ffff", "as a test has it")
    group = node.host.groups[shard.id]
    group.gate.dropped, group.compaction.failed, group.mending.failures = 3, 4, 5
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in replica_metrics(node)
        for sample in metric.samples
    }
    assert samples["raftcache_replicas", "open"] == 2
    assert samples["raftcache_replicas", "refused"] == 1
    assert samples["raftcache_replica_number", shard.id] == 0
    assert samples["raftcache_messages_dropped_total", shard.id] == 3
    assert samples["raftcache_snapshot_failures_total", shard.id] == 4
    assert samples["raftcache_disk_failures_total", shard.id] == 5
    assert samples["raftcache_shard_lost", shard.id] == 0
    assert samples["raftcache_votes_error",] == 0
    group.mending.reason = "no space"
    metrics = {(s.name, *s.labels.values()): s.value for metric in replica_metrics(node) for s in metric.samples}
    assert metrics["raftcache_disk_error", shard.id] == 1
    assert (metrics["raftcache_replicas", "open"], metrics["raftcache_replicas", "stopped"]) == (1, 1)
