"""The faults of the simulation, by the names that real processes know them by, and some that only it has.

A fault strikes at once and is held for a while; `strike` returns what mends it. One that cannot strike without breaking
more than it stands for raises Skipped.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from jepsen_like.checkers.setting import FORGETS
from jepsen_like.nemeses.plan import ANY, FOLLOWER, HOLD_S, LEADER, METADATA_LEADER, Spec, spared
from jepsen_like.proxy.partitions import CLIENTS, Pair, between, from_clients, halves, isolate, one_way, ring
from jepsen_like.simulated.ground import SimGround

ALL_TARGETS = (LEADER, FOLLOWER, ANY, METADATA_LEADER)
FOR_EVER_S = 3600.0
SLOW_S = (0.02, 0.4)
ROLL_DOWN_S, ROLL_UP_S = 0.3, 1.2
TORN_AFTER = 60
"""A process that is to die at a write does so at one of its next so many changes of files."""
LATE_S, UNTIL_LATE_S, LATE_HOLD_S = (0.2, 0.6), 0.6, (1.3, 2.2)
KEEP_AFTER_S, KILL_AFTER_S = (0.1, 0.4), 0.7
"""Before a leader gives up that hears nobody."""
CLOCK_JUMP_MS = (-600_000, 600_000)
MAJORITY_HEALED = "majority-healed"
LEADER_WEIGHT = 2


class Skipped(Exception):
    """The fault cannot strike just now; the text says why."""


class Victims(NamedTuple):
    """Whom to hit: all nodes, the one aimed at first."""

    order: tuple[str, ...]
    dice: random.Random

    @property
    def node(self) -> str:
        """The one aimed at."""
        return self.order[0]


Heal = Callable[[], dict[str, Any] | None]
"""Mends a fault; may tell what is to stand on record beside."""
Strike = Callable[[SimGround, Victims], Heal]


class Fault(NamedTuple):
    """One row of the table. `needs_durable`: only writes that are durable survive it."""

    summary: str
    strike: Strike
    targets: tuple[str, ...] = ALL_TARGETS
    hold_s: tuple[float, float] = HOLD_S
    needs_durable: bool = False


# -- processes ---------------------------------------------------------------------------------------


def _kill(ground: SimGround, victims: Victims) -> Heal:
    ground.cluster.kill(victims.node)
    return partial(ground.cluster.start, victims.node)


def _kill_all(ground: SimGround, victims: Victims) -> Heal:
    for node in victims.order:
        ground.cluster.kill(node)
    return ground.cluster.start_all


def _kill_at_write(ground: SimGround, victims: Victims) -> Heal:
    """Die in the middle of a callback, with a write torn anywhere."""
    ground.cluster.files[victims.node].kill_at(victims.dice.randrange(1, TORN_AFTER), victims.dice.randrange(200))

    def heal() -> None:
        ground.cluster.files[victims.node].spare()
        ground.cluster.start(victims.node)

    return heal


def _pause(ground: SimGround, victims: Victims) -> Heal:
    process = ground.process(victims.node)
    if process is None:
        raise Skipped(f"{victims.node} is down")
    process.runtime.pause(FOR_EVER_S)
    return process.runtime.resume


def _rolling_restart(ground: SimGround, victims: Victims) -> Heal:
    over: list[bool] = []

    def unless_over(act: Callable[[str], None], node: str) -> None:
        if not over:
            act(node)

    for number, node in enumerate(victims.order):
        at_s = number * (ROLL_DOWN_S + ROLL_UP_S)
        ground.target.later(at_s, partial(unless_over, ground.cluster.kill, node))
        ground.target.later(at_s + ROLL_DOWN_S, partial(unless_over, ground.cluster.start, node))

    def heal() -> None:
        over.append(True)
        ground.cluster.start_all()

    return heal


def _transfer(ground: SimGround, victims: Victims) -> Heal:
    """Every group that the node leads goes to another."""
    process = ground.process(victims.node)
    for group in process.core.host.groups.values() if process is not None else ():
        if group.leads_now() and process is not None:
            process.runtime.deliver(partial(group.transfer_leadership))
    return lambda: None


def _clock(ground: SimGround, victims: Victims) -> Heal:
    """The wall clock of one node jumps, and stays so until it is set right."""
    process = ground.process(victims.node)
    if process is None:
        raise Skipped(f"{victims.node} is down")
    jump_ms = victims.dice.randint(*CLOCK_JUMP_MS)
    process.runtime.wall_offset_ms += jump_ms

    def heal() -> None:
        process.runtime.wall_offset_ms -= jump_ms

    return heal


# -- links -------------------------------------------------------------------------------------------


def _cutting(pairs_of: Callable[[Victims], Iterable[Pair]]) -> Strike:
    def strike(ground: SimGround, victims: Victims) -> Heal:
        layer = object()
        ground.cut(layer, pairs_of(victims))
        return partial(ground.lift, layer)

    return strike


def _one_way(victims: Victims) -> Iterable[Pair]:
    others = victims.order[1:]
    if victims.dice.random() < 0.5:
        return one_way([victims.node], others)
    return one_way(others, [victims.node])


def _slow(ground: SimGround, victims: Victims) -> Heal:
    layer = object()
    ground.delay(layer, isolate(victims.node, victims.order), victims.dice.uniform(*SLOW_S))
    return partial(ground.lift, layer)


def _reset(ground: SimGround, victims: Victims) -> Heal:
    """Every connection of the node breaks, with what was under way."""
    for other in victims.order[1:]:
        ground.cluster.network.break_link(victims.node, other)
    return lambda: None


def _late_answers(ground: SimGround, victims: Victims) -> Heal:
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


def _kill_cut_off(ground: SimGround, victims: Victims) -> Heal:
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


# -- disks -------------------------------------------------------------------------------------------


def _whole(ground: SimGround) -> None:
    if not ground.cluster.whole():
        raise Skipped("a disk is hit only while the whole cluster is well")


def _empty_disk(ground: SimGround, victims: Victims) -> Heal:
    _whole(ground)
    ground.cluster.empty_disk(victims.node)
    return partial(ground.cluster.start, victims.node)


def _power(ground: SimGround, nodes: list[str]) -> Heal:
    forgetful = ground.lose_power(nodes)

    def heal() -> dict[str, Any]:
        for node in nodes:
            ground.cluster.start(node)
        return {FORGETS: forgetful}

    return heal


def _power_one(ground: SimGround, victims: Victims) -> Heal:
    """Only where no group's majority may forget by it."""
    if ground.cluster.forgetful_groups([victims.node]):
        raise Skipped("a majority would have forgotten")
    return _power(ground, [victims.node])


def _power_all(ground: SimGround, victims: Victims) -> Heal:
    return _power(ground, list(victims.order))


# -- liveness ----------------------------------------------------------------------------------------

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
        heals = [_cutting(lambda _: CUTS[left](rest, majority))(ground, victims)]
    else:
        strike = _kill if left == "down" else _pause
        heals = [strike(ground, Victims((node,), victims.dice)) for node in rest]

    def heal() -> None:
        for each in heals:
            each()

    stops = {"stops": True} if left == "down" else {}
    return {"majority": majority, "rest": rest, "left": left, **stops}, heal


FAULTS: dict[str, Fault] = {
    "kill": Fault("kill -9 one node", _kill),
    "kill-all": Fault("kill -9 the whole cluster at one moment", _kill_all, (ANY,)),
    "kill-at-write": Fault("one node dies in the middle of a change of its files", _kill_at_write),
    "kill-cut-off": Fault(
        "a leader is cut off, takes a snapshot and is killed", _kill_cut_off, (LEADER,)
    ),
    "pause": Fault("stop one node in its tracks", _pause),
    "rolling-restart": Fault("restart the nodes in turn", _rolling_restart, (ANY,), (6.0, 8.0)),
    "transfer": Fault("one node hands over what it leads", _transfer, (LEADER, METADATA_LEADER), (0.1, 0.2)),
    "clock": Fault("the wall clock of one node jumps by up to ten minutes", _clock),
    "partition-one": Fault("cut one node from its peers", _cutting(lambda v: isolate(v.node, v.order))),
    "partition-leader": Fault(
        "cut a leader from its peers", _cutting(lambda v: isolate(v.node, v.order)), (LEADER, METADATA_LEADER)
    ),
    "partition-halves": Fault("cut the smaller half from the larger", _cutting(lambda v: halves(v.order))),
    "partition-ring": Fault("each node hears another majority", _cutting(lambda v: ring(v.order)), (ANY,)),
    "partition-one-way": Fault("one node hears nothing from its peers, or is not heard", _cutting(_one_way)),
    "partition-leader-from-clients": Fault(
        "cut a leader from the clients", _cutting(lambda v: from_clients(v.order[:1])), (LEADER, METADATA_LEADER)
    ),
    "slow": Fault("one node's links with its peers are slow", _slow),
    "late-answers": Fault(
        "a leader hears answers late, and is then not heard", _late_answers, (LEADER, METADATA_LEADER), LATE_HOLD_S
    ),
    "reset": Fault("reset one node's connections", _reset, hold_s=(0.1, 0.2)),
    "empty-disk": Fault("one node's disk is lost", _empty_disk),
    "power": Fault("one node loses power, with what was not synced", _power_one),
    "power-all": Fault("all nodes lose power", _power_all, (ANY,), needs_durable=True),
}
"""All but `majority-healed`, which is no fault like others: see `director`."""


def parse_faults(text: str) -> list[Spec]:
    """`kill,pause:leader`: names, each with a target or without. Raises ValueError that says what there is."""
    return [_parse(word.strip()) for word in text.split(",") if word.strip()]


def _parse(word: str) -> Spec:
    name, _, target = word.partition(":")
    fault = FAULTS.get(name)
    if fault is None:
        raise ValueError(f"no simulated nemesis {name!r}; there are {', '.join(FAULTS)}")
    if target and target not in ALL_TARGETS:
        raise ValueError(f"{word}: no target {target!r}; there are {', '.join(ALL_TARGETS)}")
    return Spec(name, (target,) if target else _weighed(fault.targets), fault.hold_s)


def _weighed(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Mostly those who lead what clients ask for: most of what can go wrong goes wrong there."""
    return (*targets, *[LEADER] * LEADER_WEIGHT) if LEADER in targets else targets
