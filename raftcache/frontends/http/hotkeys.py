"""`/v1/hotkeys`: which keys have most of the traffic, by time. Served under overload too, when it is needed."""

from __future__ import annotations

from aiohttp import web

from raftcache.frontends.backend import HotBucket, HotKey, HotReport
from raftcache.frontends.http import values
from raftcache.frontends.http.context import Answer, FrontEnd, check_name
from raftcache.frontends.http.intake import query
from raftcache.frontends.http.routes import ANY_ERRORS, Answered, Route, json_answer
from raftcache.frontends.http.types import HotKeyBucket, HotKeyRow, HotKeys, HotKeysQuery


async def report(front: FrontEnd, request: web.Request) -> web.Response:
    """The hottest keys of each bucket. A namespace may be asked for that is deleted meanwhile."""
    wanted = query(request, HotKeysQuery)
    if wanted.namespace is not None:
        check_name(wanted.namespace)
    answer: Answer[HotReport] = Answer()
    front.backend.hot_keys(wanted.namespace, wanted.limit, wanted.bucket_seconds, front.deadline(request), answer)
    found = await answer.wait()
    buckets = [_bucket(bucket) for bucket in found.buckets]
    return json_answer(HotKeys(found.bucket_s, buckets, found.asked, found.unreachable))


def _bucket(bucket: HotBucket) -> HotKeyBucket:
    start = values.instant(bucket.start_s * 1000) or ""
    return HotKeyBucket(start, round(bucket.seconds, 3), bucket.operations, [_row(key) for key in bucket.keys])


def _row(key: HotKey) -> HotKeyRow:
    hit_rate = None if key.hit_rate is None else round(key.hit_rate, 4)
    qps, error = round(key.qps, 3), round(key.qps_error, 3)
    share = round(key.share, 4)
    return HotKeyRow(key.namespace, key.key, key.shard, qps, error, hit_rate, key.size_bytes, share, key.fanout)


ROUTES = (
    Route(
        "GET",
        "/v1/hotkeys",
        "The keys with most of the traffic, by time",
        report,
        {200: Answered("As far as nodes that run know.", HotKeys)},
        ANY_ERRORS,
        query=HotKeysQuery,
        bounded=False,
    ),
)
