"""`raftcache node` and `raftcache frontend`: one process of a cluster."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from raftcache.cli.output import add_command


def add_commands(commands: Any) -> None:
    """Add both to the parser."""
    node = add_command(commands, "node", "run one node", "  raftcache node --config configs/node.toml")
    _add_config(node, "configs/node.toml")
    node.add_argument("--supervised-by", type=_supervisor, metavar="PID:FD", help=argparse.SUPPRESS)
    node.add_argument("--first-incarnation", default="", metavar="NAME", help=argparse.SUPPRESS)
    node.set_defaults(run=run_node)
    frontend = add_command(
        commands,
        "frontend",
        "run a front end that holds no data",
        "  raftcache frontend --config configs/frontend.toml",
    )
    _add_config(frontend, "configs/frontend.toml")
    frontend.set_defaults(run=run_frontend)


def _add_config(parser: argparse.ArgumentParser, example: str) -> None:
    help_text = f"the configuration; {example} explains every field"
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=help_text)


def _supervisor(text: str) -> tuple[int, int]:
    pid, _, descriptor = text.partition(":")
    return int(pid), int(descriptor)


def run_node(args: argparse.Namespace) -> int:
    """Run a node until SIGTERM or SIGINT."""
    if args.supervised_by is not None:
        from raftcache.supervisor.lifeline import die_with_parent

        die_with_parent(*args.supervised_by)
    from raftcache.config import NodeConfig, load_config
    from raftcache.node import main

    _log_to_stderr()
    main.run_node(load_config(NodeConfig, args.config), args.first_incarnation)
    return 0


def run_frontend(args: argparse.Namespace) -> int:
    """Run a front end until SIGTERM or SIGINT."""
    from raftcache.config import FrontendConfig, load_config
    from raftcache.node import main

    _log_to_stderr()
    main.run_frontend(load_config(FrontendConfig, args.config))
    return 0


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
