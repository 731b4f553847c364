"""A run on real processes, as it is asked for: what is done, and what its history says of it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from jepsen_like.history import Header
from jepsen_like.nemeses.plan import Planned, plan
from jepsen_like.nemeses.table import parse_nemeses
from jepsen_like.running import run_options
from jepsen_like.versions import versions
from jepsen_like.workloads.workload import Options, Workload

TARGET = "processes"


class RealPlan(msgspec.Struct, kw_only=True, frozen=True):
    """All that makes a run what it is. Real processes repeat it only as far as their timing lets them."""

    workload: str
    seed: int
    options: Options = Options()
    faults: tuple[str, ...] = ()
    """Names with or without a target, as on the command line."""
    nodes: int = 3
    shards: int = 4
    memory: bool = False


def planned_faults(asked: RealPlan, nodes: list[str], shards: int) -> list[Planned]:
    """What strikes when. Raises ValueError: there is no such nemesis."""
    specs = parse_nemeses(",".join(asked.faults))
    return plan(asked.seed, specs, nodes, shards + 1, asked.options.seconds)


def header_of(asked: RealPlan, workload: Workload, shards: list[str], started_at: str) -> Header:
    """The first line of its history. `shards` are their ids, in the order of their slots."""
    options: dict[str, Any] = run_options(workload, asked.options, shards)
    return Header(
        workload=workload.name,
        nemeses=list(asked.faults),
        target=TARGET,
        seed=asked.seed,
        seconds=asked.options.seconds,
        ack=asked.options.ack,
        started_at=started_at,
        versions=versions(),
        options=options | {"plan": msgspec.to_builtins(asked)},
    )
