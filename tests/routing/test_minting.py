"""Keys that front ends mint: which writes get one, the floor, and what becomes of it while the write is retried."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from routing_world import LocalReplica, World, answer, failure, not_leader

from raftcache.commands.types import (
    Delete,
    Failure,
    Get,
    Incr,
    Many,
    MultiDelete,
    MultiGet,
    MultiSet,
    Scan,
    Script,
    Set,
    Transaction,
    Written,
)
from raftcache.routing.session import SESSION_BYTES, KeySession

KEY = b"foo"
SINGLE = [Set(KEY, b"v"), Incr(KEY), Script(b"return 1", (KEY,)), Transaction((Set(KEY, b"v"),))]
SINGLE += [Transaction((Get(KEY), Script(b"return 1", (KEY,))))]
WRITES = [*SINGLE, MultiSet((Set(KEY, b"v"),)), MultiDelete((Delete(KEY),))]
NODES = ("n0", "n1", "n2")


def led_by(world: World) -> str:
    return world.view.leaders[world.shard_of(KEY)].node


@pytest.mark.parametrize("command", WRITES, ids=lambda command: type(command).__name__)
def test_a_write_to_another_node_goes_under_a_key_and_is_sent_again_under_it(command):
    world = World().up()
    world.script[led_by(world)] = [failure("outcome_unknown")]
    assert not isinstance(world.run(command), Failure)
    first, second = world.minted
    assert second == replace(first, repeat=True) and first.command == command
    assert (first.session, first.numbers, first.floor) == (world.dispatcher.session.id, (1,), 0)
    assert len(first.session) == SESSION_BYTES and len(world.dispatcher.session) == 0


READS = [
    Get(KEY),
    MultiGet((Get(KEY),)),
    Scan(7),
    Transaction((Get(KEY),), expected=((KEY, None),)),
    Script(b"return 1", (KEY,), read_only=True),
    Transaction((Get(KEY), Script(b"return 1", (KEY,), read_only=True))),
]


@pytest.mark.parametrize("command", READS, ids=lambda command: type(command).__name__)
def test_what_writes_nothing_needs_none_and_is_sent_again_without(command):
    world = World(shards=1).up()
    world.script["n0"] = [failure("outcome_unknown")]
    assert not isinstance(world.run(command), Failure)
    assert world.minted == [] and len(world.sent) == 2


def test_what_is_answered_at_once_by_the_replica_here_needs_none():
    world = World(node_id="n0").up()
    world.local[world.shard_of(KEY)] = LocalReplica(world.shard_of(KEY))
    assert isinstance(world.run(Set(KEY, b"v")), Written)
    assert world.local[world.shard_of(KEY)].got == [Set(KEY, b"v")]


@pytest.mark.parametrize("command", SINGLE, ids=lambda command: type(command).__name__)
def test_what_waits_at_the_replica_here_goes_on_at_the_next_leader_under_the_key_minted_there(command):
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.local[shard] = replica = LocalReplica(shard, script=[None])
    world.execute(command)
    key = replica.mints[0](0, lambda _session: True)
    replica.serving = False
    world.view.update_leader(shard, 2, "n1")
    replica.waiting[0](failure("outcome_unknown"))
    world.runtime.advance(0.01)
    (sent,) = world.minted
    assert (sent.session, sent.numbers, sent.floor, sent.repeat) == (key.session, (key.number,), key.floor, True)
    assert len(world.replies) == 1 and not isinstance(world.replies[0], Failure)


def test_it_comes_back_to_the_replica_here_under_its_key():
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.view.update_leader(shard, 2, "n1")
    world.local[shard] = replica = LocalReplica(shard, serving=False)

    def die(command, shard):
        replica.serving = True
        return failure("outcome_unknown")

    world.script["n1"] = [die]
    assert isinstance(world.run(Set(KEY, b"v")), Written)
    (again,) = replica.got
    assert again == replace(world.minted[0], repeat=True)


def test_a_definite_failure_before_any_doubt_makes_no_repeat():
    world = World().up()
    world.script[led_by(world)] = [not_leader()]
    assert isinstance(world.run(Set(KEY, b"v")), Written)
    assert [each.repeat for each in world.minted] == [False, False]


def test_what_a_shard_has_forgotten_is_not_asked_again():
    world = World().up()
    world.script = {node: [failure("outcome_unknown", forgotten=True)] for node in NODES}
    assert world.run(Set(KEY, b"v")).code == "outcome_unknown" and len(world.sent) == 1


def test_the_floor_is_below_what_is_not_answered_at_that_shard():
    world = World(shards=2).up()
    keys = [b"a%d" % n for n in range(40)]
    mine = [key for key in keys if world.shard_of(key) == world.shard_of(keys[0])]
    other = next(key for key in keys if key not in mine)
    world.script = {node: [None] for node in NODES}
    world.execute(Set(mine[0], b"v"), 0.5)
    world.script = {}
    for key in (mine[1], other, mine[2]):
        world.execute(Set(key, b"v"), 0.1)
        world.runtime.advance(0.01)
    assert [(each.numbers[0], each.floor) for each in world.minted] == [(1, 0), (2, 0), (3, 2), (4, 0)]
    world.runtime.advance(1.0)
    world.run(Set(mine[3], b"v"), 0.01)
    assert (world.minted[-1].numbers[0], world.minted[-1].floor) == (5, 4), "what was given up holds nothing up"


def test_a_multi_key_write_in_doubt_keeps_its_numbers_over_a_change_of_the_map():
    world = World(shards=1).up()
    command = MultiSet(tuple(Set(b"k%d" % n, b"v") for n in range(3)))
    world.script["n0"] = [failure("outcome_unknown"), not_leader()]
    for node in ("n1", "n2"):
        world.script[node] = [not_leader()]
    world.execute(command)
    world.runtime.advance(0.004)
    assert world.dispatcher.parked == 1
    world.view.update_state(replace(world.state, epoch=world.state.epoch + 1))
    world.runtime.advance(1.0)
    assert {each.numbers for each in world.minted} == {(1, 2, 3)} and world.minted[-1].repeat
    assert all(isinstance(item, Written) for item in world.replies[0].items)
    assert len(world.dispatcher.session) == 0


def test_items_of_a_write_in_doubt_that_are_refused_are_not_called_failures():
    world = World(shards=1).up()
    keys = [Set(b"a", b""), Set(b"b", b"")]
    world.script["n0"] = [
        failure("outcome_unknown"),
        lambda command, shard: Many((answer(command, shard).items[0], failure("overloaded"))),
    ]
    world.script |= {"n1": [not_leader()], "n2": [not_leader()]}
    world.view.update_leader(world.shard_of(b"a"), 9, "n0")
    reply = world.run(MultiSet(tuple(keys)))
    assert type(reply.items[0]) is Written and reply.items[1].code == "outcome_unknown"


SHARDS = st.sampled_from(["s", "t", "u"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(SHARDS, st.integers(0, 30)), max_size=60))
def test_the_floor_against_a_model(steps):
    session, waiting, answered = KeySession(random.Random(1)), [], set()
    for step in steps:
        if isinstance(step, str):
            waiting.append((step, session.take(step)))
        elif waiting:
            shard, number = waiting.pop(step % len(waiting))
            session.settle(shard, number)
            answered.add(number)
        for shard in {shard for shard, _ in waiting}:
            assert session.floor(shard) == min(number for of, number in waiting if of == shard) - 1
    assert len(session) == len(waiting)
