"""Judge recorded histories: `python -m jepsen_like check FILE...`.

A file is one of ours, in JSON lines, or a log of Jepsen's etcd test; its content tells which. Each has a line of its
own, with tabs between: the file, `linearizable`, `not linearizable` or `unknown`, and the seconds it took. Why a file
is unknown, the error stream says: that it cannot be read, by file and line, or the key on which there is no answer.
"""

from __future__ import annotations

import argparse
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from jepsen_like.checkers.linearizability import STUCK, TIMEOUT_S, Linearizability, operation_text
from jepsen_like.checking import Judgement, Verdict
from jepsen_like.etcd_log import decode_etcd_log, is_etcd_log
from jepsen_like.history import History, decode_history, is_history

WORDS = {Judgement.PASS: "linearizable", Judgement.FAIL: "not linearizable", Judgement.UNKNOWN: "unknown"}
EXIT_CODES = {Judgement.PASS: 0, Judgement.FAIL: 1, Judgement.UNKNOWN: 2}


SUMMARY = "judge recorded histories: ours, or logs of Jepsen's etcd test"
EPILOG = """\
Prints a line for each file, with tabs between: FILE, `linearizable`, `not linearizable` or `unknown`, seconds.

example:
  python -m jepsen_like check jepsen-runs/*/history.jsonl"""


def run_check(argv: Sequence[str]) -> int:
    """The command by itself. 0 if all files are linearizable, 1 if one is not, 2 if one is unknown or the usage is
    wrong."""
    parser = argparse.ArgumentParser(prog="python -m jepsen_like check", description="Judge recorded histories.")
    configure(parser)
    try:
        args = parser.parse_args(argv)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    return execute(args)


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="ours, or a log of Jepsen's etcd test")
    parser.add_argument("--timeout", type=_seconds, default=TIMEOUT_S, metavar="SECONDS", help="a file (%(default)g)")
    parser.add_argument("--explain", action="store_true", help="show the longest partial linearization")


def execute(args: argparse.Namespace) -> int:
    """Judge each file; returns the exit code of the worst."""
    judgements = [_check_file(path, args.timeout, args.explain) for path in args.files]
    return EXIT_CODES[max(judgements, key=list(Judgement).index)]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"not a time in seconds: {text}")
    return seconds


def load(data: bytes) -> History:
    """A well-formed history of either form. Raises ValueError that names the line."""
    if is_history(data):
        history = decode_history(data)
        _must_be_well_formed(history, data)
        return history
    if is_etcd_log(data):
        return decode_etcd_log(data)
    raise ValueError("line 1: neither a history in JSON lines nor a log of Jepsen's etcd test")


def _must_be_well_formed(history: History, data: bytes) -> None:
    try:
        history.operations()
    except ValueError as error:
        numbers = range(len(history.events) + 1)
        first = bisect_left(numbers, True, key=lambda count: _is_malformed(history, count))
        lines = [number for number, line in enumerate(data.splitlines()[1:], 2) if line]
        raise ValueError(f"line {lines[first - 1]}: {error}") from error


def _is_malformed(history: History, count: int) -> bool:
    """Whether the first so many events are."""
    try:
        History(history.header, history.events[:count]).operations()
    except ValueError:
        return True
    return False


def _check_file(path: Path, timeout_s: float, explain: bool) -> Judgement:
    began_s = time.monotonic()
    judgement, lines = Judgement.UNKNOWN, []
    try:
        history = load(path.read_bytes())
        found = Linearizability(time.monotonic, timeout_s).check(history)
        judgement, lines = found.judgement, list(explanation(history, found))
        if judgement is Judgement.UNKNOWN:
            print(f"{path}: {found.summary}", file=sys.stderr)
    except (OSError, ValueError) as error:
        print(_located(path, error), file=sys.stderr)
    print(path, WORDS[judgement], f"{time.monotonic() - began_s:.3f}", sep="\t", flush=True)
    for line in lines if explain else ():
        print(f"    {line}")
    return judgement


def _located(path: Path, error: OSError | ValueError) -> str:
    """The error after the file, and the line where it names one."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{path}:{text.removeprefix('line ')}" if text.startswith("line ") else f"{path}: {text}"


def explanation(history: History, found: Verdict) -> Iterator[str]:
    """Lines for people: of each key that is not linearizable the longest partial linearization, and what cannot follow
    it; else the summary alone."""
    yield found.summary
    operations = history.operations() if found.complaints else []
    for (key, longest), complaint in zip(found.figures.get("longest", {}).items(), found.complaints, strict=False):
        yield f"{key or 'the register'}: the longest partial linearization has {len(longest)} operations:"
        yield from (f"    {operation_text(operations[number])}" for number in longest)
        yield STUCK
        yield from (f"    {operation_text(operations[number])}" for number in complaint.operations)


if __name__ == "__main__":
    sys.exit(run_check(sys.argv[1:]))
