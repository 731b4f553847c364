"""`raftcache replay`: a recorded workload through HTTP, with its hit ratio and latencies; or, with `--policies`, in
process, to choose a policy by."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raftcache.cli.api import Api, split_url
from raftcache.cli.output import DEFAULT_URL, Failed, add_command, add_output, print_json

if TYPE_CHECKING:
    from raftcache.cli.replaying import Tally, Target

CONCURRENCY_LIMIT = 1024
SHOW_INTERVAL_SECONDS = 0.2
NAMESPACE_PATIENCE_SECONDS = 10.0

EXAMPLES = """\
  raftcache replay tests/data/cloudphysics-io.csv.gz
  raftcache replay trace.csv --url http://127.0.0.1:7100 --url http://127.0.0.1:7110 -o json
  raftcache replay tests/data/cloudphysics-io.csv.gz --policies lru,s3fifo --admission all,tinylfu --plot hits.svg
TRACE is a CSV with the header version,time,op,size,lbn, or libCacheSim's oracleGeneral; compressed if it ends in .gz or
.zst. Each line is a get of key `lbn` and, on a miss, a set of a value of `size` bytes (at most 1 MiB). A latency is
that of one line, its set included. With --policies, --admission or --sizes no cluster is asked: every combination is
simulated in process, in one pass, by the trace's own clock."""


def add_commands(commands: Any) -> None:
    """Add `replay` to the parser."""
    parser = add_command(commands, "replay", "play a cache trace, cache-aside", EXAMPLES)
    parser.add_argument("trace", type=Path, metavar="TRACE")
    parser.add_argument("--url", action="append", help=f"may be repeated (default: {DEFAULT_URL})")
    parser.add_argument("--namespace", default="replay", metavar="NAME", help="made if missing (default: replay)")
    parser.add_argument("--concurrency", type=int, default=64, metavar="N", help="connections (default: 64)")
    parser.add_argument("--limit", type=int, metavar="N", help="play the first N requests only")
    parser.add_argument("--verify", action="store_true", help="afterwards, read every written value back")
    choosing = parser.add_argument_group("to choose a policy, without a cluster")
    names = "lru, lfu, lrm, ttl, random, s3fifo, none"
    choosing.add_argument("--policies", metavar="LIST", help=f"of {names} (default: lru,lfu,lrm,s3fifo)")
    choosing.add_argument("--admission", metavar="LIST", help="of all, tinylfu (default: all)")
    sizes = "shares of the trace's distinct items or bytes, or absolute figures (default: 1%%,5%%,10%%,20%%)"
    choosing.add_argument("--sizes", metavar="LIST", help=sizes)
    choosing.add_argument("--count", choices=("items", "bytes"), help="what a size counts (default: items)")
    choosing.add_argument("--plot", type=Path, metavar="FILE", help="write a picture, as SVG")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play the trace; exit code 1 where any request failed."""
    if args.limit is not None and args.limit < 0:
        raise Failed(f"--limit must not be negative, got {args.limit}")
    if any(given is not None for given in (args.policies, args.admission, args.sizes, args.count, args.plot)):
        from raftcache.cli import choosing

        return choosing.run(args)
    import uvloop

    from raftcache.cli.replaying import Target

    if not 1 <= args.concurrency <= CONCURRENCY_LIMIT:
        raise Failed(f"--concurrency must be from 1 to {CONCURRENCY_LIMIT}, got {args.concurrency}")
    urls = args.url or [DEFAULT_URL]
    target = Target(tuple(split_url(url) for url in urls), args.namespace, args.concurrency)
    _require_namespace(urls, args.namespace)
    summary, first_error = uvloop.run(_replay(args, target))
    if args.output == "json":
        print_json(summary)
    else:
        for name, value in summary.items():
            print(f"{name:<20} {value:g}")
    if first_error:
        print(f"raftcache: {summary['errors']:g} errors; the first: {first_error}", file=sys.stderr)
    return 1 if summary["errors"] else 0


def _require_namespace(urls: list[str], name: str) -> None:
    """Make the namespace where it is missing, and wait until every front end knows it. Raises Failed."""
    apis = [Api(url) for url in urls]
    path = f"/v1/namespaces/{name}"
    if apis[0].call("GET", path).status == 404:
        apis[0].send("PUT", path, {}, expect=(200, 201))
    give_up_at = time.monotonic() + NAMESPACE_PATIENCE_SECONDS
    for api in apis:
        while (status := api.call("GET", path).status) != 200:
            if time.monotonic() > give_up_at:
                raise Failed(f"{api.url} does not know namespace {name!r}: it answers {status}")
            time.sleep(0.05)  # Between two looks at another process; the patience above bounds them.


async def _replay(args: argparse.Namespace, target: Target) -> tuple[dict[str, float], str]:
    """The figures, and the first error or ""."""
    from raftcache.cli.replaying import Tally, play, read_back
    from raftcache.cli.trace import read_trace

    tally = Tally()
    with _Display(tally) as display:
        started = time.perf_counter()
        showing = asyncio.ensure_future(display.keep_showing())
        try:
            await play(read_trace(args.trace, args.limit, display.read), target, tally)
        except* Failed as failures:
            raise failures.exceptions[0] from None
        finally:
            showing.cancel()
        tally.elapsed_seconds = time.perf_counter() - started
        display.show(1.0)
    summary = tally.summary()
    if args.verify:
        summary["verified"] = await read_back(target, tally)
        summary["errors"] = tally.errors
    return summary, tally.first_error


class _Display:
    """A progress bar on standard error."""

    def __init__(self, tally: Tally) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._tally, self._part = tally, 0.0
        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%  {task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("", total=1.0)

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def read(self, part: float) -> None:
        """So much of the file was read."""
        self._part = part

    async def keep_showing(self) -> None:
        """Show the state of things until cancelled."""
        while True:
            self.show(self._part)
            await asyncio.sleep(SHOW_INTERVAL_SECONDS)

    def show(self, part: float) -> None:
        """Show the state of things."""
        tally = self._tally
        text = f"{tally.requests:,} requests, {tally.hits:,} hits, {tally.errors:,} errors"
        self._progress.update(self._task, completed=part, description=text)
