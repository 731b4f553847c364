"""The table of all routes, and the aiohttp application made from it."""

from __future__ import annotations

import logging
from functools import partial

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_urldispatcher import AbstractRoute

from raftcache.errors import InternalError, Overloaded, RaftcacheError
from raftcache.frontends.backend import Backend
from raftcache.frontends.http import (
    batch,
    cache,
    cluster,
    counters,
    hotkeys,
    invalidation,
    losses,
    namespaces,
    openapi,
    receipts,
    shards,
    snapshots,
)
from raftcache.frontends.http.context import FrontEnd, HttpSettings, NotHeardOf, too_large
from raftcache.frontends.http.errors import JSON_TYPE, error_response, http_error_response
from raftcache.frontends.http.intake import query
from raftcache.frontends.http.metrics import RouteMetrics
from raftcache.frontends.http.routes import ANY_ERRORS, Answered, Route
from raftcache.frontends.http.types import NoQuery

log = logging.getLogger(__name__)

Watched = dict[AbstractRoute, tuple[Route, RouteMetrics]]


async def _openapi(front: FrontEnd, request: web.Request) -> web.Response:
    """This interface, in OpenAPI's words."""
    return web.Response(body=OPENAPI, headers={"Content-Type": JSON_TYPE})


ROUTES: tuple[Route, ...] = (
    *cache.ROUTES,
    *batch.ROUTES,
    *counters.ROUTES,
    *receipts.ROUTES,
    *losses.ROUTES,
    *hotkeys.ROUTES,
    *namespaces.ROUTES,
    *invalidation.ROUTES,
    *shards.ROUTES,
    *cluster.ROUTES,
    *snapshots.ROUTES,
    Route(
        "GET",
        "/v1/openapi.json",
        "This document",
        _openapi,
        {200: Answered("OpenAPI 3.1.", dict)},
        ANY_ERRORS,
        timed=False,
        bounded=False,
    ),
)
FRONT = web.AppKey("front", FrontEnd)
OPENAPI = msgspec.json.encode(openapi.document(ROUTES))


def build_app(backend: Backend, settings: HttpSettings | None = None) -> web.Application:
    """The whole HTTP interface of `backend`, ready for an aiohttp runner."""
    front = FrontEnd(backend, settings or HttpSettings())
    watched: Watched = {}
    app = web.Application(middlewares=[_guard(front, watched)])
    app[FRONT] = front
    for route in ROUTES:
        handler, expect = partial(route.handler, front), partial(_expect, route)
        added = app.router.add_route(route.method, _pattern(route.path), handler, expect_handler=expect)
        watched[added] = route, front.metrics.route(route.method, route.path)
    return app


def _pattern(path: str) -> str:
    """A path in aiohttp's words. It matches against a decoded path, so a key may hold line ends."""
    pieces = path.replace("{namespace}", "{namespace:[^/]+}").replace("{tag}", "{tag:[^/]+}")
    return pieces.replace("{key}", "{key:(?s:.+)}")


def _guard(front: FrontEnd, watched: Watched) -> Middleware:
    """What stands around every handler: the bound on work in progress, errors into answers, the counting."""
    now = front.runtime.now
    stray = front.metrics.route("any", "unmatched")

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = now()
        route, numbers = watched.get(request.match_info.route, (None, stray))
        refused = front.refusal() if route is None or route.bounded else None
        if front.connections() > front.settings.connections_limit:
            front.turned_away += 1
            refused = Overloaded(f"{front.settings.connections_limit} connections are served: no more")
        if refused is not None:
            response: web.StreamResponse = error_response(refused)
            if front.connections() > front.settings.connections_limit:
                response.force_close()
        else:
            front.in_flight += 1
            try:
                response = await _answered(front, request, handler, route)
            finally:
                front.in_flight -= 1
        numbers.observe(response.status, now() - started)
        return response

    return guard


async def _answered(
    front: FrontEnd, request: web.Request, handler: Handler, route: Route | None
) -> web.StreamResponse:
    """The handler's answer, or the answer that its error is."""
    try:
        if route is not None and route.bare:
            query(request, NoQuery)
        return await _handled(front, request, handler)
    except RaftcacheError as error:
        return error_response(error)
    except web.HTTPException as error:
        return http_error_response(error)
    except Exception:
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return error_response(InternalError("this request met a defect; the node's log says more"))


async def _handled(front: FrontEnd, request: web.Request, handler: Handler) -> web.StreamResponse:
    """A handler that met a namespace not heard of starts over, once, when all that exist are known: it names its
    namespace before it executes anything."""
    try:
        return await handler(request)
    except NotHeardOf:
        await front.refresh_namespaces(front.deadline(request))
        return await handler(request)


async def _expect(route: Route, request: web.Request) -> web.StreamResponse | None:
    """`Expect: 100-continue`: a body that is too large is refused before it is sent."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return http_error_response(web.HTTPExpectationFailed(text="Expect: only 100-continue is known"))
    size = request.content_length
    if size is not None and size > route.body_limit_bytes:
        return error_response(too_large(f"{size} bytes", route.body_limit_bytes))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0
    return None
