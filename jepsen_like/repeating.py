"""The command that makes a run again, from what its history's header says. Pure.

What a simulated run draws from its seed is not repeated in the command; what was named on the command line, or left out
while the run was shrunk, is. So a command is true for as long as the seed draws the same run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import msgspec

from jepsen_like.history import Header
from jepsen_like.real_plan import RealPlan
from jepsen_like.simulated.run import Plan, draw
from jepsen_like.workloads.workload import Options

PROGRAM = "python -m jepsen_like"
SIMULATION = "simulation"
NONE = "none"
"""In place of a nemesis."""

OPTION_FLAGS = {
    "ack": "--ack",
    "seconds": "--seconds",
    "processes": "--processes",
    "rate": "--rate",
    "keys": "--keys",
    "window": "--window",
    "shape": "--shape",
    "sticky": "--sticky",
    "liveness_bound_s": "--liveness-bound",
    "timeout_s": "--timeout",
}
"""By the field of `Options`."""
REAL_FLAGS = {"nodes": "--nodes", "shards": "--shards", "memory": "--memory"}
SIM_FLAGS = {
    "majority_healed": "--majority-healed",
    "nodes": "--nodes",
    "shards": "--shards",
    "slow_network": "--slow-network",
    "fsync": "--fsync",
    "tight": "--tight",
}
WINDOW_FIELDS = ("ms", "writes", "bytes")


def replay_command(header: Header) -> str:
    """One line for a shell: to the letter in simulation, as far as real processes allow elsewhere."""
    return command(_arguments(header))


def command(arguments: list[str]) -> str:
    """With the program in front."""
    return f"{PROGRAM} {shlex.join(arguments)}"


def _arguments(header: Header) -> list[str]:
    plan = header.options.get("plan")
    if header.target == SIMULATION:
        if plan is not None:
            return sim_arguments(msgspec.convert(plan, Plan), header.plant)
        return ["replay", str(header.seed), "--workload", header.workload, *_plant(header.plant)]
    if plan is not None:
        return real_arguments(msgspec.convert(plan, RealPlan))
    asked = Options(seconds=header.seconds, ack=header.ack or Options().ack)
    return real_arguments(
        RealPlan(workload=header.workload, seed=header.seed, options=asked, faults=tuple(header.nemeses))
    )


def real_arguments(plan: RealPlan) -> list[str]:
    """Those of `run`."""
    options = plan.options
    told = ["--nemesis", _faults(plan.faults), "--ack", options.ack, "--seconds", f"{options.seconds:g}"]
    usual = msgspec.structs.replace(Options(), ack=options.ack, seconds=options.seconds)
    odd = [*_odd(OPTION_FLAGS, options, usual), *_odd(REAL_FLAGS, plan, RealPlan(workload="", seed=0))]
    return ["run", "--workload", plan.workload, *told, "--seed", str(plan.seed), *odd]


def sim_arguments(plan: Plan, plant: str = "") -> list[str]:
    """Those of `replay`: the seed, and in what the plan is another than the one that it draws."""
    drawn = draw(plan.workload, plan.seed)
    faults = ["--nemesis", _faults(plan.faults)] if plan.faults != drawn.faults else []
    odd = [*_odd(OPTION_FLAGS, plan.options, drawn.options), *_odd(SIM_FLAGS, plan, drawn)]
    return ["replay", str(plan.seed), "--workload", plan.workload, *faults, *odd, *_plant(plant)]


def _plant(name: str) -> list[str]:
    return ["--plant", name] if name else []


def _faults(faults: tuple[str, ...]) -> str:
    return ",".join(faults) or NONE


def _odd(flags: dict[str, str], asked: object, usual: object) -> Iterator[str]:
    """Flags for every field that differs."""
    for field, flag in flags.items():
        value: Any = getattr(asked, field)
        if value == getattr(usual, field):
            continue
        if isinstance(value, bool):
            yield flag if value else flag.replace("--", "--no-", 1)
        else:
            yield from (flag, shown(value))


def shown(value: Any) -> str:
    """As a flag takes it."""
    if isinstance(value, dict):
        return ",".join(str(value.get(field, "")) if value.get(field) is not None else NONE for field in WINDOW_FIELDS)
    return f"{value:g}" if isinstance(value, float) else str(value)
