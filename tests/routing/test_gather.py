"""Multi-key commands: one sub-command a shard, results in the order asked, retries for what still lacks one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from routing_world import LocalReplica, World, answer, failure, not_leader

from raftcache.commands.types import Delete, Failure, Get, Many, MultiDelete, MultiGet, MultiSet, Set, Value, Written

KEYS = [b"k%d" % number for number in range(40)]


def _gets(keys=KEYS) -> MultiGet:
    return MultiGet(tuple(Get(key) for key in keys))


def _sets(keys=KEYS) -> MultiSet:
    return MultiSet(tuple(Set(key, b"v") for key in keys))


def test_each_shard_gets_one_sub_command_and_the_answers_come_in_the_order_asked():
    world = World(shards=4).up()
    reply = world.run(_gets())
    assert [item.value for item in reply.items] == KEYS
    assert sorted(shard for _, shard, _, _ in world.sent) == sorted(shard.id for shard in world.state.shards)
    for _, shard, _, command in world.sent:
        assert isinstance(command, MultiGet) and {world.shard_of(item.key) for item in command.items} == {shard}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=6), max_size=30), st.integers(1, 9))
def test_any_keys_over_any_shards(keys, shards):
    world = World(shards=shards).up()
    assert [item.value for item in world.run(_gets(keys)).items] == keys
    deletes = world.run(MultiDelete(tuple(Delete(key) for key in keys)))
    assert len(deletes.items) == len(keys) and all(isinstance(item, Written) for item in deletes.items)


def test_all_shards_served_here_answer_within_the_call():
    world = World(node_id="n0").up()
    for shard in world.state.shards:
        world.local[shard.id] = LocalReplica(shard.id)
    world.execute(_gets())
    assert [item.value for item in world.replies[0].items] == KEYS and world.dispatcher.inflight == 0


def test_nothing_asked_is_answered_and_too_much_refused():
    world = World().up()
    assert world.run(_gets([])) == Many(())
    assert len(world.run(_gets([b"a"] * 1000)).items) == 1000
    reply = world.run(_gets([b"a"] * 1001))
    assert reply.code == "too_many_keys" and "1000" in reply.message and "1001" in reply.message


def test_a_shard_without_a_leader_fails_its_own_keys_only():
    world = World(shards=3).up()
    world.script["n1"] = [failure("unavailable")] * 1000
    dark = next(shard.id for shard in world.state.shards if shard.preferred == "n1")
    for node in ("n0", "n2"):
        world.script[node] = [
            lambda command, shard: not_leader() if shard == dark else answer(command, shard) for _ in range(1000)
        ]
    reply = world.run(_sets())
    for key, item in zip(KEYS, reply.items, strict=True):
        assert isinstance(item, Failure) == (world.shard_of(key) == dark)
    assert {item.code for item in reply.items if isinstance(item, Failure)} == {"no_leader"}


def test_a_sub_command_with_unknown_outcome_is_sent_again():
    for command, answered in ((_sets(), Written), (_gets(), Value)):
        world = World(shards=1).up()
        world.script["n0"] = [failure("outcome_unknown")]
        reply = world.run(command)
        assert len(world.sent) == 2
        assert {type(item) for item in reply.items} == {answered}


def test_only_the_keys_without_a_result_are_sent_again_and_under_their_numbers():
    world = World(shards=1).up()
    keys = [b"a", b"b", b"c", b"d"]

    def partly(command, shard):
        items = list(answer(command, shard).items)
        items[1], items[2], items[3] = not_leader("n1", 5), failure("outcome_unknown"), failure("memory_full")
        return Many(tuple(items))

    world.script["n0"] = [partly]
    reply = world.run(_sets(keys))
    assert [type(item) for item in reply.items] == [Written, Written, Written, Failure]
    assert reply.items[3].code == "memory_full"
    assert [(node, [item.key for item in command.items]) for node, _, _, command in world.sent] == [
        ("n0", keys),
        ("n1", [b"b", b"c"]),
    ]
    assert [(each.numbers, each.repeat, each.floor) for each in world.minted] == [
        ((1, 2, 3, 4), False, 0),
        ((2, 3), True, 1),
    ]


def test_what_is_sent_again_finds_its_place_among_all_keys():
    world = World(shards=4).up()

    def all_but_the_first(command, shard):
        items = answer(command, shard).items
        return Many((items[0], *(not_leader() for _ in items[1:])))

    world.script = {node: [all_but_the_first, all_but_the_first] for node in ("n0", "n1", "n2")}
    assert [item.value for item in world.run(_gets()).items] == KEYS
    assert len(world.sent) > 8


def test_under_a_newer_map_the_keys_of_one_part_scatter_over_their_new_shards():
    world = World(shards=2).up()
    first, second = world.state.shards
    whole = replace(world.state, shards=(replace(first, slots=((0, 16383),)), replace(second, slots=())))
    world = World(shards=2)
    world.state = whole
    world.up()
    world.script[first.preferred] = [failure("wrong_shard")]
    world.execute(_sets(), 5.0)
    world.runtime.advance(0.0015)
    assert len(world.sent) == 1 and world.dispatcher.parked == 1
    world.view.update_state(replace(whole, epoch=2, shards=(first, second)))
    world.runtime.advance(0.05)
    assert sorted(shard for _, shard, _, _ in world.sent[1:]) == sorted([first.id, second.id])
    assert len(world.replies) == 1 and all(isinstance(item, Written) for item in world.replies[0].items)
    assert [item.version.shard for item in world.replies[0].items] == [world.shard_of(key) for key in KEYS]
    world.runtime.advance(9.0)
    assert world.dispatcher.inflight == 0 and len(world.replies) == 1


@pytest.mark.parametrize("items", [(), (failure("internal"),) * 3])
def test_an_answer_with_the_wrong_number_of_items_is_an_error_for_each_key(items):
    world = World(shards=1).up()
    world.script["n0"] = [Many(items)]
    assert {item.code for item in world.run(_sets([b"a", b"b"])).items} == {"internal"}


def test_parts_count_against_the_bound():
    world = World(shards=4, limit=3).up()
    assert world.run(_gets()).code == "overloaded" and world.sent == []


def test_regression_keys_that_are_grouped_anew_after_the_deadline_are_not_written_any_more() -> None:
    """A process that was paused past the deadline found another map, and sent the parts as if they were new."""
    world = World().up(leaders=False)
    world.script = {node: [not_leader() for _ in range(99)] for node in ("n0", "n1", "n2")}
    world.execute(_sets())
    world.runtime.advance(0.3)
    assert world.dispatcher.parked and not world.replies
    world.sent.clear()
    world.runtime._now += 5.0  # A pause of the process: no timer runs meanwhile.
    world.view.update_state(replace(world.state, epoch=world.state.epoch + 1))
    world.dispatcher._wake()  # As it may well come before the sweep that looks after deadlines.
    assert world.sent == []
    world.runtime.advance(0.5)
    assert world.sent == [] and len(world.replies) == 1
