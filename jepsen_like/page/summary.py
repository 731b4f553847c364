"""A run for programs, as one JSON document, and for a terminal: a bar while it lasts, and a summary of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jepsen_like.checking import Judgement, Verdict, worst
from jepsen_like.history import Fault, History
from jepsen_like.page.figures import ErrorKind, Tally, error_kinds, tallies, tally
from jepsen_like.page.wording import counted, milliseconds, seconds, title, why
from jepsen_like.repeating import replay_command
from raftcache.supervisor.progress import StepBar
from raftcache.supervisor.report import make_console, new_table

ERRORS_SHOWN = 10
"""Rows on a terminal; the document and the page have more."""

STYLES = {Judgement.PASS: "bold green", Judgement.UNKNOWN: "bold yellow", Judgement.FAIL: "bold red"}


class RunBar(StepBar):
    """One step for each second of a run."""

    def second_passed(self, counts: Tally, broken: Iterable[str]) -> None:
        """What came of the operations so far, and the names of the faults at work now."""
        text = f"{counts.ok:,} ok, {counts.fail:,} failed, {counts.unknown:,} unknown"
        self.advance(escape(_printable(f"{text}; {', '.join(broken) or 'nothing'} broken")))


def document(history: History, verdicts: Sequence[Verdict], replay: str = "") -> dict[str, Any]:
    """Verdicts, figures and header of a run, ready for JSON; times in ms from its start. Raises ValueError: the history
    is not well-formed. `replay` is the command that repeats it, where that is not the usual one."""
    operations, faults = history.operations(), history.faults()
    whole = tally(operations)
    judgement, duration_s = worst(verdicts), history.duration_ms / 1000
    found = {
        "judgement": judgement,
        "passed": judgement is Judgement.PASS,
        "why": why(verdicts),
        "replay": replay or replay_command(history.header),
        "header": {name: getattr(history.header, name) for name in history.header.__struct_fields__},
        "duration_ms": round(history.duration_ms, 3),
        "operations": _counts(whole),
        "ok_per_second": round(whole.ok / duration_s, 1) if duration_s else 0.0,
        "by_name": {name: _counts(each) for name, each in tallies(operations).items()},
        "errors": error_kinds(operations, faults),
        "faults": _faults(faults, history.duration_ms),
        "verdicts": [{name: getattr(each, name) for name in each.__struct_fields__} for each in verdicts],
    }
    built: dict[str, Any] = msgspec.to_builtins(found)
    return built


def _counts(counts: Tally) -> dict[str, Any]:
    return {"all": counts.all, **msgspec.structs.asdict(counts)}


def _faults(faults: Iterable[Fault], duration_ms: float) -> dict[str, dict[str, float]]:
    """Of each name, how often it struck and how long it lasted together; one that never ended lasted to the end."""
    found: dict[str, dict[str, float]] = {}
    for each in faults:
        entry = found.setdefault(each.name, {"count": 0, "total_ms": 0.0})
        entry["count"] += 1
        entry["total_ms"] = round(entry["total_ms"] + min(each.ended_ms, duration_ms) - each.began_ms, 3)
    return found


def encode_document(history: History, verdicts: Sequence[Verdict], replay: str = "") -> bytes:
    """The document as one line of JSON."""
    return msgspec.json.encode(document(history, verdicts, replay)) + b"\n"


def show(history: History, verdicts: Sequence[Verdict], replay: str = "", console: Console | None = None) -> None:
    """The summary, on standard output unless there is another console."""
    out = console or make_console()
    operations, faults = history.operations(), history.faults()
    judgement = worst(verdicts)
    said = f"{title(history.header)}: {why(verdicts)}"
    _line(out, (judgement.value.upper(), STYLES[judgement]), ("  " + said, ""))
    for each in verdicts:
        _show_verdict(out, each, max(len(other.checker) for other in verdicts))
    out.print(_operations_table(out, {**tallies(operations), "all": tally(operations)}))
    kinds = error_kinds(operations, faults)
    if kinds:
        out.print(_errors_table(out, kinds))
    if len(kinds) > ERRORS_SHOWN:
        _line(out, (f"and {len(kinds) - ERRORS_SHOWN} kinds of errors more", ""))
    _line(out, (f"{counted(len(faults), 'fault')} in {seconds(history.duration_ms)}", ""))
    _line(out, ("replay: ", "bold"), (replay or replay_command(history.header), ""))


def _show_verdict(out: Console, each: Verdict, width: int) -> None:
    said = f"{each.checker:<{width}}  {each.summary}"
    _line(out, (f"  {each.judgement.value:<8}", STYLES[each.judgement]), (said, ""))
    for complaint in each.complaints:
        numbers = " ".join(f"#{number}" for number in complaint.operations[:5])
        _line(out, (f"            {complaint.text}  {numbers}".rstrip(), ""))
    missing = each.complaints_in_all - len(each.complaints)
    if missing > 0:
        _line(out, (f"            and {counted(missing, 'complaint')} more", ""))


def _line(out: Console, *parts: tuple[str, str]) -> None:
    """One line, never cut. A history's text can neither be a style nor steer the terminal."""
    out.print(Text.assemble(*((_printable(text), style) for text, style in parts)), soft_wrap=True)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _operations_table(out: Console, counts: dict[str, Tally]) -> Table:
    table = new_table(out, "operation", "ok", "failed", "unknown", "p50", "p99", "slowest")
    for name, each in counts.items():
        numbers = (f"{number:,}" for number in (each.ok, each.fail, each.unknown))
        times = map(milliseconds, (each.p50_ms, each.p99_ms, each.max_ms))
        table.add_row(Text(_printable(name)), *numbers, *times)
    return table


def _errors_table(out: Console, kinds: Sequence[ErrorKind]) -> Table:
    table = new_table(out, "error", "failed", "unknown", "during faults", "first", "last")
    for each in kinds[:ERRORS_SHOWN]:
        numbers = (f"{number:,}" for number in (each.fail, each.unknown, each.during_faults))
        table.add_row(Text(_printable(each.error)), *numbers, seconds(each.first_ms), seconds(each.last_ms))
    return table
