"""What a cluster port shows of the cluster: the node's view, and which nodes it hears of."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from msgspec.structs import replace

from raftcache.commands.policy import DEFAULT, Namespace
from raftcache.frontends.resp.topology import Served
from raftcache.metadata.applying import apply
from raftcache.metadata.commands import PutNode
from raftcache.metadata.state import EMPTY, Addresses, MetadataState, Node, decode_state, encode_state
from raftcache.metadata.view import MetadataView
from raftcache.node.topology import ViewTopology
from raftcache.routing.bootstrap import plan_cluster
from raftcache.routing.dispatcher import Dispatcher
from raftcache.testing.virtual import VirtualRuntime


@dataclass
class World:
    """Node n0 of three, which hears of both others. Each shard is led by the node that is preferred."""

    peers: list[str] = field(default_factory=lambda: ["n1", "n2"])

    def __post_init__(self) -> None:
        runtime = VirtualRuntime()
        self.view = MetadataView(runtime)
        dispatcher = Dispatcher(self.view, runtime, lambda _shard: None, lambda *_: None, node_id="n0")
        self.topology = ViewTopology("n0", "own:4", self.view, dispatcher, lambda: self.peers)
        nodes = [Node(f"n{i}", "a", Addresses("h:1", "r:2", "p:3", f"c{i}:4" if i else "")) for i in range(3)]
        plan = plan_cluster(nodes, 3, 3, [Namespace(DEFAULT, 0)], random.Random(5))
        self.state, _ = apply(EMPTY, plan)

    def up(self) -> World:
        self.view.update_state(self.state)
        for shard in self.state.shards:
            self.view.update_leader(shard.id, 1, shard.preferred)
        return self

    def lead(self, number: int, node: str, term: int) -> None:
        self.view.update_leader(self.state.shards[number].id, term, node)


def test_shards_are_told_with_leader_and_replicas() -> None:
    world = World().up()
    told = world.topology.shards()
    assert [each.slots for each in told] == [((0, 5460),), ((5461, 10921),), ((10922, 16383),)]
    assert [each.node for each in told] == [shard.preferred for shard in world.state.shards]
    assert all(each.is_led and sorted((each.node, *each.replicas)) == ["n0", "n1", "n2"] for each in told)
    mine = [each for each in told if each.node == "n0"]
    assert world.topology.own_slots() == [each.slots[0][0] for each in mine] and len(mine) == 1


def test_the_leader_of_the_highest_term_counts() -> None:
    world = World().up()
    world.lead(1, "n2", 5)
    world.lead(1, "n1", 4)
    assert world.topology.leader_of(6000) == "n2" == world.topology.shards()[1].node


def test_a_leader_out_of_reach_is_none_and_this_node_is_asked() -> None:
    world = World().up()
    world.lead(2, "n2", 5)
    world.peers = ["n1"]
    assert world.topology.leader_of(16383) == "n0" and not world.topology.is_within_reach("n2")
    third = world.topology.shards()[2]
    assert third == Served(((10922, 16383),), "n0", False, third.replicas)
    assert set(third.replicas) == {"n1", "n2"}
    assert 10922 not in world.topology.own_slots(), "it waits for a leader of those, and has no keys to tell of"


def test_it_follows_what_it_holds_and_does_not_lead() -> None:
    world = World().up()
    assert not world.topology.follows(world.topology.own_slots()[0])
    world.lead(0, "n1", 5)
    assert world.topology.follows(0)
    world.peers = ["n2"]
    assert world.topology.follows(0), "whose leader is out of reach"
    world.lead(0, "n0", 6)
    assert not world.topology.follows(0)
    first = world.state.shards[0]
    elsewhere = tuple(member for member in first.replicas if member.node != "n0")
    moved = replace(first, replicas=elsewhere)
    world.view.update_state(replace(world.state, epoch=world.state.epoch + 1, shards=(moved, *world.state.shards[1:])))
    world.lead(0, "n1", 7)
    assert not world.topology.follows(0), "it holds nothing of it"


def test_addresses_follow_the_metadata_and_the_own_one_is_known_anyway() -> None:
    world = World().up()
    assert [world.topology.address_of(node) for node in ("n0", "n1", "n9")] == ["own:4", "c1:4", ""]
    state, _ = apply(world.state, PutNode("n1", "a", Addresses("h:1", "r:2", "p:3", "moved:4")))
    world.view.update_state(state)
    assert world.topology.address_of("n1") == "moved:4" and world.topology.epoch == state.epoch


def test_before_anything_is_known_all_is_this_nodes() -> None:
    topology = World().topology
    assert (topology.leader_of(1), topology.shards(), topology.nodes()) == ("n0", [], ["n0"])
    assert not topology.follows(1)


def test_a_state_from_before_there_were_cluster_ports_is_read() -> None:
    """Addresses had three fields."""
    state = MetadataState(epoch=1, nodes=(Node("n0", "a", Addresses("h", "r", "p")),))
    data = encode_state(state)
    older = data.replace(b"\x94\xa1h\xa1r\xa1p\xa0", b"\x93\xa1h\xa1r\xa1p")
    assert older != data and decode_state(older) == state
