"""A load in the Redis protocol or in memcached's: `python -m beside.load JSON`.

Each connection sends a batch of `depth` requests, waits for all their replies and sends the next, as redis-benchmark
does. It is the same for all systems, and sends what was made before: what it costs, it costs each of them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from itertools import cycle
from typing import Any

import hiredis
import msgspec
import uvloop
from writes.measure import Meter
from writes.spec import Outcome

from beside.requests import Write, batches, memcached, redis
from beside.rows import MEMCACHED, REDIS, SET_QUORUM, Measurement

WRONG_REPLY = "a miss, or a refusal"


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """`connections` to `host`:`port`, for `seconds` after `warm_up_s`; `pids` are the servers."""

    measured: Measurement
    host: str
    port: int
    connections: int
    seconds: float
    warm_up_s: float
    pids: tuple[int, ...]


class RespReplies:
    """Counts replies of the Redis protocol: `feed` returns how many came, and how many of them are no success."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()

    def feed(self, data: bytes) -> tuple[int, int]:
        """More bytes."""
        self._reader.feed(data)
        count = failures = 0
        while (reply := self._reader.gets()) is not False:
            count += 1
            failures += reply is None or isinstance(reply, hiredis.ReplyError)
        return count, failures


class MemcachedReplies:
    """The same for memcached, by whole lines. An END that no VALUE came before is a miss."""

    def __init__(self) -> None:
        self._rest, self._open = b"", 0

    def feed(self, data: bytes) -> tuple[int, int]:
        """More bytes."""
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        hits = sum(line.startswith(b"VALUE ") for line in lines)
        ends, stored = lines.count(b"END"), lines.count(b"STORED")
        self._open += hits - ends
        misses = max(0, -self._open)
        self._open += misses
        return ends + stored, misses


class Connection(asyncio.Protocol):
    """One of the connections."""

    def __init__(self, spec: Spec, number: int, meter: Meter) -> None:
        self._meter = meter
        self._waits = (spec.measured.system, spec.measured.operation) == (REDIS, SET_QUORUM)
        self._depth = spec.measured.depth
        self._batches = cycle(batches(spec.measured, writer(spec.measured), number))
        self._replies: Any = MemcachedReplies() if spec.measured.system == MEMCACHED else RespReplies()
        self._missing, self._failures, self._began = 0, 0, 0.0
        self.running = True

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Count, and send the next batch once all replies are there."""
        count, failures = self._replies.feed(data)
        self._missing -= count
        self._failures += failures
        if self._missing == 0:
            self._count()
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """Count it, where it was not we who ended it."""
        if self.running:
            self._meter.failed("connection lost")

    def _count(self) -> None:
        for _ in range(self._failures):
            self._meter.failed(WRONG_REPLY)
        for _ in range(self._depth - self._failures):
            self._meter.done(self._began)

    def _send(self) -> None:
        if self.running:
            self._missing, self._failures = self._depth + self._waits, 0
            self._began = time.perf_counter()
            self._transport.write(next(self._batches))

    def stop(self) -> None:
        """End."""
        self.running = False
        self._transport.abort()


def writer(measured: Measurement) -> Write:
    """How the system is asked for the operation."""
    return memcached if measured.system == MEMCACHED else redis


async def run(spec: Spec) -> Outcome:
    """Connect, warm up, measure."""
    meter, connections = Meter(spec.pids), []
    loop = asyncio.get_running_loop()
    for number in range(spec.connections):
        make = partial(Connection, spec, number, meter)
        _, connection = await loop.create_connection(make, spec.host, spec.port)
        connections.append(connection)
    await asyncio.sleep(spec.warm_up_s)
    meter.open()
    await asyncio.sleep(spec.seconds)
    outcome = meter.close()
    for connection in connections:
        connection.stop()
    return outcome


def main() -> None:
    """Run one load and print its outcome."""
    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(run(spec))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
