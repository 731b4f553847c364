"""A noisy neighbour: what a namespace notices of another that writes ten times its quota.

On three real processes, two namespaces with a quota each. The *guest* is used cache-aside, its keys drawn by Zipf's law
from a set that fits; the *noisy* one is written at a steady rate, in turns: for a while to keys that stay inside its
quota, and for as long to new keys, ten times its quota of them. Compared are the guest's hit ratio and the 99th
percentile of its latencies, between the two. With `--limit` the noisy one has a rate besides, of half of what is
written, and what it gets of that is compared as well.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from bisect import bisect
from collections.abc import Awaitable, Callable
from itertools import accumulate, count
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from jepsen_like.cluster import RealCluster
from raftcache.cli.api import Api

VALUE = b"x" * 200
GUEST_KEYS, NOISY_QUOTA = 2000, 2000
ZIPF = 1.0
HIT_POINTS_LIMIT, P99_LIMIT, RATE_LIMIT = 0.01, 2.0, 0.1


class Phase:
    """What one phase saw."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.hits = self.written = self.limited = self.failed = 0
        self.seconds = 0.0

    @property
    def hit_ratio(self) -> float:
        """Of the guest's reads."""
        return self.hits / max(1, len(self.latencies_s))

    @property
    def p99_ms(self) -> float:
        """Of the guest's reads."""
        return statistics.quantiles(self.latencies_s, n=100)[98] * 1000


class Load:
    """Both namespaces' clients."""

    def __init__(self, session: aiohttp.ClientSession, urls: list[str], writes: float, reads: float) -> None:
        """`writes` and `reads` are a second."""
        self._session, self._urls = session, urls
        self._writes_per_s, self._reads_per_s = writes, reads
        self._random = random.Random(1)
        self._weights = list(accumulate(1 / (rank + 1) ** ZIPF for rank in range(GUEST_KEYS)))
        self._fresh = count()

    async def phase(self, loud: bool, seconds: float) -> Phase:
        """Both at once, for so long."""
        seen, began_s = Phase(), time.monotonic()
        end_s = began_s + seconds
        await asyncio.gather(
            self._steadily(self._reads_per_s, end_s, lambda: self._read(seen)),
            self._steadily(self._writes_per_s, end_s, lambda: self._write(seen, loud)),
        )
        seen.seconds = time.monotonic() - began_s
        return seen

    async def warm(self) -> None:
        """Every key of the guest's is there afterwards, so that no phase is the one that filled it."""
        for key in range(GUEST_KEYS):
            await self._put(self._url("guest", key))

    async def _steadily(self, per_second: float, end_s: float, act: Callable[[], Awaitable[None]]) -> None:
        """Begin so many a second, whether or not those before are answered."""
        due_s, under_way = time.monotonic(), set[asyncio.Task[None]]()
        while (now_s := time.monotonic()) < end_s:
            while due_s <= now_s and len(under_way) < 256:
                task = asyncio.ensure_future(act())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                due_s += 1 / per_second
            await asyncio.sleep(0.002)
        await asyncio.gather(*under_way, return_exceptions=True)

    def _url(self, namespace: str, key: object) -> str:
        return f"{self._random.choice(self._urls)}/v1/cache/{namespace}/{key}"

    async def _put(self, url: str) -> int:
        headers = {"Content-Type": "application/octet-stream"}
        async with self._session.put(url, data=VALUE, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def _read(self, seen: Phase) -> None:
        key = bisect(self._weights, self._random.random() * self._weights[-1])
        url, began_s = self._url("guest", key), time.monotonic()
        async with self._session.get(url, headers={"Accept": "application/octet-stream"}) as answer:
            await answer.read()
        seen.latencies_s.append(time.monotonic() - began_s)
        seen.hits += answer.status == 200
        if answer.status == 404:
            await self._put(url)

    async def _write(self, seen: Phase, loud: bool) -> None:
        key = next(self._fresh) if loud else self._random.randrange(NOISY_QUOTA // 4)
        status = await self._put(self._url("noisy", key))
        seen.written += status in (200, 201)
        seen.limited += status == 429
        seen.failed += status not in (200, 201, 429)


async def measure(urls: list[str], args: argparse.Namespace) -> tuple[list[Phase], list[Phase]]:
    """The quiet phases and the loud ones."""
    connector = aiohttp.TCPConnector(limit=128)
    async with aiohttp.ClientSession(connector=connector) as session:
        load = Load(session, urls, 10 * NOISY_QUOTA / 60 if args.rate is None else args.rate, args.reads)
        await load.warm()
        await load.phase(False, args.seconds / 4)
        quiet, loud = [], []
        for number in range(args.rounds):
            for is_loud in (False, True) if number % 2 == 0 else (True, False):
                (loud if is_loud else quiet).append(await load.phase(is_loud, args.seconds))
    return quiet, loud


def main() -> int:
    """Print the table; 1 where the guest noticed too much."""
    parser = argparse.ArgumentParser(prog="scripts/bench/neighbours", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of a quiet and a loud phase each (default 3)")
    parser.add_argument("--seconds", type=float, default=60.0, help="a phase (default 60)")
    parser.add_argument("--reads", type=float, default=150.0, help="the guest's reads a second (default 150)")
    parser.add_argument("--rate", type=float, help="the noisy one's writes a second (default: ten quotas a minute)")
    parser.add_argument("--limit", action="store_true", help="limit the noisy one to half of that")
    args = parser.parse_args()
    rate = 10 * NOISY_QUOTA / 60 if args.rate is None else args.rate
    with tempfile.TemporaryDirectory() as folder, RealCluster(Path(folder)) as cluster:
        urls = [f"http://{address}" for address in cluster.http().values()]
        api = Api(urls[0])
        noisy = {"quotaItems": NOISY_QUOTA} | ({"operationsPerSecond": round(rate / 2)} if args.limit else {})
        api.send("PUT", "/v1/namespaces/noisy", noisy, expect=(200, 201))
        api.send("PUT", "/v1/namespaces/guest", {"quotaItems": GUEST_KEYS * 5 // 4}, expect=(200, 201))
        quiet, loud = asyncio.run(measure(urls, args))
    table = Table("phase", "guest's hit ratio", "p99, ms", "noisy: written/s", "refused 429", "failed")
    for name, phases in (("inside its quota", quiet), ("ten times its quota", loud)):
        written = sum(phase.written for phase in phases) / sum(phase.seconds for phase in phases)
        p99_ms = statistics.median(phase.p99_ms for phase in phases)
        hit_ratio = statistics.mean(phase.hit_ratio for phase in phases)
        counts = (sum(phase.limited for phase in phases), sum(phase.failed for phase in phases))
        table.add_row(name, f"{hit_ratio:.4f}", f"{p99_ms:.1f}", f"{written:.1f}", *map(str, counts))
    Console().print(table)
    fell = statistics.mean(p.hit_ratio for p in quiet) - statistics.mean(p.hit_ratio for p in loud)
    ratio = statistics.median(b.p99_ms / a.p99_ms for a, b in zip(quiet, loud, strict=True))
    got = sum(p.written for p in loud) / sum(p.seconds for p in loud) / (rate / 2)
    print(f"the guest's hit ratio fell by {100 * fell:.2f} points, its p99 is {ratio:.2f} times the quiet phases'")
    if args.limit:
        print(f"of its rate the noisy one got {got:.1%}")
    kept = fell < HIT_POINTS_LIMIT and ratio < P99_LIMIT and (not args.limit or abs(got - 1) <= RATE_LIMIT)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
