"""`/v1/snapshots`: taken when an operator says so. Served under overload too."""

from __future__ import annotations

import msgspec
from aiohttp import web

from raftcache.frontends.http.context import Answer, FrontEnd
from raftcache.frontends.http.errors import decode_json
from raftcache.frontends.http.routes import (
    ANY_ERRORS,
    BODY_ERRORS,
    SMALL_BODY_LIMIT_BYTES,
    Answered,
    Route,
    json_answer,
)
from raftcache.frontends.http.types import SnapshotList, SnapshotRequest

SNAPSHOT_TIMEOUT_S = 600.0
"""The longest that a call waits. A snapshot goes on without whoever asked for it."""

_request = msgspec.json.Decoder(SnapshotRequest)


async def take(front: FrontEnd, request: web.Request) -> web.Response:
    """Take snapshots, and answer when all are taken."""
    wanted = decode_json(_request, await front.read_body(request, SMALL_BODY_LIMIT_BYTES))
    answer: Answer[list[dict[str, object]]] = Answer()
    deadline = front.runtime.now() + SNAPSHOT_TIMEOUT_S
    front.backend.take_snapshots(wanted.nodes, wanted.shards, deadline, answer)
    return json_answer({"snapshots": await answer.wait()})


ROUTES = (
    Route(
        "POST",
        "/v1/snapshots",
        "Take snapshots now",
        take,
        {200: Answered("One row a replica; some may be errors.", SnapshotList)},
        (*ANY_ERRORS, *BODY_ERRORS),
        body=SnapshotRequest,
        body_limit_bytes=SMALL_BODY_LIMIT_BYTES,
        timed=False,
        bounded=False,
    ),
)
