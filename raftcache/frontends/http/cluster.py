"""What operators and their tools look at: the cluster, health, metrics. Served under overload too."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from raftcache.frontends.http.context import FrontEnd
from raftcache.frontends.http.routes import ANY_ERRORS, Answered, Handler, Route, json_answer
from raftcache.frontends.http.types import ClusterStatus, Health


async def cluster(front: FrontEnd, request: web.Request) -> web.Response:
    """Nodes and shards, as this front end knows them."""
    return json_answer(front.backend.cluster())


async def livez(front: FrontEnd, request: web.Request) -> web.Response:
    """The process answers."""
    return json_answer(Health(True, ""))


async def readyz(front: FrontEnd, request: web.Request) -> web.Response:
    """Every shard has a leader that can be reached from here."""
    ready, reason = front.backend.ready()
    return json_answer(Health(ready, reason), 200 if ready else 503)


async def metrics(front: FrontEnd, request: web.Request) -> web.Response:
    """Prometheus text."""
    return web.Response(body=generate_latest(front.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _route(path: str, summary: str, handler: Handler, answers: dict[int, Answered]) -> Route:
    return Route("GET", path, summary, handler, answers, ANY_ERRORS, timed=False, bounded=False)


ROUTES = (
    _route("/v1/cluster", "Nodes and shards", cluster, {200: Answered("As known here.", ClusterStatus)}),
    _route("/livez", "The process answers", livez, {200: Answered("Alive.", Health)}),
    _route(
        "/readyz",
        "The cache can be used from here",
        readyz,
        {200: Answered("Ready.", Health), 503: Answered("A shard has no leader that can be reached.", Health)},
    ),
    _route("/metrics", "Prometheus metrics", metrics, {200: Answered("In Prometheus's text format.", text=True)}),
)
