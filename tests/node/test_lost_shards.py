"""A shard whose quorum is gone for good: declared, shown, and replaced when somebody says so, never before."""

from __future__ import annotations

import logging
import random

import pytest

from raftcache.commands.types import Value, Written
from raftcache.metadata.controller import LOST_PATIENCE_S
from raftcache.metadata.replacing import plan_replacement
from raftcache.metadata.state import Shard
from raftcache.node.metrics import replica_metrics
from raftcache.node.status import cluster_document, readiness
from raftcache.node.storage import storage_in_memory
from raftcache.testing.cluster import DATA, SimCluster

from . import clusters as c

KEYS = 20
DECLARED_S = LOST_PATIENCE_S + 15


def filled() -> tuple[SimCluster, Shard]:
    """Five nodes, all of them in the metadata group, and one shard on three of them with something in it."""
    cluster = c.created(nodes=5)
    for number in range(KEYS):
        assert c.succeeded(c.write(cluster, "n0", b"safe:%d" % number, b"value %d" % number))
    c.run(cluster, 1)
    return cluster, c.the_shard(cluster)


def empty_two(cluster: SimCluster, shard: Shard, spared: str) -> None:
    """Two of the shard's three disks are gone; the nodes come back as new incarnations."""
    for node in shard.nodes:
        if node != spared:
            cluster.empty_disk(node)
    for node in shard.nodes:
        cluster.start(node)


def is_lost(cluster: SimCluster) -> bool:
    return c.the_shard(cluster).state == "lost"


def replace(cluster: SimCluster, shard: Shard, source: str | None) -> str:
    """Replace a lost shard; the id of the new one."""
    state = max((p.core.view.state for p in cluster.running()), key=lambda each: each.epoch)
    command = plan_replacement(state, shard.id, source, random.Random(3))
    cluster.submit_metadata(command)
    return command.shard.id


def is_whole_again(cluster: SimCluster, new_id: str) -> bool:
    """Whether the new shard serves with all its replicas, and nobody holds the old one any more."""
    shard = c.the_shard(cluster)
    held = {group_id for process in cluster.running() for group_id in process.core.replicas.held}
    return shard.id == new_id and shard.source is None and held <= {"meta", new_id} and cluster.whole()


def values(cluster: SimCluster, through: str) -> list[bytes | None]:
    replies = [c.read(cluster, through, b"safe:%d" % number) for number in range(KEYS)]
    assert all(isinstance(reply, Value) for reply in replies), replies
    return [reply.value for reply in replies if isinstance(reply, Value)]


ALL = [b"value %d" % number for number in range(KEYS)]


def test_a_quorum_that_is_gone_for_good_is_declared_and_shown_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    cluster, shard = filled()
    spared = shard.nodes[-1]
    caplog.set_level(logging.ERROR, "raftcache.node")
    emptied_at = cluster.loop.time
    empty_two(cluster, shard, spared)
    assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)
    assert cluster.loop.time - emptied_at >= LOST_PATIENCE_S - 1, "counted from the last report of its leader"
    c.run(cluster, 2)
    for process in cluster.running():
        ready, reason = readiness(process.core)
        assert not ready and f"shard {shard.id} is lost" in reason and "raftcache shard replace" in reason
        shown = cluster_document(process.core)["shards"][0]
        assert shown["state"] == "lost"
        assert [(each["node"], each["keys"]) for each in shown["survivors"]] == [(spared, KEYS)]
        samples = [s for metric in replica_metrics(process.core) for s in metric.samples]
        assert [(s.labels, s.value) for s in samples if s.name == "raftcache_shard_lost"] == [({"shard": shard.id}, 1)]
    said = [record.getMessage() for record in caplog.records if "is lost" in record.getMessage()]
    assert len(said) == 5 and all(f"raftcache shard replace {shard.id}" in line for line in said)


def test_nothing_is_replaced_by_itself() -> None:
    cluster, shard = filled()
    empty_two(cluster, shard, shard.nodes[0])
    assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)
    c.run(cluster, 60)
    assert [each.id for each in c.core(cluster, "n0").view.state.shards] == [shard.id]
    assert c.leader_of(cluster, shard.id) is None


def test_two_nodes_that_are_merely_down_are_not_a_loss() -> None:
    cluster, shard = filled()
    for node in shard.nodes[1:]:
        cluster.kill(node)
    c.run(cluster, DECLARED_S + 30)
    assert not is_lost(cluster)
    cluster.start_all()
    assert c.run_until(cluster, cluster.whole, 30)
    assert values(cluster, "n0") == ALL


def test_one_emptied_and_one_down_is_not_a_loss_and_heals() -> None:
    cluster, shard = filled()
    emptied, down, _ = shard.nodes
    cluster.kill(down)
    cluster.empty_disk(emptied)
    cluster.start(emptied)
    c.run(cluster, DECLARED_S + 10)
    assert not is_lost(cluster) and c.leader_of(cluster, shard.id) is None
    cluster.start(down)
    assert c.run_until(cluster, cluster.whole, 40)
    assert values(cluster, "n0") == ALL


@pytest.mark.parametrize("spared", [0, 1, 2])
def test_a_new_shard_starts_from_the_survivor_with_all_that_it_held(spared: int) -> None:
    cluster, shard = filled()
    survivor = shard.nodes[spared]
    old = c.read(cluster, "n0", b"safe:1")
    assert isinstance(old, Value)
    empty_two(cluster, shard, survivor)
    assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)
    new_id = replace(cluster, shard, survivor)
    assert c.run_until(cluster, lambda: is_whole_again(cluster, new_id), 60)
    assert new_id != shard.id and values(cluster, "n0") == ALL
    written = c.write(cluster, "n0", b"safe:1", b"newer")
    assert isinstance(written, Written) and written.version.shard == new_id
    assert written.version.term > old.version.term, "terms go on above those of the old shard"
    assert c.run_until(cluster, lambda: readiness(c.core(cluster, "n0")) == (True, ""), 10)
    assert cluster.files[survivor].exists(f"{DATA}/damaged/{shard.id}.0"), "what it held is kept"
    assert c.run_until(cluster, lambda: len({cluster.digest_of(node, new_id) for node in shard.nodes}) == 1, 5)


def test_it_starts_with_all_that_the_survivor_holds_in_memory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the log is cut without a snapshot: what was applied is nowhere but in the keyspace."""
    monkeypatch.setattr("raftcache.testing.cluster.storage_in", lambda *_arguments: storage_in_memory())
    cluster, shard = filled()
    for number in range(200):
        assert c.succeeded(c.write(cluster, "n0", b"more:%d" % number, bytes(100)))
    c.run(cluster, 1)
    survivor = shard.nodes[0]
    empty_two(cluster, shard, survivor)
    group = c.core(cluster, survivor).host.groups[shard.id]
    assert group.journal.start_index > 0 == group.status().snapshot_index
    assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)
    new_id = replace(cluster, shard, survivor)
    assert c.run_until(cluster, lambda: is_whole_again(cluster, new_id), 60)
    assert values(cluster, "n0") == ALL
    assert len(c.core(cluster, survivor).shards[new_id].keyspace) == KEYS + 200


def test_a_new_shard_starts_empty_where_that_is_what_was_asked() -> None:
    cluster, shard = filled()
    empty_two(cluster, shard, shard.nodes[0])
    assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)
    new_id = replace(cluster, shard, None)
    assert c.run_until(cluster, lambda: is_whole_again(cluster, new_id), 60)
    assert values(cluster, "n0") == [None] * KEYS
    assert c.succeeded(c.write(cluster, "n0", b"safe:1", b"new"))
    assert cluster.files[shard.nodes[0]].exists(f"{DATA}/damaged/{shard.id}.0")


def test_all_three_emptied_leaves_only_the_empty_start() -> None:
    cluster, shard = filled()
    for node in shard.nodes[:2]:
        cluster.empty_disk(node)
        cluster.start(node)
    c.run(cluster, 20)  # The metadata group, on five nodes, must not lose three at once.
    cluster.empty_disk(shard.nodes[2])
    cluster.start(shard.nodes[2])
    assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)
    new_id = replace(cluster, shard, None)
    assert c.run_until(cluster, lambda: is_whole_again(cluster, new_id), 60)
    assert values(cluster, "n0") == [None] * KEYS


def test_a_replaced_shard_stays_fenced_on_nodes_that_slept_through_it() -> None:
    """The survivor was down when somebody decided for an empty start: it never serves what it holds again."""
    cluster, shard = filled()
    survivor = shard.nodes[0]
    empty_two(cluster, shard, survivor)
    assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)
    cluster.kill(survivor)
    new_id = replace(cluster, shard, None)
    assert c.run_until(cluster, lambda: c.leader_of(cluster, new_id) is not None, 30)
    cluster.start(survivor)
    assert c.run_until(cluster, lambda: is_whole_again(cluster, new_id), 60)
    assert shard.id not in c.core(cluster, survivor).shards
    cluster.kill(survivor)
    cluster.start(survivor)
    assert c.run_until(cluster, lambda: is_whole_again(cluster, new_id), 60)
    assert values(cluster, survivor) == [None] * KEYS


def test_a_shard_that_has_begun_to_serve_is_not_started_from_the_survivor_again() -> None:
    """Killed before the metadata group knew that it had started: what was written to it is there."""
    cluster, shard = filled()
    survivor = shard.nodes[1]
    empty_two(cluster, shard, survivor)
    assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)
    new_id = replace(cluster, shard, survivor)
    cut = cluster.loop.time + 30
    while c.leader_of(cluster, new_id) is None and cluster.loop.time < cut:
        c.run(cluster, 0.001)
    assert c.the_shard(cluster).source is not None
    cluster.kill(survivor)
    cluster.start(survivor)
    assert c.run_until(cluster, lambda: is_whole_again(cluster, new_id), 60)
    assert values(cluster, "n0") == ALL


@pytest.mark.parametrize("part", range(4))
def test_a_kill_at_any_change_of_the_files_while_a_shard_is_started_from_a_survivor(part: int) -> None:
    """Whatever was half there is made anew, and what was whole is not made again over what was written since."""
    kills = 0
    for at in range(1 + 2 * part, 60, 8):
        cluster, shard = filled()
        survivor = shard.nodes[1]
        empty_two(cluster, shard, survivor)
        assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)  # noqa: B023
        cluster.files[survivor].kill_at(at)
        new_id = replace(cluster, shard, survivor)
        c.run_until(cluster, lambda: survivor not in cluster.processes, 5)  # noqa: B023
        kills += survivor not in cluster.processes
        cluster.kill(survivor)
        cluster.start(survivor)
        assert c.run_until(cluster, lambda: is_whole_again(cluster, new_id), 60), at  # noqa: B023
        assert values(cluster, "n0") == ALL, at
    assert kills >= 5


def test_a_survivor_whose_files_are_damaged_cannot_be_started_from_and_that_is_declared_in_turn() -> None:
    cluster, shard = filled()
    survivor = shard.nodes[1]
    empty_two(cluster, shard, survivor)
    assert c.run_until(cluster, lambda: is_lost(cluster), DECLARED_S)
    c.damage(cluster, survivor, shard.id)
    new_id = replace(cluster, shard, survivor)
    assert c.run_until(cluster, lambda: c.the_shard(cluster).id == new_id and is_lost(cluster), DECLARED_S + 20)
    newer_id = replace(cluster, c.the_shard(cluster), None)
    assert c.run_until(cluster, lambda: c.leader_of(cluster, newer_id) is not None, 30)
    assert values(cluster, "n0") == [None] * KEYS
