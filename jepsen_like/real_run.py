"""One run on real processes: the workload through the proxies, the director's faults beside it, on one event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from jepsen_like.asking import Target
from jepsen_like.history import Event, History
from jepsen_like.nemeses.api import Ground
from jepsen_like.nemeses.director import Director
from jepsen_like.nemeses.plan import Planned
from jepsen_like.proxied import proxied
from jepsen_like.real_plan import RealPlan, header_of, planned_faults
from jepsen_like.running import Faults, Ran, Run
from jepsen_like.targets.processes import RealTarget
from jepsen_like.workloads.registry import make
from jepsen_like.workloads.workload import Workload
from raftcache.supervisor.views import in_slot_order

LIMIT_S = 600.0
"""Beside its main phase. The phases of a run have limits of their own, which sum up to less."""


class Conducted(NamedTuple):
    """What a run has left: its history, and what went wrong on the way that no checker looks for."""

    history: History
    trouble: list[str]


class RealRun:
    """One run on a cluster that is up. `events` may be looked at while it lasts."""

    def __init__(self, ground: Ground, target: Target, workload: Workload, asked: RealPlan) -> None:
        self._asked = asked
        self._ended: asyncio.Future[Ran] = asyncio.get_running_loop().create_future()
        self._run = Run(target, workload, asked.options, random.Random(asked.seed), self._end)
        self._director = Director(ground, target, self._record)
        self._planned: list[Planned] = []
        self._playing: asyncio.Task[None] | None = None
        self._run.faults = Faults(self._begin, self._heal)

    @property
    def events(self) -> list[Event]:
        """What has been recorded so far."""
        return self._run.events

    async def execute(self, planned: list[Planned]) -> Ran:
        """From the set-up to the end. Cancelled, it heals what is broken first."""
        self._planned = planned
        self._run.start()
        try:
            async with asyncio.timeout(self._asked.options.seconds + LIMIT_S):
                ran = await self._ended
        except TimeoutError:
            ran = Ran(self.events, {}, ["it did not end"])
        finally:
            await self._stop_playing()
        return self._with_trouble(ran)

    def _end(self, ran: Ran) -> None:
        if not self._ended.done():  # It may have been given up.
            self._ended.set_result(ran)

    def _begin(self) -> None:
        self._playing = asyncio.get_running_loop().create_task(self._director.play(self._planned))

    def _heal(self, done: Callable[[], None]) -> None:
        """All faults were to be over by now; those that are not mended yet are waited for."""
        assert self._playing is not None
        self._playing.add_done_callback(lambda _: done())

    def _record(self, event: Event) -> None:
        self._run.record_fault(event.name, event.kind, **event.details)

    async def _stop_playing(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
            await asyncio.wait([self._playing])

    def _with_trouble(self, ran: Ran) -> Ran:
        playing = self._playing
        if playing is not None and not playing.cancelled() and (error := playing.exception()) is not None:
            ran.trouble.append(f"the nemesis failed: {error!r}")
        return ran


Watch = Callable[[RealRun], None]
"""Told of a run as it begins."""


async def run_on(ground: Ground, asked: RealPlan, workload: Workload, watch: Watch = lambda run: None) -> Conducted:
    """One run on a cluster that is up and well. Raises DriverError, ValueError."""
    bodies = await ground.bodies()
    shards = [str(shard["id"]) for shard in in_slot_order(next(iter(bodies.values())))]
    planned = planned_faults(asked, ground.nodes, len(shards))
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    target = RealTarget(ground.links.http(), ground.links.was_refused)
    run = RealRun(ground, target, workload, asked)
    watch(run)
    try:
        ran = await run.execute(planned)
    finally:
        await target.close()
    history = History(header_of(asked, workload, shards, started_at), ran.events)
    return Conducted(history, ran.trouble)


async def conduct(asked: RealPlan, folder: Path, watch: Watch = lambda run: None) -> Conducted:
    """One run on a cluster of its own in `folder`, which stays behind, stopped. Raises DriverError, ValueError."""
    workload = make(asked.workload, asked.options)
    async with proxied(folder, asked.nodes, asked.shards, asked.memory, asked.seed) as ground:
        conducted = await run_on(ground, asked, workload, watch)
    wrong = [f"a traceback in {line}" for line in ground.cluster.tracebacks()]
    return Conducted(conducted.history, conducted.trouble + wrong)
