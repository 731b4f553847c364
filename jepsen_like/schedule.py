"""When which process is killed: a schedule that a seed repeats. Pure.

A *strike* is one kill -9 of one process or of several at the same moment. Its nodes are an order of preference, since
a process that a seed chose long before may be down just then: the first that run are hit. It comes `delay_s` after the
round before it ended; where `hurried`, that round ended at once, so that it may hit a cluster that is not whole.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence
from typing import NamedTuple

DELAY_S = (0.0, 0.6)
"""Between service being back and the next strike."""
HURRY_S = (0.2, 2.0)
"""Between a strike and the next where service is not waited for."""
HURRIED = 0.3
"""This part of the strikes does not wait."""


class Kind(enum.Enum):
    """Whom a strike hits: any node, the leader of some group, two nodes, all of them."""

    NODE = "node"
    LEADER = "leader"
    TWO = "two"
    ALL = "all"


WEIGHTS = {Kind.NODE: 35, Kind.LEADER: 40, Kind.TWO: 15, Kind.ALL: 10}
"""Every process killed costs time: the supervisor lets one that dies again and again wait longer and longer."""


class Strike(NamedTuple):
    """One kill. `group` counts for a leader only: a shard by its place in the order of slots; metadata comes last."""

    kind: Kind
    nodes: tuple[str, ...]
    group: int
    delay_s: float
    hurried: bool


def schedule(seed: int, strikes: int, nodes: Sequence[str], groups: int, rest_every: int) -> list[Strike]:
    """The strikes of a drill. One that comes after a rest, that is every `rest_every`, is not hurried."""
    dice = random.Random(seed)
    return [_strike(dice, nodes, groups, rested=number % rest_every == 0) for number in range(strikes)]


def _strike(dice: random.Random, nodes: Sequence[str], groups: int, rested: bool) -> Strike:
    (kind,) = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
    order, group = tuple(dice.sample(nodes, len(nodes))), dice.randrange(groups)
    hurried = dice.random() < HURRIED and not rested
    return Strike(kind, order, group, dice.uniform(*(HURRY_S if hurried else DELAY_S)), hurried)


def victims(strike: Strike, running: Sequence[str], leader: str | None) -> tuple[str, ...]:
    """Who is hit; nobody only where no node runs. Where a leader is not known or down, any node is as good."""
    alive = tuple(node for node in strike.nodes if node in running)
    if strike.kind is Kind.LEADER and leader in alive:
        return (leader,)
    return alive[: {Kind.TWO: 2, Kind.ALL: len(alive)}.get(strike.kind, 1)]
