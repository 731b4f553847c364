"""A node on a real machine: a `NodeCore` with its sockets, its files and its front end."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from raftcache.clock import boot_id
from raftcache.config import NodeConfig, parse_address
from raftcache.consensus import ConsensusSettings, MemberId
from raftcache.frontends.http.server import HttpServer
from raftcache.frontends.resp.server import RespServer
from raftcache.frontends.resp.state import Standing
from raftcache.identity import GROUPS_FOLDER, NodeIdentity
from raftcache.metadata.remote_watch import RemoteWatch
from raftcache.metadata.state import METADATA_GROUP
from raftcache.metadata.submitting import MetadataSubmitter, serve_metadata
from raftcache.metadata.watch import WatchHub
from raftcache.net.api import Peer
from raftcache.net.links import AsyncioLinks
from raftcache.net.protected import require_secret
from raftcache.net.rpc_client import Done, RpcPool
from raftcache.net.rpc_server import RpcServer
from raftcache.net.runtime import AsyncioRuntime
from raftcache.node.backend import ViewBackend
from raftcache.node.core import CoreSettings, Identity, NodeCore
from raftcache.node.metrics import node_metrics
from raftcache.node.redis import redis_metrics, redis_port
from raftcache.node.remote import RemoteNodes
from raftcache.node.rpc_methods import NodeMethods
from raftcache.node.status import cluster_document, readiness
from raftcache.node.storage import NodeStorage, storage_in, storage_in_memory
from raftcache.node.topology import ViewTopology
from raftcache.routing.dispatcher import Dispatcher
from raftcache.wal.files import OsFiles
from raftcache.wire import handshake

log = logging.getLogger("raftcache.node")


def consensus_settings(config: NodeConfig) -> ConsensusSettings:
    """The part of a node's configuration that consensus goes by."""
    return ConsensusSettings(
        heartbeat_ms=config.heartbeat_ms,
        election_min_ms=config.election_min_ms,
        election_max_ms=config.election_max_ms,
        fallback_ms=config.fallback_ms,
        tick_ms=config.tick_ms,
        fsync=config.fsync,
        fsync_interval_ms=config.fsync_interval_ms,
        linearizable_reads=config.linearizable_reads,
        max_clock_drift_percent=config.max_clock_drift_percent,
        snapshot_log_bytes=config.snapshot_log_bytes,
        log_tail_bytes=config.log_tail_bytes,
        snapshot_rate_bytes_per_s=config.snapshot_rate_bytes_per_s,
    )


def storage_of(config: NodeConfig) -> NodeStorage:
    """Groups under `data_dir/groups`, or in memory where there is no data directory."""
    if not config.data_dir:
        return storage_in_memory()
    root, always = str(Path(config.data_dir) / GROUPS_FOLDER), config.fsync == "always"
    return storage_in(OsFiles(), root, config.segment_bytes, boot_id(), always)


class NodeBackend(ViewBackend):
    """The front end's view of a node."""

    def __init__(self, core: NodeCore, dispatcher: Dispatcher, metadata: MetadataSubmitter, server: NodeServer) -> None:
        super().__init__(core.runtime, core.view, dispatcher, metadata, server.remote.call)
        self._core, self._server = core, server

    def cluster(self) -> dict[str, Any]:
        """The body of `GET /v1/cluster`."""
        return cluster_document(self._core)

    def ready(self) -> tuple[bool, str]:
        """Whether every shard has a leader within reach."""
        return readiness(self._core)

    def collect_metrics(self) -> Iterable[Metric]:
        """Everything below the front end."""
        yield from node_metrics(self._core, self.dispatcher, self._server.links, self._server.rpc)
        yield from redis_metrics(self._server.redis, self._server.redis_cluster)


class NodeServer:
    """One running node. `await start()`, then `await stop()`."""

    def __init__(self, config: NodeConfig, identity: NodeIdentity) -> None:
        self.config = config
        self.runtime = AsyncioRuntime(asyncio.get_running_loop())
        self.run_id = secrets.token_hex(8)
        self.secret = config.secret()
        require_secret("http", parse_address(config.http)[0], self.secret)
        peer = Peer(config.node_id, identity.incarnation, self.run_id)
        self.links = AsyncioLinks(
            self.runtime, peer, *parse_address(config.peer), self.secret, config.cluster_id, field="peer"
        )
        self.rpc = RpcServer(
            self.runtime, peer, *parse_address(config.rpc), self.secret, config.cluster_id, field="rpc"
        )
        self.pool = RpcPool(self.secret, config.cluster_id, handshake.Identity("node", *peer), self.runtime)
        self.core = self._core(identity)
        self._assemble()

    def _core(self, identity: NodeIdentity) -> NodeCore:
        config = self.config
        members = tuple(MemberId.parse(text) for text in config.bootstrap.metadata_members)
        settings = CoreSettings(consensus_settings(config), config.memory_limit_bytes, members)
        who = Identity(config.cluster_id, config.node_id, identity.incarnation, self.run_id)
        return NodeCore(who, self.runtime, self.links, storage_of(config), settings)

    def _assemble(self) -> None:
        core, config = self.core, self.config
        configured = {node_id: peer.rpc for node_id, peer in config.peers.items()}
        self.remote = RemoteNodes(self.pool, core.view, configured, config.rpc_overrides())
        dispatcher = Dispatcher(core.view, self.runtime, core.shard, self.remote.execute, node_id=config.node_id)
        metadata = MetadataSubmitter(self.runtime, self._call, self._metadata_nodes)
        self.backend = NodeBackend(core, dispatcher, metadata, self)
        self.http = HttpServer(self.backend, *parse_address(config.http))
        about = Standing(
            config.node_id, memory_limit_bytes=config.memory_limit_bytes, used_bytes=lambda: core.budget.used_bytes
        )
        topology = ViewTopology(config.node_id, config.redis_cluster, core.view, dispatcher, core.host.peer_ids)
        whose = self.secret, self.backend, self.http, about
        self.redis = redis_port("redis_router", config.redis_router, *whose)
        self.redis_cluster = redis_port("redis_cluster", config.redis_cluster, *whose, topology, self.redis)
        self.rpc.handlers.update(NodeMethods(core, WatchHub(core.view, self.runtime), self.isolate).table())
        self.watch = RemoteWatch(core.view, self.runtime, self.remote.call, self._metadata_nodes)
        core.view.subscribe(self._follow_addresses)

    def _call(self, node_id: str, method: str, body: bytes, deadline: float, done: Done) -> None:
        """A metadata command to a node, this one included."""
        if node_id == self.config.node_id:
            serve_metadata(self.core.metadata, body, done)
        else:
            self.remote.call(node_id, method, body, deadline, done)

    def _metadata_nodes(self) -> Sequence[str]:
        """The nodes that hold the metadata, the leader first where it is known."""
        report = self.core.fresh_report(METADATA_GROUP)
        members = [member.node for member in self.core.view.state.metadata] or list(self.config.metadata_nodes)
        first = [report.leader] if report is not None else []
        return first + [node for node in members if node not in first]

    def _follow_addresses(self) -> None:
        for node in self.core.view.state.nodes:
            self._set_peer(node.id, node.addresses.peer)

    def _set_peer(self, node_id: str, known: str) -> None:
        self.links.set_address(node_id, *parse_address(self.config.peer_address(node_id, known)))

    def _redis_ports(self) -> list[RespServer]:
        return [port for port in (self.redis, self.redis_cluster) if port is not None]

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen on every port, join the groups, serve. Raises `BindRefused`, `ListenError`, `WalDamaged`."""
        started = self.runtime.now()
        for node_id, peer in self.config.peers.items():
            self._set_peer(node_id, peer.peer)
        await self.links.start()
        self.core.start()
        self.watch.start()  # Beside its own metadata replica, which may be empty and waiting to be added.
        await self.rpc.start()
        await self.http.start()
        for port in self._redis_ports():
            await port.start()
        took_ms = (self.runtime.now() - started) * 1000
        also = "".join(f", redis {port.host}:{port.port}" for port in self._redis_ports())
        log.info("node %s serves on http %s%s after %.0f ms", self.config.node_id, self.config.http, also, took_ms)

    async def stop(self) -> None:
        """Hand leaderships over by closing the groups, then close every port; nothing is left running."""
        await asyncio.gather(self.http.stop(), *(port.stop() for port in self._redis_ports()))
        self.watch.stop()
        groups_closed = asyncio.Event()
        self.core.stop(groups_closed.set)
        await self.rpc.stop()
        await groups_closed.wait()
        self.pool.close()
        await self.pool.wait_closed()
        await self.links.stop()
        self.runtime.close()

    def isolate(self, on: bool) -> None:
        """The fault drill: cut this node from its peers, not from its clients."""
        log.warning("node %s is %s its peers", self.config.node_id, "cut off from" if on else "back with")
        self.links.isolate(on)
        self.rpc.isolate(on)
        self.pool.isolate(on)


