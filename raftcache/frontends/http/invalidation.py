"""Dropping many keys at once: a namespace's, or those that carry a tag. Answered when no reader sees them any more.

Replica reads are as old as they say, here as elsewhere: they follow within their staleness.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from raftcache.commands.table import check_tag
from raftcache.errors import NoLeader, OutcomeUnknown, RaftcacheError, UnknownNamespace
from raftcache.frontends.backend import InvalidateDone
from raftcache.frontends.http.context import Answer, FrontEnd, check_name
from raftcache.frontends.http.intake import path_tag, path_verb_namespace
from raftcache.frontends.http.routes import BOUNDED_ERRORS, Answered, Route, json_answer
from raftcache.frontends.http.types import Invalidated

_ERRORS = (*BOUNDED_ERRORS, UnknownNamespace, NoLeader, OutcomeUnknown)


async def namespace(front: FrontEnd, request: web.Request) -> web.Response:
    """Drop all keys of a namespace."""
    name = path_verb_namespace(request)
    check_name(name)
    deadline = front.deadline(request)
    await _done(lambda answer: front.backend.invalidate_namespace(name, deadline, answer))
    return json_answer(Invalidated(True, name))


async def tag(front: FrontEnd, request: web.Request) -> web.Response:
    """Drop the keys of a namespace that carry a tag."""
    name, tag_ = path_tag(request)
    deadline = front.deadline(request)
    check_tag(tag_)
    front.check_namespace(name)
    await _done(lambda answer: front.backend.invalidate_tag(name, tag_, deadline, answer))
    return json_answer(Invalidated(True, name, tag_))


async def _done(begin: Callable[[InvalidateDone], None]) -> None:
    """Raises what came of it instead."""
    answer: Answer[RaftcacheError | None] = Answer()
    begin(answer)
    error = await answer.wait()
    if error is not None:
        raise error


ROUTES = (
    Route(
        "POST",
        "/v1/namespaces/{namespace}/invalidate",
        "Drop all keys of a namespace",
        namespace,
        {200: Answered("No read begun from now on sees a value of before; replica reads follow in time.", Invalidated)},
        _ERRORS,
    ),
    Route(
        "POST",
        "/v1/cache/{namespace}/tags/{tag}/invalidate",
        "Drop the keys that carry a tag",
        tag,
        {200: Answered("As for a namespace: no read sees a value of before that was set with the tag.", Invalidated)},
        _ERRORS,
    ),
)
