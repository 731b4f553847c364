"""A cluster of real processes as a cluster under test: asked over HTTP, a write never twice.

It uses the project's lean client, as `client` does and for its reasons. Each node has as many kept connections as there
are requests under way at once; a connection that broke is dialled anew by the next request, and nothing is sent again.

What became of a request that was not answered:

    the connection was refused      `fail`: nothing was sent
    a proxy in between refused it   `fail` as well: the harness owns it, and knows that nothing was passed on
    no answer in time               `info`
    the connection was lost         `info`
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from jepsen_like.asking import Completion, Request
from jepsen_like.targets.commands import failed
from jepsen_like.targets.over_http import Encoded, asked_of, completion_of, wait_ms
from raftcache.cli.api import split_url
from raftcache.cli.keepalive import KeepAlive
from raftcache.frontends.http.types import TIMEOUT_LIMIT_MS

UNREACHABLE, LOST, TOO_MANY = "unavailable", "outcome_unknown", "overloaded"
GRACE_S = 0.25
"""What the client waits beyond the time that it gives the node, so that the node's answer decides and not ours."""
_LONGEST_S = TIMEOUT_LIMIT_MS / 1000 + 2 * GRACE_S
"""A connection's own limit, over that of any request."""
UNDER_WAY_LIMIT = 1024
"""Requests to one node at once; one more is refused here."""

Done = Callable[[Completion], None]
Refused = Callable[[str, int], bool]
"""Whether a node's connection from a local port is known to have brought nothing to it."""


def _never(node: str, port: int) -> bool:
    return False


class RealTarget:
    """Nodes at these HTTP addresses, by id. On a running event loop; `await close()` in the end."""

    def __init__(self, addresses: Mapping[str, str], was_refused: Refused = _never) -> None:
        self._addresses = {node: split_url(f"http://{address}") for node, address in addresses.items()}
        self._was_refused = was_refused
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._free: defaultdict[str, list[KeepAlive]] = defaultdict(list)
        self._under_way: defaultdict[str, set[asyncio.Task[Completion]]] = defaultdict(set)
        self._timers: set[asyncio.TimerHandle] = set()

    def nodes(self) -> list[str]:
        """Target: the ids of all nodes."""
        return list(self._addresses)

    def now_ms(self) -> float:
        """Target: since this was made."""
        return (self._loop.time() - self._began) * 1000

    def wall_ms(self) -> int:
        """Target: the wall clock."""
        return time.time_ns() // 1_000_000

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Target: on the loop."""

        def run() -> None:
            self._timers.discard(handle)
            action()

        handle = self._loop.call_later(seconds, run)
        self._timers.add(handle)

    def ask(self, node: str, request: Request, timeout_s: float, done: Done) -> None:
        """Target: one request. Raises KeyError for an operation or a node that there is not."""
        asked, limit_ms = asked_of(request), round(timeout_s * 1000) - wait_ms(request)
        if len(self._under_way[node]) >= UNDER_WAY_LIMIT:
            refusal = failed(TOO_MANY, f"{UNDER_WAY_LIMIT} requests to {node} are under way")
            self.later(0.0, lambda: done(refusal))
            return
        connection = self._free[node].pop() if self._free[node] else KeepAlive(*self._addresses[node], _LONGEST_S)
        encoded = asked.encoded(min(max(1, limit_ms), TIMEOUT_LIMIT_MS))
        task = self._loop.create_task(self._run(node, connection, request, encoded, timeout_s))
        self._under_way[node].add(task)
        task.add_done_callback(lambda _: self._finished(node, connection, task, done))

    async def close(self) -> None:
        """Give up what is under way, whose outcomes are unknown then, and close all connections."""
        for handle in self._timers:
            handle.cancel()
        tasks = [task for each in self._under_way.values() for task in each]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in [each for free in self._free.values() for each in free]:
            connection.close()

    async def _run(
        self, node: str, connection: KeepAlive, request: Request, encoded: Encoded, timeout_s: float
    ) -> Completion:
        try:
            async with asyncio.timeout(timeout_s + GRACE_S):
                return completion_of(request, await connection.ask(*encoded))
        except OSError as error:
            return self._unanswered(node, connection, error)

    def _finished(self, node: str, connection: KeepAlive, task: asyncio.Task[Completion], done: Done) -> None:
        """Whatever became of it, `done` is told."""
        self._under_way[node].discard(task)
        self._free[node].append(connection)
        done(failed(LOST, "the run ended first") if task.cancelled() else task.result())

    def _unanswered(self, node: str, connection: KeepAlive, error: OSError) -> Completion:
        if isinstance(error, ConnectionRefusedError) or self._was_refused(node, connection.local_port):
            return failed(UNREACHABLE, f"{node} refuses the connection")
        what = "no answer in time" if isinstance(error, TimeoutError) else f"the connection was lost: {error}"
        return failed(LOST, what)
