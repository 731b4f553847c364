"""Asks nodes over HTTP how they see the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import aiohttp
import msgspec

from raftcache.supervisor.cluster import LocalCluster
from raftcache.supervisor.views import is_whole

PROBE_TIMEOUT_SECONDS = 1.0


class NodeView(NamedTuple):
    """One node's answers: whether `/readyz` was 200, and the body of `/v1/cluster` (None: no answer)."""

    ready: bool
    body: dict[str, Any] | None


async def probe(session: aiohttp.ClientSession, addresses: Mapping[str, str]) -> dict[str, NodeView]:
    """The views of all nodes, asked at once; `addresses` are `host:port` by node id. Never raises."""
    views = await asyncio.gather(*(_view(session, address) for address in addresses.values()))
    return dict(zip(addresses, views, strict=True))


async def _view(session: aiohttp.ClientSession, address: str) -> NodeView:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            async with session.get(f"http://{address}/readyz") as answer:
                ready = answer.status == 200
            async with session.get(f"http://{address}/v1/cluster") as answer:
                body = msgspec.json.decode(await answer.read()) if answer.status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError):
        return NodeView(False, None)
    return NodeView(ready, body if isinstance(body, dict) else None)


def serving(cluster: LocalCluster, views: Mapping[str, NodeView]) -> dict[str, bool]:
    """Which nodes are ready and see the whole cluster led and replicated."""
    return {
        node_id: view.ready and view.body is not None and is_whole(view.body, cluster.shards, cluster.replicas)
        for node_id, view in views.items()
    }


def bodies(views: Iterable[NodeView]) -> list[dict[str, Any]]:
    """The bodies that arrived."""
    return [view.body for view in views if view.body is not None]
