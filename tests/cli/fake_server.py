"""A cache behind the HTTP interface as the command line needs it, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import web


class FakeCache:
    """Raw and JSON values by (namespace, key bytes). `log` holds every request as (method, path, body)."""

    def __init__(self) -> None:
        self.namespaces: dict[str, dict[str, Any]] = {"default": policy("primary"), "safe": policy("quorum")}
        self.values: dict[tuple[str, bytes], bytes] = {}
        self.broken: dict[bytes, bytes] = {}
        self.idempotency: list[str | None] = []
        self.log: list[tuple[str, str, bytes]] = []
        self.cluster: dict[str, Any] = {"epoch": 7, "nodes": [], "shards": []}
        self.snapshots: list[dict[str, Any]] = []
        self.receipt: dict[str, Any] = {"state": "pending", "durable": False, "shard": "7c1f", "term": 3}
        self.lost: dict[str, Any] = {"lost": [], "total": 0, "truncated": False, "unreachable": []}
        self.hot: dict[str, Any] = {"bucketSeconds": 10, "buckets": [], "nodesAsked": 3, "unreachable": []}
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.idempotency.append(request.headers.get("Idempotency-Key"))
        self.log.append((request.method, request.rel_url.raw_path_qs, body))
        parts = request.rel_url.raw_path.split("/")
        if parts[2] == "cluster":
            return web.json_response(self.cluster)
        if parts[2] == "shards":
            return self._replace(json.loads(body))
        if parts[2] == "snapshots":
            return web.json_response({"snapshots": self.snapshots})
        if parts[2] == "receipts":
            return web.json_response(self.receipt)
        if parts[2] == "lost-writes":
            return web.json_response(self.lost)
        if parts[2] == "hotkeys":
            return web.json_response(self.hot)
        if parts[-1] == "invalidate":
            return self._invalidate(*parts[2:-1])
        if parts[2] == "namespaces":
            return self._namespace(request.method, parts[3] if len(parts) > 3 else "")
        return self._cache(request, parts[3], unquote_to_bytes(parts[4]), body)

    def _namespace(self, method: str, name: str) -> web.Response:
        if not name:
            listed = [{"name": name, **self.namespaces[name]} for name in sorted(self.namespaces)]
            return web.json_response({"namespaces": listed})
        if method == "PUT":
            self.namespaces[name] = policy("primary")
            return web.json_response(self.namespaces[name], status=201)
        if name not in self.namespaces:
            return error(404, "unknown_namespace", f"namespace {name!r} does not exist")
        return web.json_response(self.namespaces[name])

    def _invalidate(self, _route: str, name: str, *tag: str) -> web.Response:
        if name not in self.namespaces:
            return error(404, "unknown_namespace", f"namespace {name!r} does not exist")
        if name == "safe":
            return error(504, "outcome_unknown", "shards 7c1f had not confirmed")
        named = {"tag": tag[1]} if tag else {}
        return web.json_response({"invalidated": True, "namespace": name, **named})

    def _replace(self, asked: dict[str, Any]) -> web.Response:
        if asked["shard"] not in [shard["id"] for shard in self.cluster["shards"]]:
            return error(400, "bad_request", f"shard must be one of the map's, got {asked['shard']!r}")
        return web.json_response({"shard": "0b0b", "replaces": asked["shard"], "from": asked["from"]})

    def _cache(self, request: web.Request, namespace: str, key: bytes, body: bytes) -> web.Response:
        if namespace not in self.namespaces:
            return error(404, "unknown_namespace", f"namespace {namespace!r} does not exist")
        if request.method == "PUT":
            return self._put(request, namespace, key, body)
        value = self.broken.get(key, self.values.get((namespace, key)))
        if value is None:
            return web.Response(body=b'{"hit":false}', status=404, content_type="application/json")
        if "octet-stream" in request.headers.get("Accept", ""):
            return web.Response(body=value, content_type="application/octet-stream")
        text = b'{"hit":true,"value":' + value + b',"version":"v7c1.1.2","ttlRemainingSeconds":null}'
        return web.Response(body=text, content_type="application/json")

    def _put(self, request: web.Request, namespace: str, key: bytes, body: bytes) -> web.Response:
        if key == b"refused":
            return error(503, "no_leader", "nobody leads")
        if key == b"taken":
            return web.json_response({"written": False, "currentVersion": "v7c1.1.1"}, status=409)
        self.values[namespace, key] = body
        return web.json_response({"written": True, "version": "v7c1.1.2", "durability": "primary"}, status=201)


def policy(ack: str) -> dict[str, Any]:
    """A whole policy."""
    level = "latest" if ack == "primary" else "linearizable"
    limits = {"defaultTtlSeconds": None, "maxTtlSeconds": None, "ttlJitterPercent": 0, "maxItemBytes": 1048576}
    window = {"lossWindow": {"ms": 1000, "writes": 10_000, "bytes": 16 << 20}, "onExceeded": "quorum"}
    limits |= {"eviction": "lru", "admission": "all", "quotaBytes": None, "quotaItems": None, "weight": 100}
    limits |= {"operationsPerSecond": None, "bytesPerSecond": None, "burstMs": 1000}
    return {"ack": ack, "readLevel": level, "allowReplicaReads": ack == "primary", **limits, **window}


def error(status: int, code: str, message: str) -> web.Response:
    """An error as the interface gives it."""
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


@contextmanager
def serve(cache: FakeCache) -> Iterator[FakeCache]:
    """Serve on a free port until the block ends."""
    loop = asyncio.new_event_loop()
    runner = loop.run_until_complete(_start(cache))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield cache
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()


async def _start(cache: FakeCache) -> web.AppRunner:
    app = web.Application(client_max_size=4 << 20)
    app.router.add_route("*", "/{path:.*}", cache.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    cache.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner
