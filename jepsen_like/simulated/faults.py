"""The faults of the simulation, by the names that real processes know them by, and some that only it has.

A fault is held for a while. One that cannot strike without breaking more than it stands for raises Skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from jepsen_like.checkers.setting import FORGETS
from jepsen_like.nemeses.plan import ANY, LEADER, METADATA_LEADER, Spec
from jepsen_like.proxy.partitions import Pair, from_clients, halves, isolate, one_way, ring
from jepsen_like.simulated.aimed import LATE_HOLD_S, kill_cut_off, late_answers
from jepsen_like.simulated.fault import ALL_TARGETS as ALL_TARGETS
from jepsen_like.simulated.fault import Fault, Heal, Skipped, Strike, Victims
from jepsen_like.simulated.ground import SimGround

FOR_EVER_S = 3600.0
SLOW_S = (0.02, 0.4)
ROLL_DOWN_S, ROLL_UP_S = 0.3, 1.2
TORN_AFTER = 60
"""A process that is to die at a write does so at one of its next so many changes of files."""
CLOCK_JUMP_MS = (-600_000, 600_000)
LEADER_WEIGHT = 2


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


FAULTS: dict[str, Fault] = {
    "kill": Fault("kill -9 one node", _kill),
    "kill-all": Fault("kill -9 the whole cluster at one moment", _kill_all, (ANY,)),
    "kill-at-write": Fault("one node dies in the middle of a change of its files", _kill_at_write),
    "kill-cut-off": Fault(
        "a leader is cut off, takes a snapshot and is killed", kill_cut_off, (LEADER,)
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
        "a leader hears answers late, and is then not heard", late_answers, (LEADER, METADATA_LEADER), LATE_HOLD_S
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
