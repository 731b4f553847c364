"""One run: a workload over a target, with everything recorded, from an empty cluster to the last question.

    set-up    namespaces are deleted, where they are left from another run, created, and read until they serve
    main      the workload at work, while the nemesis breaks things
    heal      the nemesis mends what it broke; the workload goes on
    recovery  for as long as a healed cluster may take until it serves, so that the history shows whether it does; and
              until every namespace serves, at some node, or the time for that is over
    settle    the last changes that the workload has to make, such as retries
    final     what the workload asks in the end, which changes nothing
    end

A history begins with its namespaces. So of the set-up it has only how they are created: such a change may be of unknown
outcome, though it was repeated then, and what is of unknown outcome has to be on record.

Everything is done by callbacks over `asking.Target`, so a run is the same under virtual time and under asyncio. When it
has ended, it has nothing under way and no timer set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from jepsen_like.asking import Completion, Request, Target
from jepsen_like.checkers.setting import FINAL, MAJORITY_HEALED
from jepsen_like.driving import ClosedLoop, Done, Drive, OpenLoop, Task, Tasks
from jepsen_like.hands import Crew
from jepsen_like.history import Event, Kind
from jepsen_like.workloads.workload import Options, Pace, Workload

STEWARDS = 4
"""Hands beside those of the workload, for set-up and probes. In the end all have nothing else to do."""
PROBES = 4
"""Keys of each namespace that must serve, since they lie in different shards."""
SET_UP_S, RECOVERY_S, FINAL_S = 60.0, 60.0, 120.0
"""The longest that these phases may take, but for what is then under way."""

MARGIN_S = 0.1
"""Longer than that bound, so that nobody has to compare to the last digit."""
TROUBLE_SHOWN = 5
"""Of each list of things to do."""

_ABSENT = "unknown_namespace"


class Ran(msgspec.Struct):
    """What a run has left. `trouble` is empty where it got to its end as it should."""

    events: list[Event]
    phases: dict[str, float]
    """When each phase began, in ms."""
    trouble: list[str]
    turned_away: int = 0
    """What an open loop had no hand for."""


class Faults(msgspec.Struct, frozen=True):
    """The nemesis, as a run sees it: `begin` is called as the main phase begins, `heal` as it ends, with what is to be
    called when everything is mended that is to be."""

    begin: Callable[[], None] = lambda: None
    heal: Callable[[Done], None] = lambda done: done()


def run_options(workload: Workload, options: Options, shards: Sequence[str]) -> dict[str, Any]:
    """For the header of a history: all that it takes to make the workload again, and what checkers go by (see
    `checkers.setting`): `namespaces` as they begin, and the ids of the `shards` in the order of their slots."""
    asked: dict[str, Any] = msgspec.to_builtins(options)
    promised = {"livenessBoundMs": options.liveness_bound_s * 1000, "namespaces": workload.namespaces()}
    return asked | promised | {"shards": list(shards)}


class Run:
    """Make one, `start` it, and be told when it has ended. `faults` may be set until then."""

    def __init__(
        self, target: Target, workload: Workload, options: Options, random: Random, ended: Callable[[Ran], None]
    ) -> None:
        self.faults = Faults()
        self._target, self._workload, self._options, self._ended = target, workload, options, ended
        opens = workload.pace is Pace.OPEN
        workers = workload.workers_per_process * options.processes
        self._crew = Crew(target, workers + STEWARDS, options.sticky, options.timeout_s, random)
        hands, self._stewards = self._crew.hands[:workers], self._crew.hands[workers:]
        rate = options.rate * options.processes if opens else options.rate
        self._drive: Drive = (OpenLoop if opens else ClosedLoop)(self._crew, hands, workload, rate)
        self._ran = Ran(self._crew.recorder.events, {}, [])
        self._final = workload.final()
        self._idle = False

    @property
    def events(self) -> list[Event]:
        """What has been recorded so far."""
        return self._ran.events

    def record_fault(self, name: str, kind: Kind, **details: Any) -> None:
        """The nemesis has begun something (`invoke`), or it is over (`info`)."""
        self._crew.recorder.fault(name, kind, details)

    def start(self) -> None:
        """Begin with the set-up: look what is left from another run."""
        self._enter("set-up")
        self._crew.recorder.only = frozenset({"set-namespace"})
        looks = [Task(Request(name="read", key=f"{name}:probe0")) for name in self._workload.namespaces()]
        left: list[str] = []

        def note(request: Request, told: Completion) -> None:
            if told.kind == "ok":
                left.append(request.key.partition(":")[0])

        self._do(looks, SET_UP_S, lambda: self._delete(left), _served, note)

    # -- set-up ----------------------------------------------------------------------------------

    def _delete(self, names: list[str]) -> None:
        """Only what is there: a deletion waits for every shard."""
        leftover = [Task(Request(name="delete-namespace", key=name)) for name in names]
        self._do(leftover, SET_UP_S, self._create, _served)

    def _create(self) -> None:
        policies = self._workload.namespaces()
        created = [Task(Request(name="set-namespace", key=name, value=policies[name])) for name in policies]
        self._do(created, SET_UP_S, self._await_all)

    def _await_all(self) -> None:
        """Every node knows the namespaces and finds the shards."""
        probes = [Task(probe, node) for node in self._target.nodes() for probe in self._probes()]
        self._do(probes, SET_UP_S, self._begin_main)

    def _probes(self) -> list[Request]:
        names = self._workload.namespaces()
        return [Request(name="read", key=f"{name}:probe{place}") for name in names for place in range(PROBES)]

    # -- main ------------------------------------------------------------------------------------

    def _begin_main(self) -> None:
        self._enter("main")
        self._crew.recorder.only = None
        self._drive.start()
        self.faults.begin()
        self._target.later(self._options.seconds, self._heal)

    def _heal(self) -> None:
        self._enter("heal")
        self.faults.heal(self._recover)

    def _recover(self) -> None:
        self._enter("recovery")
        self.record_fault(MAJORITY_HEALED, "invoke")
        self._target.later(self._options.liveness_bound_s + MARGIN_S, self._await_some)

    def _await_some(self) -> None:
        """Some nodes may be left broken: a probe tries one after the other."""
        self._do(list(map(Task, self._probes())), RECOVERY_S, self._stop_workload, _served)

    def _stop_workload(self) -> None:
        self.record_fault(MAJORITY_HEALED, "info")
        self._drive.stop(self._settle)

    # -- final -----------------------------------------------------------------------------------

    def _settle(self) -> None:
        self._idle = True
        self._enter("settle")
        self._do(list(map(Task, self._workload.settle())), FINAL_S, self._begin_final, told=self._tell)

    def _begin_final(self) -> None:
        self._enter("final")
        self.record_fault(FINAL, "invoke")
        self.record_fault(FINAL, "info")
        self._next_final()

    def _next_final(self) -> None:
        requests = next(self._final, None)
        if requests is None:
            return self._end()
        self._do([Task(request) for request in requests], FINAL_S, self._next_final, told=self._tell)

    def _tell(self, request: Request, told: Completion) -> None:
        self._workload.completed(-1, request, told)

    def _end(self) -> None:
        self._enter("end")
        if isinstance(self._drive, OpenLoop):
            self._ran.turned_away = self._drive.turned_away
        self._ended(self._ran)

    # -- all -------------------------------------------------------------------------------------

    def _enter(self, phase: str) -> None:
        self._ran.phases[phase] = self._target.now_ms()

    def _do(self, tasks: list[Task], limit_s: float, then: Done, *more: Any, **options: Any) -> None:
        until_ms = self._target.now_ms() + limit_s * 1000
        hands = self._crew.hands if self._idle else self._stewards
        todo = Tasks(self._crew, hands, tasks, until_ms, *more, **options)

        def done() -> None:
            self._ran.trouble += [_trouble(task, told) for task, told in todo.undone[:TROUBLE_SHOWN]]
            if self._ran.trouble and "main" not in self._ran.phases:
                self._end()
            else:
                then()

        todo.run(done)


def _served(request: Request, told: Completion) -> bool:
    """That there is no such namespace is an answer as well."""
    return told.kind == "ok" or told.error == _ABSENT


def _trouble(task: Task, told: Completion) -> str:
    where = f" at {task.node}" if task.node else ""
    return f"{task.request.name} {task.request.key or task.request.value}{where} never succeeded: {told.error}"
