"""Receipts on their way: grouped by shard, to the leader, again after `not_leader`; and pairs that do not fit."""

from __future__ import annotations

from msgspec.structs import replace
from routing_world import LocalReplica, World, answer, failure, not_leader

from raftcache.commands.types import Failure, Fate, Receipt, ReceiptList, Receipts, Version
from raftcache.metadata.state import Shard

KEYS = [b"k%d" % number for number in range(12)]


def pairs(world: World, keys: list[bytes] = KEYS) -> list[tuple[bytes, Version]]:
    return [(key, Version(world.shard_of(key), 1, number + 1)) for number, key in enumerate(keys)]


def ask(world: World, asked: list[tuple[bytes, Version]], wait_ms: int = 0, seconds: float = 2.0) -> list:
    told: list = []
    world.dispatcher.receipts(asked, wait_ms, world.runtime.now() + seconds, told.append)
    world.runtime.advance(seconds + 0.2)
    assert world.dispatcher.inflight == world.dispatcher.parked == 0 and len(told) == 1
    return told[0]


def codes(items: list) -> list[str]:
    return [item.code if isinstance(item, Failure) else item.fate.name for item in items]


def test_versions_go_to_their_shards_and_come_back_in_order() -> None:
    world = World(shards=4).up()
    asked = pairs(world)
    assert [item.version for item in ask(world, asked)] == [version for _, version in asked]
    assert len(world.sent) == len({version.shard for _, version in asked}) > 1
    assert all(isinstance(command, Receipts) for _, _, _, command in world.sent)
    assert ask(world, []) == []


def test_a_replica_here_is_asked_first_and_the_leader_after_it() -> None:
    world = World(shards=1, node_id="n2").up()
    [shard] = world.state.shards
    world.local[shard.id] = LocalReplica(shard.id, serving=False, script=[not_leader("n1", 7)])
    assert codes(ask(world, pairs(world, [b"a"]))) == ["COMMITTED"]
    assert len(world.local[shard.id].got) == 1 and world.asked == ["n1"]
    assert codes(ask(world, pairs(world, [b"a"]))) == ["COMMITTED"] and world.asked == ["n1"], "it knows this time"


def test_not_leader_unavailable_and_silence_are_tried_elsewhere() -> None:
    world = World(shards=1).up()
    world.script = {"n0": [not_leader("n1", 7)], "n1": [failure("unavailable")], "n2": [failure("outcome_unknown")]}
    assert codes(ask(world, pairs(world, [b"a"]))) == ["COMMITTED"]
    assert world.asked[:3] == ["n0", "n1", "n2"]


def test_without_a_leader_it_is_no_leader_at_the_deadline() -> None:
    world = World(shards=1).up()
    world.script = {node: [not_leader()] * 99 for node in ("n0", "n1", "n2")}
    assert codes(ask(world, pairs(world, [b"a", b"b"]))) == ["no_leader"] * 2


def test_only_what_is_left_of_the_wait_is_asked_of_the_next_leader() -> None:
    world = World(shards=1, node_id="n0").up()
    [shard] = world.state.shards
    here = world.local[shard.id] = LocalReplica(shard.id, script=[None])
    told: list = []
    world.dispatcher.receipts(pairs(world, [b"a"]), 1000, world.runtime.now() + 5.0, told.append)
    world.runtime.advance(0.4)
    here.serving = False
    here.waiting.pop()(not_leader("n1", 7))
    world.runtime.advance(0.1)
    assert codes(told[0]) == ["COMMITTED"]
    assert here.got[0].wait_ms == 1000 and world.sent[-1][3].wait_ms == 600


def test_a_key_of_another_shard_is_an_error_of_its_item_alone() -> None:
    world = World(shards=4).up()
    (key, version), *_ = pairs(world)
    strange = next(each for each in KEYS if world.shard_of(each) != version.shard)
    assert codes(ask(world, [(strange, version), (key, version)])) == ["bad_request", "COMMITTED"]
    assert [command.versions for _, _, _, command in world.sent] == [(version,)]
    world.sent.clear()
    assert codes(ask(world, [(strange, version)])) == ["bad_request"] and world.sent == []


def test_a_shard_that_nobody_knows_is_waited_for_a_moment() -> None:
    world = World(shards=1).up()
    asked = [(b"a", Version("ffff", 1, 1))]
    told: list = []
    started = world.runtime.now()
    world.dispatcher.receipts(asked, 0, started + 9.0, told.append)
    world.runtime.advance(0.5)
    assert told == [] and world.refreshes > 0
    world.runtime.advance(0.7)
    assert codes(told[0]) == ["unknown_version"] and "no such shard" in told[0][0].message


def test_a_shard_that_is_new_is_found_with_the_newer_map() -> None:
    world = World(shards=1).up()
    [shard] = world.state.shards
    new = Shard("ffff", shard.slots, shard.replicas, shard.initial, shard.preferred)
    told: list = []
    world.dispatcher.receipts([(b"a", Version("ffff", 1, 1))], 0, world.runtime.now() + 9.0, told.append)
    world.runtime.advance(0.3)
    world.view.update_state(replace(world.state, epoch=2, shards=(new,), replaced=((shard.id, "ffff"),)))
    world.runtime.advance(0.3)
    assert codes(told[0]) == ["COMMITTED"]


def test_versions_of_a_shard_that_was_replaced_are_an_error_that_says_so() -> None:
    world = World(shards=1)
    [shard] = world.state.shards
    new = Shard("ffff", shard.slots, shard.replicas, shard.initial, shard.preferred)
    world.state = replace(world.state, shards=(new,), replaced=((shard.id, "ffff"),))
    world.up()
    [item] = ask(world, [(b"a", Version(shard.id, 1, 1))])
    assert item.code == "unknown_version" and "was lost and replaced by ffff" in item.message and world.sent == []


def test_a_process_that_has_just_started_says_of_no_version_that_it_does_not_exist() -> None:
    world = World(shards=1)
    told: list = []
    world.dispatcher.receipts([(b"a", Version("ffff", 1, 1))], 0, world.runtime.now() + 4.0, told.append)
    world.runtime.advance(3.0)
    assert told == [], "there is no map yet that could lack a shard"
    world.runtime.advance(2.0)
    assert codes(told[0]) == ["no_leader"]


def test_an_answer_with_the_wrong_number_of_items_is_an_error_for_each() -> None:
    world = World(shards=1).up()
    world.script["n0"] = [ReceiptList((Receipt(Version("x", 1, 1), Fate.LOST),))]
    assert codes(ask(world, pairs(world, [b"a", b"b"]))) == ["internal"] * 2
    world.script["n0"] = [answer(object(), "x")]  # type: ignore[arg-type]
    assert codes(ask(world, pairs(world, [b"a", b"b"]))) == ["internal"] * 2


def test_too_many_are_refused() -> None:
    world = World(shards=1).up()
    assert set(codes(ask(world, pairs(world, [b"a"]) * 1001))) == {"too_many_keys"} and world.sent == []
    world = World(shards=4, limit=1).up()
    assert set(codes(ask(world, pairs(world)))) == {"overloaded"} and world.sent == []
