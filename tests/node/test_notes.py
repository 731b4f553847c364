"""Notes between nodes: soft facts, of which a bad or a late one costs nothing."""

from __future__ import annotations

import msgpack
import pytest

from raftcache.node import notes
from raftcache.node.status import readiness

from . import clusters as c


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff",
        msgpack.packb("leading"),
        msgpack.packb(["leading"]),
        msgpack.packb(["leading", 1, "x", "n0"]),
        msgpack.packb(["no such note", 1]),
        msgpack.packb(["report", ["n1", [["group", "no term"]]]]),
        msgpack.packb({"leading": 1}),
    ],
    ids=repr,
)
def test_a_note_that_cannot_be_read_costs_nothing(payload: bytes) -> None:
    cluster = c.created(settle=1.0)
    shard = c.the_shard(cluster)
    for process in cluster.running():
        for other in process.core.host.peer_ids():
            process.core.host.send_note(other, payload)
    c.run(cluster, 0.1)
    assert [process.core.host.bad_frames for process in cluster.running()] == [0, 0, 0], "read as far as a note goes"
    assert c.succeeded(c.write(cluster, "n0", b"key", b"value"))
    assert [readiness(process.core) for process in cluster.running()] == [(True, "")] * 3
    assert c.leader_of(cluster, shard.id) is not None


def test_a_note_about_what_a_node_does_not_hold_costs_nothing() -> None:
    cluster = c.created(nodes=4)
    shard = c.the_shard(cluster)
    outside = next(node for node in cluster.ids if node not in shard.nodes)
    member = shard.replicas[0]
    for note in (
        notes.Transfer(shard.id, "n0"),
        notes.ChangeMember("ffff", member, True),
        notes.ChangeMember(shard.id, member, False),
        notes.AmIRemoved(shard.id, member),
        notes.Removed("ffff", member),
    ):
        c.core(cluster, shard.preferred).host.send_note(outside, notes.encode_note(note))
    c.run(cluster, 1)
    assert c.core(cluster, outside).host.bad_frames == 0
    assert set(c.members_of(cluster, shard.id)) == set(shard.nodes)


def test_a_replica_that_is_wanted_is_not_removed_on_hearsay() -> None:
    """Only where the map does not want it either."""
    cluster = c.created()
    shard = c.the_shard(cluster)
    for member in shard.replicas:
        for process in cluster.running():
            process.core.host.send_note(member.node, notes.encode_note(notes.Removed(shard.id, member)))
    c.run(cluster, 1)
    assert all(shard.id in process.core.shards for process in cluster.running())


def test_a_refused_wish_of_the_controller_costs_nothing() -> None:
    """Sent to a follower, and for a leader itself."""
    cluster = c.created()
    shard = c.the_shard(cluster)
    follower = next(node for node in shard.nodes if node != shard.preferred)
    leader = next(member for member in shard.replicas if member.node == shard.preferred)
    for source, target in ((shard.preferred, follower), (follower, shard.preferred)):
        wish = notes.ChangeMember(shard.id, leader, False)
        c.core(cluster, source).host.send_note(target, notes.encode_note(wish))
    c.run(cluster, 1)
    assert [process.core.host.bad_frames for process in cluster.running()] == [0, 0, 0]
    assert c.leader_of(cluster, shard.id) == shard.preferred


def test_the_leader_of_the_highest_term_is_believed() -> None:
    cluster = c.created()
    shard = c.the_shard(cluster)
    view = c.core(cluster, "n0").view
    term = view.leaders[shard.id].term
    stale = notes.Leading(shard.id, term - 1, "n9")
    c.core(cluster, "n1").host.send_note("n0", notes.encode_note(stale))
    c.run(cluster, 0.1)
    assert (view.leaders[shard.id].term, view.leaders[shard.id].node) == (term, shard.preferred)
