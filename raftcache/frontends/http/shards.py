"""`/v1/shards/replace`: the way out where a shard's quorum is gone for good."""

from __future__ import annotations

import msgspec
from aiohttp import web

from raftcache.errors import NoLeader, OutcomeUnknown, RaftcacheError
from raftcache.frontends.backend import ShardReplaced
from raftcache.frontends.http.context import Answer, FrontEnd
from raftcache.frontends.http.errors import decode_json
from raftcache.frontends.http.routes import (
    BODY_ERRORS,
    BOUNDED_ERRORS,
    SMALL_BODY_LIMIT_BYTES,
    Answered,
    Route,
    json_answer,
)
from raftcache.frontends.http.types import ReplaceAnswer, ReplaceBody

_replace_body = msgspec.json.Decoder(ReplaceBody)


async def replace(front: FrontEnd, request: web.Request) -> web.Response:
    """Start a new shard in the place of a lost one."""
    deadline = front.deadline(request)
    asked = decode_json(_replace_body, await front.read_body(request, SMALL_BODY_LIMIT_BYTES))
    answer: Answer[ShardReplaced | RaftcacheError] = Answer()
    front.backend.replace_shard(asked.shard, asked.source, deadline, answer)
    done = await answer.wait()
    if isinstance(done, RaftcacheError):
        raise done
    return json_answer(ReplaceAnswer(*done))


ROUTES = (
    Route(
        "POST",
        "/v1/shards/replace",
        "Start a new shard in the place of a lost one",
        replace,
        {200: Answered("The new shard owns the lost one's slots.", ReplaceAnswer)},
        (*BOUNDED_ERRORS, *BODY_ERRORS, NoLeader, OutcomeUnknown),
        body=ReplaceBody,
        body_limit_bytes=SMALL_BODY_LIMIT_BYTES,
    ),
)
