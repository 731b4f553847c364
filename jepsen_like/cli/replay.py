"""`replay`: one seed of the simulation once more, with everything kept."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import msgspec

from jepsen_like.checking import worst
from jepsen_like.cli import saving
from jepsen_like.cli.arguments import SEED_LIMIT, Parser, add_output, add_workload, whole
from jepsen_like.cli.exits import exit_code
from jepsen_like.cli.simulate import add_plan, plan_of
from jepsen_like.concluding import conclude
from jepsen_like.history import History
from jepsen_like.page.summary import encode_document, show
from jepsen_like.simulated.run import Outcome, Plan, simulate
from raftcache.testing.plants import planted

NAME, SUMMARY = "replay", "one seed of the simulation once more, with its history and its page"
LOG = "simulation.log"
EPILOG = """\
The run's folder has history.jsonl, report.html, report.json, and in logs/ what the nodes logged.

examples:
  python -m jepsen_like replay 17 --workload register
  python -m jepsen_like replay 3 --workload register --plant no-undo --nemesis partition-leader --shards 1"""


def configure(parser: Parser) -> None:
    """Its arguments."""
    parser.add_argument("seed", type=whole(0, SEED_LIMIT - 1), metavar="SEED")
    add_workload(parser, default="register")
    saving.add_out(parser)
    add_output(parser)
    add_plan(parser)


def execute(args: argparse.Namespace) -> int:
    """The command. Raises OSError, ValueError."""
    plan = plan_of(args, args.workload, args.seed)
    folder = saving.new_folder(args.out, plan.workload, plan.seed)
    outcome = logged(plan, args.plant or "", folder / saving.LOGS)
    header = msgspec.structs.replace(outcome.history.header, plant=args.plant or "")
    history = History(header, outcome.history.events)
    verdicts = [conclude(history, outcome.trouble, must_strike=False), *outcome.verdicts]
    saving.save(folder, history, verdicts)
    if args.output == "json":
        sys.stdout.write(encode_document(history, verdicts).decode())
    else:
        show(history, verdicts)
        print(f"kept in {folder}")
    return exit_code(worst(verdicts))


def logged(plan: Plan, plant: str, folder: Path) -> Outcome:
    """Run it, with what the nodes log in a file."""
    folder.mkdir()
    with _logging_to(folder / LOG), planted(plant) if plant else nullcontext():
        return simulate(plan)


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    level, others = root.level, root.handlers[:]
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = others
        root.setLevel(level)
        handler.close()
