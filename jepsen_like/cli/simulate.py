"""`sim`: workloads in the deterministic simulation, over many seeds."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial

import msgspec
from msgspec.structs import replace
from rich.console import Console

from jepsen_like.checking import Judgement
from jepsen_like.cli.arguments import (
    FSYNCS,
    NODES_LIMIT,
    SEED_LIMIT,
    SHARDS_LIMIT,
    Parser,
    add_options,
    add_output,
    given,
    given_options,
    plant,
    simulated_nemeses,
    whole,
    workload,
)
from jepsen_like.cli.exits import exit_code
from jepsen_like.nemeses.majority import MAJORITY_HEALED
from jepsen_like.repeating import SIM_FLAGS, command, sim_arguments
from jepsen_like.simulated.run import Plan, draw
from jepsen_like.simulated.sweep import run_plan, shrink, sweep
from jepsen_like.sweep_report import SweepReport
from jepsen_like.workloads.registry import WORKLOADS, make
from raftcache.supervisor.progress import COUNT, StepBar
from raftcache.supervisor.report import make_console, new_table

NAME, SUMMARY = "sim", "workloads in the deterministic simulation, over many seeds"
ALL = "all"
SEEDS, SEEDS_LIMIT, JOBS_LIMIT = 100, 10_000_000, 256
SHRUNK = 3
"""Of the seeds that broke a promise, so many are made smaller."""
EPILOG = """\
Each seed draws another run: another cluster, other faults and rates. What is named here is not drawn. Every tenth run
is done twice, and must be the same. A run that breaks a promise is made smaller, and the command that replays it shown.

examples:
  python -m jepsen_like sim --workload register --seeds 1000 --jobs 2
  python -m jepsen_like sim --workload all --seeds 20 --nemesis kill-all,pause:leader
  python -m jepsen_like sim --workload register --seeds 50 --plant vote-twice --until-broken"""


def configure(parser: Parser) -> None:
    """Its arguments."""
    parser.add_argument(
        "--workload", type=_workloads, default=["register"], metavar="NAME,...", help=f"or {ALL} (default: register)"
    )
    parser.add_argument("--seeds", type=whole(1, SEEDS_LIMIT), default=SEEDS, metavar="N", help="default: %(default)s")
    parser.add_argument("--first-seed", type=whole(0, SEED_LIMIT - 1), default=0, metavar="N", help="default: 0")
    parser.add_argument("--jobs", type=whole(1, JOBS_LIMIT), default=1, metavar="N", help="at once (default: 1)")
    parser.add_argument("--until-broken", action="store_true", help="end with the first broken promise")
    parser.add_argument("--no-shrink", action="store_true", help="show what failed as it is")
    add_output(parser)
    add_plan(parser)


def add_plan(parser: Parser) -> None:
    """What is drawn from the seed unless it is given; shared with `replay`."""
    parser.add_argument("--plant", type=plant, metavar="BUG", help="a bug to put into the code; see `list`")
    group = parser.add_argument_group("the cluster and its faults", "What is not given is drawn from the seed.")
    group.add_argument("--nemesis", type=simulated_nemeses, metavar="NAME[:TARGET],...", help="what breaks it, or none")
    group.add_argument(
        "--majority-healed",
        action=argparse.BooleanOptionalAction,
        help="at times heal a majority only, which must serve",
    )
    group.add_argument("--nodes", type=whole(3, NODES_LIMIT), metavar="N", help="nodes")
    group.add_argument("--shards", type=whole(1, SHARDS_LIMIT), metavar="N", help="shards")
    group.add_argument(
        "--slow-network", action=argparse.BooleanOptionalAction, help="round trips of up to 300 ms"
    )
    group.add_argument(
        "--tight", action=argparse.BooleanOptionalAction, help="elections as close on a lease as may be"
    )
    group.add_argument("--fsync", choices=FSYNCS, help="when logs are synced")
    add_options(parser, "is drawn from the seed")


def _workloads(text: str) -> list[str]:
    return list(WORKLOADS) if text == ALL else [workload(word) for word in text.split(",")]


def plan_of(args: argparse.Namespace, name: str, seed: int) -> Plan:
    """The plan of a seed with what was given. Raises ValueError: an option that this workload cannot have."""
    drawn = draw(name, seed)
    faults = drawn.faults if args.nemesis is None else args.nemesis
    found = replace(
        drawn,
        faults=tuple(name for name in faults if name != MAJORITY_HEALED),
        options=replace(drawn.options, **given_options(args)),
        **given(args, SIM_FLAGS),
    )
    if MAJORITY_HEALED in faults:
        found = replace(found, majority_healed=True)
    make(name, found.options)
    return found


def execute(args: argparse.Namespace) -> int:
    """The command. Raises ValueError."""
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    plans = [plan_of(args, name, seed) for seed in seeds for name in args.workload]
    report = run_all(plans, args.jobs, args.plant or "", args.until_broken)
    if args.output == "json":
        sys.stdout.write(msgspec.json.encode(report.document()).decode() + "\n")
    else:
        show(report, args.jobs)
        if not args.no_shrink:
            show_smaller(report)
    return exit_code(report.judgement)


def run_all(plans: list[Plan], jobs: int, plant: str = "", until_broken: bool = False) -> SweepReport:
    """Run them with a bar; what does not pass is shown as it comes."""
    report, began_s = SweepReport(plant), time.monotonic()
    with StepBar(len(plans), COUNT) as bar:
        for told in sweep(plans, jobs, plant):
            report.add(told)
            if told.judgement is not Judgement.PASS:
                print(report.line(told), file=sys.stderr)
            bar.advance(f"{told.plan.workload} seed {told.plan.seed}: {len(report.broken):,} broken")
            if until_broken and told.judgement is Judgement.FAIL:
                break
    report.seconds = time.monotonic() - began_s
    return report


def show(report: SweepReport, jobs: int, console: Console | None = None) -> None:
    """What was done, by workload, and each run that did not pass."""
    out = console or make_console()
    head = ("workload", "runs", "pass", "unknown", "fail", "operations", "ok", "faults", "lost", "virtual s")
    table = new_table(out, *head)
    for name, totals in sorted(report.totals.items()):
        figures = totals.figures().values()
        table.add_row(name, *(f"{figure:,.0f}" for figure in figures))
    out.print(table)
    virtual_s = sum(totals.virtual_s for totals in report.totals.values())
    speed = virtual_s / report.seconds / jobs if report.seconds else 0.0
    lines = [f"{report.seconds:,.1f} s, {speed:,.1f} virtual seconds a second and job"]
    for told in report.wrong:
        lines += [report.line(told), f"    {report.replay(told)}"]
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)


def show_smaller(report: SweepReport, console: Console | None = None) -> None:
    """The smallest runs found that still break a promise. (One that differs from its repetition is left as it is.)"""
    out = console or make_console()
    for told in [each for each in report.broken if each.same][:SHRUNK]:
        smaller = shrink(told.plan, partial(_fails, plant=report.plant))
        if smaller != told.plan:
            line = command(sim_arguments(smaller, report.plant))
            out.print(f"seed {told.plan.seed}, made smaller:\n    {line}", markup=False, soft_wrap=True)


def _fails(plan: Plan, plant: str) -> bool:
    return run_plan(plan, plant).judgement is Judgement.FAIL


def worst_of(judgements: Iterable[Judgement]) -> Judgement:
    """Of several parts; nothing is unknown."""
    order: Sequence[Judgement] = list(Judgement)
    return max(judgements, key=order.index, default=Judgement.UNKNOWN)

