"""`/v1/namespaces`: the policies."""

from __future__ import annotations

import msgspec
from aiohttp import web

from raftcache.commands.namespaces import missing_namespace
from raftcache.errors import BadRequest, InvalidPolicy, NoLeader, OutcomeUnknown, RaftcacheError, UnknownNamespace
from raftcache.frontends.backend import PolicyWritten
from raftcache.frontends.http.context import Answer, FrontEnd, check_name
from raftcache.frontends.http.errors import decode_json
from raftcache.frontends.http.intake import path_namespace
from raftcache.frontends.http.routes import (
    BODY_ERRORS,
    BOUNDED_ERRORS,
    SMALL_BODY_LIMIT_BYTES,
    Answered,
    Route,
    json_answer,
)
from raftcache.frontends.http.types import Policy, PolicyList

_policy = msgspec.json.Decoder(Policy)
NULLABLE = ("quotaBytes", "quotaItems", "operationsPerSecond", "bytesPerSecond")
"""Integers that may be null: see `types.INTEGER`."""
_CHANGE_ERRORS = (*BOUNDED_ERRORS, NoLeader, OutcomeUnknown)


async def put(front: FrontEnd, request: web.Request) -> web.Response:
    """Create a namespace, or give it another policy."""
    name = path_namespace(request)
    check_name(name)
    deadline = front.deadline(request)
    document = _whole_policy(await front.read_body(request, SMALL_BODY_LIMIT_BYTES))
    answer: Answer[PolicyWritten | RaftcacheError] = Answer()
    front.backend.put_namespace(name, document, deadline, answer)
    done = await answer.wait()
    if isinstance(done, RaftcacheError):
        raise done
    return json_answer(done.document, 201 if done.created else 200)


def _whole_policy(body: bytes) -> dict[str, object]:
    """The policy with every field, in the names of the wire. Raises InvalidPolicy."""
    try:
        policy = decode_json(_policy, body)
    except BadRequest as error:
        raise InvalidPolicy(error.message) from None
    document: dict[str, object] = msgspec.to_builtins(policy)
    window = msgspec.structs.asdict(policy.loss_window)
    document["lossWindow"] = {bound: None if value is None else int(value) for bound, value in window.items()}
    for field in NULLABLE:
        bound = document[field]
        document[field] = int(bound) if isinstance(bound, float) else None
    return document


async def get(front: FrontEnd, request: web.Request) -> web.Response:
    """One policy."""
    name = path_namespace(request)
    check_name(name)
    front.deadline(request)
    front.check_namespace(name)
    document = front.backend.namespace_document(name)
    if document is None:
        raise missing_namespace(front.backend.namespaces(), name)
    return json_answer(document)


async def delete(front: FrontEnd, request: web.Request) -> web.Response:
    """Delete a namespace and all its keys."""
    name = path_namespace(request)
    check_name(name)
    answer: Answer[RaftcacheError | None] = Answer()
    front.backend.delete_namespace(name, front.deadline(request), answer)
    error = await answer.wait()
    if error is not None:
        raise error
    return web.Response(status=204)


async def list_all(front: FrontEnd, request: web.Request) -> web.Response:
    """All policies, by name."""
    documents = [(name, front.backend.namespace_document(name)) for name in sorted(front.backend.namespaces().by_name)]
    return json_answer({"namespaces": [{"name": name, **policy} for name, policy in documents if policy is not None]})


ROUTES = (
    Route(
        "GET",
        "/v1/namespaces",
        "All policies",
        list_all,
        {200: Answered("By name.", PolicyList)},
        timed=False,
    ),
    Route(
        "GET",
        "/v1/namespaces/{namespace}",
        "One policy",
        get,
        {200: Answered("The whole policy.", Policy)},
        (*BOUNDED_ERRORS, UnknownNamespace, NoLeader),
    ),
    Route(
        "PUT",
        "/v1/namespaces/{namespace}",
        "Create a namespace or change its policy",
        put,
        {
            200: Answered("Every shard follows the new policy.", Policy),
            201: Answered("Created; every shard follows its policy.", Policy),
        },
        _CHANGE_ERRORS + BODY_ERRORS,
        body=Policy,
        body_limit_bytes=SMALL_BODY_LIMIT_BYTES,
    ),
    Route(
        "DELETE",
        "/v1/namespaces/{namespace}",
        "Delete a namespace and its keys",
        delete,
        {204: Answered("Deleted.")},
        (*_CHANGE_ERRORS, UnknownNamespace),
    ),
)
