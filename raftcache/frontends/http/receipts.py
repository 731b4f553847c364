"""`/v1/receipts/…`: what became of a version that an earlier answer gave.

The version says which shard to ask; the key is held against it, so that a mixed-up pair is an error and no receipt. The
time for which an answer is held back comes on top of the request's own time limit, which is then for the way there.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from raftcache.commands.types import MULTI_KEY_LIMIT, Failure, Fate, Receipt, Version, failure_of
from raftcache.errors import (
    BadRequest,
    InvalidKey,
    NoLeader,
    OutcomeUnknown,
    TooManyKeys,
    UnknownNamespace,
    UnknownVersion,
)
from raftcache.frontends.http import values
from raftcache.frontends.http.context import Answer, FrontEnd
from raftcache.frontends.http.errors import decode_json, error_detail, failure_error
from raftcache.frontends.http.intake import path_receipt, query
from raftcache.frontends.http.routes import (
    BATCH_BODY_LIMIT_BYTES,
    BODY_ERRORS,
    BOUNDED_ERRORS,
    Answered,
    Route,
    json_answer,
)
from raftcache.frontends.http.types import (
    ReceiptAnswer,
    ReceiptItem,
    ReceiptMany,
    ReceiptQuery,
    ReceiptResult,
    ReceiptResults,
    State,
    VersionText,
)

Asked = tuple[bytes, Version]

_STATES: dict[Fate, State] = {Fate.PENDING: "pending", Fate.COMMITTED: "committed", Fate.LOST: "lost"}
_ERRORS = (*BOUNDED_ERRORS, UnknownNamespace, NoLeader, OutcomeUnknown)
_body = msgspec.json.Decoder(ReceiptMany)


async def get(front: FrontEnd, request: web.Request) -> web.Response:
    """The fate of one version."""
    wait_ms = query(request, ReceiptQuery).wait_ms
    namespace, key, text = path_receipt(request)
    asked = (front.address(namespace, key).key, _version(text))
    [item] = await _ask(front, [asked], wait_ms, front.deadline(request))
    if isinstance(item, Failure):
        raise failure_error(item)
    return json_answer(ReceiptAnswer(_STATES[item.fate], item.durable, item.version.shard, item.version.term))


async def get_many(front: FrontEnd, request: web.Request) -> web.Response:
    """The fates of many versions. One that cannot be told is the error of its item alone."""
    deadline = front.deadline(request)
    asked = decode_json(_body, await front.read_body(request, BATCH_BODY_LIMIT_BYTES))
    if len(asked.items) > MULTI_KEY_LIMIT:
        raise TooManyKeys(f"items has {len(asked.items)} entries: the limit is {MULTI_KEY_LIMIT}")
    front.check_namespace(asked.namespace)
    plan = [_planned(front, asked.namespace, item) for item in asked.items]
    answers = iter(await _ask(front, [each for each in plan if not isinstance(each, Failure)], asked.wait_ms, deadline))
    found = [each if isinstance(each, Failure) else next(answers) for each in plan]
    return json_answer(ReceiptResults([_result(i, f) for i, f in zip(asked.items, found, strict=True)]))


def _version(text: str) -> Version:
    try:
        return values.parsed_version(msgspec.convert(text, VersionText))
    except msgspec.ValidationError:
        raise BadRequest(f"version: {text!r:.90} is not a version such as 'v7c1.3.42'") from None


def _planned(front: FrontEnd, namespace: str, item: ReceiptItem) -> Asked | Failure:
    """What to ask, or the failure that needs no cluster to find."""
    try:
        return front.address(namespace, item.key.encode()).key, values.parsed_version(item.version)
    except InvalidKey as error:
        return failure_of(error)


async def _ask(front: FrontEnd, asked: Sequence[Asked], wait_ms: int, deadline: float) -> list[Receipt | Failure]:
    answer: Answer[list[Receipt | Failure]] = Answer()
    front.backend.receipts(asked, wait_ms, deadline + wait_ms / 1000, answer)
    return await answer.wait()


def _result(item: ReceiptItem, found: Receipt | Failure) -> ReceiptResult:
    if isinstance(found, Failure):
        return ReceiptResult(item.key, item.version, error=error_detail(found.code, found.message, found.details))
    version = found.version
    return ReceiptResult(item.key, item.version, _STATES[found.fate], found.durable, version.shard, version.term)


ROUTES = (
    Route(
        "GET",
        "/v1/receipts/{namespace}/{key}/{version}",
        "What became of a version",
        get,
        {200: Answered("Its fate, as of now. Only `pending` changes.", ReceiptAnswer)},
        (*_ERRORS, UnknownVersion),
        query=ReceiptQuery,
    ),
    Route(
        "POST",
        "/v1/receipts/batch",
        "What became of many versions",
        get_many,
        {200: Answered("One result an item.", ReceiptResults)},
        _ERRORS + BODY_ERRORS,
        body=ReceiptMany,
        body_limit_bytes=BATCH_BODY_LIMIT_BYTES,
    ),
)
