"""Which links partitions cut."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from jepsen_like.proxy.partitions import CLIENTS, Pair, between, from_clients, halves, isolate, one_way, ring

NODES = ["n0", "n1", "n2", "n3", "n4"]


def heard(node: str, nodes: list[str], cuts: Collection[Pair]) -> set[str]:
    """Whom a node hears, itself included."""
    return {other for other in nodes if (other, node) not in cuts}


def test_one_way_cuts_one_way() -> None:
    assert one_way(["n0"], ["n0", "n1", "n2"]) == {("n0", "n1"), ("n0", "n2")}


def test_between_cuts_both_ways_and_nothing_inside() -> None:
    assert between(["n0", "n1"], ["n2"]) == {("n0", "n2"), ("n1", "n2"), ("n2", "n0"), ("n2", "n1")}


def test_an_isolated_node_has_its_clients_still() -> None:
    cuts = isolate("n1", NODES)
    assert len(cuts) == 8 and all("n1" in pair and CLIENTS not in pair for pair in cuts)


@pytest.mark.parametrize(("count", "sizes"), [(2, {2}), (3, {1, 2}), (4, {1, 3}), (5, {2, 3})])
def test_halves_leave_a_majority_wherever_there_is_one(count: int, sizes: set[int]) -> None:
    nodes = NODES[:count]
    cuts = halves(nodes)
    assert {len(heard(node, nodes, cuts)) for node in nodes} == sizes
    assert all((there, here) in cuts for here, there in cuts)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_in_a_ring_each_node_hears_another_majority(count: int) -> None:
    nodes = NODES[:count]
    cuts = ring(nodes)
    sets = [heard(node, nodes, cuts) for node in nodes]
    assert all(node in found and len(found) == count // 2 + 1 for node, found in zip(nodes, sets, strict=True))
    assert len({frozenset(found) for found in sets}) == count


def test_the_ring_of_five_is_that_of_neighbours() -> None:
    assert heard("n0", NODES, ring(NODES)) == {"n4", "n0", "n1"}


def test_from_clients_touches_no_peer() -> None:
    assert from_clients(["n2"]) == {("n2", CLIENTS), (CLIENTS, "n2")}
