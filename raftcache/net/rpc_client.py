"""RPC for callers: channels by address.

`RpcChannel` (rpc_channel.py) is one of them; a `RpcPool` makes each when it is first asked for.
"""

from __future__ import annotations

import asyncio

from raftcache.errors import Overloaded, RaftcacheError
from raftcache.net.rpc_channel import Done, RpcChannel
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.handshake import Identity

__all__ = ["Done", "RpcChannel", "RpcPool"]

CHANNELS_LIMIT = 1024
"""Addresses that one pool talks to."""


class RpcPool:
    """Channels by address, all with the same secret, cluster id and identity."""

    def __init__(self, secret: bytes, cluster_id: str, identity: Identity, runtime: AsyncioRuntime) -> None:
        self._secret = secret
        self._cluster_id = cluster_id
        self._identity = identity
        self._runtime = runtime
        self._channels: dict[tuple[str, int], RpcChannel] = {}
        self._leaving: list[RpcChannel] = []
        self._isolated = False

    def channel(self, host: str, port: int) -> RpcChannel:
        """The channel to an address. Raises `Overloaded` over `CHANNELS_LIMIT`."""
        channel = self._channels.get((host, port))
        if channel is None:
            if len(self._channels) >= CHANNELS_LIMIT:
                raise Overloaded(f"rpc channel to {host}:{port}: {CHANNELS_LIMIT} addresses are in use, the limit")
            channel = RpcChannel(host, port, self._secret, self._cluster_id, self._identity, self._runtime)
            channel.isolate(self._isolated)
            self._channels[host, port] = channel
        return channel

    def call(self, address: tuple[str, int], method: str, body: bytes, deadline: float, done: Done) -> None:
        """`RpcChannel.call` at an address."""
        try:
            self.channel(*address).call(method, body, deadline, done)
        except RaftcacheError as error:
            refusal = error
            self._runtime.call_soon(lambda: done(refusal))

    async def call_async(self, address: tuple[str, int], method: str, body: bytes, deadline: float) -> bytes:
        """`RpcChannel.call_async` at an address."""
        return await self.channel(*address).call_async(method, body, deadline)

    def forget(self, host: str, port: int) -> None:
        """Close the channel to an address that nobody will ask for again."""
        channel = self._channels.pop((host, port), None)
        if channel is not None:
            channel.close()
            self._leaving = [old for old in self._leaving if not old.gone]
            self._leaving.append(channel)

    def isolate(self, on: bool) -> None:
        """`RpcChannel.isolate` for all channels, those to come included."""
        self._isolated = on
        for channel in self._channels.values():
            channel.isolate(on)

    def close(self) -> None:
        """Close all channels; calls under way get their error."""
        for host, port in list(self._channels):
            self.forget(host, port)

    async def wait_closed(self) -> None:
        """After `close`: wait until neither task nor socket is left."""
        await asyncio.gather(*(channel.wait_closed() for channel in self._leaving))
