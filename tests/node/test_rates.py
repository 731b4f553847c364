"""A namespace's rate over a whole cluster, however its load is spread over shards and nodes."""

from __future__ import annotations

from collections import Counter
from functools import partial

from raftcache.commands.types import Failure, Reply, Set
from raftcache.routing.current import shard_map_of
from raftcache.testing.cluster import ClusterSettings, SimCluster

from .clusters import SEED, leader_of, metadata_leader, run, run_until
from .test_policies import begin

RATE = 100


def limited() -> SimCluster:
    """Clocks are exact: a rate is kept to by the clocks of the nodes."""
    cluster = SimCluster(SEED, ClusterSettings(shards=3, drift=0.0))
    cluster.create()
    run(cluster, 3.0)
    document = {"operationsPerSecond": RATE, "burstMs": 100}
    answers = begin(
        cluster, metadata_leader(cluster), lambda backend, end, done: backend.put_namespace("r", document, end, done)
    )
    assert run_until(cluster, lambda: bool(answers), 6.0)
    return cluster


def ask(cluster: SimCluster, per_second: int, seconds: float, shard: str | None = None) -> Counter[str]:
    """Write through all front ends in turn, to one shard or to all; what came of it."""
    outcomes: Counter[str] = Counter()

    def told(reply: Reply) -> None:
        outcomes[reply.code if isinstance(reply, Failure) else "done"] += 1

    placed = shard_map_of(cluster.running()[0].core.view.state).shard_of
    keys = [key for key in (b"r:%d" % n for n in range(500)) if shard is None or placed(key) == shard]
    for n in range(round(per_second * seconds)):
        running = cluster.running()
        process = running[n % len(running)]
        deadline = process.runtime.now() + 2.0
        process.runtime.deliver(partial(process.dispatcher.execute, Set(keys[n % len(keys)], b"x"), deadline, told))
        run(cluster, 1 / per_second)
    run(cluster, 1.0)
    return outcomes


def test_the_rate_is_granted_and_the_rest_refused() -> None:
    cluster = limited()
    ask(cluster, 300, 3.0)
    outcomes = ask(cluster, 300, 10.0)
    assert set(outcomes) == {"done", "rate_limited"}
    assert 0.9 * RATE * 10 <= outcomes["done"] <= 1.1 * RATE * 10


def test_one_busy_shard_gets_it_all_and_another_after_it() -> None:
    cluster = limited()
    shards = [shard.id for shard in cluster.running()[0].core.view.state.shards]
    for shard in shards[:2]:
        ask(cluster, 300, 4.0, shard)
        outcomes = ask(cluster, 300, 10.0, shard)
        assert 0.9 * RATE * 10 <= outcomes["done"] <= 1.1 * RATE * 10, outcomes


def test_it_is_kept_with_a_node_down() -> None:
    cluster = limited()
    shards = [shard.id for shard in cluster.running()[0].core.view.state.shards]
    down = leader_of(cluster, shards[0])
    assert down is not None
    cluster.kill(down)
    run(cluster, 4.0)
    ask(cluster, 300, 4.0)
    outcomes = ask(cluster, 300, 10.0)
    assert 0.9 * RATE * 10 <= outcomes["done"] <= 1.1 * RATE * 10, outcomes
