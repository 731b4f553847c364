"""Draws the page of `raftcache status --watch` into an SVG: three real processes on free ports, with namespaces that
each show something. One is read cache-aside and evicts, one asks for more than its rate, one is full and refuses, and
one has a key that everybody wants."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from bisect import bisect
from collections.abc import Awaitable, Callable
from itertools import accumulate, count
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from jepsen_like.cluster import RealCluster
from raftcache.cli.api import Api
from raftcache.cli.local import Local
from raftcache.cli.watching import Looks

WIDTH = 150
LOAD_S, BETWEEN_LOOKS_S = 12.0, 2.0
KEYS = 4000
VALUES = {"thumbs": b"x" * 2400}
VALUE = b"x" * 300
NAMESPACES: dict[str, dict[str, Any]] = {
    "sessions": {"quotaItems": 600, "eviction": "s3fifo"},
    "thumbs": {"quotaBytes": 1 << 20, "eviction": "lru", "ack": "quorum"},
    "reports": {"operationsPerSecond": 40, "burstMs": 200},
    "invoices": {"quotaItems": 100, "eviction": "none", "ack": "durable"},
}


class Load:
    """Clients of the four namespaces."""

    def __init__(self, session: aiohttp.ClientSession, urls: list[str]) -> None:
        self._session, self._urls = session, urls
        self._dice, self._fresh = random.Random(1), count()
        self._weights = list(accumulate(1 / (rank + 1) for rank in range(KEYS)))

    async def run(self, end_s: float) -> None:
        """All at once, until then."""
        await asyncio.gather(
            self._steadily(250, end_s, lambda: self._aside("sessions", f"user:{self._ranked()}")),
            self._steadily(60, end_s, lambda: self._aside("thumbs", f"image:{self._ranked()}")),
            self._steadily(40, end_s, lambda: self._aside("thumbs", "front-page")),
            self._steadily(60, end_s, lambda: self._put("reports", f"day:{self._dice.randrange(365)}")),
            self._steadily(20, end_s, lambda: self._put("invoices", f"number:{next(self._fresh)}")),
        )

    async def _steadily(self, per_second: float, end_s: float, act: Callable[[], Awaitable[None]]) -> None:
        due_s, under_way = time.monotonic(), set[asyncio.Future[None]]()
        while (now_s := time.monotonic()) < end_s:
            while due_s <= now_s:
                task = asyncio.ensure_future(act())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                due_s += 1 / per_second
            await asyncio.sleep(0.005)
        await asyncio.gather(*under_way)

    def _ranked(self) -> int:
        return bisect(self._weights, self._dice.random() * self._weights[-1])

    def _url(self, namespace: str, key: str) -> str:
        return f"{self._dice.choice(self._urls)}/v1/cache/{namespace}/{key}"

    async def _put(self, namespace: str, key: str) -> None:
        headers, value = {"Content-Type": "application/octet-stream"}, VALUES.get(namespace, VALUE)
        async with self._session.put(self._url(namespace, key), data=value, headers=headers) as answer:
            await answer.read()

    async def _aside(self, namespace: str, key: str) -> None:
        headers = {"Accept": "application/octet-stream"}
        async with self._session.get(self._url(namespace, key), headers=headers) as answer:
            await answer.read()
        if answer.status == 404:
            await self._put(namespace, key)


async def page_under_load(urls: dict[str, str]) -> Any:
    """The second of two looks, so that it has rates."""
    looks = Looks(urls, "raftcache-data", time.monotonic)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        load = asyncio.ensure_future(Load(session, list(urls.values())).run(time.monotonic() + LOAD_S))
        await asyncio.sleep(LOAD_S - 2 * BETWEEN_LOOKS_S)
        await asyncio.to_thread(looks.page)
        await asyncio.sleep(BETWEEN_LOOKS_S)
        page = await asyncio.to_thread(looks.page)
        await load
    return page.render()


def main() -> int:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder, RealCluster(Path(folder)) as cluster:
        urls = {node.id: f"http://{node.http}" for node in Local(cluster.data_dir).cluster.nodes}
        for name, policy in NAMESPACES.items():
            Api(urls["n0"]).send("PUT", f"/v1/namespaces/{name}", policy, expect=(201,))
        drawn = asyncio.run(page_under_load(urls))
    console = Console(record=True, width=WIDTH, file=sys.stderr)
    console.print(drawn)
    console.save_svg(sys.argv[1], title="raftcache status --data-dir raftcache-data --watch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
