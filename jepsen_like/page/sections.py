"""The parts of the page that are text: they can be read, searched and printed without a script. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jepsen_like.checking import Complaint, Judgement, Verdict, worst
from jepsen_like.history import Fault, Header, Operation
from jepsen_like.page.columns import clipped, named, shown
from jepsen_like.page.figures import ErrorKind, Tally, given_up_ms
from jepsen_like.page.markup import Html, element, together
from jepsen_like.page.wording import counted, described, facts, milliseconds, seconds, title, why

OPERATIONS_LISTED = 8
"""Of a complaint; the others are marked in the timeline."""

OPERATIONS_MARKED = 500
"""Of a complaint, when it is clicked."""

ROWS = 200
"""Of the tables of errors and faults."""

WORDS = {Judgement.PASS: "Pass", Judgement.FAIL: "Fail", Judgement.UNKNOWN: "Unknown"}
SHAPES = {
    Judgement.PASS: "M6 12.5l4 4 8-9",
    Judgement.FAIL: "M7.5 7.5l9 9m0-9l-9 9",
    Judgement.UNKNOWN: "M9 9.3a3 3 0 1 1 4.3 2.7c-.9.5-1.3 1-1.3 2m0 2.9v.2",
}
"""A tick, a cross, a question mark: verdicts differ by more than colour."""


def icon(judgement: Judgement) -> Html:
    """A verdict's mark; the word stands beside it, so it is hidden from screen readers."""
    disc = element("circle", cx=12, cy=12, r=11)
    return element("svg", disc, element("path", d=SHAPES[judgement]), viewBox="0 0 24 24", aria_hidden="true")


def banner(header: Header, verdicts: Sequence[Verdict]) -> Html:
    """The verdict, why, and of what."""
    judgement = worst(verdicts)
    words = element(
        "div",
        element("h1", WORDS[judgement]),
        element("p", why(verdicts), class_="why"),
        element("p", title(header), class_="title"),
    )
    return element("header", icon(judgement), words, class_=f"verdict {judgement.value}")


def tiles(whole: Tally, processes: int, faults: int, duration_ms: float) -> Html:
    """The figures of the whole run."""
    rate = whole.ok / duration_ms * 1000 if duration_ms else 0.0
    listed = (
        ("operations", f"{whole.all:,}", f"of {processes:,} process{'' if processes == 1 else 'es'}"),
        ("ok", f"{whole.ok:,}", f"{rate:,.0f} a second"),
        ("failed", f"{whole.fail:,}", _share(whole.fail, whole.all)),
        ("unknown", f"{whole.unknown:,}", _share(whole.unknown, whole.all)),
        ("latency, median", milliseconds(whole.p50_ms), f"p99 {milliseconds(whole.p99_ms)}"),
        ("slowest", milliseconds(whole.max_ms), "that succeeded"),
        ("faults", f"{faults:,}", f"in {duration_ms / 1000:,.1f} s"),
    )
    return element("ul", *(_tile(*each) for each in listed), class_="tiles")


def _tile(name: str, figure: str, note: str) -> Html:
    return element("li", element("span", name), element("b", figure), element("small", note))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "–"


def run(header: Header, replay: str) -> Html:
    """How the run was made, and the command that repeats it."""
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in facts(header))
    command = element(
        "div",
        element("code", replay, id="replay"),
        element("button", "Copy", type="button", id="copy", aria_label="Copy the command"),
        class_="replay",
    )
    return together(element("dl", *pairs, class_="facts"), element("h3", "Replay"), command)


def checkers(verdicts: Sequence[Verdict], operations: Sequence[Operation]) -> Html:
    """What every checker says, the worst first."""
    order = list(Judgement)
    ranked = sorted(verdicts, key=lambda each: -order.index(each.judgement))
    return together(*(_checker(each, operations) for each in ranked))


def _checker(each: Verdict, operations: Sequence[Operation]) -> Html:
    heading = element(
        "h3",
        icon(each.judgement),
        element("span", each.checker),
        element("em", WORDS[each.judgement].lower()),
    )
    said = [heading, element("p", each.summary)]
    if each.complaints:
        said.append(element("ol", *(_complaint(one, operations) for one in each.complaints)))
    missing = each.complaints_in_all - len(each.complaints)
    if missing > 0:
        said.append(element("p", f"and {counted(missing, 'complaint')} more", class_="quiet"))
    if each.figures:
        said.append(_figures(each.figures))
    return element("article", *said, class_=f"checker {each.judgement.value}")


def _figures(figures: Mapping[str, Any]) -> Html:
    pairs = (element("div", element("dt", name), element("dd", _figure(value))) for name, value in figures.items())
    return element("dl", *pairs, class_="figures")


def _figure(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return clipped(named(value) if isinstance(value, dict) else value if isinstance(value, str) else shown(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _complaint(each: Complaint, operations: Sequence[Operation]) -> Html:
    known = [number for number in each.operations if 0 <= number < len(operations)]
    if not known:
        return element("li", each.text)
    numbers = " ".join(map(str, known[:OPERATIONS_MARKED]))
    link = element("a", each.text, href="#timeline", data_operations=numbers)
    items = [_operation(operations[number]) for number in known[:OPERATIONS_LISTED]]
    if len(known) > len(items):
        items.append(element("li", f"and {counted(len(known) - len(items), 'operation')} more"))
    return element("li", link, element("ul", *items, class_="operations"))


def _operation(each: Operation) -> Html:
    took_ms = given_up_ms(each) - each.began_ms
    times = f"process {each.invoked.process}, at {seconds(each.began_ms)}"
    took = "" if math.isinf(took_ms) else f", {milliseconds(took_ms)}"
    link = element("a", f"#{each.number}", href="#timeline", data_operations=str(each.number))
    return element(
        "li", link, " ", element("code", described(each)), " ", element("span", times + took, class_="quiet")
    )


def names_table(counts: Mapping[str, Tally]) -> Html:
    """How operations of each name ended."""
    rows = (
        (
            name,
            *(f"{number:,}" for number in (each.all, each.ok, each.fail, each.unknown)),
            *map(milliseconds, (each.p50_ms, each.p99_ms, each.max_ms)),
        )
        for name, each in counts.items()
    )
    return _table(("operation", "all", "ok", "failed", "unknown", "p50", "p99", "slowest"), rows)


def errors_table(kinds: Sequence[ErrorKind]) -> Html:
    """Errors by kind."""
    if not kinds:
        return element("p", "No operation failed, and none is open.", class_="quiet")
    rows = (
        (
            clipped(each.error),
            *(f"{number:,}" for number in (each.fail, each.unknown, each.during_faults)),
            seconds(each.first_ms),
            seconds(each.last_ms),
            ", ".join(f"{name} {count:,}" for name, count in each.names.items()),
        )
        for each in kinds[:ROWS]
    )
    head = ("error", "failed", "unknown", "during faults", "first", "last", "operations")
    return together(_table(head, rows, last_is_text=True), _left_out(len(kinds)))


def faults_table(faults: Sequence[Fault]) -> Html:
    """What was broken, and when."""
    if not faults:
        return element("p", "Nothing was broken on purpose.", class_="quiet")
    rows = (
        (
            clipped(each.name),
            seconds(each.began_ms),
            "not on record" if math.isinf(each.ended_ms) else seconds(each.ended_ms),
            clipped(named(each.details)),
        )
        for each in faults[:ROWS]
    )
    return together(_table(("fault", "from", "until", "details"), rows, last_is_text=True), _left_out(len(faults)))


def _left_out(count: int) -> Html:
    return element("p", f"and {count - ROWS:,} more", class_="quiet") if count > ROWS else Html()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], last_is_text: bool = False) -> Html:
    """The first column names the row; the others are figures, but for the last where it is said to be text."""
    kinds = ["figure"] * len(head)
    if last_is_text:
        kinds[-1] = "text"
    first, *others = head
    columns = [element("th", first, scope="col")]
    columns += [element("th", name, scope="col", class_=kind) for name, kind in zip(others, kinds[1:], strict=True)]
    body = (
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    )
    table = element("table", element("thead", element("tr", *columns)), element("tbody", *body))
    return element("div", table, class_="wide", tabindex=0, role="region", aria_label=first)
