"""When a node is a full voter again: under its new name, in every group, with its former self out of all of them."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.members import groups_of, is_full_voter
from raftcache.consensus.api import MemberId
from raftcache.metadata.state import METADATA_GROUP, MetadataState, Shard

OLD, NEW = MemberId("n0", "aa"), MemberId("n0", "bb")
OTHERS = (MemberId("n1", "cc"), MemberId("n2", "dd"))
SHARDS = ("a1", "b2")


def state(member: MemberId = NEW, metadata: MemberId = NEW) -> MetadataState:
    shards = tuple(Shard(name, ((0, 0),), (member, *OTHERS), (), "n0") for name in SHARDS)
    return MetadataState(shards=shards, metadata=(metadata, *OTHERS))


def group(*states: str) -> dict[str, Any]:
    return {"replicas": [{"node": f"n{number}", "state": each} for number, each in enumerate(states)]}


def body(**groups: dict[str, Any]) -> dict[str, Any]:
    """Voters everywhere but in the `groups` that are named."""
    shown = {name: group("voter", "voter", "voter") for name in (*SHARDS, METADATA_GROUP)} | groups
    return {"shards": [{"id": name, **shown[name]} for name in SHARDS], "metadata": shown[METADATA_GROUP]}


def is_back(state: MetadataState, body: dict[str, Any]) -> bool:
    return is_full_voter(state, body, lambda group: NEW)


def test_the_metadata_group_is_one_of_them() -> None:
    assert groups_of(state()) == ["a1", "b2", METADATA_GROUP]


def test_a_voter_everywhere_is_back() -> None:
    assert is_back(state(), body())


def test_one_whose_former_self_is_wanted_is_not() -> None:
    assert not is_back(state(member=OLD), body())
    assert not is_back(state(metadata=OLD), body())


@pytest.mark.parametrize("name", [*SHARDS, METADATA_GROUP])
@pytest.mark.parametrize(
    "shown", [("joining", "voter", "voter"), ("lagging", "voter", "voter"), ("voter",) * 4, ("voter",) * 2, ()]
)
def test_one_group_with_another_state_or_a_former_self_left_is_enough(name: str, shown: tuple[str, ...]) -> None:
    assert not is_back(state(), body(**{name: group(*shown)}))


def test_a_group_that_is_not_shown_is_not_well() -> None:
    shown = body()
    assert not is_back(state(), {**shown, "shards": shown["shards"][:1]})


def test_each_group_may_have_a_name_of_its_own() -> None:
    renewed = NEW._replace(replica=1)
    first = Shard("a1", ((0, 0),), (renewed, *OTHERS), (), "n0")
    mixed = MetadataState(shards=(first, *state().shards[1:]), metadata=(NEW, *OTHERS))
    assert is_full_voter(mixed, body(), {"a1": renewed, "b2": NEW, METADATA_GROUP: NEW}.__getitem__)
    assert not is_full_voter(mixed, body(), {"a1": NEW, "b2": NEW, METADATA_GROUP: NEW}.__getitem__)
