"""Replacing a lost shard: what is planned, and what the metadata group accepts."""

from __future__ import annotations

import random

import pytest
from metadata_world import a_cluster
from msgspec.structs import replace

from raftcache.consensus.api import MemberId
from raftcache.errors import BadRequest
from raftcache.metadata.applying import apply
from raftcache.metadata.commands import (
    Applied,
    DeclareLost,
    ReplaceShard,
    RetractLost,
    ShardStarted,
    decode_metadata_command,
    encode_metadata_command,
)
from raftcache.metadata.replacing import plan_replacement
from raftcache.metadata.state import MetadataState, Source, Survivor, decode_state, encode_state

LOST = "7c1f"
SURVIVOR = MemberId("n2", "a")


def a_loss() -> MetadataState:
    """A cluster of which one shard is lost; n0 and n1 are new incarnations, and n2 holds what is left."""
    state = a_cluster()
    state = replace(state, nodes=tuple(replace(n, incarnation="b") if n.id != "n2" else n for n in state.nodes))
    return apply(state, DeclareLost(LOST, (Survivor(SURVIVOR, 3, 40, 7),)))[0]


def plan(state: MetadataState, source: str | None, seed: int = 1) -> ReplaceShard:
    return plan_replacement(state, LOST, source, random.Random(seed))


def test_a_shard_from_a_survivor_begins_as_a_group_of_one() -> None:
    command = plan(a_loss(), "n2")
    assert command.source == SURVIVOR
    assert command.shard.initial == (MemberId("n2", "a"),)
    assert command.shard.replicas == (MemberId("n0", "b"), MemberId("n1", "b"), MemberId("n2", "a"))
    assert (command.shard.slots, command.shard.preferred) == (((0, 8191),), "n0")


def test_an_empty_one_is_founded_by_all_its_replicas() -> None:
    command = plan(a_loss(), None)
    assert command.source is None
    assert command.shard.initial == command.shard.replicas


def test_a_survivor_on_a_node_that_was_to_leave_takes_the_last_place() -> None:
    state = a_loss()
    shards = tuple(
        replace(each, replicas=each.replicas[:2], preferred="n0") if each.id == LOST else each for each in state.shards
    )
    command = plan(replace(state, shards=shards), "n2")
    assert [member.node for member in command.shard.replicas] == ["n0", "n2"]


@pytest.mark.parametrize(
    ("shard", "source", "words"),
    [
        ("ffff", None, "shard must be one of 7c1f, 02ab, got 'ffff'"),
        ("02ab", None, "02ab must be declared lost before it is replaced, it is active"),
        (LOST, "n0", "from must be the node of a survivor of shard 7c1f (n2), got 'n0'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_words(shard: str, source: str | None, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        plan_replacement(a_loss(), shard, source, random.Random(1))
    assert words in refused.value.message


def test_the_new_shard_takes_the_old_ones_slots_and_the_old_id_is_remembered() -> None:
    state, command = a_loss(), plan(a_loss(), "n2")
    after, result = apply(state, decode_metadata_command(encode_metadata_command(command)))
    assert result == Applied(state.epoch + 1, True)
    new = after.shard(command.shard.id)
    assert new is not None and new.source == Source(LOST, SURVIVOR) and new.state == "active"
    assert after.shard(LOST) is None and after.replacement(LOST) == new.id
    assert sorted(part for shard in after.shards for part in shard.slots) == [(0, 8191), (8192, 16383)]
    assert decode_state(encode_state(after)) == after
    started, _ = apply(after, ShardStarted(new.id))
    assert started.shard(new.id) == replace(new, source=None)


def test_repeated_it_changes_nothing_and_a_second_choice_is_refused() -> None:
    state = a_loss()
    first, second = plan(state, "n2", 1), plan(state, None, 2)
    after, _ = apply(state, first)
    assert apply(after, first) == (after, Applied(after.epoch, False))
    same, refused = apply(after, second)
    assert same is after and isinstance(refused, BadRequest)
    assert f"replaced already, by {first.shard.id}" in refused.message
    with pytest.raises(BadRequest, match="replaced already"):
        plan(after, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "02ab"}, "must never have been used"),
        ({"id": LOST}, "must never have been used"),
        ({"slots": ((0, 100),)}, "slots must be those of"),
        ({"initial": (MemberId("n0", "b"),)}, "initial must be n2.a.0"),
        ({"preferred": "n9"}, "preferred must be one of"),
        ({"id": "XY"}, "shard id must be"),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused(change: dict, words: str) -> None:
    state, command = a_loss(), plan(a_loss(), "n2")
    same, refused = apply(state, replace(command, shard=replace(command.shard, **change)))
    assert same is state and isinstance(refused, BadRequest) and words in refused.message


def test_only_a_declared_survivor_is_a_source() -> None:
    state, command = a_loss(), plan(a_loss(), "n2")
    same, refused = apply(state, replace(command, source=MemberId("n2", "a", 1)))
    assert same is state and isinstance(refused, BadRequest) and "must be a survivor of 7c1f" in refused.message


def test_a_shard_that_is_not_lost_is_never_replaced() -> None:
    state, command = a_loss(), plan(a_loss(), "n2")
    back, _ = apply(state, RetractLost(LOST))
    assert back.shard(LOST).state == "active" and back.shard(LOST).survivors == ()
    same, refused = apply(back, command)
    assert same is back and isinstance(refused, BadRequest) and "must be declared lost" in refused.message
