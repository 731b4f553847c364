"""Running a node or a front end as a process: the loop, the signals, the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import uvloop

from raftcache.config import ConfigError, FrontendConfig, NodeConfig
from raftcache.identity import (
    NodeIdentity,
    create_identity,
    load_identity,
    lock_data_dir,
    mark_started,
    new_incarnation,
    require_groups,
    require_identity,
)
from raftcache.node.frontend import FrontendServer
from raftcache.node.server import NodeServer

log = logging.getLogger("raftcache.node")

GC_THRESHOLD = 50_000
"""Allocations between two young collections: entries are not cyclic garbage, and each pass costs a pause."""

SWITCH_INTERVAL_S = 0.001
"""How long a thread that restores a snapshot may keep the interpreter while the loop waits for it. By default that is
5 ms, and a loop that waits so at every turn serves nobody in time."""


class _Server(Protocol):
    async def start(self) -> None:
        """Serve."""

    async def stop(self) -> None:
        """Serve no more."""


def run_node(config: NodeConfig, first_incarnation: str = "") -> int:
    """Run a node until SIGTERM or SIGINT; returns 0. Raises what start-up raises."""

    async def serve() -> None:
        identity = identity_of(config, first_incarnation)
        server = NodeServer(config, identity)
        if config.data_dir:
            mark_started(Path(config.data_dir))
        await _until_signalled(server)

    with lock_data_dir(Path(config.data_dir)) if config.data_dir else nullcontext():
        return _run(serve())


def run_frontend(config: FrontendConfig) -> int:
    """Run a lone front end until SIGTERM or SIGINT; returns 0."""

    async def serve() -> None:
        await _until_signalled(FrontendServer(config))

    return _run(serve())


def identity_of(config: NodeConfig, first_incarnation: str = "") -> NodeIdentity:
    """The identity in the data folder, or a new one where the disk is empty or there is none.

    `first_incarnation` is the one under which a memory-only node was named a first member of its cluster: whoever
    creates the cluster gives it to the node's very first process, and to no other. Raises IdentityDamaged, ConfigError.
    """
    if not config.data_dir:
        incarnation = first_incarnation or new_incarnation()
        log.warning(
            "node %s keeps nothing on disk: this is incarnation %s, and a restart comes back empty, as a new member "
            "that is refilled from the others; what a shard holds is lost once a majority of its replicas are down at "
            "once",
            config.node_id,
            incarnation,
        )
        return NodeIdentity(cluster_id=config.cluster_id, node_id=config.node_id, incarnation=incarnation)
    if first_incarnation:
        raise ConfigError(f"--first-incarnation is for a node without data_dir; this one has {config.data_dir!r}")
    folder = Path(config.data_dir)
    identity = load_identity(folder)
    if identity is None:
        identity = create_identity(folder, config.cluster_id, config.node_id)
        log.warning("node %s has an empty disk: it is a new incarnation, %s", config.node_id, identity.incarnation)
    require_identity(identity, config.cluster_id, config.node_id)
    require_groups(folder)
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
    tune_interpreter()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve)
    return 0


def tune_interpreter() -> None:
    """Settings of this process that keep pauses short."""
    gc.set_threshold(GC_THRESHOLD, 50, 1000)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
