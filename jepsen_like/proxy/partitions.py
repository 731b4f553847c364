"""Which links a partition cuts, as ordered pairs (sender, receiver): bytes from the one to the other. Pure.

The ends of links are node ids and `CLIENTS`. Where chance decides who stands where, it has put the nodes in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

CLIENTS = "clients"
"""All clients together; no node may have this id."""

Pair = tuple[str, str]


def one_way(senders: Iterable[str], receivers: Iterable[str]) -> frozenset[Pair]:
    """Nothing gets from any sender to any receiver; the other way everything does."""
    there = list(receivers)
    return frozenset((sender, receiver) for sender in senders for receiver in there if sender != receiver)


def between(ones: Iterable[str], others: Iterable[str]) -> frozenset[Pair]:
    """Nothing gets from one side to the other, either way."""
    left, right = list(ones), list(others)
    return one_way(left, right) | one_way(right, left)


def isolate(node: str, nodes: Iterable[str]) -> frozenset[Pair]:
    """One node is cut from all others, but not from clients."""
    return between([node], [each for each in nodes if each != node])


def halves(order: Sequence[str]) -> frozenset[Pair]:
    """The first nodes, less than half of them, are cut from the rest."""
    minority = (len(order) - 1) // 2
    return between(order[:minority], order[minority:])


def ring(order: Sequence[str]) -> frozenset[Pair]:
    """The majorities ring of Jepsen: each node hears a majority, and no two hear the same one.

    Node i hears those from half a majority before it to half a majority behind it. Where a majority is an even number,
    it hears one more before than behind: links are then cut one way only.
    """
    count = len(order)
    majority = count // 2 + 1
    cuts: set[Pair] = set()
    for place, node in enumerate(order):
        heard = {order[(place - majority // 2 + step) % count] for step in range(majority)}
        cuts |= one_way([each for each in order if each not in heard], [node])
    return frozenset(cuts)


def from_clients(nodes: Iterable[str]) -> frozenset[Pair]:
    """Nodes that clients cannot reach, nor hear."""
    return between(nodes, [CLIENTS])
