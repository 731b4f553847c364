"""The report of a run: one HTML file that needs nothing besides itself.

On top the verdict, below it how to repeat the run, what each checker complains about, and three charts on one axis of
time: operations by process, latency, rate, each with the faults shaded behind. What is text is in the file as text.
What is drawn is packed (see `columns`) and drawn on canvases by the script, which looks at what is in view only.

The file is as harmless as the program that shows it: texts of the history are escaped or packed, and the page's policy
allows no script but the one whose digest it names, no request, and no form.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from jepsen_like.checking import Verdict, worst
from jepsen_like.history import History
from jepsen_like.page import sections
from jepsen_like.page.columns import pack
from jepsen_like.page.figures import error_kinds, tallies, tally
from jepsen_like.page.markup import Html, element, together
from jepsen_like.page.wording import title
from jepsen_like.repeating import replay_command

SCRIPTS = ("data.js", "axis.js", "timeline.js", "series.js", "telling.js", "pointers.js", "main.js")
"""One script in parts, each of which uses those before it."""


def page(history: History, verdicts: Sequence[Verdict], replay: str = "") -> str:
    """The whole file. Raises ValueError: the history is not well-formed. `replay` is the command that repeats the run,
    where that is not the usual one."""
    operations, faults = history.operations(), history.faults()
    counts = tallies(operations)
    header, whole = history.header, tally(operations)
    processes = len({each.invoked.process for each in operations})
    script = _script()
    return Template(_text("page.html")).substitute(
        digest=_digest(script),
        title=together(f"{worst(verdicts).value.upper()}: {title(header)}"),
        style=_text("page.css"),
        banner=sections.banner(header, verdicts),
        tiles=sections.tiles(whole, processes, len(faults), history.duration_ms),
        run=sections.run(header, replay or replay_command(header)),
        checkers=sections.checkers(verdicts, operations) or _nothing("No checker judged this run."),
        names=sections.names_table({**counts, "all": whole}),
        errors=sections.errors_table(error_kinds(operations, faults)),
        faults=sections.faults_table(faults),
        data=pack(history, operations, verdicts),
        script=script,
    )


def write_page(path: Path, history: History, verdicts: Sequence[Verdict], replay: str = "") -> None:
    """The page as a file. Raises OSError, ValueError."""
    path.write_text(page(history, verdicts, replay), encoding="utf-8")


def _nothing(text: str) -> Html:
    return element("p", text, class_="quiet")


def _script() -> str:
    return f'"use strict";\n(() => {{\n{"".join(_text(name) for name in SCRIPTS)}}})();\n'


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _text(name: str) -> str:
    return (files("jepsen_like.page") / name).read_text(encoding="utf-8")
