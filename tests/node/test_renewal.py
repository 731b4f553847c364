"""Replicas that lose what they held come back as new members, by themselves."""

from __future__ import annotations

import pytest

from raftcache.commands.types import Value
from raftcache.metadata.state import METADATA_GROUP
from raftcache.node import replicas as replicas_module
from raftcache.node.status import readiness
from raftcache.testing.cluster import DATA, SimCluster

from . import clusters as c

BACK_S = 30.0
"""How long a replica may take to come back as a full voter."""


def filled(nodes: int = 3, shards: int = 2) -> SimCluster:
    """A cluster with something in it."""
    cluster = c.created(nodes=nodes, shards=shards)
    for number in range(20):
        assert c.succeeded(c.write(cluster, "n0", b"safe:%d" % number, b"value %d" % number))
    return cluster


def holds_all(cluster: SimCluster, through: str) -> bool:
    """Whether everything that `filled` wrote is read back."""
    replies = [c.read(cluster, through, b"safe:%d" % number) for number in range(20)]
    return [r.value if isinstance(r, Value) else None for r in replies] == [b"value %d" % n for n in range(20)]


def renewed(cluster: SimCluster, node_id: str, group_id: str, name: str) -> bool:
    """Whether the group counts that member of the node, caught up, and no other of the node."""
    report = c.core(cluster, node_id).fresh_report(group_id)
    if report is None:
        return False
    mine = [str(member) for member in report.healthy if member.node == node_id]
    return mine == [name] and [str(m) for m in report.members if m.node == node_id] == [name]


@pytest.mark.parametrize("who", ["a member", "the metadata leader"])
def test_an_emptied_disk_comes_back_as_a_voter_of_every_group_by_itself(who: str) -> None:
    cluster = filled()
    leader = c.metadata_leader(cluster)
    node = leader if who == "the metadata leader" else next(each for each in cluster.ids if each != leader)
    groups = [METADATA_GROUP, *(shard.id for shard in c.core(cluster, node).view.state.shards)]
    cluster.empty_disk(node)
    c.run(cluster, 3)
    cluster.start(node)
    assert c.run_until(cluster, cluster.whole, BACK_S)
    for group_id in groups:
        assert renewed(cluster, node, group_id, f"{node}.aa.0")
        assert len(c.member_names(cluster, group_id)) == 3
    assert holds_all(cluster, node)
    others = [each for each in cluster.ids if each != node]
    cluster.kill(others[0])
    assert c.run_until(cluster, lambda: c.succeeded(c.write(cluster, node, b"safe:needs", b"its vote")), 20)


@pytest.mark.parametrize("hit", ["a shard", "the metadata group"])
def test_damage_in_one_log_renews_that_group_alone(hit: str) -> None:
    cluster = filled()
    bad, good = (shard.id for shard in c.core(cluster, "n1").view.state.shards)
    hurt = bad if hit == "a shard" else METADATA_GROUP
    before = {group_id: c.member_names(cluster, group_id) for group_id in (METADATA_GROUP, bad, good)}
    cluster.kill("n1")
    c.damage(cluster, "n1", hurt)
    cluster.start("n1")
    assert c.run_until(cluster, lambda: renewed(cluster, "n1", hurt, "n1.a.1"), BACK_S)
    assert c.replica_numbers(cluster, "n1") == {METADATA_GROUP: 0, bad: 0, good: 0} | {hurt: 1}
    for group_id in {METADATA_GROUP, bad, good} - {hurt}:
        assert c.member_names(cluster, group_id) == before[group_id]
    assert c.run_until(cluster, cluster.whole, 10)
    assert cluster.files["n1"].exists(f"{DATA}/damaged/{hurt}.0")
    assert c.core(cluster, "n1").replicas.renewals == 1
    assert holds_all(cluster, "n1")
    assert c.run_until(cluster, lambda: readiness(c.core(cluster, "n1")) == (True, ""), 10)


def test_a_renewed_replica_keeps_its_number_over_a_restart_and_raises_it_with_the_next_loss() -> None:
    cluster = filled()
    shard = c.the_shard(cluster)
    node = next(each for each in shard.nodes if each != shard.preferred)
    for number in (1, 2):
        cluster.kill(node)
        c.damage(cluster, node, shard.id)
        cluster.start(node)
        assert c.run_until(cluster, lambda: renewed(cluster, node, shard.id, f"{node}.a.{number}"), BACK_S)  # noqa: B023
        assert c.run_until(cluster, cluster.whole, 10)
        cluster.kill(node)
        cluster.start(node)
        c.run(cluster, 3)
        assert c.replica_numbers(cluster, node)[shard.id] == number


def test_a_replica_of_which_an_applied_entry_is_taken_back_is_renewed_while_it_runs() -> None:
    cluster = filled()
    shard = c.the_shard(cluster)
    node = next(each for each in shard.nodes if each != shard.preferred)
    process = cluster.processes[node]
    group = process.core.host.groups[shard.id]
    process.runtime.deliver(lambda: group.lose("an applied entry was taken back"))
    assert c.run_until(cluster, lambda: renewed(cluster, node, shard.id, f"{node}.a.1"), BACK_S)
    assert c.replica_numbers(cluster, node)[METADATA_GROUP] == 0
    assert c.run_until(cluster, cluster.whole, 10) and holds_all(cluster, node)


def test_a_renewed_replica_does_not_start_its_group_from_nothing() -> None:
    """It was one of the first members, and its disk holds nothing: still it waits to be added."""
    cluster = filled(shards=1)
    shard = c.the_shard(cluster)
    node = next(each for each in shard.nodes if each != shard.preferred)
    cluster.kill(node)
    c.damage(cluster, node, shard.id)
    cluster.start(node)
    groups = c.core(cluster, node).host.groups
    while shard.id not in groups and cluster.loop.time < 60:
        c.run(cluster, 0.001)
    assert groups[shard.id].member.replica == 1
    assert groups[shard.id].members == () and groups[shard.id].last_index == 0


def test_a_leader_that_loses_its_replica_is_renewed_as_well() -> None:
    cluster = filled(shards=1)
    for group_id in (c.the_shard(cluster).id, METADATA_GROUP):
        leader = next(p for p in cluster.running() if p.core.host.groups[group_id].leads_now())
        group = leader.core.host.groups[group_id]
        leader.runtime.deliver(lambda: group.lose("as a test has it"))  # noqa: B023
        assert c.run_until(cluster, lambda: renewed(cluster, leader.node_id, group_id, f"{leader.node_id}.a.1"), BACK_S)  # noqa: B023
    assert c.run_until(cluster, cluster.whole, 10) and holds_all(cluster, "n0")


def test_a_disk_that_damages_whatever_is_put_on_it_is_given_up() -> None:
    cluster = filled(shards=1)
    shard = c.the_shard(cluster)
    node = next(each for each in shard.nodes if each != shard.preferred)
    core = c.core(cluster, node)
    for number in range(replicas_module.RENEWALS_LIMIT + 1):
        assert c.run_until(cluster, lambda: c.replica_numbers(cluster, node).get(shard.id) == number, 5)  # noqa: B023
        group = core.host.groups[shard.id]
        cluster.processes[node].runtime.deliver(lambda: group.lose("damaged again"))  # noqa: B023
        c.run(cluster, 0.01)
    c.run(cluster, 10)
    assert core.replicas.renewals == replicas_module.RENEWALS_LIMIT
    assert shard.id not in core.host.groups
    ready, reason = readiness(core)
    assert not ready and f"the replica of {shard.id} was not started: lost 4 times in 60 s" in reason
    states = c.replica_states(cluster, shard.preferred, shard.id)
    assert states[node] == "refused", "and the other nodes know"


def test_a_disk_that_cannot_be_read_at_the_start_is_tried_again_until_it_can() -> None:
    cluster = filled(shards=1)
    shard = c.the_shard(cluster)
    node = next(each for each in shard.nodes if each != shard.preferred)
    cluster.kill(node)
    cluster.start(node)
    cluster.files[node].fail_next("makedirs", OSError(13, "permission denied"))
    assert c.run_until(cluster, lambda: bool(c.core(cluster, node).replicas.refused), 2)
    ready, reason = readiness(c.core(cluster, node))
    assert not ready and "permission denied" in reason
    assert c.run_until(cluster, lambda: readiness(c.core(cluster, node)) == (True, ""), 10)
    assert set(c.replica_numbers(cluster, node).values()) == {0}, "nothing is lost by that"


def test_a_kill_at_any_change_of_the_files_while_a_replica_is_renewed_leads_to_the_same_end() -> None:
    """The number is raised before anything goes: so it never answers to the old one with less than it held."""
    for at in range(1, 14):
        cluster = filled(shards=1)
        shard = c.the_shard(cluster)
        node = next(each for each in shard.nodes if each != shard.preferred)
        cluster.kill(node)
        c.damage(cluster, node, shard.id)
        cluster.start(node)
        cluster.files[node].kill_at(at)
        c.run_until(cluster, lambda: node not in cluster.processes, 5)  # noqa: B023
        cluster.kill(node)
        cluster.start(node)
        assert c.run_until(cluster, lambda: c.replica_numbers(cluster, node).get(shard.id, 0) >= 1, 10)  # noqa: B023
        number = c.replica_numbers(cluster, node)[shard.id]
        assert c.run_until(cluster, lambda: renewed(cluster, node, shard.id, f"{node}.a.{number}"), BACK_S), at  # noqa: B023
        assert holds_all(cluster, node)


def test_a_suspect_votes_again_where_a_renewed_replica_makes_the_majority_that_has_forgotten() -> None:
    """n0 has lost the group's files and n1 may have forgotten: n2 alone can lead, and only with the vote of n1."""
    cluster = filled(shards=1)
    shard = c.the_shard(cluster)
    lost, suspect, whole = shard.nodes
    for node in shard.nodes:
        cluster.kill(node)
    c.damage(cluster, lost, shard.id)
    cluster.files[suspect].write_atomic(f"{DATA}/{shard.id}/suspect", b"", sync=True)
    cluster.start_all()
    assert c.run_until(cluster, lambda: c.leader_of(cluster, shard.id) == whole, 20)
    assert c.run_until(cluster, lambda: renewed(cluster, lost, shard.id, f"{lost}.a.1"), BACK_S)
    assert holds_all(cluster, lost)


@pytest.mark.parametrize("after_s", [0.3, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0])
def test_a_disk_that_is_emptied_again_while_its_replicas_are_being_fed(after_s: float) -> None:
    cluster = filled(shards=1)
    shard = c.the_shard(cluster)
    node = next(each for each in shard.nodes if each != shard.preferred)
    cluster.empty_disk(node)
    cluster.start(node)
    c.run(cluster, after_s)
    cluster.empty_disk(node)
    cluster.start(node)
    for group_id in (METADATA_GROUP, shard.id):
        assert c.run_until(cluster, lambda: renewed(cluster, node, group_id, f"{node}.aaa.0"), BACK_S)  # noqa: B023
    assert c.run_until(cluster, cluster.whole, 10)
    assert all(len(c.member_names(cluster, group_id)) == 3 for group_id in (METADATA_GROUP, shard.id))


@pytest.mark.parametrize("after_s", [0.05, 0.5, 1.0, 1.5, 2.0])
def test_a_replica_that_is_lost_again_while_it_is_being_fed(after_s: float) -> None:
    cluster = filled(shards=1)
    shard = c.the_shard(cluster)
    node = next(each for each in shard.nodes if each != shard.preferred)
    process = cluster.processes[node]
    for number in (0, 1):
        group = process.core.host.groups[shard.id]
        assert group.member.replica == number
        process.runtime.deliver(lambda: group.lose("as a test has it"))  # noqa: B023
        c.run(cluster, after_s)
        assert c.run_until(cluster, lambda: shard.id in process.core.host.groups, 1)
    assert c.run_until(cluster, lambda: renewed(cluster, node, shard.id, f"{node}.a.2"), BACK_S)
    assert c.run_until(cluster, cluster.whole, 10) and holds_all(cluster, node)
