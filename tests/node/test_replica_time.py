"""Times to live at a replica that does not lead: right also where nothing was written for long."""

from __future__ import annotations

from typing import Any

import pytest

from raftcache.commands.types import Get, Set, Value, Written
from raftcache.testing.cluster import SimCluster

from . import clusters as c

KEY = b"k"
TTL_S, IDLE_S = 600, 60
DRIFT = 0.1
"""What a tenth of a minute may come to, for clocks that are off by as much as they may be."""


def send(cluster: SimCluster, node_id: str, command: Any) -> Any:
    """What the replica of one node answers."""
    replies: list[Any] = []
    process, shard_id = cluster.processes[node_id], c.the_shard(cluster).id
    process.runtime.deliver(lambda: process.core.shards[shard_id].submit(command, replies.append))
    assert c.run_until(cluster, lambda: bool(replies), 3.0)
    return replies[0]


def idle(cluster: SimCluster, fault: str, node_id: str) -> None:
    """A minute without a write, at whose end the node starts anew, or comes back and catches up on what is old."""
    if fault == "cut off":
        cluster.network.isolate(node_id)
    c.run(cluster, 2.0)
    leader = c.leader_of(cluster, c.the_shard(cluster).id)
    assert leader is not None and isinstance(send(cluster, leader, Set(KEY, b"v", ttl_ms=1000 * TTL_S)), Written)
    c.run(cluster, IDLE_S)
    if fault == "cut off":
        cluster.network.heal()
    else:
        cluster.kill(node_id)
        cluster.start(node_id)
    c.run(cluster, 3.0)


@pytest.mark.parametrize("fault", ["cut off", "restarted"])
def test_a_follower_that_applies_what_is_old_knows_what_time_it_is(fault: str) -> None:
    cluster = c.created()
    leader = c.leader_of(cluster, c.the_shard(cluster).id)
    follower = next(node_id for node_id in cluster.ids if node_id != leader)
    idle(cluster, fault, follower)
    reply = send(cluster, follower, Get(KEY, replica=True))
    assert isinstance(reply, Value) and reply.ttl_ms is not None
    assert reply.ttl_ms / 1000 == pytest.approx(TTL_S - IDLE_S - 3, abs=DRIFT * (IDLE_S + 10))
