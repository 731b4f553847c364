"""Shedding and the bound on connections: the newest work is refused, cheaply, and what operators ask for is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from http_caller import Caller

from raftcache.frontends.http.app import FRONT
from raftcache.frontends.http.context import FrontEnd
from raftcache.frontends.http.load import LAG_LIMIT_S, LOOK_INTERVAL_S, LOOKS, Load


class LateRuntime:
    """A clock and one timer; a test says how late the timer fires."""

    def __init__(self) -> None:
        self.random = random.Random(1)
        self.now_s = 50.0
        self.timers: list[Any] = []

    def now(self) -> float:
        return self.now_s

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        timer = _Timer(self.now_s + delay, callback)
        self.timers.append(timer)
        return timer

    def fire(self, late_s: float) -> None:
        due = [timer for timer in self.timers if not timer.cancelled]
        self.timers.clear()
        for timer in due:
            self.now_s = timer.at_s + late_s
            timer.callback()


class _Timer:
    def __init__(self, at_s: float, callback: Callable[[], None]) -> None:
        self.at_s, self.callback, self.cancelled = at_s, callback, False

    def cancel(self) -> None:
        self.cancelled = True


def front_of(caller: Caller) -> FrontEnd:
    return caller.server._app[FRONT]


def test_one_long_pause_sheds_nothing_and_lasting_lateness_does_until_it_is_over() -> None:
    runtime: Any = LateRuntime()
    load = Load(runtime)
    load.start()
    runtime.fire(10 * LAG_LIMIT_S)
    assert not load.shedding and load.lag_s > LAG_LIMIT_S
    for _ in range(LOOKS):
        runtime.fire(0.01)
    for expected in (False, False, True):
        runtime.fire(LAG_LIMIT_S + 0.1)
        assert load.shedding is expected
    runtime.fire(LAG_LIMIT_S / 2)
    assert load.shedding, "it is not on time yet"
    runtime.fire(LOOK_INTERVAL_S / 4)
    assert not load.shedding
    load.stop()
    assert all(timer.cancelled for timer in runtime.timers)


def test_a_late_process_refuses_new_requests_but_not_its_operators(caller: Caller) -> None:
    load = front_of(caller).load
    load.shedding, load.lag_s = True, 0.9
    refused = caller.call("GET", "/v1/cache/default/k")
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    assert "900 ms behind" in refused.error["message"]
    assert refused.headers["retry-after"] == "1" and load.shed == 1
    assert not caller.backend.commands
    assert [caller.call("GET", path).status for path in ("/livez", "/readyz", "/metrics", "/v1/hotkeys")] == [200] * 4
    load.shedding = False
    assert caller.call("GET", "/v1/cache/default/k").status in (200, 404)


def test_a_connection_too_many_is_refused_and_closed(caller: Caller) -> None:
    front = front_of(caller)
    limit = front.settings.connections_limit
    served, front.connections = front.connections, lambda: limit + 1
    refused = caller.call("GET", "/v1/cache/default/k")
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    assert f"{limit} connections" in refused.error["message"] and refused.headers["connection"] == "close"
    assert front.turned_away == 1
    front.connections = served
    connection = caller.connection()
    connection.request("GET", "/livez")
    assert connection.getresponse().read() and front.connections() == 1
    connection.close()
    assert caller.alive()
