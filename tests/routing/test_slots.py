"""Slots by Redis Cluster's rules, ranges, the shard map."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_world import planned

from raftcache.commands.policy import Namespace
from raftcache.metadata.applying import apply
from raftcache.metadata.commands import Applied
from raftcache.metadata.state import EMPTY, Addresses, Node
from raftcache.routing.bootstrap import metadata_members, plan_cluster
from raftcache.routing.current import shard_map_of
from raftcache.routing.map import NodeAddresses, ShardMap
from raftcache.routing.slots import SLOTS, compact, even_ranges, expand, ranges_text, slot_of


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"123456789", 0x31C3),  # the check value in the Redis Cluster specification
        (b"foo", 12182),
        (b"bar", 5061),
        (b"hello", 866),
        (b"", 0),
    ],
)
def test_known_slots(key, slot):
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"foo{hash}", b"hash"),
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{bar}{zap}", b"bar"),
        (b"}foo{bar}", b"bar"),
    ],
)
def test_only_the_first_tag_is_hashed(key, hashed):
    assert slot_of(key) == slot_of(hashed)


@pytest.mark.parametrize("key", [b"foo{}{bar}", b"foo{bar", b"foo}bar{", b"foo}{"])
def test_an_empty_or_unclosed_tag_is_no_tag(key):
    from binascii import crc_hqx

    assert slot_of(key) == crc_hqx(key, 0) % SLOTS


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000))
def test_even_ranges_hold_every_slot_once(count):
    ranges = even_ranges(count)
    sizes = [last - first + 1 for first, last in ranges]
    assert list(expand(ranges)) == list(range(SLOTS))
    assert len(ranges) == count and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [0, -1, SLOTS + 1])
def test_a_shard_count_that_cannot_be_is_refused(count):
    with pytest.raises(ValueError, match=f"1 to {SLOTS}, got {count}"):
        even_ranges(count)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 60)))
def test_compact_ranges_hold_exactly_the_slots_and_never_touch(slots):
    ranges = compact(slots)
    assert list(expand(ranges)) == sorted(slots)
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(ranges))


def test_ranges_as_text():
    assert ranges_text([(0, 4095), (8192, 8192)]) == "0-4095,8192"
    assert ranges_text([]) == ""


def test_the_map_of_a_state():
    state = planned(shards=4)
    routes = shard_map_of(state)
    for shard in state.shards:
        for first, last in shard.slots:
            assert routes.shard_of_slot(first) == routes.shard_of_slot(last) == shard.id
    assert routes.shard_of(b"123456789") == state.shards[3].id
    assert routes.nodes_of(state.shards[1].id) == ("n1", "n0", "n2")
    assert routes.nodes_of("ffff") == () and routes.addresses["n2"] == NodeAddresses("h2", "r2", "p2")
    assert ShardMap(0).shard_of(b"any") is None


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(1, 50), st.integers(0, 999))
def test_every_plan_of_a_cluster_is_accepted(count, shards, seed):
    nodes = [Node(f"n{number}", "a", Addresses("h", "r", "p"), f"z{number % 2}") for number in range(count)]
    plan = plan_cluster(nodes, shards, min(3, count), [Namespace("default", 0)], random.Random(seed))
    state, result = apply(EMPTY, plan)
    assert result == Applied(1, True), result
    assert len({shard.id for shard in state.shards}) == shards
    assert [len(metadata_members(nodes[:size])) for size in range(1, 8)][:count] == [1, 1, 3, 3, 5, 5, 5][:count]
    assert all(shard.initial == shard.replicas and shard.preferred == shard.nodes[0] for shard in state.shards)
