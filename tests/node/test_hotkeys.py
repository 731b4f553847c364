"""Hot keys of a whole cluster: a load by Zipf's law, told within one bucket."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import Any

from raftcache.commands.types import Get, Set
from raftcache.frontends.backend import HotReport
from raftcache.testing.cluster import ClusterSettings, SimCluster

from .clusters import SEED, read, run, run_until, succeeded
from .test_policies import begin

KEYS, SKEW, PER_SECOND, SECONDS = 5000, 1.2, 120, 12
BUCKET_S = 10


def loaded(cluster: SimCluster) -> Counter[bytes]:
    """Read and write by Zipf's law through all nodes; how often each key was asked for."""
    dice, asked = random.Random(5), Counter[bytes]()
    weights = [1 / (rank + 1) ** SKEW for rank in range(KEYS)]
    for n, rank in enumerate(dice.choices(range(KEYS), weights, k=PER_SECOND * SECONDS)):
        key = b"rank%d" % rank
        command = Set(key, b"x") if n % 5 == 0 else Get(key)
        process = cluster.running()[n % len(cluster.running())]
        deadline = process.runtime.now() + 2.0
        process.runtime.deliver(partial(process.dispatcher.execute, command, deadline, _ignore))
        asked[key] += 1
        run(cluster, 1 / PER_SECOND)
    return asked


def _ignore(_reply: Any) -> None:
    """Counted is what was asked."""


def report(cluster: SimCluster, node_id: str, limit: int = 10) -> HotReport:
    answers = begin(cluster, node_id, lambda backend, end, done: backend.hot_keys(None, limit, BUCKET_S, end, done))
    assert run_until(cluster, lambda: bool(answers), 6.0)
    found: HotReport = answers[0]
    return found


def exact() -> SimCluster:
    cluster = SimCluster(SEED, ClusterSettings(shards=3, drift=0.0))
    cluster.create()
    run(cluster, 3.0)
    return cluster


def test_the_ten_hottest_are_named_within_one_bucket() -> None:
    cluster = exact()
    asked = loaded(cluster)
    found = report(cluster, "n1")
    assert found.asked == 3 and not found.unreachable
    fullest = max(found.buckets, key=lambda bucket: bucket.operations)
    hottest = {key.decode() for key, _ in asked.most_common(10)}
    named = [row.key for row in fullest.keys]
    assert len(named) == 10 and len(hottest & set(named)) >= 8
    assert named[0] == "rank0" and set(named[:3]) <= {f"rank{n}" for n in range(5)}
    rates = [row.qps for row in fullest.keys]
    assert rates == sorted(rates, reverse=True)
    top = fullest.keys[0]
    share = asked[b"rank0"] / sum(asked.values())
    assert 0.5 * share * PER_SECOND <= top.qps <= 2 * share * PER_SECOND
    assert top.hit_rate is not None and top.hit_rate > 0.8 and 0.2 < top.share < 1


def test_a_key_tells_by_how_many_front_ends_it_was_asked_for() -> None:
    cluster = exact()
    asked = {b"by-all": ("n0", "n1", "n2", "n0"), b"by-two": ("n2", "n1"), b"by-one": ("n1", "n1")}
    for key, nodes in asked.items():
        for node_id in nodes:
            assert succeeded(read(cluster, node_id, key))
    found = report(cluster, "n1")
    counts: dict[str, int] = {}
    for row in (row for bucket in found.buckets for row in bucket.keys):
        counts[row.key] = max(counts.get(row.key, 0), row.fanout)
    assert counts == {"by-all": 3, "by-two": 2, "by-one": 1}


def test_front_ends_of_what_several_nodes_executed_are_told_apart() -> None:
    cluster = exact()
    for process in cluster.running():
        command = Get(b"k", replica=True)  # Each node answers its own, and knows itself as the first front end.
        process.runtime.deliver(partial(process.dispatcher.execute, command, process.runtime.now() + 2.0, _ignore))
    run(cluster, 0.2)
    executed = [replica.hotkeys.operations for process in cluster.running() for replica in process.core.shards.values()]
    assert sorted(executed)[-4:] == [0, 1, 1, 1]
    [row] = [row for bucket in report(cluster, "n2").buckets for row in bucket.keys]
    assert row.fanout == 3


def test_a_node_that_is_down_is_named_as_missing() -> None:
    cluster = exact()
    cluster.kill("n2")
    run(cluster, 3.0)
    found = report(cluster, "n0", 3)
    assert found.asked == 3 and found.unreachable == ["n2"]
