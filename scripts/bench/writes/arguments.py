"""The command line that the scripts share, and how they end."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from jepsen_like.cluster import DriverError
from writes.rounds import Options


def parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """The options of every comparison."""
    made = argparse.ArgumentParser(prog=f"scripts/bench/{program}", description=description)
    made.add_argument("--rounds", type=positive, default=5, help="how often each system has its turn (default 5)")
    made.add_argument("--seconds", type=float, default=5.0, help="how long each is measured (default 5)")
    made.add_argument("--clients", type=positive, default=50, help="each has one write in flight (default 50)")
    made.add_argument("--value-bytes", type=positive, default=256, help="the size of a value (default 256)")
    made.add_argument(
        "--dir", type=Path, default=Path(), help="where the systems keep their files; pick the disk (default: here)"
    )
    made.add_argument("-o", "--output", choices=("table", "json"), default="table")
    return made


def options_of(args: argparse.Namespace) -> Options:
    """What each round does. The warm-up lasts for leaderships to settle after the start."""
    return Options(args.clients, args.seconds, 2.0, args.value_bytes)


def positive(text: str) -> int:
    """A number from the command line that is at least 1. Raises ArgumentTypeError."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def run(work: Callable[[], int]) -> int:
    """Do `work`; Ctrl-C or SIGTERM end it, and with it every process that it started."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return work()
    except KeyboardInterrupt:
        return 130
    except DriverError as error:
        print(f"the benchmark cannot go on: {error}", file=sys.stderr)
        return 2


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
