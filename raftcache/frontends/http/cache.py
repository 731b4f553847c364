"""`/v1/cache/{namespace}/{key}`: one key at a time."""

from __future__ import annotations

import msgspec
from aiohttp import web
from msgspec import UNSET

from raftcache.commands.types import JSON, RAW, Delete, Set, Value, Written
from raftcache.frontends.http import values
from raftcache.frontends.http.context import Address, FrontEnd
from raftcache.frontends.http.errors import JSON_TYPE, decode_json
from raftcache.frontends.http.intake import OCTETS, brings_octets, idempotency_key, path_key, query, wants_octets
from raftcache.frontends.http.routes import (
    BODY_ERRORS,
    KEYED_ERRORS,
    PUT_BODY_LIMIT_BYTES,
    READ_ERRORS,
    REPLICA_ERRORS,
    WRITE_ERRORS,
    Answered,
    Route,
    json_answer,
)
from raftcache.frontends.http.types import (
    DeleteQuery,
    GetQuery,
    Hit,
    Miss,
    NoQuery,
    PutBody,
    Refused,
    SetOptions,
    SetQuery,
    Stored,
)

VERSION_HEADER, DURABILITY_HEADER = "Raftcache-Version", "Raftcache-Durability"
TTL_HEADER, CONSISTENCY_HEADER = "Raftcache-Ttl-Remaining", "Raftcache-Consistency"
STALENESS_HEADER = "Raftcache-Staleness-Ms"
"""Where a replica answered, which `Raftcache-Consistency` then says as well."""

_put_body = msgspec.json.Decoder(PutBody)


async def get(front: FrontEnd, request: web.Request) -> web.Response:
    """Read one key."""
    asked = query(request, GetQuery)
    command = values.get_command(front.address(*path_key(request)), asked)
    found = await front.ask(command, front.deadline(request), Value)
    headers = {"Content-Type": JSON_TYPE, CONSISTENCY_HEADER: values.CONSISTENCY_NAMES[found.level]}
    staleness_ms = UNSET if found.staleness_ms is None else found.staleness_ms
    if staleness_ms is not UNSET:
        headers[STALENESS_HEADER] = str(staleness_ms)
    if found.value is None:
        version = UNSET if staleness_ms is UNSET else str(found.version)
        return json_answer(Miss(False, version, staleness_ms), 404, headers)
    if wants_octets(request):
        return _octets(found.value, found, headers)
    shown, ttl = values.shown_json(found.value, found.flag), values.ttl_seconds(found.ttl_ms)
    return json_answer(Hit(True, shown, str(found.version), ttl, staleness_ms), 200, headers)


def _octets(value: bytes, found: Value, headers: dict[str, str]) -> web.Response:
    headers["Content-Type"] = OCTETS
    headers[VERSION_HEADER] = str(found.version)
    ttl = values.ttl_seconds(found.ttl_ms)
    if ttl is not None:
        headers[TTL_HEADER] = str(ttl)
    return web.Response(body=value, headers=headers)


async def put(front: FrontEnd, request: web.Request) -> web.Response:
    """Write one key."""
    address = front.address(*path_key(request))
    deadline, idempotency = front.deadline(request), idempotency_key(request)
    body = await front.read_body(request, PUT_BODY_LIMIT_BYTES)
    if brings_octets(request):
        options = query(request, SetQuery)
        tags = None if options.tags is None else tuple(options.tags.split(","))
        command = _set(address, values.checked_value(body), RAW, options, idempotency, tags)
    else:
        query(request, NoQuery)
        asked = decode_json(_put_body, body)
        tags = tuple(asked.tags) if asked.tags else None
        command = _set(address, values.stored_json(asked.value), JSON, asked, idempotency, tags)
    done = await front.ask(command, deadline, Written)
    if not done.written:
        return _refused(done)
    level, expires = values.DURABILITY_NAMES[done.ack], values.instant(done.expires_at_ms)
    return json_answer(Stored(True, str(done.version), expires, level), 201)


def _set(
    address: Address,
    value: bytes,
    flag: int,
    asked: SetOptions,
    idempotency: bytes | None,
    tags: tuple[str, ...] | None,
) -> Set:
    key, named_at = address
    ttl, if_version, ack = values.ttl_ms(asked.ttl_seconds), values.version(asked.if_version), asked.durability
    return Set(key, value, flag, ttl, if_version, asked.if_absent, values.ack_level(ack), idempotency, named_at, tags)


async def delete(front: FrontEnd, request: web.Request) -> web.Response:
    """Delete one key; where nothing was there, that is as good."""
    asked = query(request, DeleteQuery)
    if_version = values.version(asked.if_version)
    (key, named_at), ack = front.address(*path_key(request)), values.ack_level(asked.durability)
    command = Delete(key, if_version, ack, idempotency_key(request), named_at)
    done = await front.ask(command, front.deadline(request), Written)
    if if_version is not None and not done.written:
        return _refused(done)
    headers = {VERSION_HEADER: str(done.version), DURABILITY_HEADER: values.DURABILITY_NAMES[done.ack]}
    return web.Response(status=204, headers=headers)


def _refused(done: Written) -> web.Response:
    headers = {"Content-Type": JSON_TYPE, DURABILITY_HEADER: values.DURABILITY_NAMES[done.ack]}
    return json_answer(Refused(False, None if done.current is None else str(done.current)), 409, headers)


_REFUSED = Answered("The condition did not hold.", Refused, (DURABILITY_HEADER,))

ROUTES = (
    Route(
        "GET",
        "/v1/cache/{namespace}/{key}",
        "Read one key",
        get,
        {
            200: Answered(
                "A hit.", Hit, (CONSISTENCY_HEADER, VERSION_HEADER, TTL_HEADER, STALENESS_HEADER), octets=True
            ),
            404: Answered("A miss, or an unknown namespace.", Miss, (CONSISTENCY_HEADER, STALENESS_HEADER)),
        },
        READ_ERRORS + REPLICA_ERRORS,
        query=GetQuery,
    ),
    Route(
        "PUT",
        "/v1/cache/{namespace}/{key}",
        "Write one key",
        put,
        {201: Answered("Written.", Stored), 409: _REFUSED},
        WRITE_ERRORS + BODY_ERRORS + KEYED_ERRORS,
        keyed=True,
        body=PutBody,
        octets_query=SetQuery,
        body_limit_bytes=PUT_BODY_LIMIT_BYTES,
    ),
    Route(
        "DELETE",
        "/v1/cache/{namespace}/{key}",
        "Delete one key",
        delete,
        {204: Answered("Nothing is there any more.", None, (VERSION_HEADER, DURABILITY_HEADER)), 409: _REFUSED},
        WRITE_ERRORS + KEYED_ERRORS,
        keyed=True,
        query=DeleteQuery,
    ),
)
