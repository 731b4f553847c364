"""Faults that strike a leader at the moment at which most would go wrong, which chance hardly hits."""

from __future__ import annotations

from functools import partial

from jepsen_like.proxy.partitions import isolate, one_way
from jepsen_like.simulated.fault import Heal, Victims
from jepsen_like.simulated.ground import SimGround

LATE_S, UNTIL_LATE_S, LATE_HOLD_S = (0.2, 0.6), 0.6, (1.3, 2.2)
KEEP_AFTER_S, KILL_AFTER_S = (0.1, 0.4), 0.7
"""Before a leader gives up that hears nobody."""


def late_answers(ground: SimGround, victims: Victims) -> Heal:
    """What a leader hears is older than it looks, and then nobody hears the leader: for about as long as an election
    takes it has nothing but old answers to go by. (The other way round a cut ends with the links that it breaks.)"""
    slow, mute = object(), object()
    others = victims.order[1:]
    ground.delay(slow, one_way(others, [victims.node]), victims.dice.uniform(*LATE_S))

    def cut() -> None:
        if slow in ground.layers:
            ground.cut(mute, one_way([victims.node], others))

    def heal() -> None:
        ground.lift(slow)
        ground.lift(mute)

    ground.target.later(UNTIL_LATE_S, cut)
    return heal


def kill_cut_off(ground: SimGround, victims: Victims) -> Heal:
    """A leader that nobody hears executes on, keeps its state, and is gone before it learns that it was deposed: of all
    that it has done since, it finds in its files alone."""
    layer, process = object(), ground.process(victims.node)
    ground.cut(layer, isolate(victims.node, victims.order))

    def keep() -> None:
        for group in process.core.host.groups.values() if process is not None else ():
            if group.is_leader and layer in ground.layers:
                group.take_snapshot()

    def kill() -> None:
        if layer in ground.layers and ground.process(victims.node) is process:
            ground.cluster.kill(victims.node)

    def heal() -> None:
        ground.lift(layer)
        ground.cluster.start(victims.node)

    if process is not None:
        ground.target.later(victims.dice.uniform(*KEEP_AFTER_S), partial(process.runtime.deliver, keep))
        ground.target.later(KILL_AFTER_S, kill)
    return heal
