"""Pings when idle, the end of the silent, by ticks of a hand-driven clock."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

from raftcache.net.connection import Connection
from raftcache.net.heartbeat import SILENT_TICKS_LIMIT, Heartbeat
from raftcache.net.links import PING_EVERY_MS


class HandClock:
    """A Runtime whose timers fire when the test says so."""

    def __init__(self) -> None:
        self.random = random.Random(1)
        self.timers: list[HandTimer] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> HandTimer:
        self.timers.append(HandTimer(self, delay, callback))
        return self.timers[-1]

    def tick(self) -> None:
        (timer,) = self.timers
        self.timers.clear()
        timer.callback()


class HandTimer:
    def __init__(self, clock: HandClock, delay: float, callback: Callable[[], None]) -> None:
        self.clock, self.delay, self.callback = clock, delay, callback

    def cancel(self) -> None:
        self.clock.timers.remove(self)


class FakeConnection:
    remote = "peer"

    def __init__(self) -> None:
        self.heard = self.sent = True
        self.silent_ticks = self.pings = 0
        self.error: Exception | None = None

    def ping(self) -> None:
        self.pings += 1
        self.sent = True

    def close(self, error: Exception) -> None:
        self.error = error


def watch() -> tuple[HandClock, Heartbeat, FakeConnection]:
    clock, connection = HandClock(), FakeConnection()
    heartbeat = Heartbeat(cast(Any, clock), PING_EVERY_MS)
    heartbeat.add(cast(Connection, connection))
    return clock, heartbeat, connection


def test_an_idle_connection_is_pinged_every_half_second() -> None:
    clock, _, connection = watch()
    assert [timer.delay for timer in clock.timers] == [0.5]
    for pings in (0, 1, 2):
        connection.heard = True
        clock.tick()
        assert connection.pings == pings
    connection.sent = connection.heard = True
    clock.tick()
    assert connection.pings == 2


def test_a_silent_connection_is_dropped_after_two_seconds() -> None:
    clock, heartbeat, connection = watch()
    assert SILENT_TICKS_LIMIT * PING_EVERY_MS == 2000
    clock.tick()
    for _ in range(SILENT_TICKS_LIMIT - 1):
        clock.tick()
        assert connection.error is None
    clock.tick()
    assert "silent for 2000 ms" in str(connection.error) and heartbeat.dropped == 1
    assert clock.timers == []


def test_a_sign_of_life_starts_the_count_again() -> None:
    clock, heartbeat, connection = watch()
    for turn in range(20):
        connection.heard = turn % SILENT_TICKS_LIMIT == 0
        clock.tick()
    assert connection.error is None and heartbeat.dropped == 0


def test_the_timer_ends_with_the_last_connection() -> None:
    clock, heartbeat, connection = watch()
    heartbeat.remove(cast(Connection, connection))
    assert clock.timers == []
