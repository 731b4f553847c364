"""`suite`: every workload, in simulation over many seeds and on real processes."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from jepsen_like.checking import Judgement, Verdict, worst
from jepsen_like.cli import run, saving, simulate
from jepsen_like.cli.arguments import SEED_LIMIT, Parser, add_output, number, whole
from jepsen_like.cli.exits import INTERRUPTED, exit_code
from jepsen_like.cluster import DriverError
from jepsen_like.nemeses.table import NEMESES
from jepsen_like.page.wording import why
from jepsen_like.real_plan import RealPlan
from jepsen_like.repeating import command, real_arguments
from jepsen_like.simulated.run import Plan, draw
from jepsen_like.sweep_report import SweepReport
from jepsen_like.workloads.registry import WORKLOADS
from jepsen_like.workloads.workload import Options

NAME, SUMMARY = "suite", "every workload, in simulation over many seeds and on real processes"
SHORT, LONG = "short", "long"
SHORT_SEEDS = 5
SHORT_RUNS = (
    ("register", ("kill", "partition-leader"), "quorum"),
    ("loss-window", ("partition-leader", "slow"), "primary"),
    ("set", ("pause", "kill-all"), "durable"),
)
SHORT_SECONDS, SHORT_BOUND_S = 12.0, 5.0
LONG_SECONDS, LONG_NEMESES = 60.0, (1, 4)
LONG_HOURS = 4.0
SEEDS_A_ROUND = 20
"""Of each workload: `long` does so many in simulation, then a run on real processes, until its time is over."""
EPILOG = """\
short  each workload over a few seeds in simulation, and three short runs on real processes: minutes
long   the same without end, with seeds and nemeses drawn anew, until the hours are over

examples:
  python -m jepsen_like suite short
  python -m jepsen_like suite long --hours 8 --first-seed 100000"""


class Real(NamedTuple):
    """A run on real processes. `verdicts` is empty where there was no run, and `trouble` says why."""

    plan: RealPlan
    folder: Path
    verdicts: list[Verdict]
    trouble: str = ""

    @property
    def judgement(self) -> Judgement:
        """No run is no pass."""
        return worst(self.verdicts)

    @property
    def line(self) -> str:
        """What became of it."""
        what = f"{self.plan.workload} under {','.join(self.plan.faults)}, seed {self.plan.seed}"
        return f"{self.judgement.value.upper()}  {what}: {self.trouble or why(self.verdicts)}"


def configure(parser: Parser) -> None:
    """Its arguments."""
    parser.add_argument("length", choices=(SHORT, LONG), metavar=f"{SHORT}|{LONG}")
    parser.add_argument("--hours", type=number(0.01, 1000), default=LONG_HOURS, metavar="H", help="of long (default 4)")
    parser.add_argument("--seeds", type=whole(1, 10_000), metavar="N", help=f"of each workload (short: {SHORT_SEEDS})")
    parser.add_argument("--first-seed", type=whole(0, SEED_LIMIT - 1), default=0, metavar="N", help="default: 0")
    parser.add_argument("--jobs", type=whole(1, 256), default=2, metavar="N", help="simulations at once (default: 2)")
    parser.add_argument("--no-processes", action="store_true", help="in simulation only")
    parser.add_argument("--out", type=Path, default=saving.FOLDER, metavar="DIR", help="default: %(default)s")
    add_output(parser)


def execute(args: argparse.Namespace) -> int:
    """The command. Raises OSError."""
    began_s = time.monotonic()
    rounds = short(args) if args.length == SHORT else long(args, began_s + args.hours * 3600)
    report, reals, interrupted = SweepReport(), [], False
    try:
        for sweep, real in rounds:
            report.merge(sweep)
            reals += real
    except (KeyboardInterrupt, asyncio.CancelledError):  # Hours of work are not thrown away.
        interrupted = True
    if args.output == "json":
        sys.stdout.write(msgspec.json.encode(document(report, reals)).decode() + "\n")
    else:
        show(report, reals, time.monotonic() - began_s, args.jobs)
    return INTERRUPTED if interrupted else exit_code(judgement_of(report, reals))


Round = tuple[SweepReport, list[Real]]


def short(args: argparse.Namespace) -> Iterator[Round]:
    """One round."""
    seeds = args.seeds or SHORT_SEEDS
    sweep = simulate.run_all(sim_plans(args.first_seed, seeds), args.jobs)
    plans = [] if args.no_processes else short_plans(args.first_seed)
    yield sweep, [real_run(plan, args.out) for plan in plans]


def long(args: argparse.Namespace, until_s: float) -> Iterator[Round]:
    """Round after round, as long as there is time."""
    seed, seeds = args.first_seed, args.seeds or SEEDS_A_ROUND
    while time.monotonic() < until_s:
        sweep = simulate.run_all(sim_plans(seed, seeds), args.jobs)
        plans = [] if args.no_processes else [long_plan(seed)]
        yield sweep, [real_run(plan, args.out) for plan in plans]
        seed += seeds


def sim_plans(first: int, seeds: int) -> list[Plan]:
    """Each workload with each seed."""
    return [draw(name, seed) for seed in range(first, first + seeds) for name in WORKLOADS]


def short_plans(seed: int) -> list[RealPlan]:
    """The same few, always."""
    usual = Options(seconds=SHORT_SECONDS, liveness_bound_s=SHORT_BOUND_S)
    return [
        RealPlan(workload=name, seed=seed, options=replace(usual, ack=ack), faults=faults)
        for name, faults, ack in SHORT_RUNS
    ]


def long_plan(seed: int) -> RealPlan:
    """Drawn from the seed: any workload under a few of all nemeses."""
    dice = random.Random(f"long/{seed}")
    options = Options(
        ack=dice.choice(("primary", "quorum", "durable")),
        seconds=LONG_SECONDS,
        rate=dice.choice((5.0, 20.0, 50.0)),
        sticky=dice.random() < 0.3,
    )
    return RealPlan(
        workload=dice.choice(list(WORKLOADS)),
        seed=seed,
        options=options,
        faults=tuple(sorted(dice.sample(list(NEMESES), dice.randint(*LONG_NEMESES)))),
        nodes=dice.choice((3, 3, 4, 5)),
        shards=dice.choice((1, 4)),
    )


def real_run(plan: RealPlan, out: Path) -> Real:
    """One, kept only where it did not pass."""
    folder = saving.new_folder(None, plan.workload, plan.seed, out)
    try:
        _, verdicts = run.perform(plan, folder)
    except DriverError as error:
        return Real(plan, folder, [], str(error))
    if worst(verdicts) is Judgement.PASS:
        saving.remove(folder)
    return Real(plan, folder, verdicts)


def judgement_of(report: SweepReport, reals: list[Real]) -> Judgement:
    """The worst of all."""
    return simulate.worst_of([report.judgement, *(real.judgement for real in reals)])


def show(report: SweepReport, reals: list[Real], seconds: float, jobs: int) -> None:
    """The sweep's table, a line for each run on real processes, and the whole in a word."""
    simulate.show(report, jobs)
    for real in reals:
        print(real.line)
        if real.judgement is not Judgement.PASS:
            print(f"    kept in {real.folder}; again: {command(real_arguments(real.plan))}")
    print(f"{judgement_of(report, reals).value.upper()} after {seconds:,.0f} s")


def document(report: SweepReport, reals: list[Real]) -> dict[str, object]:
    """As JSON."""
    runs = [
        {"plan": msgspec.to_builtins(real.plan), "judgement": real.judgement.value, "line": real.line} for real in reals
    ]
    return report.document() | {"judgement": judgement_of(report, reals).value, "processes": runs}
