"""The contract, checked on real processes: `scripts/contract`.

For each ack level the leader of a shard is killed, and isolated from its peers, while clients write to it. Afterwards
every acknowledged write is looked up three ways, which must tell the same story: the key is read, the shard is asked
for the receipt of the version, and the nodes are asked for their lost-write reports. The outcome is a table in
Markdown; `--write FILE` puts it into that file, between the two marks.

Exit codes: 0 the contract was kept; 1 it was not, or could not be checked; 2 it was called wrongly.
"""

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

from jepsen_like.accounts import Account, Case, complaints, table
from jepsen_like.client import ReadFailed
from jepsen_like.cluster import DriverError, RealCluster
from jepsen_like.contract_round import ACKS, FAULTS, play
from jepsen_like.marks import marks
from jepsen_like.ports import NoPorts
from jepsen_like.waiting import cancel_on_signals
from raftcache.supervisor.progress import COUNT, StepBar

ROUNDS, ROUNDS_LIMIT = 3, 100
NODES, SHARDS = 3, 4
MARKS = marks("contract")
"""Between which the table stands in a file."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Raises SystemExit(2)."""
    parser = argparse.ArgumentParser(
        prog="scripts/contract",
        description="Kill and isolate leaders under load, and check what each ack level promises, write by write.",
        epilog="Exit codes: 0 the contract was kept; 1 it was not, or could not be checked; 2 it was called wrongly.",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"for each row (default: {ROUNDS})")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"put the table behind {MARKS.begin!r} in there")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    args = parser.parse_args(argv)
    if not 1 <= args.rounds <= ROUNDS_LIMIT:
        parser.error(f"--rounds must be from 1 to {ROUNDS_LIMIT}, got {args.rounds}")
    if args.write is not None and not MARKS.stand_in(args.write):
        parser.error(f"--write: {args.write} has no lines {MARKS.begin!r} and {MARKS.end!r}")
    return args


async def check(rounds: int, done: Callable[[str], None]) -> tuple[dict[Case, list[Account]], list[str]]:
    """Every case, so many times, on one cluster: the accounts, and what is wrong with the cluster's processes.

    Raises DriverError, ReadFailed. The cluster's folder is removed.
    """
    cancel_on_signals()
    folder = Path(tempfile.mkdtemp(prefix="raftcache-contract-"))
    cluster = RealCluster(folder, NODES, SHARDS)
    accounts: dict[Case, list[Account]] = {}
    try:
        async with cluster.running():
            for number, case in product(range(rounds), starmap(Case, product(ACKS, FAULTS))):
                account = await play(cluster, case, f"{case.ack}-{case.fault}-{number}")
                accounts.setdefault(case, []).append(account)
                counts = f"{len(account.acknowledged):,} acknowledged, {len(account.lost):,} lost"
                done(f"{case.ack}, {case.fault}: {counts}")
            return accounts, [f"a traceback in {line}" for line in cluster.tracebacks()]
    finally:
        shutil.rmtree(folder)


def show(args: argparse.Namespace, accounts: dict[Case, list[Account]], wrong: list[str]) -> None:
    """The table or JSON on standard output, what is wrong on standard error."""
    rows = table(accounts)
    if args.write is not None:
        MARKS.put(args.write, rows)
    if args.output == "json":
        cases = [
            {"ack": case.ack, "fault": case.fault, "rounds": [each.figures() for each in rounds]}
            for case, rounds in accounts.items()
        ]
        document = {"passed": not wrong, "complaints": wrong, "cases": cases}
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    else:
        print(rows)
    for line in wrong:
        print(f"contract: {line}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Check; returns the exit code."""
    args = parse(argv)
    try:
        with StepBar(args.rounds * len(ACKS) * len(FAULTS), COUNT) as bar:
            accounts, wrong = asyncio.run(check(args.rounds, bar.advance))
    except (DriverError, NoPorts, ReadFailed) as error:
        print(f"contract: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        print("contract: interrupted; its cluster is stopped", file=sys.stderr)
        return 130
    wrong += [line for case, rounds in accounts.items() for line in complaints(case, rounds)]
    show(args, accounts, wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
