"""Writes to raftcache over RPC: `python -m writes.raftcache_load JSON`.

Each client sends its next write when the last one is answered. Writes go to the leader of the key's shard, as those of
a front end do, and those of one loop turn share a segment of the connection.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec
import uvloop

from raftcache.commands.types import (
    AckLevel,
    Command,
    Failure,
    Get,
    ReadLevel,
    Set,
    Value,
    Written,
    decode_reply,
    failure_of,
)
from raftcache.config import parse_address
from raftcache.errors import NotLeader, RaftcacheError
from raftcache.net.rpc_client import RpcChannel
from raftcache.net.runtime import AsyncioRuntime
from raftcache.node.rpc_methods import encode_execute
from raftcache.routing.slots import slot_of
from raftcache.wire.handshake import Identity
from writes.measure import Meter
from writes.spec import Outcome, RaftcacheLoad, keys, value

DEADLINE_S = 10.0
PAUSE_S = 0.02
"""How long a client waits after a failure."""


class Cluster:
    """Where shards are led, as far as this process knows, and the connections to the nodes."""

    def __init__(self, spec: RaftcacheLoad) -> None:
        self.runtime = AsyncioRuntime(asyncio.get_running_loop())
        self._starts = [first for first, _, _ in spec.slots]
        self._shards = [shard for _, _, shard in spec.slots]
        self._leaders = dict(spec.leaders)
        who = Identity("client", "", "", secrets.token_hex(8))
        secret = bytes.fromhex(spec.secret_hex)
        self._channels = {
            node: [
                RpcChannel(*parse_address(address), secret, spec.cluster_id, who, self.runtime)
                for _ in range(spec.load.connections)
            ]
            for node, address in spec.rpc.items()
        }

    def shard_of(self, key: bytes) -> str:
        """The shard of a key."""
        return self._shards[bisect_right(self._starts, slot_of(key)) - 1]

    def channel(self, client: int, shard: str) -> RpcChannel:
        """A client's connection to the shard's leader."""
        channels = self._channels[self._leaders[shard]]
        return channels[client % len(channels)]

    def learn(self, shard: str, failure: Failure) -> None:
        """A failure may say who leads now."""
        leader = failure.details.get("leader")
        if failure.code == NotLeader.code and leader in self._channels:
            self._leaders[shard] = leader

    async def close(self) -> None:
        """Close every connection."""
        channels = [channel for of_node in self._channels.values() for channel in of_node]
        for channel in channels:
            channel.close()
        await asyncio.gather(*(channel.wait_closed() for channel in channels))
        self.runtime.close()


class Client:
    """One write in flight, always."""

    def __init__(self, number: int, spec: RaftcacheLoad, cluster: Cluster, meter: Meter) -> None:
        self.number, self.running = number, True
        self._cluster, self._meter = cluster, meter
        self._ack = AckLevel[spec.ack.upper()]
        self._keys, self._value = keys(number), value(number, spec.load.value_bytes)
        self._shard, self._began = "", 0.0

    def send(self) -> None:
        """Send the next write."""
        if not self.running:
            return
        key = next(self._keys)
        self._shard = self._cluster.shard_of(key)
        self._began = time.perf_counter()
        body = encode_execute(self._shard, 0, Set(key, self._value, ack=self._ack))
        deadline = self._cluster.runtime.now() + DEADLINE_S
        self._cluster.channel(self.number, self._shard).call("execute", body, deadline, self._answered)

    def _answered(self, answer: bytes | RaftcacheError) -> None:
        reply = _reply(answer)
        if isinstance(reply, Written) and reply.ack >= self._ack:
            self._meter.done(self._began)
            self.send()
            return
        if isinstance(reply, Failure):
            self._cluster.learn(self._shard, reply)
            self._meter.failed(reply.code)
        else:
            self._meter.failed(f"an unexpected reply: {reply!r:.100}")
        self._cluster.runtime.call_later(PAUSE_S, self.send)


def _reply(answer: bytes | RaftcacheError) -> Any:
    if isinstance(answer, RaftcacheError):
        return failure_of(answer)
    return decode_reply(answer)


class Sender(Protocol):
    """Something with one request in flight."""

    running: bool

    def send(self) -> None:
        """Send the next one."""


async def measure(spec: RaftcacheLoad, meter: Meter, clients: Sequence[Sender]) -> Outcome:
    """Let them send, warm up, and be measured."""
    for client in clients:
        client.send()
    await asyncio.sleep(spec.load.warm_up_s)
    meter.open()
    await asyncio.sleep(spec.load.seconds)
    outcome = meter.close()
    for client in clients:
        client.running = False
    return outcome


async def run(spec: RaftcacheLoad) -> Outcome:
    """Write for as long as `spec` says. Raises RuntimeError where a write is not there afterwards."""
    cluster, meter = Cluster(spec), Meter(spec.load.pids)
    clients = [Client(number, spec, cluster, meter) for number in range(spec.load.clients)]
    try:
        outcome = await measure(spec, meter, clients)
        await _check(cluster, spec)
        return outcome
    finally:
        await cluster.close()


async def _check(cluster: Cluster, spec: RaftcacheLoad) -> None:
    for number in range(spec.load.clients):
        key = next(keys(number))
        command: Command = Get(key, ReadLevel.LINEARIZABLE)
        shard = cluster.shard_of(key)
        body, deadline = encode_execute(shard, 0, command), cluster.runtime.now() + DEADLINE_S
        reply = decode_reply(await cluster.channel(number, shard).call_async("execute", body, deadline))
        if not isinstance(reply, Value) or reply.value != value(number, spec.load.value_bytes):
            raise RuntimeError(f"{key!r} was acknowledged, and reading it answers {reply!r:.200}")


def main(run: Callable[[RaftcacheLoad], Coroutine[Any, Any, Outcome]]) -> None:
    """Run one load and print its outcome."""
    spec = msgspec.json.decode(sys.argv[1], type=RaftcacheLoad)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(run(spec))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main(run)
