"""Running a node or a front end as a process: the loop, the signals, the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

import uvloop

from raftcache.config import FrontendConfig, NodeConfig
from raftcache.identity import NodeIdentity, create_identity, load_identity, new_incarnation, require_identity
from raftcache.node.frontend import FrontendServer
from raftcache.node.server import NodeServer

log = logging.getLogger("raftcache.node")

GC_THRESHOLD = 50_000
"""Allocations between two young collections: entries are not cyclic garbage, and each pass costs a pause."""


class _Server(Protocol):
    async def start(self) -> None:
        """Serve."""

    async def stop(self) -> None:
        """Serve no more."""


def run_node(config: NodeConfig) -> int:
    """Run a node until SIGTERM or SIGINT; returns 0. Raises what start-up raises."""

    async def serve() -> None:
        identity = identity_of(config)
        await _until_signalled(NodeServer(config, identity))

    return _run(serve())


def run_frontend(config: FrontendConfig) -> int:
    """Run a lone front end until SIGTERM or SIGINT; returns 0."""

    async def serve() -> None:
        await _until_signalled(FrontendServer(config))

    return _run(serve())


def identity_of(config: NodeConfig) -> NodeIdentity:
    """The identity in the data folder, or a new one where the disk is empty or there is none.

    Raises IdentityDamaged.
    """
    if not config.data_dir:
        log.warning("node %s keeps nothing on disk: a restart makes it a new member", config.node_id)
        return NodeIdentity(cluster_id=config.cluster_id, node_id=config.node_id, incarnation=new_incarnation())
    folder = Path(config.data_dir)
    identity = load_identity(folder)
    if identity is None:
        identity = create_identity(folder, config.cluster_id, config.node_id)
        log.warning("node %s has an empty disk: it is a new incarnation, %s", config.node_id, identity.incarnation)
    require_identity(identity, config.cluster_id, config.node_id)
    return identity


async def _until_signalled(server: _Server) -> None:
    """Start, wait for SIGTERM or SIGINT, stop."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await server.start()
    try:
        await asked.wait()
    finally:
        await server.stop()


def _run(serve: Coroutine[Any, Any, None]) -> int:
    gc.set_threshold(GC_THRESHOLD, 50, 1000)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve)
    return 0
