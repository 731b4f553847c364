"""Applying commands: one state from one log, epochs that rise with change alone, ids that are never reused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metadata_world import a_cluster, init_cluster, member, node
from msgspec.structs import replace

from raftcache.commands.policy import DEFAULT, Namespace
from raftcache.commands.types import AckLevel, ReadLevel
from raftcache.errors import BadRequest, InvalidName, InvalidPolicy, RaftcacheError, UnknownNamespace
from raftcache.metadata.applying import apply
from raftcache.metadata.commands import (
    Applied,
    Barrier,
    DeleteNamespace,
    InvalidateNamespace,
    PutNamespace,
    PutNode,
    SetMetadataMembers,
    SetShard,
    decode_metadata_command,
    encode_metadata_command,
)
from raftcache.metadata.state import (
    EMPTY,
    SLOT_COUNT,
    Addresses,
    decode_state,
    digest_of,
    encode_state,
    namespaces_of,
)
from raftcache.routing.slots import SLOTS

NAMES = st.sampled_from([DEFAULT, "safe", "x", "y", "bad name", ""])
NODES = st.sampled_from(["n0", "n1", "n2", "n3", "bad node!"])
MEMBERS = st.lists(st.builds(member, NODES, st.sampled_from("ab")), max_size=4).map(tuple)
COMMANDS = st.one_of(
    st.just(Barrier()),
    st.sampled_from(["c1", "c2"]).map(init_cluster),
    st.builds(PutNode, NODES, st.sampled_from("ab"), st.just(Addresses("h", "r", "p"))),
    st.builds(
        PutNamespace,
        st.builds(Namespace, NAMES, st.just(0), st.sampled_from(AckLevel), max_item_bytes=st.sampled_from([0, 9, 99])),
    ),
    st.builds(DeleteNamespace, NAMES),
    st.builds(InvalidateNamespace, NAMES),
    st.builds(SetShard, st.sampled_from(["7c1f", "02ab", "ffff"]), st.none() | MEMBERS, st.none() | NODES),
    st.builds(SetMetadataMembers, MEMBERS),
)


def test_the_slot_count_is_the_routers():
    assert SLOT_COUNT == SLOTS


def test_init_creates_nodes_shards_and_namespaces_and_raises_the_epoch_once():
    state, result = apply(EMPTY, init_cluster())
    assert result == Applied(1, True)
    assert [each.id for each in state.nodes] == ["n0", "n1", "n2"]
    assert [each.id for each in state.shards] == ["7c1f", "02ab"]
    assert [(each.name, each.id) for each in state.namespaces] == [("default", 1), ("safe", 2)]
    assert state.wanted("meta") == state.wanted("02ab") == (member("n0"), member("n1"), member("n2"))
    assert state.wanted("ffff") == ()


def test_init_again_changes_nothing_and_another_cluster_is_refused():
    state = a_cluster()
    assert apply(state, init_cluster()) == (state, Applied(1, False))
    after, result = apply(state, init_cluster("c2"))
    assert after is state
    assert isinstance(result, BadRequest) and "c1" in result.message and "c2" in result.message


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cluster_id": ""}, "cluster_id"),
        ({"nodes": ()}, "nodes"),
        ({"nodes": (node("n0"), node("n0"))}, "nodes"),
        ({"shards": ()}, "shards"),
        ({"replication_factor": 2}, "replication factor"),
        ({"metadata": (member("n9"),)}, "metadata"),
        ({"namespaces": (Namespace("safe", 0),)}, "default"),
        ({"namespaces": (Namespace(DEFAULT, 0, read_level=ReadLevel.REPLICA),)}, "readLevel"),
        ({"shards": init_cluster().shards[:1]}, "slots"),
        ({"shards": init_cluster().shards[1:]}, "slots"),
        ({"shards": (replace(init_cluster().shards[0], id="XYZ"), init_cluster().shards[1])}, "shard id"),
        ({"shards": (replace(init_cluster().shards[0], preferred="n9"), init_cluster().shards[1])}, "preferred"),
        ({"shards": (replace(init_cluster().shards[0], slots=((0, 8192),)), init_cluster().shards[1])}, "slots"),
    ],
)
def test_a_wrong_init_is_refused_with_the_field_named(change, named):
    state, result = apply(EMPTY, replace(init_cluster(), **change))
    assert state is EMPTY
    assert isinstance(result, BadRequest) and named in result.message


@pytest.mark.parametrize(
    "command",
    [
        PutNode("n3", "a", Addresses("h", "r", "p")),
        PutNamespace(Namespace("x", 0)),
        DeleteNamespace("x"),
        InvalidateNamespace("x"),
        SetMetadataMembers((member("n0"),)),
    ],
)
def test_nothing_works_before_the_cluster_exists(command):
    state, result = apply(EMPTY, command)
    assert state is EMPTY and isinstance(result, BadRequest) and "init_cluster" in result.message


def test_a_namespace_keeps_its_id_while_it_lives_and_gets_a_new_one_when_made_again():
    state, made = apply(a_cluster(), PutNamespace(Namespace("x", 0)))
    assert made == Applied(2, True, True, Namespace("x", 3))
    state, changed = apply(state, PutNamespace(Namespace("x", 77, AckLevel.QUORUM)))
    assert changed == Applied(3, True, False, Namespace("x", 3, AckLevel.QUORUM))
    state, same = apply(state, PutNamespace(Namespace("x", 0, AckLevel.QUORUM)))
    assert same == Applied(3, False, False, Namespace("x", 3, AckLevel.QUORUM))
    state, _ = apply(state, DeleteNamespace("x"))
    state, again = apply(state, PutNamespace(Namespace("x", 0)))
    assert again == Applied(5, True, True, Namespace("x", 4))
    assert namespaces_of(state).resolve(b"x:1").id == 4
    assert namespaces_of(state).epoch == 5


def test_an_invalidated_namespace_gets_a_new_id_and_keeps_its_policy_and_identity():
    policy = Namespace("x", 0, AckLevel.QUORUM, max_ttl_ms=5000)
    state, _ = apply(a_cluster(), PutNamespace(policy))
    state, result = apply(state, InvalidateNamespace("x"))
    assert result == Applied(3, True)
    assert state.namespace("x") == replace(policy, id=4, origin=3)
    state, again = apply(state, InvalidateNamespace("x"))
    assert again == Applied(4, True) and state.namespace("x") == replace(policy, id=5, origin=3)
    state, changed = apply(state, PutNamespace(Namespace("x", 77, origin=99)))
    assert changed.namespace == Namespace("x", 5, origin=3) and changed.namespace.identity == 3
    state, _ = apply(state, DeleteNamespace("x"))
    state, made = apply(state, PutNamespace(Namespace("x", 0, origin=3)))
    assert made.namespace == Namespace("x", 6) and made.namespace.identity == 6
    assert decode_state(encode_state(state)) == state


def test_the_default_namespace_can_be_invalidated_and_no_other_is_touched():
    before = a_cluster()
    state, _ = apply(before, InvalidateNamespace(DEFAULT))
    assert [(each.name, each.id, each.identity) for each in state.namespaces] == [("default", 3, 1), ("safe", 2, 2)]
    assert state.namespace("safe") == before.namespace("safe") and state.shards == before.shards


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (DeleteNamespace(DEFAULT), BadRequest),
        (DeleteNamespace("nowhere"), UnknownNamespace),
        (DeleteNamespace("a b"), InvalidName),
        (InvalidateNamespace("nowhere"), UnknownNamespace),
        (InvalidateNamespace("a b"), InvalidName),
        (PutNamespace(Namespace("a/b", 0)), InvalidName),
        (PutNamespace(Namespace("x", 0, read_level=ReadLevel.REPLICA)), InvalidPolicy),
        (PutNamespace(Namespace("x", 0, default_ttl_ms=0)), InvalidPolicy),
        (PutNamespace(Namespace("x", 0, max_ttl_ms=0)), InvalidPolicy),
        (PutNamespace(Namespace("x", 0, ttl_jitter_percent=91)), InvalidPolicy),
        (PutNamespace(Namespace("x", 0, max_item_bytes=(1 << 20) + 1)), InvalidPolicy),
        (PutNode("n 3", "a", Addresses("h", "r", "p")), BadRequest),
        (SetShard("ffff", preferred="n0"), BadRequest),
        (SetShard("7c1f", preferred="n9"), BadRequest),
        (SetShard("7c1f", replicas=()), BadRequest),
        (SetShard("7c1f", replicas=(member("n0"), member("n0", "b"))), BadRequest),
        (SetShard("7c1f", replicas=(member("n1"), member("n2"))), BadRequest),
        (SetMetadataMembers((member("n9"),)), BadRequest),
    ],
)
def test_a_refused_command_changes_nothing(command, error):
    state = a_cluster()
    after, result = apply(state, command)
    assert after is state and type(result) is error


def test_a_node_is_registered_and_refreshed():
    state = a_cluster()
    put = PutNode("n1", "b", Addresses("h", "r", "p"), "east")
    after, result = apply(state, put)
    assert result == Applied(2, True)
    assert after.node("n1").incarnation == "b" and after.node("n1").zone == "east"
    assert apply(after, put) == (after, Applied(2, False))
    assert after.wanted("7c1f") == state.wanted("7c1f"), "what is wanted is the controller's to change"


def test_a_shard_gets_other_replicas_and_another_leader():
    wanted = (member("n0", "b"), member("n1"), member("n2"))
    state, _ = apply(a_cluster(), SetShard("7c1f", wanted, "n2"))
    shard = state.shard("7c1f")
    assert (shard.replicas, shard.preferred, shard.initial[0]) == (wanted, "n2", member("n0"))


@settings(max_examples=60, deadline=None)
@given(st.lists(COMMANDS, max_size=25))
def test_one_log_gives_one_state_and_the_epoch_rises_exactly_with_change(commands):
    left, right = EMPTY, EMPTY
    given_ids: dict[int, str] = {}
    for command in commands:
        before = left
        left, result = apply(left, command)
        right, _ = apply(right, decode_metadata_command(encode_metadata_command(command)))
        changed = replace(left, epoch=0) != replace(before, epoch=0)
        assert left.epoch == before.epoch + (1 if changed else 0)
        if isinstance(result, RaftcacheError):
            assert left is before
        else:
            assert result.changed == changed and result.epoch == left.epoch
        old_ids = {namespace.id for namespace in before.namespaces}
        for namespace in left.namespaces:
            if namespace.id not in old_ids:
                assert namespace.id not in given_ids
                given_ids[namespace.id] = namespace.name
            assert given_ids[namespace.id] == namespace.name
    assert left == right
    assert digest_of(left) == digest_of(right)
    assert decode_state(encode_state(left)) == left


def test_the_digest_tells_states_apart_and_nonsense_is_refused():
    assert digest_of(EMPTY) != digest_of(a_cluster())
    for nonsense in (b"", b"\xc1", encode_state(a_cluster())[:-1]):
        with pytest.raises(ValueError, match="metadata state"):
            decode_state(nonsense)
