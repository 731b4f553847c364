"""Writes with idempotency keys: sent again where no other write may be, and never called a failure while in doubt."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace
from routing_world import LocalReplica, World, answer, failure, not_leader

from raftcache.commands.types import Delete, Expire, Incr, Persist, Set, Written

KEY = b"foo"
UNKEYED = [Set(KEY, b"v"), Delete(KEY), Incr(KEY), Expire(KEY, 1000), Persist(KEY)]
KEYED = [replace(command, idempotency=b"i") for command in UNKEYED]
WRITE = KEYED[0]
NODES = ("n0", "n1", "n2")


def led_by(world: World) -> str:
    return world.view.leaders[world.shard_of(KEY)].node


@pytest.mark.parametrize("command", KEYED, ids=lambda command: type(command).__name__)
def test_a_keyed_write_is_sent_again_after_an_unknown_outcome(command):
    world = World().up()
    first = led_by(world)
    for node in NODES:
        world.script[node] = [failure("outcome_unknown") if node == first else not_leader()]
    assert isinstance(world.run(command), Written)
    assert world.asked[0] == first and len(world.asked) > 3
    assert {sent for *_, sent in world.sent} == {command}
    assert world.dispatcher.retries == {"outcome_unknown": 1, "not_leader": 2}


@pytest.mark.parametrize("command", KEYED, ids=lambda command: type(command).__name__)
def test_no_key_is_minted_beside_the_clients(command):
    world = World().up()
    world.script[led_by(world)] = [failure("outcome_unknown")]
    assert isinstance(world.run(command), Written) and len(world.sent) == 2 and world.minted == []


@pytest.mark.parametrize("command", UNKEYED, ids=lambda command: type(command).__name__)
def test_one_of_which_the_replica_here_kept_no_record_is_not(command):
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.local[shard] = LocalReplica(shard, script=[failure("outcome_unknown")])
    assert world.run(command).code == "outcome_unknown" and world.sent == []


def test_a_replica_here_that_lost_its_leadership_is_followed_by_the_next_leader():
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.view.update_leader(shard, 2, "n0")
    world.local[shard] = LocalReplica(shard, script=[None])
    world.execute(WRITE)
    world.local[shard].serving = False
    world.view.update_leader(shard, 3, "n1")
    world.local[shard].waiting[0](failure("outcome_unknown", version="v1.1.1"))
    world.runtime.advance(0.01)
    assert world.asked == ["n1"] and isinstance(world.replies[0], Written)


def test_one_that_hangs_at_an_old_leader_moves_to_the_new_one():
    world = World().up()
    first = led_by(world)
    second = next(node for node in NODES if node != first)
    world.script[first] = [None]
    world.execute(WRITE)
    world.view.update_leader(world.shard_of(KEY), 2, second)
    world.runtime.advance(0.01)
    assert world.asked == [first, second] and isinstance(world.replies[0], Written)
    assert world.dispatcher.retries == {"leader_changed": 1}


@pytest.mark.parametrize("code", ["memory_full", "overloaded", "replies_full", "value_too_large", "internal"])
@pytest.mark.parametrize("how", ["answered unknown", "hung"])
def test_what_it_is_refused_with_while_in_doubt_is_unknown(code, how):
    world = World().up()
    first = led_by(world)
    second = next(node for node in NODES if node != first)
    world.script[first] = [failure("outcome_unknown") if how == "answered unknown" else None]
    world.script[second] = [failure(code)] * 3
    world.execute(WRITE)
    world.view.update_leader(world.shard_of(KEY), 2, second)
    world.runtime.advance(2.0)
    (reply,) = world.replies
    assert (reply.code, reply.details) == ("outcome_unknown", {"cause": code}) and code in reply.message


@pytest.mark.parametrize("code", ["not_an_integer", "idempotency_mismatch"])
def test_what_a_record_says_is_no_doubt(code):
    world = World().up()
    first = led_by(world)
    world.script[first] = [failure("outcome_unknown"), failure(code)]
    for node in NODES:
        world.script.setdefault(node, [not_leader()])
    assert world.run(WRITE).code == code


@pytest.mark.parametrize("code", ["memory_full", "idempotency_mismatch"])
def test_without_doubt_a_refusal_is_definite(code):
    world = World().up()
    first = led_by(world)
    world.script[first] = [not_leader(), failure(code)]
    for node in NODES:
        world.script.setdefault(node, [not_leader()])
    assert world.run(WRITE).code == code


def test_at_the_deadline_one_in_doubt_is_unknown_though_nothing_is_out():
    for in_doubt in (True, False):
        world = World().up()
        for node in NODES:
            world.script[node] = [not_leader()] * 1000
        if in_doubt:
            world.script[led_by(world)].insert(0, failure("outcome_unknown"))
        assert world.run(WRITE).code == ("outcome_unknown" if in_doubt else "no_leader")


def test_retries_back_off_with_jitter_until_the_deadline():
    world = World().up()
    times: list[float] = []

    def unknown(command, shard):
        times.append(world.runtime.now())
        return failure("outcome_unknown")

    for node in NODES:
        world.script[node] = [unknown] * 1000
    assert world.run(WRITE, 4.0).code == "outcome_unknown"
    rounds = [after - before for before, after in pairwise(times) if after - before > 0.005]
    assert len(rounds) > 5 and max(rounds) <= 0.51 and rounds[-1] > 4 * rounds[0]
    assert len(set(rounds[-3:])) == 3


def test_an_answer_that_comes_late_to_a_given_up_attempt_is_dropped():
    world = World().up()
    late: list = []
    world.dispatcher.remote = lambda node, shard, epoch, command, deadline, done: late.append((shard, done))
    world.execute(WRITE)
    first = led_by(world)
    world.view.update_leader(world.shard_of(KEY), 2, next(node for node in NODES if node != first))
    world.runtime.advance(0.001)
    shard, done = late[1]
    done(answer(WRITE, shard))
    late[0][1](failure("memory_full"))
    assert len(world.replies) == 1 and isinstance(world.replies[0], Written)
