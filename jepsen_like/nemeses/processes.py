"""Faults on processes: kill -9, pause, restarts in turn. The supervisor starts again what ends."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from jepsen_like.cluster import DriverError
from jepsen_like.nemeses.api import TROUBLE, Details, Ground, Skipped, Victims
from jepsen_like.surgery import pid_of, running, strike
from jepsen_like.waiting import eventually

BACK_PATIENCE_S = 60.0
"""How long a node's return is waited for; a run goes on without it then, and its events say so."""
LOOK_S = 0.05


async def back(ground: Ground, pids: dict[str, int]) -> Details:
    """Wait until each of these nodes answers from another process than it had; how long that took."""
    began_at = time.monotonic()

    async def are_back() -> bool | None:
        now = await asyncio.to_thread(running, ground.cluster)
        if any(now.get(node) in (None, pid) for node, pid in pids.items()):
            return None
        with suppress(*TROUBLE):
            return True if pids.keys() <= (await ground.bodies()).keys() else None
        return None

    seen = await eventually(are_back, BACK_PATIENCE_S, LOOK_S)
    return {"back": bool(seen), "backAfterMs": round((time.monotonic() - began_at) * 1000)}


async def _refuse_to_wipe(ground: Ground, nodes: Sequence[str]) -> None:
    """Without a disk, a killed node forgets. That is one fault, and a second before it is refilled is not survived."""
    if ground.cluster.memory and (len(nodes) > 1 or not await ground.is_whole()):
        raise Skipped("nodes without a disk lose what they hold: one at a time, and only while all are whole")


class Kill:
    """Kill -9 one node."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}

    def whom(self, victims: Victims) -> Sequence[str]:
        """The nodes to kill."""
        return victims.order[:1]

    async def strike(self, ground: Ground, victims: Victims) -> Details:
        """Nemesis: they are killed at one moment."""
        nodes = self.whom(victims)
        await _refuse_to_wipe(ground, nodes)
        alive = await asyncio.to_thread(running, ground.cluster)
        self.pids = {node: alive[node] for node in nodes if node in alive}
        if not self.pids:
            raise Skipped(f"{', '.join(nodes)} did not run")
        strike(list(self.pids.values()))
        return {"nodes": list(self.pids)}

    async def heal(self, ground: Ground) -> Details:
        """Nemesis: the supervisor starts them."""
        return await back(ground, self.pids) if self.pids else {}


class KillAll(Kill):
    """Kill -9 the whole cluster."""

    def whom(self, victims: Victims) -> Sequence[str]:
        """All of them."""
        return victims.order


class Pause:
    """Stop one node in its tracks, as a long collection of garbage or a frozen virtual machine does."""

    def __init__(self) -> None:
        self._pid: int | None = None

    async def strike(self, ground: Ground, victims: Victims) -> Details:
        """Nemesis: SIGSTOP."""
        self._pid = await asyncio.to_thread(pid_of, ground.cluster, victims.node)
        os.kill(self._pid, signal.SIGSTOP)
        return {"nodes": [victims.node]}

    async def heal(self, ground: Ground) -> Details:
        """Nemesis: SIGCONT, unless it was killed meanwhile."""
        alive = await asyncio.to_thread(running, ground.cluster)
        if self._pid is not None and self._pid in alive.values():
            os.kill(self._pid, signal.SIGCONT)
        return {}


class RollingRestart:
    """Ask one node after the other to end, as an upgrade does; the next one when the last is back."""

    def __init__(self) -> None:
        self._restarted: list[str] = []
        self._task: asyncio.Task[Details] | None = None

    async def strike(self, ground: Ground, victims: Victims) -> Details:
        """Nemesis: it begins, and goes on by itself."""
        self._task = asyncio.create_task(self._restart_all(ground, victims.order))
        return {"nodes": list(victims.order)}

    async def heal(self, ground: Ground) -> Details:
        """Nemesis: it is waited for."""
        if self._task is None:
            return {}
        try:
            return await self._task
        except TROUBLE as error:
            return {"back": False, "restarted": self._restarted, "why": str(error)}
        finally:
            self._task.cancel()

    async def _restart_all(self, ground: Ground, nodes: Sequence[str]) -> Details:
        for node in nodes:
            if not await self._whole(ground):
                return {"back": False, "restarted": self._restarted, "why": f"not whole before {node}"}
            pid = await asyncio.to_thread(pid_of, ground.cluster, node)
            os.kill(pid, signal.SIGTERM)
            if not (await back(ground, {node: pid}))["back"]:
                raise DriverError(f"{node} was asked to end and is not back")
            self._restarted.append(node)
        return {"back": True, "restarted": self._restarted}

    async def _whole(self, ground: Ground) -> bool:
        """Whoever restarts nodes in turn waits until all are well, or two would be missing at once."""

        async def look() -> bool | None:
            with suppress(*TROUBLE):
                return True if await ground.is_whole() else None
            return None

        return bool(await eventually(look, BACK_PATIENCE_S, LOOK_S))
