"""Letting go of a large state in small steps.

The last reference to a table of a million entries frees them all at once, for a tenth of a second, and neither a thread
nor the garbage collector makes that shorter for anybody else. So what nobody needs any more is put here, and each step
drops a bounded number of the parts that it consists of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sized
from typing import Any, TypeAlias

from raftcache.clock import Runtime

ITEMS_PER_STEP = 4096
"""About as many entries are freed in a step: a millisecond or less. One part more than fits is freed as a whole."""

STEP_S = 0.002
"""The pause between two steps, for everybody else."""

Parts: TypeAlias = "list[Any] | dict[Any, Any]"


class Trash:
    """Takes containers of parts, and drops the parts one by one, in steps on the loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._containers: deque[Parts] = deque()
        self._scheduled = False

    def add(self, parts: Parts) -> None:
        """Let go of what `parts`, a list or the values of a dict, holds. It is emptied: nobody else may use it."""
        if parts:
            self._containers.append(parts)
        if self._containers and not self._scheduled:
            self._schedule()

    @property
    def waiting(self) -> int:
        """How many parts have not been dropped yet."""
        return sum(map(len, self._containers))

    def _schedule(self) -> None:
        self._scheduled = True
        self._runtime.call_later(STEP_S, self._step)

    def _step(self) -> None:
        self._scheduled = False
        room = ITEMS_PER_STEP
        while room > 0 and self._containers:
            parts = self._containers[0]
            part = parts.popitem()[1] if isinstance(parts, dict) else parts.pop()
            room -= 1 + (len(part) if isinstance(part, Sized) else 0)
            if not parts:
                self._containers.popleft()
        if self._containers:
            self._schedule()


def drop_at_once(parts: Parts) -> None:
    """In place of `Trash.add` where no loop runs: the caller's last reference frees everything."""
    parts.clear()
