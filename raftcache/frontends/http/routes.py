"""What a route is. The features name theirs, `app` routes by them, `openapi` documents them: one table, no copies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from raftcache.commands.types import VALUE_LIMIT_BYTES
from raftcache.errors import (
    BadRequest,
    IdempotencyMismatch,
    InternalError,
    LevelTooLow,
    LossWindowFull,
    MemoryFull,
    NoLeader,
    NotFollowing,
    OutcomeUnknown,
    Overloaded,
    QuotaExceeded,
    RaftcacheError,
    RateLimited,
    RepliesFull,
    TooStale,
    UnknownNamespace,
    ValueTooLarge,
    VersionLost,
)
from raftcache.frontends.http.context import FrontEnd
from raftcache.frontends.http.errors import JSON_TYPE
from raftcache.frontends.http.types import Input, NoQuery

Handler = Callable[[FrontEnd, web.Request], Awaitable[web.Response]]
Errors = tuple[type[RaftcacheError], ...]

SMALL_BODY_LIMIT_BYTES = 64 << 10
PUT_BODY_LIMIT_BYTES = VALUE_LIMIT_BYTES + SMALL_BODY_LIMIT_BYTES
BATCH_BODY_LIMIT_BYTES = 16 << 20

ANY_ERRORS: Errors = (BadRequest, InternalError)
BOUNDED_ERRORS: Errors = (*ANY_ERRORS, Overloaded)
READ_ERRORS: Errors = (
    *BOUNDED_ERRORS, UnknownNamespace, LevelTooLow, NoLeader, NotFollowing, OutcomeUnknown, RateLimited,
)  # fmt: skip
REPLICA_ERRORS: Errors = (TooStale, VersionLost)
WRITE_ERRORS: Errors = (*READ_ERRORS, MemoryFull, QuotaExceeded, LossWindowFull)
BODY_ERRORS: Errors = (ValueTooLarge,)
KEYED_ERRORS: Errors = (IdempotencyMismatch, RepliesFull)


@dataclass(frozen=True)
class Answered:
    """One status that a route answers with: its JSON body, if any, and its headers.

    `octets`: raw bytes where the request asks for them. `text`: plain text instead of JSON.
    """

    description: str
    body: Any = None
    headers: tuple[str, ...] = ()
    octets: bool = False
    text: bool = False


@dataclass(frozen=True, eq=False)
class Route:
    """One call. `path` is in OpenAPI's form; a `{key}` takes all that follows, slashes too.

    `errors` adds their statuses, each answered as `ErrorAnswer`. `bounded` is false where operators look in:
    those calls are served under overload too. `timed`: heeds the Raftcache-Timeout-Ms header.
    `keyed`: takes an Idempotency-Key header.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    answers: dict[int, Answered]
    errors: Errors = BOUNDED_ERRORS
    query: type[Input] = NoQuery
    body: type[Input] | None = None
    octets_query: type[Input] | None = None
    body_limit_bytes: int = 0
    timed: bool = True
    bounded: bool = True
    keyed: bool = False
    statuses: frozenset[int] = field(init=False)

    @property
    def operation_id(self) -> str:
        """The route's name in OpenAPI: `cache.get`, `batch.set_many`…"""
        return f"{self.handler.__module__.rpartition('.')[2]}.{self.handler.__name__.strip('_')}"

    @property
    def bare(self) -> bool:
        """Whether it takes no query parameters at all."""
        return self.query is NoQuery and self.octets_query is None

    def __post_init__(self) -> None:
        extra = {408, 417} if self.body is not None else {417}
        statuses = {*self.answers, *(error.http_status for error in self.errors), *extra}
        object.__setattr__(self, "statuses", frozenset(statuses))


_encode = msgspec.json.Encoder().encode
_JSON_HEADERS = {"Content-Type": JSON_TYPE}


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A response with `body` (a Struct, or what JSON knows) as JSON."""
    return web.Response(body=_encode(body), status=status, headers=headers or _JSON_HEADERS)
