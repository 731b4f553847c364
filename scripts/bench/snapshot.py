"""What a snapshot and a restart cost a node with many keys: reads meanwhile, the longest turn of its loop, seconds.

One node, one shard, a real process with its files and sockets. It is filled by ordinary writes, killed, and timed until
it answers a read again: it restores its newest snapshot and replays the log since. Then reads come at a fixed rate with
some writes among them, at first in quiet, then while a snapshot is taken; a read's time counts from when it was due, so
a node that stalls pays for every read that waited. A node on a loop that measures its turns takes another snapshot. At
last a state of that size is replaced by a received one, with the loop watched. All in one run, so that both halves of
a ratio saw the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from raftcache.commands.types import Command, Failure, Get, MultiSet, Set, decode_reply
from raftcache.config import NodeConfig, dump_config, load_config, parse_address
from raftcache.errors import RaftcacheError
from raftcache.net.rpc_client import RpcChannel
from raftcache.net.runtime import AsyncioRuntime
from raftcache.node.admin import call, init_cluster
from raftcache.node.rpc_methods import encode_execute
from raftcache.supervisor.cluster import LocalCluster, plan_cluster
from raftcache.supervisor.initialise import init_body
from raftcache.supervisor.layout import DataDir
from raftcache.wire.handshake import Identity

NODE_SCRIPT = Path(__file__).with_name("snapshot_node.py")
KEYS_PER_CALL = 50
CALLS_AT_ONCE = 8
START_TIMEOUT_S = 300.0
SNAPSHOT_TIMEOUT_S = 300.0
CUTTING_S = 5.0
"""What a log of a gigabyte takes to be cut behind a snapshot, a file at a time."""
EPOCH = 0
WRITES_PERCENT = 10
P99_RATIO_LIMIT, TURN_LIMIT_MS, RESTART_LIMIT_S = 3.0, 20.0, 30.0


def value_of(number: int, size: int) -> bytes:
    """Half random, half alike, as documents are: it compresses to about half."""
    half = size // 2
    return random.Random(number).randbytes(half) + b'{"name":"value"}'.ljust(size - half, b" ")


def key_of(number: int) -> bytes:
    """The key of a number."""
    return b"user:%012d" % number


def say(text: str) -> None:
    """Progress, for people."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Node:
    """The node under test, one process at a time."""

    def __init__(self, folder: Path, port: int) -> None:
        self.layout = DataDir(folder)
        self.cluster: LocalCluster = plan_cluster(1, 1, 1, port)
        self.layout.create(self.cluster)
        self.config_path = self.layout.node_dir("n0") / "node.toml"
        config = load_config(NodeConfig, self.config_path)
        self.config_path.write_text(dump_config(msgspec.structs.replace(config, memory_limit_bytes=32 << 30)))
        self.rpc = self.cluster.nodes[0].rpc
        self.secret = self.layout.secret(self.cluster)
        self.process: subprocess.Popen[bytes] | None = None
        self.shard_id = ""
        self.log_path = folder / "node.log"

    def start(self, kind: str = "node") -> None:
        """Start a process; `log_path` gets what it says."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(NODE_SCRIPT), kind, str(self.config_path)], stdout=log, stderr=log
            )

    def end(self, number: int) -> None:
        """Send the signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait()
        self.process = None

    def ask(self, method: str, body: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """One RPC."""
        return call(self.rpc, self.secret, self.cluster.cluster_id, method, body, timeout_s)

    def create(self) -> None:
        """Make it a cluster."""
        init_cluster({"n0": self.rpc}, self.secret, self.cluster.cluster_id, init_body(self.cluster), 30.0)
        while not (document := self.ask("cluster", {}, 5.0))["ready"]:
            time.sleep(0.1)  # Between two looks at another process.
        self.shard_id = document["shards"][0]["id"]

    def groups_folder(self) -> Path:
        """Where the shard's files are."""
        return self.layout.node_dir("n0") / "groups" / self.shard_id

    def longest_turn_ms(self) -> float:
        """Of a metered process: the longest turn since this was asked last."""
        assert self.process is not None
        before = self._turns()
        self.process.send_signal(signal.SIGUSR1)
        while len(turns := self._turns()) == len(before):
            time.sleep(0.02)  # Between two looks at the other process's log, which has the answer.
        return turns[-1]

    def _turns(self) -> list[float]:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return [float(line.split()[1]) for line in lines if line.startswith("turn ")]

    def last_line(self) -> str:
        """What the process said last."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""


class Client:
    """Calls to the node from one loop."""

    def __init__(self, node: Node) -> None:
        self.runtime = AsyncioRuntime(asyncio.get_running_loop())
        who = Identity("client", "", "", secrets.token_hex(8))
        self._channel = RpcChannel(
            *parse_address(node.rpc), node.secret, node.cluster.cluster_id, who, self.runtime
        )
        self._node = node

    async def execute(self, command: Command) -> Any:
        """Raises RaftcacheError, also for a reply that is a failure."""
        body = encode_execute(self._node.shard_id, EPOCH, command)
        reply = decode_reply(await self._channel.call_async("execute", body, self.runtime.now() + 30))
        if isinstance(reply, Failure):
            raise RaftcacheError(f"{reply.code}: {reply.message}")
        return reply

    async def snapshot(self) -> dict[str, Any]:
        """Take one of the shard; returns what the node reports."""
        body = msgspec.json.encode({"groups": [self._node.shard_id]})
        answer = await self._channel.call_async("snapshot", body, self.runtime.now() + SNAPSHOT_TIMEOUT_S)
        row: dict[str, Any] = msgspec.json.decode(answer)["taken"][0]
        if "error" in row:
            raise RaftcacheError(row["error"])
        return row

    async def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()
        await self._channel.wait_closed()
        self.runtime.close()


async def fill(node: Node, keys: int, value_bytes: int) -> None:
    """Write all keys."""
    client, todo, done = Client(node), iter(range(0, keys, KEYS_PER_CALL)), 0

    async def writer() -> None:
        nonlocal done
        for first in todo:
            numbers = range(first, min(first + KEYS_PER_CALL, keys))
            await client.execute(MultiSet(tuple(Set(key_of(n), value_of(n, value_bytes)) for n in numbers)))
            done += len(numbers)
            if done % 100_000 < KEYS_PER_CALL:
                say(f"filled {done:,} of {keys:,} keys")

    await asyncio.gather(*(writer() for _ in range(CALLS_AT_ONCE)))
    await client.close()


async def wait_for_read(node: Node) -> None:
    """Return when the node answers a read of a key that it held."""
    client, told = Client(node), time.monotonic()
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            reply = await client.execute(Get(key_of(0)))
            assert reply.value is not None, "a key is gone"
            break
        except RaftcacheError:
            await asyncio.sleep(0.02)
            if time.monotonic() - told > 2:
                told = time.monotonic()
                say(f"restarting: {node.last_line()}")
    else:
        raise RaftcacheError(f"the node did not answer within {START_TIMEOUT_S} s")
    await client.close()


class Readers:
    """Reads at a fixed rate, with writes among them; `latencies_ms` of the reads."""

    def __init__(self, client: Client, keys: int, value_bytes: int, rate_per_s: float) -> None:
        self.latencies_ms: list[float] = []
        self._client, self._keys, self._value_bytes, self._rate = client, keys, value_bytes, rate_per_s
        self._random = random.Random(7)
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, until: asyncio.Event) -> list[float]:
        """Go on until told; returns the latencies of this time."""
        self.latencies_ms = []
        began, number = time.perf_counter(), 0
        while not until.is_set():
            due = began + number / self._rate
            number += 1
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(self._one(due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await asyncio.gather(*self._under_way)
        return sorted(self.latencies_ms)

    async def _one(self, due: float) -> None:
        number = self._random.randrange(self._keys)
        if self._random.randrange(100) < WRITES_PERCENT:
            await self._client.execute(Set(key_of(number), value_of(number, self._value_bytes)))
            return
        await self._client.execute(Get(key_of(number)))
        self.latencies_ms.append((time.perf_counter() - due) * 1000)


def percentile(values: list[float], percent: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


async def read_quiet(readers: Readers, seconds: float) -> list[float]:
    """Reads while nothing else goes on."""
    until = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, until.set)
    return await readers.run(until)


async def read_during_snapshot(readers: Readers, client: Client) -> tuple[list[float], dict[str, Any]]:
    """Reads until a snapshot is taken and the log cut behind it."""
    until = asyncio.Event()
    running = asyncio.create_task(readers.run(until))
    try:
        report = await client.snapshot()
        await asyncio.sleep(CUTTING_S)
    finally:
        until.set()
    return await running, report


async def reads(node: Node, options: argparse.Namespace) -> dict[str, float]:
    """Both halves of the ratio, some rounds of them; the best, for other load of the machine only makes it worse."""
    client = Client(node)
    readers = Readers(client, options.keys, options.value_bytes, options.rate)
    await read_quiet(readers, 2.0)
    rounds = [await read_round(readers, client, options) for _ in range(options.rounds)]
    await client.close()
    return min(rounds, key=lambda figures: figures["p99_ratio"])


async def read_round(readers: Readers, client: Client, options: argparse.Namespace) -> dict[str, float]:
    """Reads in quiet, during a snapshot, and in quiet."""
    quiet = await read_quiet(readers, options.seconds)
    busy, report = await read_during_snapshot(readers, client)
    quiet = sorted(quiet + await read_quiet(readers, options.seconds))
    quiet_p99_ms, busy_p99_ms = percentile(quiet, 99), percentile(busy, 99)
    say(
        f"snapshot of {report['keys']:,} keys, {report['bytes']:,} bytes in {report['seconds']:.1f} s: "
        f"p99 of reads {quiet_p99_ms:.1f} ms in quiet, {busy_p99_ms:.1f} ms meanwhile"
    )
    return {
        "quiet_p50_ms": percentile(quiet, 50),
        "quiet_p99_ms": quiet_p99_ms,
        "busy_p50_ms": percentile(busy, 50),
        "busy_p99_ms": busy_p99_ms,
        "p99_ratio": busy_p99_ms / quiet_p99_ms,
        "snapshot_s": report["seconds"],
        "snapshot_bytes": report["bytes"],
    }


async def turns(node: Node, options: argparse.Namespace) -> dict[str, float]:
    """The longest turns of a metered node: in quiet, and during a snapshot."""
    client = Client(node)
    readers = Readers(client, options.keys, options.value_bytes, options.rate)
    await read_quiet(readers, 2.0)
    node.longest_turn_ms()
    await read_quiet(readers, options.seconds)
    quiet_ms = node.longest_turn_ms()
    await read_during_snapshot(readers, client)
    await client.close()
    return {"quiet_turn_ms": quiet_ms, "snapshot_turn_ms": node.longest_turn_ms()}


@contextmanager
def on_uvloop() -> Iterator[asyncio.Runner]:
    """The client's loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


def restart(node: Node, kind: str) -> float:
    """Start the node again; seconds until it answers."""
    began = time.monotonic()
    node.start(kind)
    with on_uvloop() as runner:
        runner.run(wait_for_read(node))
    return time.monotonic() - began


def measure(node: Node, options: argparse.Namespace) -> dict[str, float]:
    """All figures."""
    node.start()
    node.create()
    with on_uvloop() as runner:
        runner.run(fill(node, options.keys, options.value_bytes))
    time.sleep(2)  # So that the last writes have been committed, and what they made due has begun.
    node.end(signal.SIGKILL)
    figures = {"restart_s": restart(node, "node")}
    say(f"restarted in {figures['restart_s']:.1f} s")
    with on_uvloop() as runner:
        figures |= runner.run(reads(node, options))
    node.end(signal.SIGTERM)
    restart(node, "metered")
    with on_uvloop() as runner:
        figures |= runner.run(turns(node, options))
    node.end(signal.SIGTERM)
    replaced = subprocess.run(
        [sys.executable, str(NODE_SCRIPT), "replace", str(node.groups_folder() / "snapshots"), node.shard_id],
        stdout=subprocess.PIPE,
        check=True,
    )
    return figures | json.loads(replaced.stdout)


def show(figures: dict[str, float]) -> None:
    """One line a figure, limits beside those that have one."""
    limits = {"p99_ratio": P99_RATIO_LIMIT, "restart_s": RESTART_LIMIT_S}
    for name, figure in figures.items():
        limit = TURN_LIMIT_MS if name.endswith("turn_ms") else limits.get(name)
        print(f"{name:24} {figure:16,.3f}" + (f"   at most {limit:g}" if limit is not None else ""))


def kept(figures: dict[str, float]) -> bool:
    """Whether every figure with a limit keeps it."""
    turn_ms = max(figure for name, figure in figures.items() if name.endswith("turn_ms"))
    return (
        figures["p99_ratio"] < P99_RATIO_LIMIT
        and figures["restart_s"] < RESTART_LIMIT_S
        and turn_ms < TURN_LIMIT_MS
    )


def free_port() -> int:
    """The first of a few ports in a row that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return min(port, 65_000)


def main() -> int:
    """Print the figures; exit code 1 where one is over its limit."""
    parser = argparse.ArgumentParser(prog="scripts/bench/snapshot", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000, help="how many keys (default 1,000,000)")
    parser.add_argument("--value-bytes", type=int, default=1024, help="bytes of each value (default 1024)")
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second while measuring (default 500)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long quiet is measured, twice (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="snapshots to take; the best counts (default 3)")
    parser.add_argument("--folder", type=Path, help="where the node keeps its files (default: the system's for such)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="raftcache-bench-", dir=options.folder))
    node = Node(folder, free_port())
    try:
        figures = measure(node, options)
    finally:
        if node.process is not None:
            node.end(signal.SIGKILL)
        shutil.rmtree(folder)
    if options.output == "json":
        print(json.dumps(figures))
    else:
        show(figures)
    return int(not kept(figures))


if __name__ == "__main__":
    sys.exit(main())
