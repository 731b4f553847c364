"""Arguments that commands share, each with its limits. One that is not given is None: the seed or a default decides."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from jepsen_like.nemeses.majority import MAJORITY_HEALED
from jepsen_like.nemeses.table import parse_nemeses
from jepsen_like.repeating import NONE, OPTION_FLAGS, WINDOW_FIELDS
from jepsen_like.simulated.faults import parse_faults
from jepsen_like.workloads.registry import WORKLOADS
from jepsen_like.workloads.shapes import shapes
from raftcache.testing.plants import ALL_PLANTS

ACKS = ("primary", "quorum", "durable")
FSYNCS = ("interval", "always", "never")
SEED_LIMIT = 2**32
NODES_LIMIT, SHARDS_LIMIT, PROCESSES_LIMIT = 9, 64, 200
SECONDS_LIMIT = 24 * 3600.0
RATE_LIMIT = 1000.0

Parser = argparse.ArgumentParser
N = TypeVar("N", int, float)


def whole(least: int, limit: int) -> Callable[[str], int]:
    """An integer within these."""
    return _within(int, "a whole number", least, limit)


def number(least: float, limit: float) -> Callable[[str], float]:
    """A number within these."""
    return _within(float, "a number", least, limit)


def _within(kind: Callable[[str], N], called: str, least: N, limit: N) -> Callable[[str], N]:
    def parse(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"not {called}: {text}") from None
        if not least <= value <= limit:
            raise argparse.ArgumentTypeError(f"must be from {_shown(least)} to {_shown(limit)}, got {text}")
        return value

    return parse


def _shown(bound: float) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def workload(text: str) -> str:
    """The name of one."""
    if text not in WORKLOADS:
        raise argparse.ArgumentTypeError(f"no workload {text!r}; there are {', '.join(WORKLOADS)}")
    return text


def plant(text: str) -> str:
    """The name of a planted bug."""
    if text not in ALL_PLANTS:
        raise argparse.ArgumentTypeError(f"no plant {text!r}; there are {', '.join(sorted(ALL_PLANTS))}")
    return text


def shape(text: str) -> str:
    """A row of the table of production clusters."""
    if text not in shapes():
        raise argparse.ArgumentTypeError(f"no shape {text!r}; there are {', '.join(shapes())}")
    return text


def window(text: str) -> dict[str, int | None]:
    """`MS,WRITES,BYTES`, each a number or `none`."""
    words = text.split(",")
    if len(words) != len(WINDOW_FIELDS):
        raise argparse.ArgumentTypeError(f"not MS,WRITES,BYTES: {text}")
    bound = whole(1, 2**40)
    return {name: None if word == NONE else bound(word) for name, word in zip(WINDOW_FIELDS, words, strict=True)}


def real_nemeses(text: str) -> tuple[str, ...]:
    """Names of nemeses on real processes."""
    return _names(text, parse_nemeses)


def simulated_nemeses(text: str) -> tuple[str, ...]:
    """Names of simulated faults; `majority-healed` may be among them."""
    return _names(text, lambda rest: parse_faults(",".join(w for w in rest.split(",") if w != MAJORITY_HEALED)))


def _names(text: str, parse: Callable[[str], object]) -> tuple[str, ...]:
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    if names == (NONE,):
        return ()
    try:
        parse(",".join(names))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


def add_workload(parser: Parser, **more: Any) -> None:
    """`--workload`."""
    parser.add_argument("--workload", type=workload, metavar="NAME", help="see `list` (default: register)", **more)


def add_options(parser: Parser, otherwise: str) -> None:
    """Those of a run; `otherwise` says what holds where one is not given."""
    group = parser.add_argument_group("the load", f"What is not given {otherwise}.")
    group.add_argument("--ack", choices=ACKS, help="the level that writes are acknowledged at")
    group.add_argument("--seconds", type=number(1, SECONDS_LIMIT), metavar="S", help="how long things are broken")
    group.add_argument("--processes", type=whole(1, PROCESSES_LIMIT), metavar="N", help="clients")
    group.add_argument("--rate", type=number(0.1, RATE_LIMIT), metavar="R", help="operations a second of each client")
    group.add_argument("--keys", type=whole(0, 100_000), metavar="N", help="0 is the workload's own choice")
    group.add_argument("--window", type=window, metavar="MS,WRITES,BYTES", help="loss window of `primary` namespaces")
    group.add_argument("--shape", type=shape, metavar="NAME", help="production cluster that `mix` is shaped like")
    group.add_argument("--sticky", action=argparse.BooleanOptionalAction, help="a client keeps to one node")
    group.add_argument("--timeout", type=number(0.1, 60), metavar="S", help="after which an outcome is unknown")
    group.add_argument(
        "--liveness-bound", type=number(1, 600), metavar="S", help="how long a healed majority may take to serve"
    )


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those that were given, by field."""
    return given(args, OPTION_FLAGS)


def given(args: argparse.Namespace, flags: dict[str, str]) -> dict[str, Any]:
    """The same for any table of flags by field."""
    values = {field: getattr(args, flag[2:].replace("-", "_")) for field, flag in flags.items()}
    return {field: value for field, value in values.items() if value is not None}


def add_output(parser: Parser) -> None:
    """`-o`."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
