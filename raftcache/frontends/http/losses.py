"""`/v1/lost-writes`: what was acknowledged and is lost. Served under overload too."""

from __future__ import annotations

from aiohttp import web

from raftcache.frontends.backend import LostReport
from raftcache.frontends.http import values
from raftcache.frontends.http.context import Answer, FrontEnd, check_name
from raftcache.frontends.http.intake import query
from raftcache.frontends.http.routes import ANY_ERRORS, Answered, Route, json_answer
from raftcache.frontends.http.types import LostWriteRow, LostWrites, LostWritesQuery


async def report(front: FrontEnd, request: web.Request) -> web.Response:
    """The newest lost writes. A namespace may be asked for that is deleted meanwhile."""
    namespace = query(request, LostWritesQuery).namespace
    if namespace is not None:
        check_name(namespace)
    answer: Answer[LostReport] = Answer()
    front.backend.lost_writes(namespace, front.deadline(request), answer)
    found = await answer.wait()
    rows = [
        LostWriteRow(each.namespace, each.key, each.version, values.instant(each.acked_ms) or "") for each in found.lost
    ]
    return json_answer(LostWrites(rows, found.total, found.total > len(rows), found.unreachable))


ROUTES = (
    Route(
        "GET",
        "/v1/lost-writes",
        "What was acknowledged and is lost",
        report,
        {200: Answered("As far as nodes that run know.", LostWrites)},
        ANY_ERRORS,
        query=LostWritesQuery,
        bounded=False,
    ),
)
