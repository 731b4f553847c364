"""What the commands share: their failure, their common options, JSON on standard output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

DEFAULT_URL = "http://127.0.0.1:7100"
DEFAULT_DATA_DIR = Path("raftcache-data")


class Failed(Exception):
    """The command did not work; the text is the whole message."""


def print_json(document: Any) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")


def add_command(
    commands: Any, name: str, summary: str, examples: str = "", **options: Any
) -> argparse.ArgumentParser:
    """A sub-command with its summary in both places where help shows it, and its examples below."""
    epilog = f"examples:\n{examples}" if examples else None
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """`-o text|json`."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")


def add_url(parser: argparse.ArgumentParser) -> None:
    """`--url`."""
    parser.add_argument("--url", default=DEFAULT_URL, help=f"a node or front end (default: {DEFAULT_URL})")


def add_api_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, examples: str
) -> argparse.ArgumentParser:
    """A sub-command that asks a node or front end, and shows the answer as text or JSON."""
    parser = add_command(commands, name, summary, examples)
    add_url(parser)
    add_output(parser)
    parser.set_defaults(run=run)
    return parser


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """`--data-dir`, which names a cluster on this machine."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=DEFAULT_DATA_DIR,
        metavar="DIR",
        help=f"the cluster that `raftcache up` runs with this folder (default: ./{DEFAULT_DATA_DIR})",
    )
