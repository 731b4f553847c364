"""`list`: what there is to choose from, with a line on each."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator

import msgspec

from jepsen_like.checkers.registry import CHECKERS
from jepsen_like.cli.arguments import Parser, add_output
from jepsen_like.nemeses.majority import MAJORITY_HEALED
from jepsen_like.nemeses.table import NEMESES
from jepsen_like.simulated.faults import ALL_TARGETS, FAULTS
from jepsen_like.workloads.registry import WORKLOADS
from raftcache.supervisor.report import make_console
from raftcache.testing.plants import ALL_PLANTS

NAME, SUMMARY = "list", "the workloads, nemeses, checkers and plants there are"
EPILOG = f"A nemesis may be aimed, as in kill:leader; targets are {', '.join(ALL_TARGETS)}."
ONLY_REAL, ONLY_SIMULATED = " (real processes only)", " (simulation only)"

Listing = dict[str, dict[str, str]]


def configure(parser: Parser) -> None:
    """Its arguments."""
    add_output(parser)


def listing() -> Listing:
    """By kind and name."""
    return {
        "workloads": {name: kind.summary for name, kind in WORKLOADS.items()},
        "nemeses": dict(_nemeses()),
        "checkers": {name: _first(inspect.getmodule(type(make()))) for name, make in CHECKERS.items()},
        "plants": {name: _first(make) for name, make in ALL_PLANTS.items()},
    }


def _nemeses() -> Iterator[tuple[str, str]]:
    for name, entry in NEMESES.items():
        both = name in FAULTS or name == MAJORITY_HEALED
        yield name, entry.summary + ("" if both else ONLY_REAL)
    for name, fault in FAULTS.items():
        if name not in NEMESES:
            yield name, fault.summary + ONLY_SIMULATED


def _first(documented: object) -> str:
    """The first sentence of what it says of itself."""
    text = inspect.getdoc(documented) or ""
    return " ".join(text.partition("\n\n")[0].split()).removesuffix(" Pure.").rstrip(".")


def execute(args: argparse.Namespace) -> int:
    """The command."""
    found = listing()
    if args.output == "json":
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return 0
    out = make_console()
    for kind, entries in found.items():
        out.print(kind, style="bold")
        width = max(map(len, entries))
        for name, text in entries.items():
            out.print(f"  {name:<{width}}  {text}", markup=False, soft_wrap=True)
    out.print(EPILOG, markup=False, soft_wrap=True)
    return 0
