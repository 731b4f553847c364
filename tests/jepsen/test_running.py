"""A run goes through its phases, records all of it, and leaves nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from jepsen_like import driving
from jepsen_like.asking import Completion, Request
from jepsen_like.history import decode_history, encode_history
from jepsen_like.running import STEWARDS, Faults, Ran, Run
from jepsen_like.workloads.registry import make
from jepsen_like.workloads.workload import Options, Pace
from tests.jepsen.driven import Driven
from tests.jepsen.fake_target import FakeTarget

PHASES = ["set-up", "main", "heal", "recovery", "settle", "final", "end"]


class Simple:
    """Reads one key; what it is to ask in the end is given."""

    name, summary, pace, workers_per_process = "simple", "for tests", Pace.CLOSED, 1

    def __init__(self, options: Options, final: tuple[list[Request], ...] = ()) -> None:
        self.told: list[tuple[int, Request, str]] = []
        self._final = final

    def namespaces(self) -> dict[str, dict[str, Any]]:
        return {"jl-simple": {"ack": "quorum"}}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        return Request(name="read", key="jl-simple:k")

    def completed(self, worker: int, request: Request, told: Any) -> None:
        self.told.append((worker, request, told.kind))

    def settle(self) -> list[Request]:
        return []

    def final(self) -> Iterator[list[Request]]:
        yield from self._final

    def checkers(self) -> tuple[str, ...]:
        return ()


def test_a_run_goes_through_all_phases_in_order() -> None:
    driven = Driven("register")
    phases = driven.ran.phases
    assert list(phases) == PHASES and driven.ran.trouble == []
    assert list(phases.values()) == sorted(phases.values())
    assert phases["heal"] - phases["main"] == pytest.approx(driven.options.seconds * 1000)


def test_it_begins_with_namespaces_of_its_own_that_are_empty() -> None:
    target = FakeTarget()
    Driven("set", target=target)
    assert "delete-namespace" not in {each.name for each in target.asked}
    assert any(key.startswith("jl-set:") for key in target.data)
    again = Driven("set", target=target, troubled=False)
    changes = [each.name for each in target.asked if each.name.endswith("-namespace")]
    assert changes == ["set-namespace", "delete-namespace", "set-namespace"]
    assert again.operations("write")[0].invoked.key in target.data


def test_of_the_set_up_a_history_has_how_its_namespaces_were_created() -> None:
    driven = Driven("policy-change")
    begun = [each for each in driven.operations() if each.began_ms < driven.ran.phases["main"]]
    assert [(each.invoked.name, each.invoked.key) for each in begun] == [
        ("set-namespace", "jl-owned0"),
        ("set-namespace", "jl-owned1"),
    ]


def test_what_is_recorded_is_a_well_formed_history_that_survives_its_file() -> None:
    history = Driven("counter").history
    assert decode_history(encode_history(history)).events == history.events
    assert len(history.operations()) > 500 and len(history.faults()) > 5
    times = [event.time_ms for event in history.events]
    assert times == sorted(times)


def test_one_seed_is_one_run() -> None:
    first, second = Driven("register").history, Driven("register").history
    assert encode_history(first) == encode_history(second)
    other = Driven("register", target=FakeTarget(seed=2)).history
    assert encode_history(first) != encode_history(other)


def test_a_process_is_not_used_again_once_an_outcome_is_unknown() -> None:
    driven = Driven("register")
    hands = driven.options.processes + STEWARDS
    ended: set[int] = set()
    for event in driven.ran.events:
        assert event.process not in ended
        if event.kind == "info" and event.process >= 0:
            ended.add(event.process)
    assert ended
    used = {event.process for event in driven.ran.events if event.process >= 0}
    assert {process + hands for process in ended if process < hands // 2} <= used


def test_a_process_does_one_thing_at_a_time_at_the_rate_asked_for() -> None:
    driven = Driven("simple", Options(seconds=50.0, rate=10.0, processes=4), workload=Simple(Options()), troubled=False)
    main, heal = driven.ran.phases["main"], driven.ran.phases["heal"]
    begun = [each for each in driven.operations() if main <= each.began_ms < heal]
    assert len(begun) == pytest.approx(50 * 10 * 4, rel=0.05)
    assert len({each.invoked.process for each in begun}) == 4


@pytest.mark.parametrize("sticky", [True, False])
def test_a_process_keeps_to_its_node_where_that_is_asked_for(sticky: bool) -> None:
    options = Options(seconds=5.0, sticky=sticky)
    driven = Driven("simple", options, workload=Simple(options), troubled=False)
    nodes = Counter((each.invoked.process, each.invoked.details["node"]) for each in driven.operations(phase="main"))
    by_process = Counter(process for process, _ in nodes if process < options.processes)
    assert set(by_process.values()) == ({1} if sticky else {3})


def test_faults_are_recorded_from_their_beginning_to_their_end() -> None:
    faults = [fault for fault in Driven("register").history.faults() if fault.name == "isolate-leader"]
    assert len(faults) > 5
    assert all(fault.ended_ms - fault.began_ms == pytest.approx(400) for fault in faults)
    assert faults[0].details == {"node": "n1"}


def test_marks_say_when_it_is_healed_and_when_nothing_changes_any_more() -> None:
    driven = Driven("counter")
    phases, marks = driven.ran.phases, {fault.name: fault for fault in driven.history.faults()}
    healed, final = marks["majority-healed"], marks["final"]
    assert healed.began_ms == phases["recovery"] and final.began_ms == phases["final"]
    assert healed.ended_ms >= healed.began_ms + driven.options.liveness_bound_s * 1000
    assert {each.invoked.name for each in driven.operations(phase="final")} == {"read"}


def test_the_workload_goes_on_while_things_are_mended() -> None:
    driven = Driven("register")
    recovery, settle = driven.ran.phases["recovery"], driven.ran.phases["settle"]
    assert settle - recovery >= driven.options.liveness_bound_s * 1000
    begun = [each for each in driven.operations() if recovery <= each.began_ms < settle]
    assert len(begun) == pytest.approx(160 * driven.options.liveness_bound_s, rel=0.2)


def test_a_cluster_that_cannot_be_set_up_is_not_worked_on() -> None:
    target = FakeTarget()
    target.silent = True
    driven = Driven("register", target=target)
    assert list(driven.ran.phases) == ["set-up", "end"]
    assert driven.ran.trouble == ["read jl-register:probe0 never succeeded: outcome_unknown"]
    assert driven.ran.phases["end"] < 70_000


def test_a_cluster_that_never_serves_again_does_not_hold_it_up_for_ever() -> None:
    target, ended = FakeTarget(), []
    options = Options(seconds=2.0)
    run = Run(target, make("register", options), options, Random(1), ended.append)

    def silence(done: Any) -> None:
        target.silent = True
        done()

    run.faults = Faults(heal=silence)
    run.start()
    target.run(lambda: bool(ended))
    ran: Ran = ended[0]
    assert any("never succeeded" in line for line in ran.trouble)
    assert ran.phases["end"] - ran.phases["recovery"] < 300_000
    assert target.in_flight == target.timers == 0


def test_what_is_asked_in_the_end_is_asked_until_it_succeeds() -> None:
    first, second = [Request(name="read", key="jl-simple:a")], [Request(name="read", key="jl-simple:b")]
    target, workload = FakeTarget(), Simple(Options(), (first, second))

    def lose_much(done: Any) -> None:
        target.loss = 0.5
        done()

    ended: list[Ran] = []
    options = Options(seconds=1.0)
    run = Run(target, workload, options, Random(4), ended.append)
    run.faults = Faults(heal=lose_much)
    run.start()
    target.run(lambda: bool(ended))
    told = [(request.key, kind) for worker, request, kind in workload.told if worker == -1]
    assert "info" in {kind for _, kind in told}
    assert [key for key, kind in told if kind == "ok"] == ["jl-simple:a", "jl-simple:b"]
    assert ended[0].trouble == []


def test_a_receipt_that_is_pending_is_asked_for_again() -> None:
    assert not driving.succeeded(Request(name="receipt"), _ok("pending"))
    assert driving.succeeded(Request(name="receipt"), _ok("lost"))
    assert driving.succeeded(Request(name="read"), _ok("pending"))


def _ok(value: str) -> Completion:
    return Completion(kind="ok", value=value)


def test_an_open_loop_does_not_wait_for_answers() -> None:
    target = FakeTarget()
    options = Options(seconds=20.0, rate=25.0, processes=8)
    ended: list[Ran] = []
    run = Run(target, make("mix", options), options, Random(3), ended.append)

    def stand_still() -> None:
        target.later(10.0, lambda: setattr(target, "silent", True))
        target.later(13.0, lambda: setattr(target, "silent", False))

    run.faults = Faults(stand_still)
    run.start()
    target.run(lambda: bool(ended))
    begun = [event.time_ms - ended[0].phases["main"] for event in ended[0].events if event.kind == "invoke"]
    calm = [each for each in begun if 0 <= each < 10_000]
    still = [each for each in begun if 10_000 <= each < 12_000]
    assert len(calm) == pytest.approx(10 * 200, rel=0.1)
    assert len(still) == 64 and ended[0].turned_away > 300
    assert target.in_flight == target.timers == 0


def test_a_closed_loop_waits_for_answers() -> None:
    target = FakeTarget()
    options = Options(seconds=10.0, rate=25.0, processes=8, timeout_s=1.0)
    ended: list[Ran] = []
    run = Run(target, make("register", options), options, Random(3), ended.append)
    run.faults = Faults(lambda: setattr(target, "silent", True))
    run.start()
    target.run(lambda: bool(ended))
    main = ended[0].phases["main"]
    invoked = [each for each in ended[0].events if each.kind == "invoke" and main < each.time_ms < main + 10_000]
    assert len(invoked) == pytest.approx(8 * 10, abs=12)


@pytest.mark.parametrize("workload", ["register", "mix"])
def test_a_run_with_too_many_events_ends_early(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "EVENTS_LIMIT", 300)
    driven = Driven(workload, troubled=False)
    main, heal = driven.ran.phases["main"], driven.ran.phases["heal"]
    assert list(driven.ran.phases) == PHASES
    assert len([event for event in driven.ran.events if main <= event.time_ms < heal]) <= 300


def test_long_texts_are_recorded_short_and_stay_different() -> None:
    value, other = "1." + "x" * 5000, "1." + "x" * 4999 + "y"
    target, workload = FakeTarget(), Simple(Options())
    writes = iter([Request(name="write", key="jl-simple:k", value=each) for each in (value, other)])
    workload.next = lambda *_: next(writes, Request(name="read", key="jl-simple:k"))  # type: ignore[method-assign]
    driven = Driven("simple", Options(seconds=1.0, processes=1), target, workload, troubled=False)
    first, second = driven.operations("write")
    assert first.invoked.value != second.invoked.value and len(first.invoked.value) < 60
    assert first.invoked.details["valueBytes"] == 5002
    reads = [each for each in driven.operations("read") if each.invoked.key == "jl-simple:k" and each.completed]
    assert {each.completed.value for each in reads if each.completed} == {second.invoked.value}
