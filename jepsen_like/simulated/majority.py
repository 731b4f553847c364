"""The majority is healed, and the rest stays broken: by this the simulation judges liveness (`nemeses.majority`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from jepsen_like.nemeses.plan import spared
from jepsen_like.proxy.partitions import CLIENTS, Pair, between, one_way
from jepsen_like.simulated.fault import Heal, Skipped, Victims
from jepsen_like.simulated.faults import FAULTS
from jepsen_like.simulated.ground import SimGround

MAJORITY_HEALED = "majority-healed"

CUTS: dict[str, Callable[[list[str], list[str]], Iterable[Pair]]] = {
    "cut off": lambda rest, others: between(rest, [*others, CLIENTS]),
    "deaf": lambda rest, others: one_way(others, rest),
    "mute": lambda rest, others: one_way(rest, others),
}


def leave_broken(ground: SimGround, victims: Victims) -> tuple[dict[str, Any], Heal]:
    """Break the nodes that the groups can do without; everything else has been healed. Raises Skipped."""
    if missing := ground.missing():
        raise Skipped(f"some group has to do without {', '.join(missing)} already")
    majority, rest = spared(victims.order, ground.replicas())
    if not rest:
        raise Skipped("the groups cannot do without any node")
    left = victims.dice.choice(["down", "paused", *CUTS])
    if left in CUTS:
        heals: list[Heal] = [_cut(ground, CUTS[left](rest, majority))]
    else:
        strike = FAULTS["kill" if left == "down" else "pause"].strike
        heals = [strike(ground, Victims((node,), victims.dice)) for node in rest]

    def heal() -> None:
        for each in heals:
            each()

    stops = {"stops": True} if left == "down" else {}
    return {"majority": majority, "rest": rest, "left": left, **stops}, heal


def _cut(ground: SimGround, pairs: Iterable[Pair]) -> Heal:
    layer = object()
    ground.cut(layer, pairs)
    return partial(ground.lift, layer)
