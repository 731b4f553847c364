"""The majority is healed, and the rest stays broken: the fault that liveness is judged by.

A cluster that recovers only once everything is well again is of little use. So once in a while every fault is healed,
and those nodes that the groups can do without are broken for good, in one of four ways, while a checker asks whether
what clients want of the others is done within a bound. (TigerBeetle's simulator tests liveness like this.) A rest that
is half alive is worse than one that is dead: a node that hears nothing but is heard campaigns for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from jepsen_like.nemeses.api import Details, Ground, Nemesis, Skipped, Victims, replicas_of
from jepsen_like.nemeses.links import Links
from jepsen_like.nemeses.plan import spared
from jepsen_like.nemeses.processes import Pause
from jepsen_like.proxy.partitions import CLIENTS, Pair, between, one_way

MAJORITY_HEALED = "majority-healed"

Cut = Callable[[Sequence[str], Sequence[str]], Iterable[Pair]]

CUTS: dict[str, Cut] = {
    "cut off": lambda rest, others: between(rest, [*others, CLIENTS]),
    "deaf": lambda rest, others: one_way(others, rest),
    "mute": lambda rest, others: one_way(rest, others),
}
"""How the links of the rest may be broken, by the rest and the majority."""
PAUSED = "paused"


class MajorityHealed:
    """Break what can be done without; the director has healed everything else."""

    def __init__(self) -> None:
        self._parts: list[Nemesis] = []

    async def strike(self, ground: Ground, victims: Victims) -> Details:
        """Nemesis: `majority`, `rest`, and how that was `left`."""
        majority, rest = spared(victims.order, replicas_of(await ground.bodies()))
        if not rest:
            raise Skipped("the groups cannot do without any node")
        left = victims.dice.choice([PAUSED, *(CUTS if ground.network is not None else ())])
        if left == PAUSED:
            parts: list[Nemesis] = [Pause() for _ in rest]
        else:
            parts = [Links(MAJORITY_HEALED, lambda _: CUTS[left](rest, majority))]
        for part, node in zip(parts, rest, strict=False):
            aimed = Victims((node, *majority), victims.group, victims.dice)
            self._parts.append(part)
            await part.strike(ground, aimed)
        return {"majority": majority, "rest": rest, "left": left}

    async def heal(self, ground: Ground) -> Details:
        """Nemesis: the rest, too."""
        for part in self._parts:
            await part.heal(ground)
        return {}
