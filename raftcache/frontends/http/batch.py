"""`/v1/cache/batch/…`: many keys in one request, a result for each, in the order asked.

A body of the wrong shape is refused whole. A key or a value over its limit is the error of its item alone: the
others are executed. There is no atomicity over the items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET

from raftcache.commands.types import (
    JSON,
    MULTI_KEY_LIMIT,
    Counted,
    Delete,
    Failure,
    Get,
    Many,
    Multi,
    MultiDelete,
    MultiGet,
    MultiSet,
    Set,
    Used,
    Value,
    Written,
    failure_of,
)
from raftcache.errors import InternalError, InvalidKey, TooManyKeys, ValueTooLarge
from raftcache.frontends.http import values
from raftcache.frontends.http.context import FrontEnd
from raftcache.frontends.http.errors import decode_json, error_detail
from raftcache.frontends.http.intake import no_idempotency_key
from raftcache.frontends.http.routes import (
    BATCH_BODY_LIMIT_BYTES,
    BODY_ERRORS,
    READ_ERRORS,
    WRITE_ERRORS,
    Answered,
    Route,
    json_answer,
)
from raftcache.frontends.http.types import (
    DeletedItem,
    DeletedMany,
    DeleteMany,
    GetMany,
    GotItem,
    GotMany,
    SetItem,
    SetMany,
    StoredItem,
    StoredMany,
)

T = TypeVar("T")
C = TypeVar("C", Get, Set, Delete)

ItemReply = Value | Written | Counted | Used | Failure

_get_body = msgspec.json.Decoder(GetMany)
_set_body = msgspec.json.Decoder(SetMany)
_delete_body = msgspec.json.Decoder(DeleteMany)


async def get_many(front: FrontEnd, request: web.Request) -> web.Response:
    """Read many keys."""
    deadline = front.deadline(request)
    asked = decode_json(_get_body, await front.read_body(request, BATCH_BODY_LIMIT_BYTES))
    _check(front, asked.namespace, "keys", asked.keys)
    plan = _plan(asked.keys, lambda key: values.get_command(front.address(asked.namespace, key.encode()), asked))
    replies = await _run(front, plan, MultiGet, deadline)
    return json_answer(GotMany(list(map(_got, asked.keys, replies))))


async def set_many(front: FrontEnd, request: web.Request) -> web.Response:
    """Write many keys."""
    no_idempotency_key(request)
    deadline = front.deadline(request)
    asked = decode_json(_set_body, await front.read_body(request, BATCH_BODY_LIMIT_BYTES))
    _check(front, asked.namespace, "items", asked.items)
    ack = values.ack_level(asked.durability)

    def command(item: SetItem) -> Set:
        (key, named_at), value = front.address(asked.namespace, item.key.encode()), values.stored_json(item.value)
        tags = tuple(item.tags) if item.tags else None
        return Set(key, value, JSON, values.ttl_ms(item.ttl_seconds), ack=ack, named_at=named_at, tags=tags)

    replies = await _run(front, _plan(asked.items, command), MultiSet, deadline)
    return json_answer(StoredMany([_stored(item.key, reply) for item, reply in zip(asked.items, replies, strict=True)]))


async def delete_many(front: FrontEnd, request: web.Request) -> web.Response:
    """Delete many keys."""
    no_idempotency_key(request)
    deadline = front.deadline(request)
    asked = decode_json(_delete_body, await front.read_body(request, BATCH_BODY_LIMIT_BYTES))
    _check(front, asked.namespace, "keys", asked.keys)
    ack = values.ack_level(asked.durability)

    def command(item: str) -> Delete:
        key, named_at = front.address(asked.namespace, item.encode())
        return Delete(key, ack=ack, named_at=named_at)

    replies = await _run(front, _plan(asked.keys, command), MultiDelete, deadline)
    return json_answer(DeletedMany(list(map(_deleted, asked.keys, replies))))


def _check(front: FrontEnd, namespace: str, field: str, items: Sequence[Any]) -> None:
    if len(items) > MULTI_KEY_LIMIT:
        raise TooManyKeys(f"{field} has {len(items)} entries: the limit is {MULTI_KEY_LIMIT}")
    front.check_namespace(namespace)


def _plan(items: Sequence[T], command: Callable[[T], C]) -> list[C | Failure]:
    """A command for each item, or the failure that needs no cluster to find."""
    plan: list[C | Failure] = []
    for item in items:
        try:
            plan.append(command(item))
        except (InvalidKey, ValueTooLarge) as error:
            plan.append(failure_of(error))
    return plan


async def _run(
    front: FrontEnd, plan: list[C | Failure], multi: Callable[[tuple[C, ...]], Multi], deadline: float
) -> list[ItemReply]:
    """Execute the commands of a plan as one; a reply for each of its steps, in order."""
    commands = tuple(step for step in plan if not isinstance(step, Failure))
    replies = (await front.ask(multi(commands), deadline, Many)).items if commands else ()
    if len(replies) != len(commands):
        raise InternalError(f"{len(commands)} commands were answered by {len(replies)} replies")
    answered = iter(replies)
    return [step if isinstance(step, Failure) else next(answered) for step in plan]


def _got(key: str, reply: ItemReply) -> GotItem:
    if not isinstance(reply, Value):
        return GotItem(key, error=_item_error(reply))
    staleness_ms = UNSET if reply.staleness_ms is None else reply.staleness_ms
    if reply.value is None:
        version = UNSET if staleness_ms is UNSET else str(reply.version)
        return GotItem(key, False, version=version, staleness_ms=staleness_ms)
    shown, ttl = values.shown_json(reply.value, reply.flag), values.ttl_seconds(reply.ttl_ms)
    return GotItem(key, True, shown, str(reply.version), ttl, staleness_ms)


def _stored(key: str, reply: ItemReply) -> StoredItem:
    if not isinstance(reply, Written):
        return StoredItem(key, error=_item_error(reply))
    expires, level = values.instant(reply.expires_at_ms), values.DURABILITY_NAMES[reply.ack]
    return StoredItem(key, reply.written, str(reply.version), expires, level)


def _deleted(key: str, reply: ItemReply) -> DeletedItem:
    if not isinstance(reply, Written):
        return DeletedItem(key, error=_item_error(reply))
    return DeletedItem(key, reply.existed, str(reply.version), values.DURABILITY_NAMES[reply.ack])


def _item_error(reply: ItemReply) -> dict[str, Any]:
    if isinstance(reply, Failure):
        return error_detail(reply.code, reply.message, reply.details)
    return error_detail(InternalError.code, f"answered by {type(reply).__name__}", {})


ROUTES = (
    Route(
        "POST",
        "/v1/cache/batch/get",
        "Read many keys",
        get_many,
        {200: Answered("One result a key.", GotMany)},
        READ_ERRORS + BODY_ERRORS,
        body=GetMany,
        body_limit_bytes=BATCH_BODY_LIMIT_BYTES,
    ),
    Route(
        "POST",
        "/v1/cache/batch/set",
        "Write many keys",
        set_many,
        {200: Answered("One result an item.", StoredMany)},
        WRITE_ERRORS + BODY_ERRORS,
        body=SetMany,
        body_limit_bytes=BATCH_BODY_LIMIT_BYTES,
    ),
    Route(
        "POST",
        "/v1/cache/batch/delete",
        "Delete many keys",
        delete_many,
        {200: Answered("One result a key.", DeletedMany)},
        WRITE_ERRORS + BODY_ERRORS,
        body=DeleteMany,
        body_limit_bytes=BATCH_BODY_LIMIT_BYTES,
    ),
)
