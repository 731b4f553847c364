"""All checkers over the histories of a miniature cluster: none complains of an honest one, one of each broken one."""

from __future__ import annotations

import pytest

from jepsen_like.checkers.availability import Availability
from jepsen_like.checkers.batch import Batches
from jepsen_like.checkers.counter import Counters
from jepsen_like.checkers.liveness import Liveness
from jepsen_like.checkers.loss_window import LossWindows
from jepsen_like.checkers.observed import HistoryChecker
from jepsen_like.checkers.policies import Policies
from jepsen_like.checkers.receipts import Receipts
from jepsen_like.checkers.sets import Sets
from jepsen_like.checkers.staleness import Staleness
from jepsen_like.checkers.ttl import TimesToLive
from jepsen_like.checking import Judgement, Verdict
from jepsen_like.history import Event, Header, History, decode_history, encode_history
from tests.jepsen.honest import PLANTS, Honest

CHECKERS: tuple[HistoryChecker, ...] = (
    Availability(), Batches(), Counters(), Liveness(), LossWindows(), Policies(), Receipts(), Sets(), Staleness(),
    TimesToLive(),
)  # fmt: skip
SEEDS = range(1, 13)

CAUGHT_BY = {
    "ack-before-quorum": {"batch", "counter", "receipts", "set", "loss-window"},
    "no-undo": {"counter", "receipts"},
    "read-without-proof": {"batch", "counter", "set"},
    "ignore-min-version": {"staleness"},
    "understated-age": {"staleness"},
    "retry-counts-twice": {"counter"},
    "window-too-wide": {"loss-window"},
    "stale-receipts": {"receipts"},
    "silent-report": {"receipts"},
    "lives-too-long": {"ttl"},
    "lives-too-short": {"ttl"},
    "policy-ignored": {"policies"},
    "keys-come-back": {"policies"},
    "batch-swapped": {"batch"},
}


def judged(history: History) -> dict[str, Verdict]:
    return {checker.name: checker.check(history) for checker in CHECKERS}


def failing(history: History) -> set[str]:
    return {name for name, verdict in judged(history).items() if verdict.judgement is Judgement.FAIL}


@pytest.mark.parametrize("seed", SEEDS)
def test_an_honest_cluster_is_never_complained_of(seed: int) -> None:
    verdicts = judged(Honest(seed).run())
    assert {name: verdict.complaints for name, verdict in verdicts.items() if verdict.complaints} == {}
    open_ = {name for name, verdict in verdicts.items() if verdict.judgement is Judgement.UNKNOWN}
    assert open_ <= {"liveness", "set"}


def test_the_honest_runs_show_something() -> None:
    """Else they would say nothing of the checkers."""
    verdicts = [judged(Honest(seed).run()) for seed in SEEDS]
    assert sum(each["loss-window"].figures["lost"] for each in verdicts) > 20
    assert max(each["loss-window"].figures["largest_writes"] for each in verdicts) == 3
    assert sum(each["receipts"].figures["lost"] for each in verdicts) > 20
    assert sum(each["set"].figures["lost"] for each in verdicts) > 5
    assert sum(each["ttl"].figures["missed"] for each in verdicts) > 20
    assert sum(each["staleness"].figures["bound_by_min_version"] for each in verdicts) > 20


@pytest.mark.parametrize("plant", PLANTS)
def test_a_broken_promise_is_caught(plant: str) -> None:
    found: set[str] = set()
    for seed in SEEDS:
        found |= failing(Honest(seed, plant).run())
        if found & CAUGHT_BY[plant]:
            break
    assert found & CAUGHT_BY[plant]


def test_verdicts_are_the_same_over_a_saved_history() -> None:
    history = Honest(1, "no-undo").run()
    assert judged(decode_history(encode_history(history))) == judged(history)


def test_what_is_not_well_formed_is_not_judged() -> None:
    twice = [Event(kind="invoke", process=1, name="read", time_ms=at_ms) for at_ms in (0.0, 1.0)]
    for verdict in judged(History(Header(), twice)).values():
        assert verdict.judgement is Judgement.UNKNOWN
        assert "not a well-formed history" in verdict.summary


@pytest.mark.parametrize("value", [None, 7, "x", ["x"], [["x"]], {"x": 1}, [[7, 7]], [["q:k", 1, 2]]])
def test_nothing_in_a_history_makes_a_checker_raise(value: object) -> None:
    """Whatever stands where something else should."""
    names = (
        "read", "write", "cas", "incr", "delete", "expire", "read-many", "write-many", "receipt", "lost-writes",
        "set-namespace", "delete-namespace", "invalidate", "what",
    )  # fmt: skip
    details = dict.fromkeys(
        ("ttlSeconds", "stalenessMs", "maxStalenessMs", "minVersion", "readPreference", "idempotencyKey", "total",
         "truncated", "unreachable", "newestVersion", "current", "durable", "tags"), value,
    )  # fmt: skip
    events = []
    for number, name in enumerate(names * 2):
        asked = Event(kind="invoke", process=number, name=name, time_ms=number, key="q:k", value=value, details=details)
        told = Event(
            kind="ok", process=number, name=name, time_ms=number + 0.5, key="q:k", value=value, details=details,
            version="v1", level="what",
        )  # fmt: skip
        events += [asked, told]
    options = dict.fromkeys(("namespaces", "shards", "clockDriftPercent", "minimumRatePerS"), value)
    assert len(judged(History(Header(options=options), events))) == len(CHECKERS)
