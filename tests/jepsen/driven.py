"""Runs of a workload over the cluster that is none, undisturbed or while its leaders are cut off and replaced."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from jepsen_like.history import Header, History, Operation
from jepsen_like.running import Faults, Ran, Run, run_options
from jepsen_like.workloads.registry import make
from jepsen_like.workloads.workload import Options, Workload
from tests.jepsen.fake_target import SHARD, FakeTarget

SECONDS, LIVENESS_BOUND_S = 8.0, 4.0
CALM_S, ISOLATED_S = 0.5, 0.4
LOSS = 0.02


class Driven:
    """One run, over. Raises AssertionError where it does not end, or leaves anything behind."""

    def __init__(
        self,
        name: str,
        options: Options | None = None,
        target: FakeTarget | None = None,
        workload: Workload | None = None,
        troubled: bool = True,
    ) -> None:
        self.options = options or Options(seconds=SECONDS, liveness_bound_s=LIVENESS_BOUND_S)
        self.target = target or FakeTarget()
        self.workload = workload or make(name, self.options)
        ended: list[Ran] = []
        run = Run(self.target, self.workload, self.options, Random(7), ended.append)
        trouble = Trouble(self.target, run)
        if troubled:
            run.faults = Faults(trouble.begin, trouble.heal)
        run.start()
        self.target.run(lambda: bool(ended))
        assert self.target.in_flight == 0 and self.target.timers == 0, "something is left of the run"
        [self.ran] = ended
        header = Header(workload=name, ack=self.options.ack, options=run_options(self.workload, self.options, [SHARD]))
        self.history = History(header, self.ran.events)

    def operations(self, name: str = "", phase: str = "") -> list[Operation]:
        """Those of a name, or all; begun from a phase on, or ever."""
        since = self.ran.phases.get(phase, 0.0)
        found = self.history.operations()
        return [each for each in found if each.began_ms >= since and name in ("", each.invoked.name)]


class Trouble:
    """Isolates the leader again and again, and has another take over; loses a few messages all the while."""

    def __init__(self, target: FakeTarget, run: Run) -> None:
        self._target, self._run = target, run
        self._healing: Callable[[], None] | None = None

    def begin(self) -> None:
        self._target.loss = LOSS
        self._target.later(CALM_S, self._isolate)

    def _isolate(self) -> None:
        if self._over():
            return
        self._target.isolated = True
        self._run.record_fault("isolate-leader", "invoke", node="n1")
        self._target.later(ISOLATED_S, self._take_over)

    def _take_over(self) -> None:
        self._target.fail_over()
        self._run.record_fault("isolate-leader", "info")
        if not self._over():
            self._target.later(CALM_S, self._isolate)

    def heal(self, done: Callable[[], None]) -> None:
        self._healing = done

    def _over(self) -> bool:
        """It ends between two faults, and says so."""
        if self._healing is None:
            return False
        self._target.loss = 0.0
        self._healing()
        return True
