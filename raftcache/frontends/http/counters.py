"""`/v1/cache/incr` and `/v1/cache/expire`: change what is there."""

from __future__ import annotations

import msgspec
from aiohttp import web

from raftcache.commands.types import Counted, Expire, Incr, Persist, Written
from raftcache.errors import NotAnInteger
from raftcache.frontends.http import values
from raftcache.frontends.http.context import FrontEnd
from raftcache.frontends.http.errors import decode_json
from raftcache.frontends.http.intake import idempotency_key
from raftcache.frontends.http.routes import (
    BODY_ERRORS,
    KEYED_ERRORS,
    SMALL_BODY_LIMIT_BYTES,
    WRITE_ERRORS,
    Answered,
    Route,
    json_answer,
)
from raftcache.frontends.http.types import CountedAnswer, ExpireAnswer, ExpireBody, IncrBody

_incr_body = msgspec.json.Decoder(IncrBody)
_expire_body = msgspec.json.Decoder(ExpireBody)


async def incr(front: FrontEnd, request: web.Request) -> web.Response:
    """Add to a counter; one that is not there starts at 0."""
    deadline = front.deadline(request)
    asked = decode_json(_incr_body, await front.read_body(request, SMALL_BODY_LIMIT_BYTES))
    (key, named_at), ttl_ms = front.address(asked.namespace, asked.key.encode()), values.ttl_ms(asked.ttl_seconds)
    ack = values.ack_level(asked.durability)
    command = Incr(key, asked.delta, ttl_ms, ack, idempotency_key(request), named_at)
    done = await front.ask(command, deadline, Counted)
    return json_answer(CountedAnswer(done.value, str(done.version), values.DURABILITY_NAMES[done.ack]))


async def expire(front: FrontEnd, request: web.Request) -> web.Response:
    """Give a key another time to live, or none."""
    deadline = front.deadline(request)
    asked = decode_json(_expire_body, await front.read_body(request, SMALL_BODY_LIMIT_BYTES))
    key, named_at = front.address(asked.namespace, asked.key.encode())
    ttl_ms, last = values.ttl_ms(asked.ttl_seconds), (values.ack_level(asked.durability), idempotency_key(request))
    command = Persist(key, *last, named_at) if ttl_ms is None else Expire(key, ttl_ms, *last, named_at)
    done = await front.ask(command, deadline, Written)
    return json_answer(ExpireAnswer(done.written, str(done.version), values.DURABILITY_NAMES[done.ack]))


ROUTES = (
    Route(
        "POST",
        "/v1/cache/incr",
        "Add to a counter",
        incr,
        {200: Answered("The counter after the addition.", CountedAnswer)},
        (*WRITE_ERRORS, *BODY_ERRORS, *KEYED_ERRORS, NotAnInteger),
        keyed=True,
        body=IncrBody,
        body_limit_bytes=SMALL_BODY_LIMIT_BYTES,
    ),
    Route(
        "POST",
        "/v1/cache/expire",
        "Change a key's time to live",
        expire,
        {200: Answered("Applied, or nothing was there.", ExpireAnswer)},
        WRITE_ERRORS + BODY_ERRORS + KEYED_ERRORS,
        keyed=True,
        body=ExpireBody,
        body_limit_bytes=SMALL_BODY_LIMIT_BYTES,
    ),
)
