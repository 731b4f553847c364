"""Faults on links: each is which pairs it hits, and what is wrong with them. `proxy` does the rest.

The pairs come from the victims: the node aimed at is the first in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count

from jepsen_like.nemeses.api import Details, Ground, Victims
from jepsen_like.proxy.partitions import Pair, from_clients, halves, isolate, one_way, ring
from jepsen_like.proxy.toxics import CUT, Toxics

Where = Callable[[Victims], Iterable[Pair]]

SLOW = Toxics(latency_ms=60, jitter_ms=40)
"""Elections come only after some 400 ms of silence: everything is late, and nobody is deposed."""
THROTTLED = Toxics(rate_kb_per_s=64)
LOSSY = Toxics(loss=0.1, reset_after_ms=1000, reset_spread_ms=8000)
RESETTING = Toxics(reset_after_ms=50, reset_spread_ms=1500)
SLICED = Toxics(slice_bytes=48, slice_variation_bytes=40, slice_delay_us=200)

_numbers = count(1)


class Links:
    """Toxics on some pairs, in a layer of their own."""

    def __init__(self, name: str, where: Where, toxics: Toxics = CUT) -> None:
        self._where, self._toxics = where, toxics
        self._layer = f"{name}-{next(_numbers)}"

    async def strike(self, ground: Ground, victims: Victims) -> Details:
        """Nemesis: from now on."""
        pairs = sorted(self._where(victims))
        ground.links.lay(self._layer, pairs, self._toxics)
        return {"nodes": sorted({end for pair in pairs for end in pair} & {victims.node}), "links": _shown(pairs)}

    async def heal(self, ground: Ground) -> Details:
        """Nemesis: what is wrong with the links besides stays."""
        if ground.network is not None:
            ground.network.lift(self._layer)
        return {}


def _shown(pairs: Iterable[Pair]) -> list[str]:
    return [f"{sender}>{receiver}" for sender, receiver in pairs]


def at_one(victims: Victims) -> Iterable[Pair]:
    """Every link of the node aimed at with other nodes."""
    return isolate(victims.node, victims.order)


def one_way_at_one(victims: Victims) -> Iterable[Pair]:
    """The node aimed at is not heard, or does not hear: the dice decide."""
    others = victims.order[1:]
    if victims.dice.random() < 0.5:
        return one_way([victims.node], others)
    return one_way(others, [victims.node])


def in_halves(victims: Victims) -> Iterable[Pair]:
    """The node aimed at is in the smaller part."""
    return halves(victims.order)


def in_a_ring(victims: Victims) -> Iterable[Pair]:
    """Everyone, in the order of the victims."""
    return ring(victims.order)


def from_all_clients(victims: Victims) -> Iterable[Pair]:
    """The node aimed at, with its peers, is out of the clients' reach."""
    return from_clients(victims.order[:1])


def at_one_and_its_clients(victims: Victims) -> Iterable[Pair]:
    """Every link of the node aimed at."""
    return {*at_one(victims), *from_all_clients(victims)}
