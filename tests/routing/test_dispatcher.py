"""The dispatcher's rules: whom it asks, what it sends again and what never, and that it answers once, in time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from routing_world import LocalReplica, World, answer, failure, not_leader

from raftcache.commands.types import (
    Command,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    MultiGet,
    Persist,
    Reply,
    Set,
    Value,
    Written,
)

KEY = b"foo"
WRITES = [Set(KEY, b"v"), Delete(KEY), Incr(KEY), Expire(KEY, 1000), Persist(KEY)]


def _led_by(world: World, key: bytes = KEY) -> str:
    return world.view.leaders[world.shard_of(key)].node


def test_a_command_goes_to_the_leader_with_shard_and_epoch():
    world = World().up()
    reply = world.run(Get(KEY))
    shard = world.shard_of(KEY)
    assert world.sent == [(_led_by(world), shard, 1, Get(KEY))]
    assert reply == answer(Get(KEY), shard)


def test_a_shard_served_here_is_asked_directly_and_answers_within_the_call():
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.local[shard] = LocalReplica(shard)
    world.execute(Set(KEY, b"v"))
    assert len(world.replies) == 1 and isinstance(world.replies[0], Written)
    assert world.sent == [] and world.dispatcher.inflight == 0
    assert world.local[shard].deadlines_s == [world.runtime.now() + 1.0]


def test_a_replica_here_that_does_not_serve_is_passed_over():
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.local[shard] = LocalReplica(shard, serving=False)
    world.view.update_leader(shard, 2, "n2")
    world.run(Get(KEY))
    assert world.asked == ["n2"] and world.local[shard].got == []


def test_not_leader_is_followed_by_its_hint_at_once():
    world = World().up()
    first = _led_by(world)
    second = next(node for node in ("n0", "n1", "n2") if node != first)
    world.script[first] = [not_leader(second, 4)]
    world.execute(Set(KEY, b"v"))
    world.runtime.advance(0.003)
    assert world.asked == [first, second] and isinstance(world.replies[0], Written)
    assert world.view.leaders[world.shard_of(KEY)] == (4, second)


def test_a_hint_of_an_older_term_is_not_believed():
    world = World().up()
    first = _led_by(world)
    world.view.update_leader(world.shard_of(KEY), 9, first)
    world.script[first] = [not_leader("n7", 3)]
    world.run(Get(KEY))
    assert "n7" not in world.asked


def test_without_a_known_leader_the_replicas_are_tried_in_turn():
    world = World().up(leaders=False)
    preferred = world.dispatcher.map.shards[world.shard_of(KEY)].preferred
    for node in ("n0", "n1", "n2"):
        world.script[node] = [not_leader()]
    world.run(Get(KEY))
    assert world.asked[0] == preferred == world.asked[3]
    assert sorted(world.asked[:3]) == ["n0", "n1", "n2"] and len(world.asked) == 4


@pytest.mark.parametrize("command", WRITES)
@pytest.mark.parametrize("code", ["not_leader", "unavailable", "wrong_shard"])
def test_a_write_is_sent_again_after_a_definite_routing_failure(command, code):
    world = World().up()
    world.script[_led_by(world)] = [failure(code)]
    assert isinstance(world.run(command), Written)
    assert len(world.sent) == 2


def test_a_read_is_sent_again_after_an_unknown_outcome():
    world = World().up()
    world.script[_led_by(world)] = [failure("outcome_unknown")]
    assert world.run(Get(KEY)) == answer(Get(KEY), world.shard_of(KEY))
    assert len(world.sent) == 2


@pytest.mark.parametrize("code", ["memory_full", "overloaded", "not_an_integer", "value_too_large", "internal"])
@pytest.mark.parametrize("command", [Get(KEY), Incr(KEY)])
def test_other_failures_are_answers(code, command):
    world = World().up()
    world.script[_led_by(world)] = [failure(code)]
    assert world.run(command).code == code and len(world.sent) == 1


@pytest.mark.parametrize("command", [Get(KEY), Set(KEY, b"v")])
def test_no_leader_until_the_deadline_is_a_definite_failure_in_time(command):
    world = World().up()
    for node in ("n0", "n1", "n2"):
        world.script[node] = [failure("unavailable")] * 1000
    world.execute(command, 2.0)
    world.runtime.advance(1.99)
    assert world.replies == [] and world.dispatcher.inflight == 1
    world.runtime.advance(0.1)
    assert [reply.code for reply in world.replies] == ["no_leader"]
    assert 3 * 5 < len(world.sent) < 3 * 20, "pauses double up to half a second"
    world.runtime.advance(60.0)
    assert len(world.replies) == 1 and world.dispatcher.inflight == 0


def test_a_write_that_is_out_at_the_deadline_is_unknown_and_a_late_answer_is_dropped():
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.local[shard] = LocalReplica(shard, script=[None])
    reply = world.run(Set(KEY, b"v"))
    assert reply.code == "outcome_unknown"
    world.local[shard].waiting[0](answer(Set(KEY, b"v"), shard))
    assert len(world.replies) == 1


def test_a_write_parked_at_the_deadline_was_never_executed():
    world = World().up()
    for node in ("n0", "n1", "n2"):
        world.script[node] = [not_leader()] * 1000
    assert world.run(Set(KEY, b"v"), 0.3).code == "no_leader"


def test_a_read_that_is_out_at_the_deadline_had_no_effect():
    world = World().up()
    world.script[_led_by(world)] = [None]
    assert world.run(Get(KEY)).code == "no_leader"


def test_a_parked_request_goes_on_as_soon_as_a_leader_is_known():
    world = World().up()
    for node in ("n0", "n1", "n2"):
        world.script[node] = [not_leader()] * 99
    world.execute(Set(KEY, b"v"), 5.0)
    world.runtime.advance(0.6)
    assert world.dispatcher.parked == 1
    world.script.clear()
    sent = len(world.sent)
    world.view.update_leader(world.shard_of(KEY), 2, "n2")
    world.runtime.advance(0.002)
    assert world.asked[sent:] == ["n2"] and len(world.replies) == 1


def test_news_of_another_shard_wakes_nobody():
    world = World().up()
    for node in ("n0", "n1", "n2"):
        world.script[node] = [not_leader()] * 99
    world.execute(Set(KEY, b"v"), 5.0)
    world.runtime.advance(1.0)
    sent = len(world.sent)
    other = next(shard.id for shard in world.state.shards if shard.id != world.shard_of(KEY))
    assert world.dispatcher.parked == 1
    world.view.update_leader(other, 2, "n2")
    world.runtime.advance(0.0)
    assert len(world.sent) == sent and world.dispatcher.parked == 1


def test_wrong_shard_asks_for_a_newer_map_and_waits_for_it():
    world = World().up()
    old, first = world.shard_of(KEY), _led_by(world)
    world.script[first] = [failure("wrong_shard")]
    world.execute(Set(KEY, b"v"), 5.0)
    world.runtime.advance(0.0015)
    assert world.refreshes == 1 and world.dispatcher.parked == 1 and len(world.sent) == 1
    shards = world.state.shards
    swapped = (replace(shards[0], slots=shards[2].slots), shards[1], replace(shards[2], slots=shards[0].slots))
    moved = replace(world.state, epoch=2, shards=(*swapped, shards[3]))
    world.view.update_state(moved)
    world.runtime.advance(0.002)
    new = world.shard_of(KEY)
    assert [(shard, epoch) for _, shard, epoch, _ in world.sent] == [(old, 1), (new, 2)]
    assert old != new
    assert len(world.replies) == 1


def test_a_node_that_had_not_the_one_shard_is_asked_for_the_other():
    world = World().up()
    world.view.update_leader(world.shard_of(KEY), 7, "n0")
    shards = world.state.shards
    swapped = (replace(shards[0], slots=shards[2].slots), shards[1], replace(shards[2], slots=shards[0].slots))
    moved = replace(world.state, epoch=2, shards=(*swapped, shards[3]))

    def no_more(command, shard):
        world.view.update_state(moved)
        return failure("wrong_shard")

    world.script["n0"] = [no_more]
    world.execute(Set(KEY, b"v"))
    world.runtime.advance(0.003)
    assert world.view.leaders[world.shard_of(KEY)] == (1, "n0")
    assert world.asked == ["n0", "n0"] and len(world.replies) == 1


def test_before_there_is_a_map_requests_wait_for_it():
    world = World()
    world.execute(Get(KEY), 5.0)
    assert world.refreshes == 1 and world.sent == []
    world.up()
    world.runtime.advance(0.01)
    assert len(world.replies) == 1 and len(world.sent) == 1


def test_a_local_leader_that_lost_its_leadership_is_left_for_the_next():
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.view.update_leader(shard, 2, "n0")
    world.local[shard] = LocalReplica(shard, script=[not_leader("n1", 3)])
    assert isinstance(world.run(Set(KEY, b"v")), Written)
    assert world.asked == ["n1"] and len(world.local[shard].got) == 1


def test_a_local_read_released_by_lost_leadership_is_asked_elsewhere_once():
    world = World(node_id="n0").up()
    shard = world.shard_of(KEY)
    world.local[shard] = LocalReplica(shard, script=[None])
    world.execute(Get(KEY))
    world.local[shard].serving = False
    world.view.update_leader(shard, 3, "n1")
    world.runtime.advance(0.01)
    assert world.sent == [], "the replica here has still to answer"
    world.local[shard].waiting[0](not_leader("n1", 3))
    world.runtime.advance(0.01)
    assert world.asked == ["n1"] and len(world.replies) == 1


@pytest.mark.parametrize("command", [Get(KEY), Set(KEY, b"v")])
def test_what_hangs_at_an_old_leader_moves_to_the_new_one(command):
    world = World().up()
    first = _led_by(world)
    second = next(node for node in ("n0", "n1", "n2") if node != first)
    world.script[first] = [None]
    world.execute(command)
    world.view.update_leader(world.shard_of(KEY), 2, second)
    world.runtime.advance(0.01)
    assert world.asked == [first, second] and len(world.replies) == 1


def test_what_a_given_up_attempt_says_late_is_dropped():
    world = World().up()
    late: list = []
    world.dispatcher.remote = lambda node, shard, epoch, command, deadline, done: late.append((node, done))
    first = _led_by(world)
    second = next(node for node in ("n0", "n1", "n2") if node != first)
    world.execute(Get(KEY), 5.0)
    world.view.update_leader(world.shard_of(KEY), 2, second)
    world.runtime.advance(0.0)
    assert [node for node, _ in late] == [first, second]
    late[0][1](not_leader())
    world.runtime.advance(0.1)
    assert len(late) == 2 and world.replies == []
    late[1][1](answer(Get(KEY), "x"))
    assert len(world.replies) == 1


def test_requests_in_flight_are_bounded():
    world = World(limit=2).up()
    world.script = {node: [None] * 9 for node in ("n0", "n1", "n2")}
    for _ in range(3):
        world.execute(Set(KEY, b"v"))
    assert [reply.code for reply in world.replies] == ["overloaded"] and "at most 2" in world.replies[0].message
    assert len(world.sent) == 2
    world.runtime.advance(2.0)
    assert len(world.replies) == 3 and world.dispatcher.inflight == 0


def test_a_thousand_parked_requests_are_woken_in_bounded_turns():
    world = World(shards=1).up()
    world.script = {node: [not_leader()] * 9_000 for node in ("n0", "n1", "n2")}
    for number in range(1_200):
        world.execute(Set(b"k%d" % number, b"v"), 30.0)
    world.runtime.advance(0.3)
    world.script.clear()
    world.view.update_leader(world.state.shards[0].id, 2, "n1")
    world.runtime.advance(0.01)
    assert sum(isinstance(reply, Written) for reply in world.replies) == 1_200


STEPS = st.sampled_from(
    [
        not_leader(),
        not_leader("n0", 2),
        not_leader("n1", 3),
        not_leader("n2", 4),
        failure("unavailable"),
        failure("wrong_shard"),
        failure("outcome_unknown"),
        failure("memory_full"),
        None,
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=12), st.booleans(), st.booleans(), st.integers(0, 5))
def test_whatever_happens_one_answer_comes_and_what_may_have_had_effect_goes_on_under_its_key(
    script, reads, known, news
):
    world = World().up(leaders=known)
    steps = list(script)
    taken: list = []

    def next_step(command, shard):
        step = steps.pop(0) if steps else answer(command, shard)
        taken.append(step)
        return step

    world.script = {node: [next_step] * 500 for node in ("n0", "n1", "n2")}
    world.runtime.call_later(0.1, lambda: world.view.update_leader(world.shard_of(KEY), news, "n2"))
    reply = world.run(Get(KEY) if reads else Set(KEY, b"v"), 3.0)
    definite = {"not_leader", "unavailable", "wrong_shard"}
    for step in taken[:-1]:
        assert step is None or (isinstance(step, Failure) and step.code in definite | {"outcome_unknown"})
    doubts = [step is None or (isinstance(step, Failure) and step.code == "outcome_unknown") for step in taken]
    if not reads:
        assert [envelope.repeat for envelope in world.minted] == [any(doubts[:at]) for at in range(len(taken))]
        assert len({envelope.numbers for envelope in world.minted}) <= 1
        if isinstance(reply, Failure) and any(doubts):
            assert reply.code == "outcome_unknown"
    assert len(world.dispatcher.session) == 0


def test_a_leader_that_has_not_heard_of_the_namespace_is_asked_again_after_a_pause():
    world = World().up()
    first = _led_by(world)
    world.script[first] = [failure("not_following"), failure("not_following")]
    reply = world.run(Set(KEY, b"v", named_at=9))
    assert isinstance(reply, Written) and world.asked == [first] * 3
    assert world.runtime.now() > 0.02


def test_one_that_never_hears_of_it_is_what_the_deadline_tells():
    world = World().up()
    world.script[_led_by(world)] = [failure("not_following")] * 1000
    reply = world.run(Set(KEY, b"v", named_at=9))
    assert isinstance(reply, Failure) and reply.code == "not_following"


def test_a_replica_that_has_not_heard_of_it_is_passed_over_by_a_replica_read():
    world = World().up()
    leader = _led_by(world)
    for node in {"n0", "n1", "n2"} - {leader}:
        world.script[node] = [failure("not_following")] * 1000
    for _ in range(20):
        assert isinstance(world.run(Get(KEY, replica=True, named_at=9)), Value)
    assert set(world.asked) > {leader}


def _led_here(world: World) -> str:
    """The shard of the key, which this node serves."""
    shard = world.shard_of(KEY)
    world.local[shard] = LocalReplica(shard)
    return shard


def _asked_now(world: World, command: Command) -> tuple[Reply | None, list[Reply]]:
    """What `execute_now` returns, and what it answered later or had answered by `later()`."""
    late: list[Reply] = []
    return world.dispatcher.execute_now(command, world.runtime.now() + 1.0, lambda: late.append), late


def test_an_answer_that_is_there_at_once_is_the_result_and_nothing_waits() -> None:
    world = World(node_id="n0").up()
    shard = _led_here(world)
    assert _asked_now(world, Get(KEY)) == (answer(Get(KEY), shard), [])
    assert (world.dispatcher.inflight, world.sent) == (0, [])


def test_an_answer_that_is_to_come_goes_to_who_was_made_for_it() -> None:
    world = World(node_id="n0").up()
    local = world.local[_led_here(world)]
    local.script.append(None)
    got, late = _asked_now(world, Set(KEY, b"1"))
    assert (got, late, world.dispatcher.inflight) == (None, [], 1)
    local.waiting[0](answer(Set(KEY, b"1"), local.shard_id))
    assert (late, world.dispatcher.inflight) == ([answer(Set(KEY, b"1"), local.shard_id)], 0)


def test_what_is_refused_here_at_once_is_asked_elsewhere() -> None:
    world = World(node_id="n0").up()
    local = world.local[_led_here(world)]
    local.script.extend([not_leader("n1", 2), not_leader("n1", 2)])
    got, late = _asked_now(world, Get(KEY))
    world.runtime.advance(0.01)
    assert (got, late) == (None, [answer(Get(KEY), local.shard_id)])
    assert [node for node, *_ in world.sent] == ["n1"]


def test_what_is_led_elsewhere_or_has_many_keys_is_executed_as_ever() -> None:
    world = World().up()
    for command in (Get(KEY), MultiGet((Get(KEY),))):
        got, late = _asked_now(world, command)
        world.runtime.advance(0.01)
        assert (got, len(late)) == (None, 1)


def test_what_waits_here_counts_among_the_requests_in_flight() -> None:
    world = World(node_id="n0", limit=2).up()
    local = world.local[_led_here(world)]
    local.script.extend([None, None])
    for _ in range(2):
        assert _asked_now(world, Set(KEY, b"1")) == (None, [])
    refused, late = _asked_now(world, Set(KEY, b"1"))
    assert isinstance(refused, Failure) and refused.code == "overloaded" and not late
