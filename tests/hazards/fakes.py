"""The outside world of a guarded node: its loop, its dice and its files."""

from __future__ import annotations

import errno
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from raftcache.wal.files import AppendFile, OsFiles


class HasNow(Protocol):
    """Whoever keeps the virtual clock."""

    now: float


class Killed(BaseException):
    """The process died here: nothing of it runs any more."""


class LabHandle:
    """A scheduled callback."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def run(self) -> None:
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class LoadedDice(random.Random):
    """Shows the same every time."""

    def __init__(self, shown: float) -> None:
        super().__init__(0)
        self.shown = shown

    def random(self) -> float:
        return self.shown


class LabRuntime:
    """`clock.Runtime` under the laboratory's clock. Background work takes one step, unless it is stalled."""

    def __init__(self, lab: HasNow, eagerness: float, rate: float = 1.0) -> None:
        """`rate`: how many seconds its clock shows in one of the laboratory's."""
        self._rate = rate
        self.random: random.Random = LoadedDice(eagerness)
        self.stalled = False
        self._lab = lab
        self._soon: deque[LabHandle] = deque()
        self._timers: list[tuple[float, int, LabHandle]] = []
        self._work: deque[Callable[[], None]] = deque()
        self._count = 0

    def now(self) -> float:
        return self._lab.now * self._rate

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + int(self._lab.now * 1000)

    def call_soon(self, callback: Callable[[], None]) -> LabHandle:
        handle = LabHandle(callback)
        self._soon.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[[], None]) -> LabHandle:
        handle = LabHandle(callback)
        self._count += 1
        heapq.heappush(self._timers, (self.now() + delay, self._count, handle))
        return handle

    def offload(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        def job() -> None:
            try:
                result: Any = work()
            except Exception as error:
                result = error
            done(result)

        self._work.append(job)

    def end_turn(self) -> None:
        """Run what was asked for "soon"."""
        while self._soon:
            self._soon.popleft().run()

    def turn(self) -> None:
        """One step: background work that was handed over before it, and the timers that are due."""
        for _ in range(0 if self.stalled else len(self._work)):
            self._work.popleft()()
            self.end_turn()
        while self._timers and self._timers[0][0] <= self.now() + 1e-9:
            heapq.heappop(self._timers)[2].run()
            self.end_turn()


class LabFile:
    """A file that obeys its `LabFiles`."""

    def __init__(self, files: LabFiles, inner: AppendFile) -> None:
        self._files, self._inner = files, inner
        self.size, self.close = inner.size, inner.close

    def write(self, data: bytes) -> None:
        self._files.about_to_change()
        self._inner.write(data)

    def truncate(self, size: int) -> None:
        self._files.about_to_change()
        self._inner.truncate(size)

    def sync(self) -> None:
        self._files.about_to_change()


class LabFiles(OsFiles):
    """The machine's files, which fail or kill the process on demand. Syncing is a no-op: no power is lost here."""

    def __init__(self) -> None:
        self.failing = self.failing_syncs = False
        self.changes_left: int | None = None
        self.syncs: list[str] = []
        """The files that were synced, in order."""

    def about_to_change(self) -> None:
        if self.failing:
            raise OSError(errno.ENOSPC, "no space left on device")
        if self.changes_left is not None:
            if self.changes_left == 0:
                raise Killed
            self.changes_left -= 1

    def create(self, path: str) -> Any:
        self.about_to_change()
        return LabFile(self, super().create(path))

    def open_append(self, path: str) -> Any:
        return LabFile(self, super().open_append(path))

    def rename(self, source: str, target: str) -> None:
        self.about_to_change()
        super().rename(source, target)

    def remove(self, path: str) -> None:
        self.about_to_change()
        super().remove(path)

    def sync(self, path: str) -> None:
        self.about_to_change()
        if self.failing_syncs:
            raise OSError(errno.EIO, "the disk did not take it")
        self.syncs.append(path)

    def sync_dir(self, path: str) -> None:
        self.about_to_change()
