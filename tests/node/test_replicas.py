"""Which replicas a node opens and removes, and who leads them."""

from __future__ import annotations

import pytest

from . import clusters as c


def test_a_moved_shard_has_exactly_the_wanted_members_and_the_old_files_are_wiped() -> None:
    cluster = c.created(nodes=4)
    shard = c.the_shard(cluster)
    old = next(node for node in shard.nodes if node != shard.preferred)
    new = next(node for node in cluster.ids if node not in shard.nodes)
    kept = [node for node in shard.nodes if node != old]
    assert c.succeeded(c.write(cluster, "n0", b"key", b"value"))
    assert c.holds_files(cluster, old, shard.id)
    c.move(cluster, shard, *kept, new)
    assert c.run_until(cluster, lambda: sorted(c.members_of(cluster, shard.id)) == sorted([*kept, new]), 20)
    assert c.run_until(cluster, lambda: not c.holds_files(cluster, old, shard.id), 10)
    assert shard.id not in c.core(cluster, old).shards
    assert shard.id not in c.core(cluster, old).host.groups
    c.run(cluster, 2)
    assert cluster.digest_of(new, shard.id) == cluster.digest_of(kept[0], shard.id) is not None
    assert c.succeeded(c.read(cluster, old, b"key")), "and the old node still finds it"


def test_regression_a_removed_replica_never_starts_its_group_again() -> None:
    """Wanted again, it started the group from nothing, as one of its first members; two such replicas would have been
    a majority that knew nothing of the log. (A node that replays the metadata's log meets such a state, too.)"""
    cluster = c.created(nodes=4)
    shard = c.the_shard(cluster)
    old = next(node for node in cluster.metadata_ids if node in shard.nodes and node != shard.preferred)
    new = next(node for node in cluster.ids if node not in shard.nodes)
    kept = [node for node in shard.nodes if node != old]
    c.move(cluster, shard, *kept, new)
    assert c.run_until(cluster, lambda: not c.holds_files(cluster, old, shard.id), 30)
    cluster.kill(old)
    cluster.start(old)
    founded: list[str] = []

    def back() -> bool:
        group = c.core(cluster, old).host.groups.get(shard.id)
        if group is not None and group.last_index == 0 and group.journal.start_index == 0:
            founded.extend(str(member) for member in group.members)
        return sorted(c.members_of(cluster, shard.id)) == sorted([*kept, old])

    assert not c.run_until(cluster, back, 3), "it is not wanted yet"
    c.move(cluster, shard, *kept, old)
    assert c.run_until(cluster, back, 30)
    assert not founded


def test_a_shard_can_move_away_from_its_leader() -> None:
    cluster = c.created(nodes=4)
    shard = c.the_shard(cluster)
    new = next(node for node in cluster.ids if node not in shard.nodes)
    assert c.leader_of(cluster, shard.id) == shard.preferred
    kept = [node for node in shard.nodes if node != shard.preferred]
    c.move(cluster, shard, new, *kept)
    assert c.run_until(cluster, lambda: c.leader_of(cluster, shard.id) == new, 30)
    assert c.run_until(cluster, lambda: not c.holds_files(cluster, shard.preferred, shard.id), 15)
    assert sorted(c.members_of(cluster, shard.id)) == sorted([new, *kept])


def test_regression_a_node_reopens_what_its_disk_holds_though_it_is_wanted_elsewhere() -> None:
    """The shard is to leave `old`, but who is to take it is down. `old` restarts: the map does not want it any more,
    and it left its replica closed, of which its group needed the vote. With one more node down nobody led."""
    cluster = c.created(nodes=4)
    shard = c.the_shard(cluster)
    new = next(node for node in cluster.ids if node not in shard.nodes)
    old = next(node for node in shard.nodes if node != shard.preferred)
    kept = [node for node in shard.nodes if node != old]
    cluster.kill(new)
    c.move(cluster, shard, *kept, new)
    c.run(cluster, 5)
    assert old in c.members_of(cluster, shard.id), "still, for nobody has taken its place"
    cluster.kill(old)
    cluster.start(old)
    assert c.run_until(cluster, lambda: shard.id in c.core(cluster, old).shards, 10)
    cluster.kill(kept[-1])
    assert c.run_until(cluster, lambda: c.leader_of(cluster, shard.id) is not None, 10)
    assert c.succeeded(c.write(cluster, old, b"needs", b"its vote"))
    cluster.start_all()
    assert c.run_until(cluster, lambda: sorted(c.members_of(cluster, shard.id)) == sorted([*kept, new]), 30)
    assert c.run_until(cluster, lambda: not c.holds_files(cluster, old, shard.id), 10), "removed, it may go"
    assert shard.id not in c.core(cluster, old).shards


def test_leadership_goes_to_the_preferred_nodes_and_back_to_them() -> None:
    cluster = c.created(shards=3, settle=5.0)
    shards = c.core(cluster, "n0").view.state.shards
    assert len({shard.preferred for shard in shards}) == 3, "spread over the nodes"
    assert [c.leader_of(cluster, shard.id) for shard in shards] == [shard.preferred for shard in shards]
    gone = shards[0]
    cluster.kill(gone.preferred)
    assert c.run_until(cluster, lambda: c.leader_of(cluster, gone.id) is not None, 10)
    assert c.leader_of(cluster, gone.id) != gone.preferred
    cluster.start(gone.preferred)
    assert c.run_until(cluster, lambda: c.leader_of(cluster, gone.id) == gone.preferred, 20)
    assert [c.leader_of(cluster, shard.id) for shard in shards] == [shard.preferred for shard in shards]


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_regression_a_damaged_shard_does_not_keep_the_rest_of_the_node_down(with_snapshot: bool) -> None:
    """The node's start raised what the shard's files raised: with the state in a snapshot the whole node stayed
    down, with the state in the log the metadata group's replica stopped on the entry that told of the shard."""
    cluster = c.created(shards=2)
    bad, good = c.core(cluster, "n0").view.state.shards
    if with_snapshot:
        for process in cluster.running():
            process.core.host.groups["meta"].take_snapshot()
        c.run(cluster, 2)
    cluster.kill("n0")
    c.damage(cluster, "n0", bad.id)
    cluster.start("n0")
    c.run(cluster, 1)
    node = c.core(cluster, "n0")
    assert set(node.host.groups) == {"meta", good.id, bad.id}
    assert all(group.halted == "" for group in node.host.groups.values())
    assert {group_id: group.member.replica for group_id, group in node.host.groups.items()} == {
        "meta": 0,
        good.id: 0,
        bad.id: 1,
    }
    assert c.succeeded(c.write(cluster, "n0", b"key", b"value"))


def test_a_node_that_lost_its_disk_is_swapped_in_as_a_new_incarnation() -> None:
    cluster = c.created()
    shard = c.the_shard(cluster)
    assert c.succeeded(c.write(cluster, "n0", b"key", b"value"))
    lost = next(node for node in shard.nodes if node != shard.preferred)
    cluster.empty_disk(lost)
    cluster.start(lost)
    assert c.run_until(cluster, cluster.whole, 40)
    c.run(cluster, 1)
    assert (lost, "aa", 0) in c.the_shard(cluster).replicas
    assert cluster.digest_of(lost, shard.id) == cluster.digest_of(shard.preferred, shard.id) is not None
