"""Carries a plan of faults out in virtual time, and has written down what was broken when.

A fault is recorded as it strikes and as it is mended. `majority-healed` is the other way round: whatever is broken is
mended, what the groups can do without is broken in its place, and no other fault strikes until it is over; its record
says from when to when the majority had to serve.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from jepsen_like.history import Kind
from jepsen_like.nemeses.plan import Planned, aim
from jepsen_like.simulated.fault import Heal, Skipped, Victims
from jepsen_like.simulated.faults import FAULTS
from jepsen_like.simulated.ground import SimGround
from jepsen_like.simulated.majority import MAJORITY_HEALED, leave_broken

AGAIN_S = 0.5
"""A majority is healed as soon as all groups are complete; this long after it was found that one is not."""


class Record(Protocol):
    """Where events of faults go."""

    def __call__(self, name: str, kind: Kind, **details: Any) -> None:
        """`invoke` as it strikes, `info` as it is over."""


class SimDirector:
    """One run's faults. `begin` once; `heal` mends everything, and nothing strikes after that."""

    def __init__(self, ground: SimGround, plan: Sequence[Planned], record: Record) -> None:
        self._ground, self._plan, self._record = ground, plan, record
        self._under_way: dict[str, Heal] = {}
        self._calm = self._over = False
        self.struck = 0
        """Faults, those not counted that heal a majority."""

    def begin(self) -> None:
        """Times count from now."""
        for planned in self._plan:
            act = self._heal_majority if planned.name == MAJORITY_HEALED else self._strike
            self._ground.target.later(planned.at_s, partial(act, planned))

    def heal(self, done: Callable[[], None]) -> None:
        """Mend everything, for good."""
        self._over = True
        self._mend_all()
        self._ground.cluster.start_all()
        done()

    def _strike(self, planned: Planned) -> None:
        if self._calm or self._over or planned.name in self._under_way:
            return
        victims = self._victims(planned)
        try:
            heal = FAULTS[planned.name].strike(self._ground, victims)
        except Skipped:
            return
        self.struck += 1
        self._begun(planned.name, heal, {"target": planned.target, "node": victims.node})
        self._ground.target.later(planned.hold_s, partial(self._mend, planned.name, heal))

    def _heal_majority(self, planned: Planned) -> None:
        if self._over:
            return
        self._calm = True
        self._mend_all()
        self._ground.cluster.start_all()
        try:
            told, heal = leave_broken(self._ground, self._victims(planned))
        except Skipped:
            self._ground.target.later(AGAIN_S, partial(self._heal_majority, planned))
            return
        self._begun(MAJORITY_HEALED, heal, told)
        self._ground.target.later(planned.hold_s, partial(self._mend, MAJORITY_HEALED, heal))

    def _begun(self, name: str, heal: Heal, details: Mapping[str, Any]) -> None:
        self._under_way[name] = heal
        self._record(name, "invoke", **details)

    def _mend(self, name: str, heal: Heal) -> None:
        if self._under_way.get(name) is heal:
            del self._under_way[name]
            self._record(name, "info", **(heal() or {}))
            if name == MAJORITY_HEALED:
                self._calm = False

    def _mend_all(self) -> None:
        for name, heal in list(self._under_way.items()):
            self._mend(name, heal)

    def _victims(self, planned: Planned) -> Victims:
        order = aim(planned, self._ground.leaders(), self._ground.replicas())
        return Victims(order, random.Random(planned.seed))
