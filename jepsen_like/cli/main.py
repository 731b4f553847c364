"""The dispatcher of `python -m jepsen_like`: parses, runs a command, turns its errors into a line and an exit code."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jepsen_like import check
from jepsen_like.cli import listing, replay, run, simulate, suite, table
from jepsen_like.cli.exits import EPILOG, INTERRUPTED, UNKNOWN
from jepsen_like.cluster import DriverError
from jepsen_like.ports import NoPorts


class Command(NamedTuple):
    """One word of the command line."""

    name: str
    summary: str
    epilog: str
    configure: Callable[[argparse.ArgumentParser], None]
    execute: Callable[[argparse.Namespace], int]


COMMANDS = (
    *(Command(each.NAME, each.SUMMARY, each.EPILOG, each.configure, each.execute) for each in (run, simulate, replay)),
    Command("check", check.SUMMARY, check.EPILOG, check.configure, check.execute),
    *(Command(each.NAME, each.SUMMARY, each.EPILOG, each.configure, each.execute) for each in (suite, table, listing)),
)


def parser() -> argparse.ArgumentParser:
    """Of the whole command line. Each parsed result carries `execute(args) -> int`."""
    made = argparse.ArgumentParser(
        prog="python -m jepsen_like",
        description="Break a raftcache cluster on purpose, and tell whether it kept its promises.",
        epilog=EPILOG,
    )
    words = made.add_subparsers(metavar="COMMAND", required=True)
    for each in COMMANDS:
        sub = words.add_parser(
            each.name,
            help=each.summary,
            description=f"{each.summary[0].upper()}{each.summary[1:]}.",
            epilog=f"{each.epilog}\n\n{EPILOG}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        each.configure(sub)
        sub.set_defaults(execute=each.execute, complain=sub.error)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    try:
        args = parser().parse_args(argv)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else UNKNOWN
    try:
        code: int = args.execute(args)
        return code
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("jepsen_like: interrupted; what it had started is stopped", file=sys.stderr)
        return INTERRUPTED
    except (DriverError, NoPorts, OSError, ValueError) as error:
        print(f"jepsen_like: {error}", file=sys.stderr)
        return UNKNOWN
