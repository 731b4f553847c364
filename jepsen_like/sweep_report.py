"""What a sweep over many seeds has shown, by workload. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from jepsen_like.checking import Judgement
from jepsen_like.repeating import command, sim_arguments
from jepsen_like.simulated.sweep import Told


class Totals(msgspec.Struct):
    """All runs of one workload."""

    runs: int = 0
    judged: Counter[str] = msgspec.field(default_factory=Counter)
    operations: int = 0
    succeeded: int = 0
    faults: int = 0
    lost: int = 0
    virtual_s: float = 0.0

    def add(self, told: Told) -> None:
        """One more run."""
        self.runs += 1
        self.judged[told.judgement.value] += 1
        self.operations += told.operations
        self.succeeded += told.succeeded
        self.faults += told.struck
        self.lost += told.lost
        self.virtual_s += told.virtual_s

    def merge(self, other: Totals) -> None:
        """All runs of another sweep."""
        self.judged.update(other.judged)
        for field in ("runs", "operations", "succeeded", "faults", "lost", "virtual_s"):
            setattr(self, field, getattr(self, field) + getattr(other, field))

    def figures(self) -> dict[str, Any]:
        """For programs."""
        return {
            "runs": self.runs,
            **{judgement.value: self.judged[judgement.value] for judgement in Judgement},
            "operations": self.operations,
            "succeeded": self.succeeded,
            "faults": self.faults,
            "lost": self.lost,
            "virtual_s": round(self.virtual_s, 1),
        }


class SweepReport:
    """`add` each run as it ends."""

    def __init__(self, plant: str = "") -> None:
        self.plant = plant
        self.seconds = 0.0
        """Real ones that it took."""
        self.totals: dict[str, Totals] = {}
        self.wrong: list[Told] = []
        """The runs that did not pass, in the order of their workloads and seeds."""

    def add(self, told: Told) -> None:
        """One more run."""
        self.totals.setdefault(told.plan.workload, Totals()).add(told)
        if told.judgement is not Judgement.PASS:
            self.wrong.append(told)
            self.wrong.sort(key=lambda each: (each.plan.workload, each.plan.seed))

    def merge(self, other: SweepReport) -> None:
        """Another sweep's."""
        for name, totals in other.totals.items():
            self.totals.setdefault(name, Totals()).merge(totals)
        self.wrong += other.wrong
        self.seconds += other.seconds

    @property
    def judgement(self) -> Judgement:
        """The worst; of no run at all, unknown."""
        if not self.totals:
            return Judgement.UNKNOWN
        order = list(Judgement)
        return max((each.judgement for each in self.wrong), key=order.index, default=Judgement.PASS)

    @property
    def broken(self) -> list[Told]:
        """The runs that broke a promise."""
        return [each for each in self.wrong if each.judgement is Judgement.FAIL]

    def line(self, told: Told) -> str:
        """What became of one run."""
        return f"{told.judgement.value.upper()}  {told.plan.workload} seed {told.plan.seed}: {'; '.join(told.why)}"

    def replay(self, told: Told) -> str:
        """The command that shows it."""
        return command(sim_arguments(told.plan, self.plant))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "judgement": self.judgement.value,
            "plant": self.plant,
            "workloads": {name: totals.figures() for name, totals in sorted(self.totals.items())},
            "wrong": [
                {
                    "workload": told.plan.workload,
                    "seed": told.plan.seed,
                    "judgement": told.judgement.value,
                    "why": told.why,
                    "replay": self.replay(told),
                }
                for told in self.wrong
            ],
        }
