"""Carries a plan out, and writes down what was broken when.

A fault is two events of the process `NEMESIS`: `invoke` right before it strikes, with its target, and `info` when it is
healed, with what was done, or with `skipped` and the reason why nothing was.

`majority-healed` is the other way round. All faults under way are ended and waited for, and none strikes while it
lasts. Its event begins when the majority is whole and the rest has been broken, and ends when the run goes on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from jepsen_like.history import NEMESIS, Event, Kind
from jepsen_like.nemeses.api import TROUBLE, Details, Ground, Nemesis, Skipped, Victims, replicas_of
from jepsen_like.nemeses.majority import MAJORITY_HEALED
from jepsen_like.nemeses.plan import Planned, aim, group_of
from jepsen_like.nemeses.table import NEMESES
from raftcache.supervisor.views import leaders

LATE_S = 10.0
"""A fault that would strike later than this after its time is left out, or the run would not end when it should."""


class Clock(Protocol):
    """What events take their times from: an `asking.Target`."""

    def now_ms(self) -> float:
        """Since the run began."""

    def wall_ms(self) -> int:
        """The wall clock."""


MakeNemesis = Callable[[str], Nemesis]


def from_table(name: str) -> Nemesis:
    """A fresh nemesis of that name. Raises KeyError."""
    return NEMESES[name].make()


class Director:
    """One run's faults. `await play(plan)` returns when all are over; cancelled, it heals what is broken first."""

    def __init__(
        self, ground: Ground, clock: Clock, record: Callable[[Event], None], make: MakeNemesis = from_table
    ) -> None:
        self._ground, self._clock, self._record, self._make = ground, clock, record, make
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._under_way: set[asyncio.Event] = set()
        self._calm, self._idle = asyncio.Event(), asyncio.Event()
        self._calm.set()
        self._idle.set()

    async def play(self, plan: Sequence[Planned]) -> None:
        """Strike and heal as planned; times count from now."""
        began_at = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for each in plan:
                tasks.create_task(self._later(each, began_at))

    async def _later(self, planned: Planned, began_at: float) -> None:
        """One fault at its time, or as soon after it as the last of its name is over; not where that is long after."""
        await asyncio.sleep(planned.at_s)
        async with self._turns[planned.name]:
            await self._calm.wait()
            if time.monotonic() - began_at - planned.at_s > LATE_S:
                return
            if planned.name == MAJORITY_HEALED:
                await self._heal_majority(planned)
            else:
                await self._fault(planned)

    async def _fault(self, planned: Planned) -> None:
        nemesis, told = self._make(planned.name), Details()
        with self._going() as over:
            victims = await self._aim(planned)
            self._tell("invoke", planned.name, {"target": planned.target, "node": victims.node})
            try:
                told |= await self._strike(nemesis, victims)
                if "skipped" not in told:
                    await _until(over, planned.hold_s)
            finally:
                told |= await self._heal(nemesis)
                self._tell("info", planned.name, told)

    async def _heal_majority(self, planned: Planned) -> None:
        self._calm.clear()
        nemesis, told = self._make(planned.name), Details()
        try:
            for over in self._under_way:
                over.set()
            await self._idle.wait()
            victims = await self._aim(planned)
            told |= await self._strike(nemesis, victims)
            self._tell("invoke", planned.name, told)
            if "skipped" not in told:
                await asyncio.sleep(planned.hold_s)
            self._tell("info", planned.name, {})
        finally:
            await self._heal(nemesis)
            self._calm.set()

    @contextmanager
    def _going(self) -> Iterator[asyncio.Event]:
        """Inside, a fault is under way, and is to end early once the event is set."""
        over = asyncio.Event()
        self._under_way.add(over)
        self._idle.clear()
        try:
            yield over
        finally:
            self._under_way.discard(over)
            if not self._under_way:
                self._idle.set()

    async def _aim(self, planned: Planned) -> Victims:
        try:
            bodies = await self._ground.bodies()
        except TROUBLE:
            bodies = {}
        known = leaders(bodies.values())
        order = aim(planned, known, replicas_of(bodies))
        return Victims(order, group_of(planned, known), random.Random(planned.seed))

    async def _strike(self, nemesis: Nemesis, victims: Victims) -> Details:
        try:
            return await nemesis.strike(self._ground, victims)
        except Skipped as reason:
            return {"skipped": str(reason)}
        except TROUBLE as error:
            return {"skipped": f"{type(error).__name__}: {error}"}

    async def _heal(self, nemesis: Nemesis) -> Details:
        try:
            return await nemesis.heal(self._ground)
        except TROUBLE as error:
            return {"notHealed": f"{type(error).__name__}: {error}"}

    def _tell(self, kind: Kind, name: str, details: Details) -> None:
        now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
        self._record(
            Event(kind=kind, process=NEMESIS, name=name, time_ms=now_ms, wall_ms=wall_ms, details=dict(details))
        )


async def _until(over: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(over.wait(), seconds)
    except TimeoutError:
        return
