"""Linearizable reads of raftcache over RPC: `python -m writes.read_load JSON`, with a `RaftcacheLoad`.

Each client first writes its keys at `quorum`, and then reads them over and over, one read in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from raftcache.commands.types import AckLevel, Command, Failure, Get, ReadLevel, Set, Value, Written, decode_reply
from raftcache.errors import NotLeader, RaftcacheError
from raftcache.node.rpc_methods import encode_execute
from writes.measure import Meter
from writes.raftcache_load import DEADLINE_S, PAUSE_S, Cluster, main, measure
from writes.spec import KEYS_PER_CLIENT, Outcome, RaftcacheLoad, keys, value


class Reader:
    """One read in flight, always."""

    def __init__(self, number: int, spec: RaftcacheLoad, cluster: Cluster, meter: Meter) -> None:
        self.number, self.running = number, True
        self._cluster, self._meter = cluster, meter
        self._value = value(number, spec.load.value_bytes)
        self._keys: Iterator[bytes] = keys(number)
        self._shard, self._began = "", 0.0

    async def fill(self) -> None:
        """Write every key. Raises RuntimeError where one is refused."""
        for _ in range(KEYS_PER_CLIENT):
            await self._write(next(self._keys))

    async def _write(self, key: bytes) -> None:
        shard, deadline = self._cluster.shard_of(key), self._cluster.runtime.now() + DEADLINE_S
        body = encode_execute(shard, 0, Set(key, self._value, ack=AckLevel.QUORUM))
        while True:
            reply = decode_reply(await self._cluster.channel(self.number, shard).call_async("execute", body, deadline))
            if isinstance(reply, Written):
                return
            if not isinstance(reply, Failure) or reply.code != NotLeader.code:
                raise RuntimeError(f"writing {key!r} answers {reply!r:.200}")
            self._cluster.learn(shard, reply)
            await asyncio.sleep(PAUSE_S)

    def send(self) -> None:
        """Send the next read."""
        if not self.running:
            return
        key = next(self._keys)
        self._shard = self._cluster.shard_of(key)
        self._began = time.perf_counter()
        command: Command = Get(key, ReadLevel.LINEARIZABLE)
        deadline = self._cluster.runtime.now() + DEADLINE_S
        channel = self._cluster.channel(self.number, self._shard)
        channel.call("execute", encode_execute(self._shard, 0, command), deadline, self._answered)

    def _answered(self, answer: bytes | RaftcacheError) -> None:
        reply = answer if isinstance(answer, RaftcacheError) else decode_reply(answer)
        if isinstance(reply, Value) and reply.value == self._value and reply.level == ReadLevel.LINEARIZABLE:
            self._meter.done(self._began)
            self.send()
            return
        if isinstance(reply, Failure):
            self._cluster.learn(self._shard, reply)
        code = reply.code if isinstance(reply, Failure | RaftcacheError) else f"an unexpected reply: {reply!r:.100}"
        self._meter.failed(code)
        self._cluster.runtime.call_later(PAUSE_S, self.send)


async def run(spec: RaftcacheLoad) -> Outcome:
    """Read for as long as `spec` says."""
    cluster, meter = Cluster(spec), Meter(spec.load.pids)
    readers = [Reader(number, spec, cluster, meter) for number in range(spec.load.clients)]
    try:
        await asyncio.gather(*(reader.fill() for reader in readers))
        return await measure(spec, meter, readers)
    finally:
        await cluster.close()


if __name__ == "__main__":
    main(run)
