"""The Redis protocol's port of a process, where its configuration names one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

from raftcache.config import parse_address
from raftcache.frontends.backend import Backend
from raftcache.frontends.http.server import HttpServer
from raftcache.frontends.resp.server import CONNECTIONS_LIMIT, RespServer
from raftcache.frontends.resp.state import Front, Standing
from raftcache.net.protected import require_secret

RUN_ID_BYTES = 20
"""As long as Redis's."""


def redis_router(
    address: str,
    secret: bytes,
    backend: Backend,
    http: HttpServer,
    node_id: str = "",
    memory_limit_bytes: int = 0,
    used_bytes: Callable[[], int] = lambda: 0,
) -> RespServer | None:
    """The router port at `address`, None where that is empty. It sheds load when the HTTP interface does, for they
    share a loop. Raises BindRefused in protected mode."""
    if not address:
        return None
    host, port = parse_address(address)
    require_secret("redis_router", host, secret)
    standing = Standing(
        node_id, secrets.token_hex(RUN_ID_BYTES), port, os.getpid(), memory_limit_bytes, used_bytes, CONNECTIONS_LIMIT
    )
    return RespServer(Front(backend, standing, lambda: http.shedding), host, port, "redis_router")


def redis_metrics(server: RespServer | None) -> Any:
    """What the port counts; nothing where there is none."""
    return server.front.metrics.collect() if server is not None else ()
