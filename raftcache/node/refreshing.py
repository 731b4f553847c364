"""Asking what namespaces there are before one is said not to exist.

A process hears of a new namespace some milliseconds after the shards follow it, and must not answer 404 for one whose
creation was acknowledged elsewhere. So before it does, it asks the metadata leader for the epoch of now, by a command
that changes nothing, and waits for its own view to come up to that. All who ask meanwhile share the next question: one
is under way at a time, with pauses that grow while names keep coming which nobody knows. A flood of them costs the
metadata group a few entries a second, and itself the wait.
"""

from __future__ import annotations

from collections.abc import Callable

from raftcache.clock import Handle, Runtime
from raftcache.errors import NoLeader, Overloaded, RaftcacheError
from raftcache.metadata.applying import Result
from raftcache.metadata.commands import Barrier
from raftcache.metadata.submitting import MetadataSubmitter
from raftcache.metadata.view import MetadataView
from raftcache.node.following import when_seen

WAITING_LIMIT = 4096
"""Requests of one process that wait to hear whether their namespace exists."""
TIMEOUT_S = 2.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.02, 0.25
"""Between two questions, doubling while somebody waits for the next when one is answered. Half is jitter."""

Refreshed = Callable[["RaftcacheError | None"], None]


class _Waiter:
    """Who waits, until told."""

    __slots__ = ("_done", "_timer")

    def __init__(self, runtime: Runtime, deadline: float, done: Refreshed) -> None:
        self._done: Refreshed | None = done
        self._timer: Handle = runtime.call_later(max(0.0, deadline - runtime.now()), self._expire)

    def tell(self, error: RaftcacheError | None) -> None:
        done, self._done = self._done, None
        self._timer.cancel()
        if done is not None:
            done(error)

    def _expire(self) -> None:
        self.tell(_not_known())


def _not_known() -> NoLeader:
    return NoLeader("this process does not know the namespace, and the metadata leader could not be asked in time")


class NamespaceRefresh:
    """The questions of one process."""

    def __init__(self, runtime: Runtime, view: MetadataView, metadata: MetadataSubmitter) -> None:
        self._runtime, self._view, self._metadata = runtime, view, metadata
        self._waiting: list[_Waiter] = []
        self._asking: list[_Waiter] = []
        self._pause_s = PAUSE_MIN_S
        self._rests_until = 0.0
        self._scheduled = False
        self.asked = 0

    def ask(self, deadline: float, done: Refreshed) -> None:
        """Call `done(None)` once this process knows all namespaces whose creation was acknowledged before this call;
        `done` gets NoLeader where it cannot find out by the deadline, Overloaded where too many wait."""
        if len(self._waiting) + len(self._asking) >= WAITING_LIMIT:
            return done(Overloaded(f"requests for namespaces not known here must be at most {WAITING_LIMIT} at once"))
        self._waiting.append(_Waiter(self._runtime, deadline, done))
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        rest_s = self._rests_until - self._runtime.now()
        if rest_s <= 0:
            self._pause_s = PAUSE_MIN_S
            self._begin()
        else:
            self._runtime.call_later(rest_s, self._begin)

    def _begin(self) -> None:
        self._asking, self._waiting = self._waiting, []
        self.asked += 1
        deadline = self._runtime.now() + TIMEOUT_S
        self._metadata.submit(Barrier(), deadline, lambda result: self._answered(result, deadline))

    def _answered(self, result: Result, deadline: float) -> None:
        if isinstance(result, RaftcacheError):
            self._tell(in_time=False)
        else:
            when_seen(self._runtime, self._view, result.epoch, deadline, self._tell)

    def _tell(self, in_time: bool) -> None:
        asking, self._asking = self._asking, []
        self._scheduled = False
        self._rests_until = self._runtime.now() + self._pause_s * self._runtime.random.uniform(0.5, 1.0)
        if self._waiting:
            self._pause_s = min(PAUSE_MAX_S, 2 * self._pause_s)
            self._scheduled = True
            self._runtime.call_later(self._rests_until - self._runtime.now(), self._begin)
        for waiter in asking:
            waiter.tell(None if in_time else _not_known())
