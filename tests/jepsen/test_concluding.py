"""What is said of a run as a whole."""

from __future__ import annotations

from typing import Any

from jepsen_like.checking import Judgement, Verdict
from jepsen_like.concluding import conclude
from jepsen_like.history import NEMESIS, Event, Header, History


def fault(name: str, at_ms: float, told: dict[str, Any], **asked: Any) -> list[Event]:
    began = Event(kind="invoke", process=NEMESIS, name=name, time_ms=at_ms, details=asked)
    return [began, Event(kind="info", process=NEMESIS, name=name, time_ms=at_ms + 10, details=told)]


def concluded(*faults: list[Event], trouble: tuple[str, ...] = (), nemeses: tuple[str, ...] = ("kill",)) -> Verdict:
    events = [event for each in faults for event in each]
    return conclude(History(Header(nemeses=list(nemeses)), events), trouble)


KILLED = fault("kill", 1000, {"nodes": ["n1"], "back": True}, target="any", node="n1")
SKIPPED = fault("kill", 2000, {"skipped": "n1 did not run"}, target="any", node="n1")
AWAY = fault("kill", 3000, {"nodes": ["n1"], "back": False}, target="any", node="n1")
OWN_MARK = fault("majority-healed", 4000, {})


def test_faults_that_struck_are_counted() -> None:
    found = concluded(KILLED, SKIPPED)
    assert (found.checker, found.judgement) == ("run", Judgement.PASS)
    assert found.figures == {"struck": 1, "skipped": 1}


def test_a_run_that_nothing_struck_shows_nothing() -> None:
    found = concluded(SKIPPED, OWN_MARK)
    assert (found.judgement, found.summary) == (Judgement.UNKNOWN, "no fault of kill struck")
    assert concluded(nemeses=()).judgement is Judgement.PASS
    assert conclude(History(Header(nemeses=["kill"]), []), (), must_strike=False).judgement is Judgement.PASS


def test_the_majority_healed_by_plan_is_a_fault() -> None:
    healed = fault("majority-healed", 4000, {}, majority=["n0", "n1"], rest=["n2"], left="deaf")
    assert concluded(healed, nemeses=("majority-healed",)).figures["struck"] == 1


def test_trouble_is_a_failure() -> None:
    found = concluded(KILLED, trouble=("read x never succeeded", "a traceback in n0/log: KeyError"))
    assert (found.judgement, found.summary, found.complaints_in_all) == (Judgement.FAIL, "read x never succeeded", 2)


def test_a_node_that_does_not_come_back_is_a_failure() -> None:
    found = concluded(AWAY)
    assert found.judgement is Judgement.FAIL and found.summary == "kill at 3.0 s: n1 did not come back"
    broken = fault("pause", 1000, {"notHealed": "OSError: gone"}, target="any", node="n1")
    assert concluded(broken).summary == "pause at 1.0 s was not healed: OSError: gone"


def test_a_rolling_restart_that_other_faults_stopped_is_none() -> None:
    told = {"nodes": ["n0", "n1"], "back": False, "restarted": [], "why": "not whole before n0"}
    assert concluded(fault("rolling-restart", 1000, told, target="any", node="n0")).judgement is Judgement.PASS
    told["why"] = "n0 was asked to end and is not back"
    assert concluded(fault("rolling-restart", 1000, told, target="any", node="n0")).judgement is Judgement.FAIL
