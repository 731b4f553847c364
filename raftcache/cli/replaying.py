"""Plays a trace against a cache, cache-aside: get, and on a miss set.

Requests of one key must keep their order, and all others should not wait for each other. So keys are dealt out over
workers by a hash, and each worker plays its keys' requests one after the other on a connection of its own.

A value is made from its key alone, so a hit can be checked without remembering what was written: one that holds other
bytes is an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
import zlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raftcache.cli.api import key_path
from raftcache.cli.keepalive import KeepAlive, Response
from raftcache.cli.trace import Request

REQUEST_TIMEOUT_SECONDS = 30.0
QUEUE_LIMIT = 256
"""Requests read ahead for each worker."""
_PATTERN_BYTES = 64
_GET_HEADERS = b"Accept: application/octet-stream\r\n"
_PUT_HEADERS = b"Content-Type: application/octet-stream\r\n"
_MISS = b'{"hit":false}'

Queue = asyncio.Queue[Request | None]


class Target(NamedTuple):
    """Where to play: workers are spread over `addresses`."""

    addresses: tuple[tuple[str, int], ...]
    namespace: str
    concurrency: int


@dataclass
class Tally:
    """What happened so far. `sizes` are the values written, by key; `latencies_ms` one number a traced request."""

    requests: int = 0
    hits: int = 0
    errors: int = 0
    first_error: str = ""
    elapsed_seconds: float = 0.0
    latencies_ms: array[float] = field(default_factory=lambda: array("d"))
    sizes: dict[bytes, int] = field(default_factory=dict)

    def failed(self, why: str) -> None:
        """Count an error; the first one is kept to be shown."""
        self.errors += 1
        self.first_error = self.first_error or why

    def summary(self) -> dict[str, float]:
        """The figures that the command prints."""
        ordered = sorted(self.latencies_ms)
        return {
            "requests": self.requests,
            "hits": self.hits,
            "hit_ratio": self.hits / self.requests if self.requests else 0.0,
            "errors": self.errors,
            "requests_per_second": round(self.requests / self.elapsed_seconds, 1) if self.elapsed_seconds else 0.0,
            "p50_ms": round(percentile(ordered, 0.50), 3),
            "p99_ms": round(percentile(ordered, 0.99), 3),
        }


def percentile(ordered: list[float], fraction: float) -> float:
    """The smallest value that at least `fraction` of `ordered` do not exceed; 0 of nothing."""
    return ordered[math.ceil(fraction * len(ordered)) - 1] if ordered else 0.0


def content(key: bytes, size_bytes: int) -> bytes:
    """The value of a key: its digest, over and over."""
    pattern = hashlib.blake2b(key, digest_size=_PATTERN_BYTES).digest()
    return (pattern * (size_bytes // _PATTERN_BYTES + 1))[:size_bytes]


async def play(trace: Iterable[Request], target: Target, tally: Tally) -> None:
    """Play the whole trace. What goes wrong with a request is counted, not raised."""
    await _deal(trace, [_Player(target, i, tally) for i in range(target.concurrency)])


async def read_back(target: Target, tally: Tally) -> int:
    """Get every value that was written and compare it; returns how many were as written."""
    readers = [_Reader(target, i, tally) for i in range(target.concurrency)]
    wanted = [Request(key, size) for key, size in tally.sizes.items()]
    await _deal(wanted, readers)
    return sum(reader.good for reader in readers)


async def _deal(trace: Iterable[Request], workers: Sequence[_Worker]) -> None:
    """Give each worker the requests of its keys, in order, a bounded number ahead; return when all are done."""
    queues: list[Queue] = [asyncio.Queue(QUEUE_LIMIT) for _ in workers]
    async with asyncio.TaskGroup() as group:
        for worker, queue in zip(workers, queues, strict=True):
            group.create_task(worker.run(queue))
        for request in trace:
            await queues[zlib.crc32(request.key) % len(queues)].put(request)
        for queue in queues:
            await queue.put(None)


class _Worker(ABC):
    """A connection and the requests of its share of the keys."""

    def __init__(self, target: Target, number: int, tally: Tally) -> None:
        host, port = target.addresses[number % len(target.addresses)]
        self._connection = KeepAlive(host, port, REQUEST_TIMEOUT_SECONDS)
        self._namespace = target.namespace
        self.tally = tally

    async def run(self, queue: Queue) -> None:
        while (request := await queue.get()) is not None:
            try:
                await self.handle(request)
            except OSError as error:
                self.tally.failed(f"{type(error).__name__}: {error}")
        self._connection.close()

    @abstractmethod
    async def handle(self, request: Request) -> None:
        """What this worker does with a request. Raises OSError where it fails."""

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None on a miss. Raises OSError."""
        answer = await self._connection.ask(b"GET", self._path(key), _GET_HEADERS)
        if answer.status == 404 and answer.body.replace(b" ", b"") == _MISS:
            return None
        if answer.status != 200:
            raise _refused("get", key, answer)
        if answer.body != content(key, len(answer.body)):
            raise OSError(f"get of {key!r} brought a value that is not its own")
        return answer.body

    async def put(self, key: bytes, value: bytes) -> None:
        """Write a value. Raises OSError."""
        answer = await self._connection.ask(b"PUT", self._path(key), _PUT_HEADERS, value)
        if answer.status != 201:
            raise _refused("set", key, answer)

    def _path(self, key: bytes) -> bytes:
        return key_path(self._namespace, key).encode()


def _refused(what: str, key: bytes, answer: Response) -> OSError:
    return OSError(f"{what} of {key!r} was answered {answer.status}: {answer.body[:200].decode(errors='replace')}")


class _Player(_Worker):
    async def handle(self, request: Request) -> None:
        tally, started = self.tally, time.perf_counter()
        tally.requests += 1
        if await self.get(request.key) is not None:
            tally.hits += 1
        else:
            await self.put(request.key, content(request.key, request.size_bytes))
            tally.sizes[request.key] = request.size_bytes
        tally.latencies_ms.append((time.perf_counter() - started) * 1000)


class _Reader(_Worker):
    good = 0

    async def handle(self, request: Request) -> None:
        value = await self.get(request.key)
        if value is None or len(value) != request.size_bytes:
            found = "nothing" if value is None else f"{len(value)} bytes"
            raise OSError(f"{request.key!r} was written with {request.size_bytes} bytes and holds {found}")
        self.good += 1
