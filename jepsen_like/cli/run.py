"""`run`: a workload on a cluster of real processes while a nemesis breaks it."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from jepsen_like.checkers.registry import judge
from jepsen_like.checking import Verdict, worst
from jepsen_like.cli import saving
from jepsen_like.cli.arguments import (
    NODES_LIMIT,
    SEED_LIMIT,
    SHARDS_LIMIT,
    Parser,
    add_options,
    add_output,
    add_workload,
    given_options,
    real_nemeses,
    whole,
)
from jepsen_like.cli.exits import exit_code
from jepsen_like.concluding import conclude
from jepsen_like.history import NEMESIS, Event, Kind
from jepsen_like.page.figures import Tally
from jepsen_like.page.summary import RunBar, encode_document, show
from jepsen_like.real_plan import RealPlan
from jepsen_like.real_run import Conducted, RealRun, conduct
from jepsen_like.waiting import cancel_on_signals
from jepsen_like.workloads.registry import make
from jepsen_like.workloads.workload import Options

NAME, SUMMARY = "run", "a workload on real processes while a nemesis breaks them"
DEFAULT_NEMESES = ("kill", "partition-leader")
EPILOG = """\
The cluster is the run's own: on free ports of the loopback interface, with a proxy in every link. Its folder has
history.jsonl, report.html, report.json and the nodes' logs; where the run did not pass, also the nodes' files.

examples:
  python -m jepsen_like run --workload register --nemesis kill,partition-leader --ack quorum --seconds 60
  python -m jepsen_like run --workload loss-window --nemesis partition-leader:leader,slow --seconds 30
  python -m jepsen_like run --workload mix --nemesis none --shape cluster22"""


def configure(parser: Parser) -> None:
    """Its arguments."""
    add_workload(parser, default="register")
    nemeses = ",".join(DEFAULT_NEMESES)
    parser.add_argument(
        "--nemesis",
        type=real_nemeses,
        default=DEFAULT_NEMESES,
        metavar="NAME[:TARGET],...",
        help=f"what breaks it, or none; see `list` (default: {nemeses})",
    )
    parser.add_argument("--seed", type=whole(0, SEED_LIMIT - 1), metavar="N", help="of load and faults (default: new)")
    parser.add_argument("--nodes", type=whole(1, NODES_LIMIT), default=3, metavar="N", help="default: 3")
    parser.add_argument("--shards", type=whole(1, SHARDS_LIMIT), default=4, metavar="N", help="default: 4")
    parser.add_argument("--memory", action="store_true", help="nodes keep nothing on disk")
    saving.add_out(parser)
    add_output(parser)
    add_options(parser, "is the default of a run: quorum, 60 s, 8 clients, 20 a second each")


def plan_of(args: argparse.Namespace) -> RealPlan:
    """What was asked for. Raises ValueError: an option that this workload cannot have."""
    asked = RealPlan(
        workload=args.workload,
        seed=secrets.randbelow(SEED_LIMIT) if args.seed is None else args.seed,
        options=replace(Options(), **given_options(args)),
        faults=args.nemesis,
        nodes=args.nodes,
        shards=args.shards,
        memory=args.memory,
    )
    make(asked.workload, asked.options)
    return asked


def execute(args: argparse.Namespace) -> int:
    """The command. Raises DriverError, OSError, ValueError."""
    asked = plan_of(args)
    folder = saving.new_folder(args.out, asked.workload, asked.seed)
    conducted, verdicts = perform(asked, folder)
    if args.output == "json":
        sys.stdout.write(encode_document(conducted.history, verdicts).decode())
    else:
        show(conducted.history, verdicts)
        print(f"kept in {folder}")
    return exit_code(worst(verdicts))


def perform(asked: RealPlan, folder: Path) -> tuple[Conducted, list[Verdict]]:
    """Run it, judge it and keep it."""
    try:
        conducted = asyncio.run(_with_bar(asked, folder / saving.CLUSTER))
    finally:
        saving.collect_logs(folder)
    history = conducted.history
    checkers = make(asked.workload, asked.options).checkers()
    verdicts = [conclude(history, conducted.trouble), *judge(history, checkers)]
    saving.save(folder, history, verdicts)
    saving.tidy(folder, verdicts)
    return conducted, verdicts


async def _with_bar(asked: RealPlan, folder: Path) -> Conducted:
    cancel_on_signals()
    with RunBar(round(asked.options.seconds + asked.options.liveness_bound_s)) as bar:
        ticking: list[asyncio.Task[None]] = []

        def watch(run: RealRun) -> None:
            ticking.append(asyncio.get_running_loop().create_task(_tick(run, bar)))

        try:
            return await conduct(asked, folder, watch)
        finally:
            for task in ticking:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _tick(run: RealRun, bar: RunBar) -> None:
    """Once a second. (It shows what happened, so it looks at it as time passes.)"""
    counts = Counts()
    while True:
        await asyncio.sleep(1.0)
        counts.take(run.events)
        bar.second_passed(counts.tally(), counts.broken)


class Counts:
    """What a growing list of events says so far; each is looked at once."""

    def __init__(self) -> None:
        self._seen = 0
        self._ended: dict[Kind, int] = {"ok": 0, "fail": 0, "info": 0}
        self.broken: list[str] = []

    def take(self, events: list[Event]) -> None:
        """Look at what is new."""
        fresh, self._seen = events[self._seen :], len(events)
        for event in fresh:
            if event.process != NEMESIS:
                if event.kind != "invoke":
                    self._ended[event.kind] += 1
            elif event.kind == "invoke":
                self.broken.append(event.name)
            elif event.name in self.broken:
                self.broken.remove(event.name)

    def tally(self) -> Tally:
        """For the bar, which shows no latencies."""
        ok, fail, unknown = self._ended["ok"], self._ended["fail"], self._ended["info"]
        return Tally(ok=ok, fail=fail, unknown=unknown, p50_ms=None, p99_ms=None, max_ms=None)
