"""Many seeds of a workload, side by side; what broke is shrunk, and every tenth seed run twice.

*Shrinking.* A run that broke a promise is run again with a part of it left out, and the smaller one kept where it still
breaks one, until nothing more can be left out or the budget is spent: whole faults first, then time, then processes,
then what is odd about the cluster. The virtual cluster makes no difference between a run and its repetition, so one try
is enough to tell.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import msgspec
from msgspec.structs import replace

from jepsen_like.checking import Judgement
from jepsen_like.simulated.run import Outcome, Plan, simulate
from raftcache.testing.plants import planted

TWICE_EVERY = 10
"""One seed of so many is run twice, and must do exactly the same."""
SHRINK_TRIES = 40
SHORTEST_S = 5.0
FEWEST_PROCESSES = 2


class Job(msgspec.Struct, kw_only=True, frozen=True):
    """One seed of a sweep. `plant`: the bug to put into the code, or "". `twice`: compare with a second run."""

    plan: Plan
    plant: str = ""
    twice: bool = False


class Told(msgspec.Struct, kw_only=True):
    """What a sweep keeps of one run; the history of a run that passed is not kept."""

    plan: Plan
    judgement: Judgement
    why: list[str]
    virtual_s: float
    operations: int
    succeeded: int
    struck: int
    lost: int = 0
    same: bool = True


def run_job(job: Job) -> Told:
    """Run one seed."""
    outcome = run_plan(job.plan, job.plant)
    again = run_plan(job.plan, job.plant).trace if job.twice else outcome.trace
    return _told(outcome, again == outcome.trace)


def run_plan(plan: Plan, plant: str = "") -> Outcome:
    """One run, with a bug in the code or without; what the nodes log is not shown."""
    logging.disable(logging.CRITICAL)
    try:
        with planted(plant) if plant else nullcontext():
            return simulate(plan)
    finally:
        logging.disable(logging.NOTSET)


def _told(outcome: Outcome, same: bool) -> Told:
    wrong = [each for each in outcome.verdicts if each.judgement is not Judgement.PASS]
    why = outcome.trouble + [f"{each.checker}: {each.summary}" for each in wrong]
    events = outcome.history.events
    return Told(
        plan=outcome.plan,
        judgement=outcome.judgement if same else Judgement.FAIL,
        why=why if same else [*why, "two runs of this seed differ"],
        virtual_s=outcome.virtual_s,
        operations=sum(event.kind == "invoke" for event in events),
        succeeded=sum(event.kind == "ok" for event in events),
        struck=outcome.struck,
        lost=max((int(each.figures.get("lost", 0)) for each in outcome.verdicts), default=0),
        same=same,
    )


def sweep(plans: list[Plan], jobs: int, plant: str = "") -> Iterator[Told]:
    """Run them in so many processes; in the order in which they end."""
    todo = [Job(plan=plan, plant=plant, twice=number % TWICE_EVERY == 0) for number, plan in enumerate(plans)]
    if jobs == 1:
        yield from map(run_job, todo)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(run_job, todo)


# -- shrinking ---------------------------------------------------------------------------------------


def shrink(plan: Plan, fails: Callable[[Plan], bool], tries: int = SHRINK_TRIES) -> Plan:
    """The smallest plan found that still `fails`, by at most so many runs."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in smaller_than(plan):
            tries -= 1
            if tries < 0:
                return plan
            if fails(candidate):
                plan, smaller = candidate, True
                break
    return plan


def smaller_than(plan: Plan) -> Iterator[Plan]:
    """One thing less each, the largest first."""
    for number in range(len(plan.faults)):
        yield replace(plan, faults=(*plan.faults[:number], *plan.faults[number + 1 :]))
    if plan.majority_healed:
        yield replace(plan, majority_healed=False)
    options = plan.options
    if options.seconds / 2 >= SHORTEST_S:
        yield replace(plan, options=replace(options, seconds=options.seconds / 2))
    if options.processes // 2 >= FEWEST_PROCESSES:
        yield replace(plan, options=replace(options, processes=options.processes // 2))
    if plan.nodes > 3:
        yield replace(plan, nodes=3)
    if plan.shards > 1:
        yield replace(plan, shards=1)
    if plan.slow_network:
        yield replace(plan, slow_network=False)
