"""Placement: distinct nodes, as many zones as there can be, even load, leaders spread."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.metadata.placement import Placeable, place


def _nodes(zones: list[str]) -> list[Placeable]:
    return [Placeable(f"n{number}", zone) for number, zone in enumerate(zones)]


def test_as_many_replicas_as_nodes_puts_everything_everywhere_and_leaders_in_turn():
    placed = place(_nodes(["", "", ""]), 4, 3)
    assert placed == [("n0", "n1", "n2"), ("n1", "n0", "n2"), ("n2", "n0", "n1"), ("n0", "n1", "n2")]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 40), st.data())
def test_zones_of_equal_size(zones, per_zone, shards, data):
    nodes = _nodes([f"z{number % zones}" for number in range(zones * per_zone)])
    factor = data.draw(st.integers(1, len(nodes)))
    placed = place(nodes, shards, factor)
    zone_of = dict(nodes)
    load = Counter({node.id: 0 for node in nodes})
    for replicas in placed:
        assert len(set(replicas)) == factor
        assert len({zone_of[node] for node in replicas}) == min(factor, zones)
        load.update(replicas)
    assert max(load.values()) - min(load.values()) <= 1
    assert place(nodes, shards, factor) == placed


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=9), st.integers(1, 30), st.data())
def test_zones_of_any_size_are_used_as_widely_as_can_be(zones, shards, data):
    nodes = _nodes(zones)
    factor = data.draw(st.integers(1, len(nodes)))
    zone_of = dict(nodes)
    for replicas in place(nodes, shards, factor):
        assert len(set(replicas)) == factor
        assert len({zone_of[node] for node in replicas}) == min(factor, len(set(zones)))


@pytest.mark.parametrize("count", range(1, 9))
def test_leaders_are_spread(count):
    for factor in range(min(2, count), count + 1):
        for shards in range(1, 20):
            led = Counter({f"n{number}": 0 for number in range(count)})
            led.update(replicas[0] for replicas in place(_nodes([""] * count), shards, factor))
            assert max(led.values()) - min(led.values()) <= 1, (shards, factor)


@pytest.mark.parametrize("factor", [0, 4])
def test_a_factor_that_cannot_be_is_refused(factor):
    with pytest.raises(ValueError, match="replication factor must be 1 to 3"):
        place(_nodes(["", "", ""]), 1, factor)
