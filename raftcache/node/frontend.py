"""A front end that stands alone (`raftcache frontend`): it holds no data, learns the cluster from any node, and
routes over RPC."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric

from raftcache.clock import Handle
from raftcache.config import FrontendConfig, parse_address
from raftcache.errors import RaftcacheError
from raftcache.frontends.http.server import HttpServer
from raftcache.frontends.resp.server import RespServer
from raftcache.metadata.remote_watch import RemoteWatch
from raftcache.metadata.submitting import MetadataSubmitter
from raftcache.metadata.view import MetadataView
from raftcache.net.protected import require_secret
from raftcache.net.rpc_client import Done, RpcPool
from raftcache.net.runtime import AsyncioRuntime
from raftcache.node.backend import ViewBackend
from raftcache.node.metrics import routing_metrics
from raftcache.node.redis import redis_metrics, redis_port
from raftcache.node.remote import RemoteNodes
from raftcache.routing.dispatcher import Dispatcher
from raftcache.wire import handshake

log = logging.getLogger("raftcache.frontend")

STATUS_EVERY_S = 0.5
STATUS_TIMEOUT_S = 1.0
STATUS_FRESH_S = 3.0


class FrontendBackend(ViewBackend):
    """What it knows of the cluster's state is what a node last said."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.document: dict[str, Any] = {"epoch": 0, "nodes": [], "shards": []}
        self.heard_at = float("-inf")
        self.node_ready = (False, "no node has answered yet")
        self.redis: RespServer | None = None

    def cluster(self) -> dict[str, Any]:
        """The body of `GET /v1/cluster`."""
        return self.document

    def ready(self) -> tuple[bool, str]:
        """Whether a node was heard from lately, and what it said of its own readiness."""
        if self.runtime.now() - self.heard_at > STATUS_FRESH_S:
            return False, "no node within reach"
        return self.node_ready

    def collect_metrics(self) -> Iterable[Metric]:
        """What routing counts."""
        yield from routing_metrics(self.view, self.dispatcher)
        yield from redis_metrics(self.redis)
        yield GaugeMetricFamily("raftcache_ready", "1 where /readyz says so.", float(self.ready()[0]))


class FrontendServer:
    """One running front end. `await start()`, then `await stop()`."""

    def __init__(self, config: FrontendConfig) -> None:
        self.config = config
        self.runtime = AsyncioRuntime(asyncio.get_running_loop())
        who = handshake.Identity("frontend", "", "", secrets.token_hex(8))
        require_secret("http", parse_address(config.http)[0], config.secret())
        self.pool = RpcPool(config.secret(), config.cluster_id, who, self.runtime)
        self.view = MetadataView(self.runtime)
        self.remote = RemoteNodes(self.pool, self.view)
        dispatcher = Dispatcher(self.view, self.runtime, lambda _shard: None, self.remote.execute)
        metadata = MetadataSubmitter(self.runtime, self._call, self._metadata_nodes)
        self.backend = FrontendBackend(self.runtime, self.view, dispatcher, metadata, self.remote.call)
        self.http = HttpServer(self.backend, *parse_address(config.http))
        self.redis = redis_port("redis_router", config.redis_router, config.secret(), self.backend, self.http)
        self.backend.redis = self.redis
        self.watch = RemoteWatch(self.view, self.runtime, self.remote.call_address, self._addresses)
        self._turn = 0
        self._timer: Handle | None = None

    def _addresses(self) -> Sequence[str]:
        known = [node.addresses.rpc for node in self.view.state.nodes]
        return known + [address for address in self.config.nodes if address not in known]

    def _metadata_nodes(self) -> Sequence[str]:
        """The ids of the nodes that hold the metadata, or configured addresses while nothing is known."""
        return [member.node for member in self.view.state.metadata] or self.config.nodes

    def _call(self, node: str, method: str, body: bytes, deadline: float, done: Done) -> None:
        call = self.remote.call_address if ":" in node else self.remote.call
        call(node, method, body, deadline, done)

    async def start(self) -> None:
        """Listen and follow the cluster. Raises `ListenError`."""
        self.watch.start()
        self._ask_status()
        await self.http.start()
        if self.redis is not None:
            await self.redis.start()
        log.info("front end serves on http %s", self.config.http)

    async def stop(self) -> None:
        """Close everything."""
        await asyncio.gather(self.http.stop(), *([self.redis.stop()] if self.redis is not None else []))
        if self._timer is not None:
            self._timer.cancel()
        self.watch.stop()
        self.pool.close()
        await self.pool.wait_closed()
        self.runtime.close()

    def _ask_status(self) -> None:
        self._timer = self.runtime.call_later(STATUS_EVERY_S, self._ask_status)
        addresses = self._addresses()
        address = addresses[self._turn % len(addresses)]
        deadline = self.runtime.now() + STATUS_TIMEOUT_S
        self.remote.call_address(address, "cluster", b"", deadline, self._heard)

    def _heard(self, answer: bytes | RaftcacheError) -> None:
        if isinstance(answer, RaftcacheError):
            self._turn += 1
            return
        document = msgspec.json.decode(answer)
        self.backend.node_ready = (document.pop("ready"), document.pop("reason"))
        self.backend.document, self.backend.heard_at = document, self.runtime.now()
