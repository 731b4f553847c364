"""How hands are kept busy: in a closed loop, in an open one, or by a list of things to do.

Each of them ends only when nothing of it is under way and none of its timers is set: a target has no way to take one
back, and whatever runs after the end of a run would belong to none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, Protocol

from jepsen_like.asking import Completion, Request
from jepsen_like.hands import Crew, Hand
from jepsen_like.workloads.workload import Pace, Workload

REFUSED_PAUSE_S = 0.02
"""After an operation that did not succeed, at the least: a node that is down refuses at once."""
SHORTEST_PAUSE_S = 0.001
EVENTS_LIMIT = 2_000_000
"""Of a run; then its main phase ends early. An event is about half a kilobyte."""
FIRST_RETRY_S, LAST_RETRY_S = 0.05, 1.6

Done = Callable[[], None]


class Drive(Protocol):
    """Something that keeps hands busy with a workload until it is stopped."""

    def start(self) -> None:
        """Begin."""

    def stop(self, done: Done) -> None:
        """Begin nothing more; `done` is called when all has ended."""


class _Ending:
    """Counts what is under way, and tells once when nothing is and nothing more is to begin."""

    def __init__(self) -> None:
        self.stopping = False
        self._under_way = 0
        self._done: Done | None = None

    def begin(self) -> None:
        """One more."""
        self._under_way += 1

    def end(self) -> None:
        """One less."""
        self._under_way -= 1
        if not self._under_way and self._done is not None:
            done, self._done = self._done, None
            done()

    def stop(self, done: Done) -> None:
        """Call `done` at the end, at once where that is now."""
        self.stopping, self._done = True, done
        self.begin()
        self.end()


class ClosedLoop:
    """Each hand does one thing after the other, at the workload's rate or by its own pauses."""

    def __init__(self, crew: Crew, hands: list[Hand], workload: Workload, rate: float) -> None:
        self._crew, self._hands, self._workload, self._rate = crew, hands, workload, rate
        self._ending = _Ending()

    def start(self) -> None:
        """Begin, not all at one moment."""
        for hand in self._hands:
            self._ending.begin()
            self._later(self._interval_s(), hand)

    def stop(self, done: Done) -> None:
        """As `Drive` says."""
        self._ending.stop(done)

    def _interval_s(self) -> float:
        """From the beginning of one operation to that of the next; `rate` is the mean."""
        return self._crew.random.uniform(0.0, 2.0 / self._rate)

    def _later(self, seconds: float, hand: Hand) -> None:
        self._crew.target.later(max(seconds, SHORTEST_PAUSE_S), partial(self._turn, hand))

    def _turn(self, hand: Hand) -> None:
        if self._ending.stopping or len(self._crew.recorder.events) >= EVENTS_LIMIT:
            self._ending.end()
            return
        began_ms = self._crew.target.now_ms()
        step = self._workload.next(hand.number, began_ms, self._crew.random)
        if not isinstance(step, Request):
            self._later(step, hand)
            return
        request = step

        def done(told: Completion) -> None:
            self._workload.completed(hand.number, request, told)
            self._later(self._pause_s(began_ms, told), hand)

        hand.ask(request, done)

    def _pause_s(self, began_ms: float, told: Completion) -> float:
        least_s = 0.0 if told.kind == "ok" else REFUSED_PAUSE_S
        if self._workload.pace is Pace.OWN:
            return least_s
        return max(least_s, self._interval_s() - (self._crew.target.now_ms() - began_ms) / 1000)


class OpenLoop:
    """Operations arrive at random moments, `rate` a second, as long as a hand is free: the number of hands is the limit
    of what is under way, and `turned_away` counts what came above it."""

    def __init__(self, crew: Crew, hands: list[Hand], workload: Workload, rate: float) -> None:
        self._crew, self._workload, self._rate = crew, workload, rate
        self._free = list(reversed(hands))
        self._ending = _Ending()
        self.turned_away = 0

    def start(self) -> None:
        """Let them come."""
        self._ending.begin()
        self._next_arrival()

    def stop(self, done: Done) -> None:
        """As `Drive` says."""
        self._ending.stop(done)

    def _next_arrival(self) -> None:
        self._crew.target.later(self._crew.random.expovariate(self._rate), self._arrive)

    def _arrive(self) -> None:
        if self._ending.stopping or len(self._crew.recorder.events) >= EVENTS_LIMIT:
            self._ending.end()
            return
        if self._free:
            self._begin(self._free.pop())
        else:
            self.turned_away += 1
        self._next_arrival()

    def _begin(self, hand: Hand) -> None:
        request = self._workload.next(hand.number, self._crew.target.now_ms(), self._crew.random)
        assert isinstance(request, Request), "a workload of an open loop has no pauses"
        self._ending.begin()

        def done(told: Completion) -> None:
            self._workload.completed(hand.number, request, told)
            self._free.append(hand)
            self._ending.end()

        hand.ask(request, done)


class Task(NamedTuple):
    """Something to be done until it succeeds; at `node`, or at any that the crew chooses."""

    request: Request
    node: str = ""


NOT_TRIED = Completion(kind="fail", error="not tried: no time was left")

Satisfied = Callable[[Request, Completion], bool]


def succeeded(request: Request, told: Completion) -> bool:
    """The usual meaning. A receipt that says `pending` is no answer yet."""
    return told.kind == "ok" and not (request.name == "receipt" and told.value == "pending")


class Tasks:
    """A list of things to do, each tried until it succeeds or the time is over; pauses between tries double.

    `told`, if given, hears of every completion. `undone` has what did not succeed in time."""

    def __init__(
        self,
        crew: Crew,
        hands: list[Hand],
        tasks: Iterable[Task],
        until_ms: float,
        satisfied: Satisfied = succeeded,
        told: Callable[[Request, Completion], None] | None = None,
    ) -> None:
        self._crew, self._hands, self._until_ms = crew, hands, until_ms
        self._waiting = deque(tasks)
        self._satisfied, self._told = satisfied, told
        self._ending = _Ending()
        self.undone: list[tuple[Task, Completion]] = []

    def run(self, done: Done) -> None:
        """Begin; `done` is called when nothing is left to be tried, in any case later than this returns."""
        for hand in self._hands:
            self._ending.begin()
            self._crew.target.later(SHORTEST_PAUSE_S, partial(self._take, hand))
        self._ending.stop(done)

    def _take(self, hand: Hand) -> None:
        if self._waiting and self._crew.target.now_ms() > self._until_ms:
            self.undone += [(task, NOT_TRIED) for task in self._waiting]
            self._waiting.clear()
        if self._waiting:
            self._try(hand, self._waiting.popleft(), FIRST_RETRY_S)
        else:
            self._ending.end()

    def _try(self, hand: Hand, task: Task, pause_s: float) -> None:
        def done(told: Completion) -> None:
            if self._told is not None:
                self._told(task.request, told)
            if self._satisfied(task.request, told):
                self._take(hand)
            elif self._crew.target.now_ms() + pause_s * 1000 > self._until_ms:
                self.undone.append((task, told))
                self._take(hand)
            else:
                again_s = min(pause_s * 2, LAST_RETRY_S)
                self._crew.target.later(pause_s, partial(self._try, hand, task, again_s))

        hand.ask(task.request, done, task.node)
