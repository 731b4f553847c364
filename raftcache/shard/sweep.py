"""What a leader does in the background: it removes expired keys and reply records, forgets sessions that are not used,
reclaims what was dropped, and trims what is over a quota.

All are effects like any other. Each tick does a bounded amount of work, and the pipeline admits it only up to half of
its bounds, so that reclaiming never takes the place of a client's write. What was dropped is told in `reclaim`.
"""

from __future__ import annotations

from raftcache.clock import Handle, Runtime
from raftcache.shard.eviction import Rooms
from raftcache.shard.executor import Executor
from raftcache.shard.reclaim import Reclaimer
from raftcache.store.sessions import RETRY_SPAN_MS, SESSION_TTL_MS

SWEEP_INTERVAL_S = 0.1
BUSY_INTERVAL_S = 0.01
"""The pause after a tick that found as much as it may handle."""
EXPIRED_PER_TICK = 500
SESSIONS_INTERVAL_S = 5.0
"""How often a leader looks for sessions to forget."""


class Sweeper:
    """A timer that runs while the shard is served here."""

    def __init__(self, runtime: Runtime, executor: Executor, rooms: Rooms) -> None:
        self._runtime = runtime
        self._executor = executor
        self._timer: Handle | None = None
        self._reclaimer = Reclaimer(executor)
        self._rooms = rooms
        self._forget_from_s = 0.0

    @property
    def awaiting(self) -> tuple[int, int]:
        """Dropped entries that are not reclaimed yet, and their bytes."""
        return self._reclaimer.entries, self._reclaimer.size_bytes

    def start(self) -> None:
        """Begin a leadership. It forgets no session at first: see `store.sessions`."""
        self._forget_from_s = self._runtime.now() + RETRY_SPAN_MS / 1000
        self._reclaimer.start()
        self._timer = self._runtime.call_later(SWEEP_INTERVAL_S, self._tick)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._reclaimer.stop()

    def _tick(self) -> None:
        busy = self._sweep_expired() >= EXPIRED_PER_TICK
        busy |= self._sweep_replies() >= EXPIRED_PER_TICK
        self._forget_sessions()
        busy |= self._reclaimer.step()
        busy |= self._rooms.tick(self._runtime.now())
        self._timer = self._runtime.call_later(BUSY_INTERVAL_S if busy else SWEEP_INTERVAL_S, self._tick)

    def _sweep_expired(self) -> int:
        ex = self._executor
        now_ms, removed = ex.now_ms(), 0
        while removed < EXPIRED_PER_TICK:
            keys = ex.keyspace.expiries.due(now_ms, EXPIRED_PER_TICK - removed)
            if not keys:
                break
            for key in keys:
                if not ex.pipeline.admit_background():
                    return removed
                ex.expire(key)
                removed += 1
        return removed

    def _sweep_replies(self) -> int:
        ex = self._executor
        now_ms, removed = ex.now_ms(), 0
        while removed < EXPIRED_PER_TICK:
            ids = ex.replies.due(now_ms, EXPIRED_PER_TICK - removed)
            if not ids:
                break
            for id_ in ids:
                if not ex.pipeline.admit_background():
                    return removed
                ex.forget_reply(id_)
                removed += 1
        return removed

    def _forget_sessions(self) -> None:
        ex, now_s = self._executor, self._runtime.now()
        if now_s < self._forget_from_s:
            return
        self._forget_from_s = now_s + SESSIONS_INTERVAL_S
        for id_ in ex.sessions.idle_since(ex.now_ms() - SESSION_TTL_MS):
            if not ex.pipeline.admit_background():
                return
            ex.forget_session(id_)
