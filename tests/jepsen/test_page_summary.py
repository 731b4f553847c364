"""The document of a run, and its summary for a terminal."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import NEMESIS, Header, History
from jepsen_like.page.figures import tally
from jepsen_like.page.summary import ERRORS_SHOWN, RunBar, document, encode_document, show
from jepsen_like.page.wording import described, facts, milliseconds
from jepsen_like.repeating import replay_command

from .made_up import Maker, event, passing, stale_read, unknown

HISTORY = Maker(seconds=20).make()
VERDICTS = [*passing(HISTORY)[1:], stale_read(HISTORY)]


def test_the_document_has_verdicts_figures_and_header() -> None:
    found = document(HISTORY, VERDICTS)
    counts = tally(HISTORY.operations())
    assert (found["judgement"], found["passed"]) == ("fail", False)
    assert found["why"] == "linearizability: 1 of 8 keys is not linearizable"
    assert found["operations"] == {"all": counts.all, **msgspec.structs.asdict(counts)}
    assert found["ok_per_second"] == pytest.approx(counts.ok / HISTORY.duration_ms * 1000, abs=0.1)
    assert sum(each["all"] for each in found["by_name"].values()) == counts.all
    assert sum(each["fail"] + each["unknown"] for each in found["errors"]) == counts.fail + counts.unknown
    assert found["header"]["seed"] == 7 and found["header"]["plant"] == ""
    assert [each["checker"] for each in found["verdicts"]] == ["availability", "liveness", "linearizability"]
    assert found["verdicts"][-1]["complaints"][0]["operations"] == VERDICTS[-1].complaints[0].operations
    assert found["replay"] == replay_command(HISTORY.header)


def test_a_run_passes_only_where_every_checker_passes() -> None:
    assert document(HISTORY, passing(HISTORY))["passed"]
    assert document(HISTORY, [*passing(HISTORY), unknown()])["judgement"] == "unknown"
    assert not document(HISTORY, [*passing(HISTORY), unknown()])["passed"]
    assert not document(HISTORY, [])["passed"]


def test_faults_are_counted_and_one_that_never_ended_lasted_to_the_end() -> None:
    events = [
        event("invoke", NEMESIS, "kill", 100.0),
        event("info", NEMESIS, "kill", 350.0),
        event("invoke", NEMESIS, "kill", 400.0),
        event("invoke", 0, "read", 900.0),
        event("ok", 0, "read", 1000.0),
    ]
    assert document(History(Header(), events), [])["faults"] == {"kill": {"count": 2, "total_ms": 850.0}}


def test_the_document_is_one_line_of_json() -> None:
    encoded = encode_document(HISTORY, VERDICTS, "again")
    assert encoded.count(b"\n") == 1
    decoded = msgspec.json.decode(encoded)
    assert decoded == document(HISTORY, VERDICTS, "again")
    assert decoded["replay"] == "again"


def test_an_empty_run_has_a_document() -> None:
    found = document(History(Header(), []), [])
    assert (found["judgement"], found["ok_per_second"], found["errors"]) == ("unknown", 0.0, [])


def summary(history: History, verdicts: list[Verdict], replay: str = "", colours: bool = False) -> str:
    written = io.StringIO()
    out = Console(file=written, width=100, highlight=False, force_terminal=colours, no_color=not colours)
    show(history, verdicts, replay, out)
    return written.getvalue()


def test_the_summary_says_verdict_reason_complaints_figures_and_replay() -> None:
    lines = summary(HISTORY, VERDICTS).splitlines()
    assert lines[0].startswith("FAIL  register under kill-leader")
    assert lines[0].endswith("linearizability: 1 of 8 keys is not linearizable")
    one, other = VERDICTS[-1].complaints[0].operations
    assert any(line.endswith(f"was acknowledged  #{one} #{other}") for line in lines)
    assert sum(line.strip().startswith("pass ") for line in lines) == 2
    assert any("condition_failed" in line for line in lines)
    assert lines[-1] == f"replay: {replay_command(HISTORY.header)}"


def test_complaints_that_are_not_shown_are_counted() -> None:
    judged = verdict("set", "lost", [Complaint(f"no {number}") for number in range(21)])
    assert "and 1 complaint more\n" in summary(HISTORY, [judged])


def test_errors_of_many_kinds_are_cut() -> None:
    events = []
    for number in range(ERRORS_SHOWN + 3):
        events += [event("invoke", 0, "read", 1.0), event("fail", 0, "read", 2.0, error=f"e{number:02}")]
    shown = summary(History(Header(), events), [])
    assert f"e{ERRORS_SHOWN - 1:02}" in shown and f"e{ERRORS_SHOWN:02}" not in shown
    assert "and 3 kinds of errors more" in shown


@pytest.mark.parametrize("text", ["[bold red]x[/]", "\x1b[2J\x1b]0;x\x07", "a\nb", "[/nothing]"])
def test_a_text_neither_styles_nor_steers_the_terminal(text: str) -> None:
    events = [event("invoke", 0, text, 1.0), event("fail", 0, text, 2.0, error=text)]
    judged = verdict(text, text, [Complaint(text, [0])])
    shown = summary(History(Header(workload=text, nemeses=[text]), events), [judged], text)
    assert "\x1b" not in shown and "\x07" not in shown and "a\nb" not in shown
    assert shown.count("".join(each if each.isprintable() else "�" for each in text)) >= 6


def test_on_a_terminal_a_verdict_has_a_colour() -> None:
    assert "\x1b[" in summary(HISTORY, VERDICTS, colours=True)


def test_the_bar_takes_names_of_faults_as_they_are() -> None:
    bar, written = RunBar(60), io.StringIO()
    bar.second_passed(tally(HISTORY.operations()), [])
    bar.second_passed(tally([]), ["kill", "[bold]"])
    Console(file=written, width=200).print(bar._progress)
    assert "3%  0 ok, 0 failed, 0 unknown; kill, [bold] broken" in written.getvalue()


def test_an_operation_is_one_line() -> None:
    events = [
        event("invoke", 0, "cas", 1.0, key="a:k", value=[1, 2]),
        event("fail", 0, "cas", 2.0, error="condition_failed"),
        event("invoke", 0, "read", 3.0, key="a:k"),
        event("ok", 0, "read", 4.0, value=3),
        event("invoke", 0, "write", 5.0, key="a:k", value="x"),
        event("ok", 0, "write", 6.0),
        event("invoke", 0, "delete", 7.0, key="a:k"),
    ]
    assert [described(each) for each in History(Header(), events).operations()] == [
        "cas a:k [1,2] failed: condition_failed",
        "read a:k → 3",
        'write a:k "x"',
        "delete a:k outcome unknown: (never answered)",
    ]


@pytest.mark.parametrize(
    ("time_ms", "text"), [(None, "–"), (0.0312, "0.0312 ms"), (12.345, "12.3 ms"), (1234.5, "1,234 ms")]
)
def test_times_have_three_digits(time_ms: float | None, text: str) -> None:
    assert milliseconds(time_ms) == text


def test_the_plan_of_a_run_is_not_shown_beside_what_it_says() -> None:
    shown = dict(facts(Header(seed=4, options={"rate": 5, "plan": {"rate": 5}})))
    assert "rate" in shown["options"] and "plan" not in shown["options"]
