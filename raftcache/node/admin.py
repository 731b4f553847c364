"""Calls to a node from outside the cluster's loop: the supervisor and the command line. Blocking."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import msgspec

from raftcache.config import parse_address
from raftcache.errors import NoLeader, NotLeader, OutcomeUnknown, RaftcacheError, Unavailable
from raftcache.net.rpc_client import RpcChannel
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.handshake import Identity

RETRY_PAUSE_S = 0.1


def call(
    rpc_address: str, secret: bytes, cluster_id: str, method: str, body: dict[str, Any], timeout: float
) -> dict[str, Any]:
    """One RPC with JSON bodies, in at most `timeout` seconds. Raises what the node answers, or Unavailable."""

    async def ask() -> bytes:
        runtime = AsyncioRuntime(asyncio.get_running_loop())
        who = Identity("client", "", "", secrets.token_hex(8))
        channel = RpcChannel(*parse_address(rpc_address), secret, cluster_id, who, runtime)
        try:
            return await channel.call_async(method, msgspec.json.encode(body), runtime.now() + timeout)
        finally:
            channel.close()
            await channel.wait_closed()
            runtime.close()

    answer: dict[str, Any] = msgspec.json.decode(asyncio.run(ask()), type=dict[str, Any])
    return answer


def init_cluster(
    rpc_addresses: dict[str, str], secret: bytes, cluster_id: str, body: dict[str, Any], timeout: float
) -> None:
    """Create the cluster's shards and namespaces: once, whatever happens on the way, for it may be repeated.

    Asks one node after another until the metadata leader has done it. Raises NoLeader after `timeout` seconds, or
    what the leader refuses with.
    """
    deadline = time.monotonic() + timeout
    last: RaftcacheError | None = None
    while time.monotonic() < deadline:
        for address in rpc_addresses.values():
            try:
                call(address, secret, cluster_id, "init_cluster", {"cluster_id": cluster_id, **body}, 2.0)
                return
            except (NotLeader, Unavailable, OutcomeUnknown) as error:
                last = error
        time.sleep(RETRY_PAUSE_S)  # A tool's own pause between rounds; no test runs it.
    raise NoLeader(f"the cluster could not be created within {timeout} seconds: {last}")
