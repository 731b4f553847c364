"""`table`: what was acknowledged and lost, for each ack level under each nemesis, on real processes."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import product, starmap
from pathlib import Path

import msgspec

from jepsen_like.cli.arguments import ACKS, Parser, add_output, number, real_nemeses
from jepsen_like.cli.exits import exit_code
from jepsen_like.cluster import DriverError
from jepsen_like.lost.rows import Cell, Row, document, judgement_of, row_of, table
from jepsen_like.lost.writes import Writes
from jepsen_like.marks import marks
from jepsen_like.nemeses.api import TROUBLE, Ground
from jepsen_like.proxied import proxied
from jepsen_like.real_plan import RealPlan
from jepsen_like.real_run import run_on
from jepsen_like.waiting import cancel_on_signals, eventually
from jepsen_like.workloads.workload import Options
from raftcache.supervisor.progress import COUNT, StepBar

NAME, SUMMARY = "table", "the lost-per-acked table: what each ack level loses under each nemesis"
NEMESES = (
    "kill:leader",
    "kill-all",
    "pause:leader",
    "partition-leader:leader",
    "partition-halves:follower",
    "partition-one-way:leader",
    "partition-ring",
    "slow:leader",
    "lossy:leader",
    "rolling-restart",
)
README, MARKS = Path("README.md"), marks("lost-per-acked")
SECONDS = 20.0
NODES, SHARDS = 3, 1
"""One shard: all writes meet the leader that is hit, and time without service is not covered up by another."""
PROCESSES, RATE = 16, 40.0
SETTLE_S = 3.0
WHOLE_S = 60.0
SEED = 1
EPILOG = """\
One cluster of three nodes and one shard, on this machine; one run for each row. Every acknowledged write is looked for
afterwards. What a level may lose by design is in the table and breaks no promise: `primary` writes within the loss
window, also when the whole cluster is killed and its memory with it. Anything lost above that is a broken promise.

example:
  python -m jepsen_like table --seconds 20 --readme"""


def configure(parser: Parser) -> None:
    """Its arguments."""
    parser.add_argument("--seconds", type=number(5, 3600), default=SECONDS, metavar="S", help="a row (default: 20)")
    parser.add_argument(
        "--nemesis", type=real_nemeses, default=NEMESES, metavar="NAME[:TARGET],...", help="default: all that fit"
    )
    parser.add_argument("--ack", choices=ACKS, action="append", help="more than once for several (default: all)")
    parser.add_argument(
        "--readme", nargs="?", type=Path, const=README, metavar="FILE", help=f"put it behind {MARKS.begin!r} in there"
    )
    add_output(parser)


def execute(args: argparse.Namespace) -> int:
    """The command. Raises DriverError, OSError."""
    if args.readme is not None and not MARKS.stand_in(args.readme):
        raise ValueError(f"{args.readme} has no lines {MARKS.begin!r} and {MARKS.end!r}")
    cells = list(starmap(Cell, product(args.ack or ACKS, args.nemesis)))
    with StepBar(len(cells), COUNT) as bar:
        rows, wrong = asyncio.run(ask(cells, args.seconds, bar.advance))
    if args.readme is not None:
        MARKS.put(args.readme, table(rows))
    if args.output == "json":
        sys.stdout.write(msgspec.json.encode(document(rows)).decode() + "\n")
    else:
        print(table(rows))
    for line in [*wrong, *(f"{row.ack}, {row.nemesis}: {text}" for row in rows for text in row.complaints)]:
        print(f"table: {line}", file=sys.stderr)
    return 1 if wrong else exit_code(judgement_of(rows))


async def ask(cells: Sequence[Cell], seconds: float, told: Callable[[str], None]) -> tuple[list[Row], list[str]]:
    """A row for each cell, and what is wrong with the processes. Raises DriverError. Its folder is removed."""
    cancel_on_signals()
    folder = Path(tempfile.mkdtemp(prefix="raftcache-table-"))
    rows = []
    try:
        async with proxied(folder, NODES, SHARDS) as ground:
            for cell in cells:
                rows.append(await one_row(ground, cell, seconds))
                told(f"{cell.ack}, {cell.nemesis}: {rows[-1].acknowledged:,} acknowledged, {rows[-1].lost:,} lost")
            return rows, [f"a traceback in {line}" for line in ground.cluster.tracebacks()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def one_row(ground: Ground, cell: Cell, seconds: float) -> Row:
    """One run, on a cluster that is well. Raises DriverError."""
    await _whole(ground)
    asked = plan_of(cell, seconds)
    conducted = await run_on(ground, asked, Writes(asked.options))
    return await asyncio.to_thread(row_of, cell, conducted.history, conducted.trouble)


def plan_of(cell: Cell, seconds: float) -> RealPlan:
    """What is done for a cell. A client keeps to a node: a leader that is cut off loses what its own clients write."""
    options = Options(
        ack=cell.ack, seconds=seconds, processes=PROCESSES, rate=RATE, sticky=True, liveness_bound_s=SETTLE_S
    )
    return RealPlan(
        workload=Writes.name, seed=SEED, options=options, faults=(cell.nemesis,), nodes=NODES, shards=SHARDS
    )


async def _whole(ground: Ground) -> None:
    async def look() -> bool | None:
        try:
            return True if await ground.is_whole() else None
        except TROUBLE:
            return None

    if await eventually(look, WHOLE_S) is None:
        raise DriverError(f"the cluster is not whole after {WHOLE_S:g} s")
