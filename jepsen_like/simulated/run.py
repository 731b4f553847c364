"""One simulated run, from a description that a seed draws: the swarm.

Every run of a sweep is another kind of run: a cluster of another size, on another network, another few of the faults,
other rates. Runs in which everything may happen are all alike; where most faults are left out, those that stay find
what they would have hidden from each other (Groce et al., "Swarm Testing", ISSTA 2012). What is named on the command
line is not drawn.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgspec

from jepsen_like.checkers.registry import judge
from jepsen_like.checking import Judgement, Verdict, worst
from jepsen_like.history import Header, History
from jepsen_like.nemeses.plan import ANY, Planned, Spec, plan
from jepsen_like.running import Faults, Ran, Run, run_options
from jepsen_like.simulated.director import SimDirector
from jepsen_like.simulated.faults import FAULTS, parse_faults
from jepsen_like.simulated.ground import SimGround
from jepsen_like.simulated.invariants import Invariants
from jepsen_like.simulated.majority import MAJORITY_HEALED
from jepsen_like.targets.simulated import SimTarget
from jepsen_like.versions import versions
from jepsen_like.workloads.registry import make
from jepsen_like.workloads.workload import Options
from raftcache.commands.policy import Namespace
from raftcache.config import Fsync
from raftcache.testing.cluster import ClusterSettings, SimCluster, sim_consensus
from raftcache.testing.lease_faults import tightened
from raftcache.testing.network import NetworkSettings

MAJORITY_S = 11.0
"""How long a healed majority is left to itself: a little longer than it may take until it serves."""
STEP_S = 1.0
LIMIT_S = 400.0
"""Virtual time after which a run that has not ended is given up: its phases have limits of their own, which sum up to
less."""
CREATE_S = 30.0
TICK_MS = 50
"""Where nothing else happens a node's clockwork is most of what a run costs. Elections are timed in 500 ms and more."""
SLOW_NETWORK_S = (0.04, 0.14)
AIMED, AIMED_PART = ("kill-cut-off", "late-answers", "partition-leader"), 0.75
"""Faults that open what others hit only by chance, and in how many of the runs there is one for certain."""
DURABLE_ONLY = "durable"
"""The workload that stands a loss of power everywhere."""


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """All that makes a run what it is. The same plan is the same run, event for event."""

    workload: str
    seed: int
    options: Options
    faults: tuple[str, ...]
    """Names with or without a target, as on the command line."""
    majority_healed: bool = True
    nodes: int = 3
    shards: int = 2
    slow_network: bool = False
    tight: bool = False
    """Whether elections follow as close on a lease as they may."""
    fsync: Fsync = "interval"


class Outcome(msgspec.Struct, kw_only=True):
    """What a run has shown."""

    plan: Plan
    history: History
    verdicts: list[Verdict]
    trace: str
    """Equal for two runs of one plan."""
    virtual_s: float
    trouble: list[str]
    struck: int

    @property
    def judgement(self) -> Judgement:
        """A run that did not get to its end proves nothing, and should have got there."""
        return Judgement.FAIL if self.trouble else worst(self.verdicts)


def draw(workload: str, seed: int, given: Options | None = None, faults: str = "", seconds: float = 30.0) -> Plan:
    """The plan of a seed; what is `given` stays as it is. Raises ValueError."""
    dice = random.Random(f"plan/{workload}/{seed}")
    slow = dice.random() < 0.15
    drawn = Options(
        ack=dice.choice(("quorum", "quorum", "durable", "primary")),
        seconds=seconds,
        processes=dice.randint(3, 10),
        rate=dice.choice((5.0, 10.0, 20.0)),
        sticky=dice.random() < 0.3,
        timeout_s=4.0 if slow else 2.0,
    )
    names = [name for name, fault in FAULTS.items() if workload == DURABLE_ONLY or not fault.needs_durable]
    some = set(dice.sample(names, dice.randint(1, 4)))
    if dice.random() < AIMED_PART:
        some.add(dice.choice(AIMED))
    return Plan(
        workload=workload,
        seed=seed,
        options=given or drawn,
        faults=tuple(faults.split(",")) if faults else tuple(sorted(some)),
        majority_healed=dice.random() < 0.5,
        nodes=dice.choice((3, 3, 3, 4, 5)),
        shards=dice.choice((1, 1, 2, 3)),
        slow_network=slow,
        fsync=dice.choice(("interval", "interval", "always", "never")),
        tight=dice.random() < 0.3,
    )


def settings_of(plan: Plan) -> ClusterSettings:
    """The shape of the cluster."""
    consensus = replace(sim_consensus(), fsync=plan.fsync, tick_ms=TICK_MS)
    network = NetworkSettings(delay=SLOW_NETWORK_S) if plan.slow_network else NetworkSettings()
    settings = ClusterSettings(nodes=plan.nodes, shards=plan.shards, consensus=consensus, network=network)
    return tightened(settings) if plan.tight else settings


def simulate(plan: Plan) -> Outcome:
    """Run it to its end, and judge it. Raises ValueError: an option that cannot be."""
    workload, invariants = make(plan.workload, plan.options), Invariants()
    cluster = SimCluster(plan.seed, settings_of(plan), invariants)
    invariants.watch(cluster)
    cluster.create((Namespace("default", 0),))
    ended: list[Ran] = []
    target = SimTarget(cluster)
    run = Run(target, workload, plan.options, random.Random(plan.seed), ended.append)
    director = SimDirector(SimGround(cluster, target, invariants), planned_faults(plan, cluster), run.record_fault)
    run.faults = Faults(director.begin, director.heal)
    trouble = _play(cluster, run, ended, plan.options.seconds + LIMIT_S, invariants)
    options = run_options(workload, plan.options, shards_of(cluster)) | clocks(cluster.settings)
    history = History(header_of(plan, options), run.events)
    return Outcome(
        plan=plan,
        history=history,
        verdicts=[*judge(history, workload.checkers()), invariants.verdict()],
        trace=cluster.loop.trace_hash(),
        virtual_s=cluster.loop.time,
        trouble=trouble,
        struck=director.struck,
    )


def _play(cluster: SimCluster, run: Run, ended: list[Ran], limit_s: float, invariants: Invariants) -> list[str]:
    """Let virtual time pass until the run has ended. Returns what went wrong with it, other than what checkers see."""
    loop = cluster.loop
    end = loop.time + limit_s
    try:
        run.start()
        while not ended and loop.time < end:
            loop.run_until(loop.time + STEP_S)
        invariants.finish()
    except Exception as error:
        return [f"a defect at {loop.time:.3f} s: {type(error).__name__}: {error}"]
    return ended[0].trouble if ended else [f"not over after {limit_s:g} virtual seconds"]


def planned_faults(plan_: Plan, cluster: SimCluster) -> list[Planned]:
    """What strikes when. A majority is healed once, past the middle: while that lasts nothing else strikes."""
    specs = parse_faults(",".join(plan_.faults))
    groups, seconds = plan_.shards + 1, plan_.options.seconds
    found = plan(plan_.seed, specs, cluster.ids, groups, seconds)
    if plan_.majority_healed and specs:
        healed = plan(plan_.seed, [Spec(MAJORITY_HEALED, (ANY,))], cluster.ids, groups, seconds)
        found += [each._replace(at_s=seconds / 2, hold_s=MAJORITY_S) for each in healed[:1]]
    return sorted(found, key=lambda each: each.at_s)


def shards_of(cluster: SimCluster) -> list[str]:
    """The ids of all shards, in the order of their slots."""
    state = max((process.core.view.state for process in cluster.processes.values()), key=lambda each: each.epoch)
    return [shard.id for shard in sorted(state.shards, key=lambda shard: shard.slots)]


def clocks(settings: ClusterSettings) -> dict[str, Any]:
    """How wrong they are, for the checkers."""
    return {"clockDriftPercent": settings.drift * 100, "clockErrorMs": settings.wall_error_ms + 1000}


def header_of(plan: Plan, options: dict[str, Any]) -> Header:
    """What the run was."""
    return Header(
        workload=plan.workload,
        nemeses=[*plan.faults, *([MAJORITY_HEALED] if plan.majority_healed else [])],
        target="simulation",
        seed=plan.seed,
        seconds=plan.options.seconds,
        ack=plan.options.ack,
        versions=versions(),
        options=options | {"plan": msgspec.to_builtins(plan)},
    )
