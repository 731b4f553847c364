"""What namespaces hold and how they are read, told by nodes that hold only some of the shards each."""

from __future__ import annotations

from functools import partial

from raftcache.commands.types import Get, Reply, Set
from raftcache.node.memory_metrics import memory_metrics, read_metrics
from raftcache.testing.cluster import SimCluster

from .clusters import created, metadata_leader, run, run_until
from .test_policies import begin

NODES, SHARDS, KEYS, QUOTA = 5, 4, 60, 400

Series = dict[tuple[str, ...], float]
"""The values of one metric at one node, by the values of its labels."""


def put_namespace(cluster: SimCluster, name: str, document: dict[str, object]) -> None:
    """Create it, or change it, and wait until every shard follows."""
    node_id = metadata_leader(cluster)
    answers = begin(cluster, node_id, lambda backend, end, done: backend.put_namespace(name, document, end, done))
    assert run_until(cluster, lambda: bool(answers), 6.0)


def ask_all(cluster: SimCluster, commands: list[Get] | list[Set]) -> None:
    """Through one node, and wait for the answers."""
    replies: list[Reply] = []
    process = cluster.running()[0]
    for command in commands:
        deadline = process.runtime.now() + 5.0
        process.runtime.deliver(partial(process.dispatcher.execute, command, deadline, replies.append))
    assert run_until(cluster, lambda: len(replies) == len(commands), 6.0)
    run(cluster, 1.0)


def spread() -> SimCluster:
    """Five nodes with three replicas of each of four shards, and a namespace `q` with a quota."""
    cluster = created(nodes=NODES, shards=SHARDS)
    put_namespace(cluster, "q", {"quotaItems": QUOTA, "quotaBytes": 1 << 20})
    return cluster


def told(cluster: SimCluster, name: str) -> list[Series]:
    """By node."""
    cores = [process.core for process in cluster.running()]
    found = [[each for each in (*memory_metrics(core), *read_metrics(core)) if each.name == name] for core in cores]
    return [{tuple(row.labels.values()): row.value for metric in each for row in metric.samples} for each in found]


def whole(cluster: SimCluster, name: str, namespace: str) -> float:
    """`sum by (namespace) (max by (shard, namespace) (…))`, as the dashboard and the status page have it."""
    most: dict[str, float] = {}
    for series in told(cluster, name):
        for (shard, of, *_), value in series.items():
            if of == namespace:
                most[shard] = max(value, most.get(shard, 0.0))
    return sum(most.values())


def total(cluster: SimCluster, name: str, namespace: str) -> float:
    """Over all nodes: nobody counts what another one executes."""
    return sum(value for each in told(cluster, name) for (_, of, *_), value in each.items() if of == namespace)


def test_no_node_has_all_of_a_namespace_and_all_of_them_have_it() -> None:
    cluster = spread()
    ask_all(cluster, [Set(b"q:%d" % n, b"x") for n in range(KEYS)])
    assert whole(cluster, "raftcache_namespace_keys", "q") == KEYS
    alone = [sum(v for (_, of), v in each.items() if of == "q") for each in told(cluster, "raftcache_namespace_keys")]
    assert 0 < max(alone) < KEYS, "the fullest node is not the whole"
    assert sum(alone) == 3 * KEYS, "nor is the sum of all"


def test_parts_of_a_quota_add_up_before_anything_is_written() -> None:
    cluster = spread()
    assert whole(cluster, "raftcache_namespace_quota_keys", "q") == QUOTA
    assert whole(cluster, "raftcache_namespace_quota_bytes", "q") == 1 << 20
    assert whole(cluster, "raftcache_namespace_keys", "q") == 0
    ask_all(cluster, [Set(b"q:1", b"x")])
    assert whole(cluster, "raftcache_namespace_quota_keys", "q") == QUOTA


def test_a_namespace_without_a_quota_has_no_parts() -> None:
    cluster = spread()
    assert all(of == "q" for each in told(cluster, "raftcache_namespace_quota_keys") for _, of in each)


def test_reads_are_counted_by_namespace_at_any_level() -> None:
    cluster = spread()
    hits, misses = "raftcache_keyspace_hits", "raftcache_keyspace_misses"
    ask_all(cluster, [Set(b"q:%d" % n, b"x") for n in range(8)])
    ask_all(cluster, [Get(b"q:%d" % n) for n in range(10)])
    ask_all(cluster, [Get(b"shown:none"), Get(b"none"), Get(b"q:0", replica=True), Get(b"q:8", replica=True)])
    counted = {of: (total(cluster, hits, of), total(cluster, misses, of)) for of in ("q", "shown", "default", "safe")}
    assert counted == {"q": (9, 3), "shown": (0, 1), "default": (0, 1), "safe": (0, 0)}


def test_reads_of_a_deleted_namespace_are_forgotten() -> None:
    cluster = spread()
    ask_all(cluster, [Get(b"q:1"), Get(b"default-key")])
    node_id = metadata_leader(cluster)
    answers = begin(cluster, node_id, lambda backend, end, done: backend.delete_namespace("q", end, done))
    assert run_until(cluster, lambda: bool(answers), 6.0)
    run(cluster, 1.0)
    replicas = [replica for process in cluster.running() for replica in process.core.shards.values()]
    assert all("q" not in replica.stats.misses for replica in replicas)
    assert sum(replica.stats.misses["default"] for replica in replicas) == 1


def test_refusals_are_counted_by_the_namespace_whose_limit_it_is() -> None:
    cluster = spread()
    put_namespace(cluster, "full", {"quotaItems": SHARDS, "eviction": "none"})
    ask_all(cluster, [Set(b"full:%d" % n, b"x") for n in range(KEYS)])
    refused = told(cluster, "raftcache_namespace_refused")
    assert sum(sum(each.values()) for each in refused) == KEYS - SHARDS
    assert {labels[1:] for each in refused for labels in each} == {("full", "quota_exceeded")}
