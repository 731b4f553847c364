"""The Redis protocol's ports of a process, where its configuration names them."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from typing import Any

from raftcache.config import parse_address
from raftcache.frontends.backend import Backend
from raftcache.frontends.http.server import HttpServer
from raftcache.frontends.resp.server import CONNECTIONS_LIMIT, RespServer
from raftcache.frontends.resp.state import Front, Standing
from raftcache.frontends.resp.topology import Topology
from raftcache.net.protected import require_secret

RUN_ID_BYTES = 20
"""As long as Redis's."""


def redis_port(
    field: str,
    address: str,
    secret: bytes,
    backend: Backend,
    http: HttpServer,
    about: Standing | None = None,
    topology: Topology | None = None,
    beside: RespServer | None = None,
) -> RespServer | None:
    """The port at `address`, None where that is empty: a cluster port with a `topology`, else a router port. It sheds
    load when the HTTP interface does, for they share a loop, and counts together with the port `beside` it. `field` is
    the address's name in the configuration. Raises BindRefused in protected mode."""
    if not address:
        return None
    host, port = parse_address(address)
    require_secret(field, host, secret)
    run_id = secrets.token_hex(RUN_ID_BYTES)
    standing = replace(
        about or Standing(), run_id=run_id, tcp_port=port, process_id=os.getpid(), connections_limit=CONNECTIONS_LIMIT
    )
    other = None if beside is None else beside.front
    return RespServer(Front(backend, standing, lambda: http.shedding, topology, other), host, port, field)


def redis_metrics(*servers: RespServer | None) -> Any:
    """What the ports count together; nothing where there is none."""
    first = next((server for server in servers if server is not None), None)
    return first.front.metrics.collect() if first is not None else ()
