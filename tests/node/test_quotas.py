"""Quotas over a whole cluster: parts follow use, and all of them together never hold more than the quota."""

from __future__ import annotations

from functools import partial
from itertools import count

from raftcache.commands.types import Reply, Set
from raftcache.metadata.controller import BALANCE_SECONDS
from raftcache.routing.current import shard_map_of
from raftcache.testing.cluster import SimCluster

from .clusters import created, leader_of, metadata_leader, run, run_until
from .test_policies import begin

QUOTA = 200


def with_quota(cluster: SimCluster) -> None:
    """A namespace `q` that may have `QUOTA` keys."""
    node_id = metadata_leader(cluster)
    document = {"quotaItems": QUOTA}
    answers = begin(cluster, node_id, lambda backend, end, done: backend.put_namespace("q", document, end, done))
    assert run_until(cluster, lambda: bool(answers), 6.0)


def in_use(cluster: SimCluster) -> dict[str, int]:
    """Keys of `q` at each shard's leader; of a shard without one, those of any replica."""
    found: dict[str, int] = {}
    for process in cluster.running():
        space = process.core.view.namespaces.by_name["q"]
        for shard_id, replica in process.core.shards.items():
            if replica.serving or shard_id not in found:
                found[shard_id] = replica.keyspace.tenants.get(space.id).items
    return found


def shares(cluster: SimCluster) -> tuple[int, ...]:
    """As the newest state has them."""
    states = [process.core.view.state for process in cluster.running()]
    space = max(states, key=lambda state: state.epoch).namespace("q")
    assert space is not None
    return space.shares


def pour(cluster: SimCluster, busy: str, seconds: float) -> None:
    """Write keys without end, of which the shard `busy` gets nearly all; look at the sum all the time."""
    numbers, end = count(), cluster.loop.time + seconds
    while cluster.loop.time < end:
        for _ in range(6):
            key = b"q:%d" % next(numbers)
            process = cluster.running()[0]
            shard = shard_map_of(process.core.view.state).shard_of(key)
            if shard == busy or next(numbers) % 40 == 0:
                replies: list[Reply] = []
                deadline = process.runtime.now() + 2.0
                ask = partial(process.dispatcher.execute, Set(key, b"x"), deadline, replies.append)
                process.runtime.deliver(ask)
        run(cluster, 0.05)
        assert sum(in_use(cluster).values()) <= QUOTA


def test_parts_follow_use_and_never_add_up_to_more_than_the_quota() -> None:
    cluster = created(shards=2)
    with_quota(cluster)
    assert shares(cluster) == ()
    busy = min(in_use(cluster))
    pour(cluster, busy, 6 * BALANCE_SECONDS)
    used = in_use(cluster)
    assert used[busy] > QUOTA * 0.7, f"{used} at {shares(cluster)}"
    assert 8500 <= sum(shares(cluster)) <= 10_000


def test_they_survive_the_leaders_of_metadata_and_shard() -> None:
    cluster = created(shards=2)
    with_quota(cluster)
    busy = min(in_use(cluster))
    pour(cluster, busy, 2.5 * BALANCE_SECONDS)
    for node_id in {metadata_leader(cluster), leader_of(cluster, busy)} - {None}:
        cluster.kill(str(node_id))
        run(cluster, 3.0)
        cluster.start(str(node_id))
        run(cluster, 3.0)
        pour(cluster, busy, 2.5 * BALANCE_SECONDS)
    assert in_use(cluster)[busy] > QUOTA * 0.6
