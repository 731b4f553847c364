"""Where replica reads go: this node's replica first, else any holder; on from one that is too old, the leader first."""

from __future__ import annotations

from msgspec.structs import replace
from routing_world import LocalReplica, World, answer, failure, not_leader

from raftcache.commands.types import Failure, Get, Many, MultiGet

KEY = b"foo"
READ = Get(KEY, replica=True)


def led_by(world: World) -> str:
    return world.view.leaders[world.shard_of(KEY)].node


def test_this_nodes_replica_answers_whether_or_not_it_leads():
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    replica = world.local[shard] = LocalReplica(shard, serving=False)
    world.execute(READ)
    assert world.replies == [answer(READ, shard)] and world.sent == [] and replica.got == [READ]


def test_without_one_the_readers_spread_over_all_that_hold_the_shard():
    world = World().up()
    for _ in range(60):
        world.run(READ)
    assert set(world.asked) == {"n0", "n1", "n2"}
    assert not world.dispatcher.retries


def test_one_that_is_too_old_sends_the_read_on_to_the_leader():
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.view.update_leader(shard, 2, "n2")
    world.local[shard] = LocalReplica(shard, serving=False, script=[failure("too_stale", leader="n2", term=2)])
    assert world.run(READ) == answer(READ, shard)
    assert world.asked == ["n2"]


def test_where_all_are_too_old_the_answer_says_so_at_the_deadline():
    world = World().up()
    stale = failure("too_stale", leader=None, term=0)
    world.script = {node: [stale] * 100 for node in ("n0", "n1", "n2")}
    reply = world.run(READ)
    assert isinstance(reply, Failure) and reply == stale
    assert set(world.asked) == {"n0", "n1", "n2"}


def test_other_trouble_afterwards_is_what_the_answer_tells():
    world = World().up()
    world.script = {node: [failure("too_stale")] + [not_leader()] * 100 for node in ("n0", "n1", "n2")}
    reply = world.run(READ)
    assert isinstance(reply, Failure) and reply.code == "no_leader"


def test_a_lost_version_is_an_answer():
    world = World().up()
    world.script = {node: [failure("version_lost")] for node in ("n0", "n1", "n2")}
    reply = world.run(READ)
    assert isinstance(reply, Failure) and reply.code == "version_lost" and len(world.sent) == 1


def test_many_keys_go_to_this_node_and_only_those_too_old_elsewhere():
    world = World(shards=1, node_id="n0").up()
    shard = world.shard_of(KEY)
    world.view.update_leader(shard, 2, "n1")
    items = tuple(Get(key, replica=True) for key in (b"a", b"b", b"c"))
    partly = Many((answer(items[0], shard), failure("too_stale"), answer(items[2], shard)))  # type: ignore[arg-type]
    world.local[shard] = LocalReplica(shard, serving=False, script=[partly])
    assert world.run(MultiGet(items)) == answer(MultiGet(items), shard)
    assert [(node, command) for node, _, _, command in world.sent] == [("n1", MultiGet(items[1:2]))]


def test_one_plain_read_among_them_needs_the_leader():
    world = World(shards=1, node_id="n0").up()
    shard = world.shard_of(KEY)
    world.view.update_leader(shard, 2, "n1")
    world.local[shard] = LocalReplica(shard, serving=False)
    world.run(MultiGet((READ, replace(READ, replica=False))))
    assert world.asked == ["n1"] and world.local[shard].got == []
