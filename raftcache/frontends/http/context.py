"""What all handlers share: the backend, the bounds on work in progress, and how to ask it something.

`execute` answers at once for most reads and for `primary` writes; only where it does not is a future made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from aiohttp import StreamReader, web

from raftcache.commands.namespaces import full_key, missing_namespace
from raftcache.commands.policy import DEFAULT, NAME_PATTERN
from raftcache.commands.types import KEY_LIMIT_BYTES, Command, Failure, Reply
from raftcache.errors import (
    BadRequest,
    InternalError,
    InvalidKey,
    InvalidName,
    Overloaded,
    RaftcacheError,
    UnknownNamespace,
    ValueTooLarge,
)
from raftcache.frontends.backend import Backend
from raftcache.frontends.http.errors import failure_error
from raftcache.frontends.http.intake import timeout_seconds
from raftcache.frontends.http.load import Load
from raftcache.frontends.http.metrics import BackendMetrics, HttpMetrics, registry_of

_BODY = web.RequestKey("body", bytes)

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT_LIMIT = 4096
"""Requests under way at once; one more is refused as overloaded."""
RECEIVING_LIMIT_BYTES = 256 << 20
"""Room for bodies that did not arrive whole with their headers; a body reserves what it may grow to."""
CONNECTIONS_LIMIT = 8192
"""Connections that are served at a time; on one more the first request is refused, and it is closed."""

BODY_TIMEOUT_SECONDS = 30.0
"""The longest that a body may take to arrive."""


class NotHeardOf(UnknownNamespace):
    """A namespace that this process does not know. It may be new: only after a refresh is it an error for clients."""


@dataclass(frozen=True)
class HttpSettings:
    """Bounds of one HTTP front end."""

    in_flight_limit: int = IN_FLIGHT_LIMIT
    connections_limit: int = CONNECTIONS_LIMIT
    receiving_limit_bytes: int = RECEIVING_LIMIT_BYTES
    body_timeout_seconds: float = BODY_TIMEOUT_SECONDS


class Answer(Generic[T]):
    """A callback that can be waited for. Called before `wait`, it costs no future."""

    __slots__ = ("_future", "_values")

    def __init__(self) -> None:
        self._values: list[T] = []
        self._future: asyncio.Future[None] | None = None

    def __call__(self, value: T) -> None:
        self._values.append(value)
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> T:
        """What the callback got, or will get."""
        if not self._values:
            self._future = asyncio.get_running_loop().create_future()
            await self._future
        return self._values[0]


class Address(NamedTuple):
    """A key in the keyspace, and the commands' `named_at` for it: taken at one moment, so that a namespace which
    existed at that epoch stands before the key."""

    key: bytes
    named_at: int


class FrontEnd:
    """The state of one HTTP front end."""

    def __init__(self, backend: Backend, settings: HttpSettings) -> None:
        self.backend = backend
        self.settings = settings
        self.runtime = backend.runtime
        self.in_flight = 0
        self.receiving_bytes = 0
        self.load = Load(backend.runtime)
        self.connections: Callable[[], int] = lambda: 0
        self.turned_away = 0
        """Connections refused."""
        self.metrics = HttpMetrics(self)
        self.registry = registry_of(self.metrics, BackendMetrics(backend.collect_metrics))

    def refusal(self) -> Overloaded | None:
        """Why the newest request is not taken. Cheap: nothing of it was looked at."""
        if self.in_flight >= self.settings.in_flight_limit:
            return Overloaded(f"{self.settings.in_flight_limit} requests are under way: no more")
        if self.load.shedding:
            self.load.shed += 1
            late_ms = round(self.load.lag_s * 1000)
            return Overloaded(f"this process is {late_ms} ms behind: no more requests until it is not")
        return None

    def deadline(self, request: web.Request) -> float:
        """When this request must be answered, on the runtime's clock. Raises BadRequest."""
        return self.runtime.now() + timeout_seconds(request)

    def address(self, namespace: str, key: bytes, field: str = "key") -> Address:
        """The key in the keyspace. Raises InvalidName, NotHeardOf, NoLeader, InvalidKey."""
        self.check_namespace(namespace)
        whole = full_key(namespace, key)
        if not key or len(whole) > KEY_LIMIT_BYTES:
            prefix = "" if whole is key else f" with its prefix {namespace + ':'!r}"
            raise InvalidKey(f"{field} has {len(whole)} bytes{prefix}: it must have 1 to {KEY_LIMIT_BYTES}")
        return Address(whole, 0 if namespace == DEFAULT else self.backend.namespaces().epoch)

    async def refresh_namespaces(self, deadline: float) -> None:
        """Learn of every namespace whose creation was acknowledged before. Raises NoLeader, Overloaded."""
        answer: Answer[RaftcacheError | None] = Answer()
        self.backend.refresh_namespaces(deadline, answer)
        error = await answer.wait()
        if error is not None:
            raise error

    def check_namespace(self, name: str) -> None:
        """Raises InvalidName, NotHeardOf, NoLeader."""
        if name not in self.backend.namespaces().by_name:
            check_name(name)
            error = missing_namespace(self.backend.namespaces(), name)
            raise NotHeardOf(error.message, **error.details) if isinstance(error, UnknownNamespace) else error

    async def ask(self, command: Command, deadline: float, kind: type[R]) -> R:
        """Execute `command`, whose answer is a `kind`. Raises the error that came instead."""
        answer: Answer[Reply] = Answer()
        self.backend.execute(command, deadline, answer)
        reply = await answer.wait()
        if isinstance(reply, kind):
            return reply
        if isinstance(reply, Failure):
            raise failure_error(reply)
        raise InternalError(f"{type(command).__name__} was answered by {type(reply).__name__}")

    async def read_body(self, request: web.Request, limit_bytes: int) -> bytes:
        """The whole body, and the same again to a handler that starts over. Raises ValueTooLarge before more than the
        limit is held, Overloaded, HTTPRequestTimeout."""
        if _BODY not in request:
            request[_BODY] = await self._receive_body(request, limit_bytes)
        return request[_BODY]

    async def _receive_body(self, request: web.Request, limit_bytes: int) -> bytes:
        size = request.content_length
        if size is not None and size > limit_bytes:
            raise too_large(f"{size} bytes", limit_bytes)
        content = request.content
        if content.is_eof():
            return _within(content.read_nowait(-1), limit_bytes)
        reserved = limit_bytes if size is None else size
        if self.receiving_bytes + reserved > self.settings.receiving_limit_bytes:
            raise Overloaded(f"bodies of {self.receiving_bytes} bytes are being received: no room for {reserved} more")
        self.receiving_bytes += reserved
        try:
            async with asyncio.timeout(self.settings.body_timeout_seconds):
                return await _receive(content, limit_bytes)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the body did not arrive in time") from None
        except web.RequestPayloadError as error:
            raise BadRequest(f"the body did not arrive whole: {error}") from None
        finally:
            self.receiving_bytes -= reserved


def check_name(name: str) -> None:
    """Raises InvalidName."""
    if NAME_PATTERN.match(name) is None:
        raise InvalidName(f"namespace {name!r:.80} must be 1 to 64 of the characters A-Z a-z 0-9 _ . -")


async def _receive(content: StreamReader, limit_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := await content.readany():
        size += len(piece)
        if size > limit_bytes:
            raise too_large(f"{size} bytes so far", limit_bytes)
        pieces.append(piece)
    return b"".join(pieces)


def _within(body: bytes, limit_bytes: int) -> bytes:
    if len(body) > limit_bytes:
        raise too_large(f"{len(body)} bytes", limit_bytes)
    return body


def too_large(size: str, limit_bytes: int) -> ValueTooLarge:
    """The error for a body over its limit; `size` in words."""
    return ValueTooLarge(f"the body has {size}: the limit here is {limit_bytes} bytes", limit_bytes=limit_bytes)
