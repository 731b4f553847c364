"""The dispatcher: parses, calls one command, turns its errors into one line and an exit code.

Exit codes: 0 done; 1 the command failed, with one line on stderr; 2 it was called wrongly. Modules of commands
import what they need when they run, so that `kv get` does not load a whole node.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from raftcache import __version__
from raftcache.cli import fault, hotkeys, kv, namespace, node, receipt, replay, shard, snapshot, status, up, wal
from raftcache.cli.output import Failed
from raftcache.compiled import is_compiled
from raftcache.errors import RaftcacheError
from raftcache.wal.errors import Damaged

GROUPS = (up, node, status, kv, receipt, hotkeys, namespace, shard, snapshot, wal, replay, fault)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line. Each parsed result carries `run(args) -> int`."""
    parser = argparse.ArgumentParser(
        prog="raftcache",
        description="A distributed in-memory cache whose durability is chosen namespace by namespace.",
        epilog="Every command has its own --help with examples.",
    )
    kind = " (compiled)" if is_compiled() else ""
    parser.add_argument("--version", action="version", version=f"raftcache {__version__}{kind}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in GROUPS:
        group.add_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code. Wrong usage raises SystemExit(2)."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except Failed as failure:
        return _complain(str(failure))
    except RaftcacheError as error:
        return _complain(error.message)
    except Damaged as damage:
        return _complain(str(damage))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough of it; the interpreter's own flush at exit must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(str(error))


def _complain(message: str) -> int:
    print(f"raftcache: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
