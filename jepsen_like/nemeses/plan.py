"""Which fault strikes whom, when, for how long: a plan that a seed repeats. Pure.

Each nemesis has a timeline of its own, made of gaps and strikes in turn, so faults of different names overlap by chance
and faults of one name never do. With n nemeses the gaps are n times as long: the cluster is broken for about the same
part of the time, whatever it is broken by. The order of the nodes is drawn beforehand; who leads is known only at the
moment of the strike, when `aim` puts the one aimed at in front.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LEADER, FOLLOWER, ANY, METADATA_LEADER = "leader", "follower", "any", "metadata-leader"
METADATA = "meta"

GAP_S = (0.5, 3.0)
HOLD_S = (1.0, 6.0)
"""From a blink, in which nobody is elected yet, to long after everybody has noticed: links are dropped after 2 s."""
QUIET_PART = 0.1
"""Of the time, at the beginning and at the end, no fault begins or is held."""


class Spec(NamedTuple):
    """A nemesis that a run is to have, the targets that it may choose from, and between what times it is held."""

    name: str
    targets: tuple[str, ...]
    hold_s: tuple[float, float] = HOLD_S


class Planned(NamedTuple):
    """One fault to come, in seconds from the start of the run. `group` counts the groups, the metadata's last."""

    name: str
    target: str
    order: tuple[str, ...]
    group: int
    at_s: float
    hold_s: float
    seed: int


def plan(seed: int, specs: Sequence[Spec], nodes: Sequence[str], groups: int, seconds: float) -> list[Planned]:
    """The faults of a run, by when they strike."""
    found: list[Planned] = []
    for spec in specs:
        dice = random.Random(f"{seed}/{spec.name}")
        at_s, end_s = seconds * QUIET_PART, seconds * (1 - QUIET_PART)
        while (at_s := at_s + dice.uniform(*GAP_S) * len(specs)) < end_s:
            hold_s = min(dice.uniform(*spec.hold_s), end_s - at_s)
            found.append(_planned(dice, spec, nodes, groups, at_s, hold_s))
            at_s += hold_s
    return sorted(found, key=lambda each: each.at_s)


def _planned(dice: random.Random, spec: Spec, nodes: Sequence[str], groups: int, at_s: float, hold_s: float) -> Planned:
    target, order = dice.choice(spec.targets), tuple(dice.sample(nodes, len(nodes)))
    return Planned(spec.name, target, order, dice.randrange(groups), at_s, hold_s, dice.getrandbits(32))


def group_of(planned: Planned, leaders: Mapping[str, str | None]) -> str:
    """The group whose leader or follower is aimed at; `leaders` are by group, the metadata's last."""
    groups = list(leaders) or [METADATA]
    return METADATA if planned.target == METADATA_LEADER else groups[planned.group % len(groups)]


def aim(planned: Planned, leaders: Mapping[str, str | None], replicas: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """All nodes, the one aimed at first. Where nobody is known to lead, any node is as good."""
    group = group_of(planned, leaders)
    leader, order = leaders.get(group), planned.order
    if planned.target == ANY or leader is None:
        return order
    if planned.target == FOLLOWER:
        followers = [node for node in order if node in replicas.get(group, order) and node != leader]
        first = followers[0] if followers else order[0]
    else:
        first = leader
    return (first, *(node for node in order if node != first))


def spared(order: Sequence[str], replicas: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """A majority and the rest, both in order: as many as can be missing while every group keeps its own majority.

    A majority of the nodes is not enough of a measure: a shard may have most of its replicas on the others.
    """
    rest: list[str] = []
    for node in order:
        missing = {*rest, node}
        if all(2 * len(missing.intersection(nodes)) < len(nodes) for nodes in [order, *replicas.values()]):
            rest.append(node)
    return [node for node in order if node not in rest], rest
