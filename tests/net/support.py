"""What the network tests share: a loop that must be left clean, waiting for conditions, small actors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from raftcache.net.api import Peer
from raftcache.net.links import AsyncioLinks
from raftcache.net.rpc_client import RpcChannel
from raftcache.net.rpc_server import RpcServer
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.frames import FrameReader, pack_frame
from raftcache.wire.handshake import ClientHandshake, Identity
from raftcache.wire.rpc import Reply, decode_reply

SECRET, CLUSTER, HOST = b"secret", "c1", "127.0.0.1"
PATIENCE_S = 20.0
"""How long a test waits for what must happen; nothing is measured against it."""

LONG_S = 20.0
"""A deadline that no test reaches."""

Test = Callable[[AsyncioRuntime], Awaitable[None]]


def run(test: Test) -> None:
    """Run `test` on a fresh loop; afterwards no task may be left and no callback may have raised."""

    async def main() -> None:
        runtime = AsyncioRuntime(asyncio.get_running_loop(), seed=1)
        try:
            await asyncio.wait_for(test(runtime), PATIENCE_S)
        finally:
            runtime.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert runtime.callback_errors == 0

    asyncio.run(main())


async def eventually(condition: Callable[[], object]) -> None:
    """Return once `condition` holds; `run` bounds the wait."""
    while not condition():
        await asyncio.sleep(0.001)


class Recorder:
    """A LinkReceiver that writes everything down."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def link_up(self, peer: Peer) -> None:
        self.events.append(("up", peer))

    def link_down(self, node_id: str) -> None:
        self.events.append(("down", node_id))

    def frame_received(self, node_id: str, frame: bytes) -> None:
        self.events.append(("frame", node_id, frame))

    @property
    def frames(self) -> list[bytes]:
        return [event[2] for event in self.events if event[0] == "frame"]

    def count(self, kind: str) -> int:
        return sum(event[0] == kind for event in self.events)


def peer(node_id: str, run_id: str = "r1") -> Peer:
    return Peer(node_id, "i-" + node_id, run_id)


def make_links(runtime: AsyncioRuntime, node_id: str, **changes: Any) -> tuple[AsyncioLinks, Recorder]:
    arguments: dict[str, Any] = {"host": HOST, "port": 0, "secret": SECRET, "cluster_id": CLUSTER, **changes}
    links, recorder = AsyncioLinks(runtime, peer(node_id), **arguments), Recorder()
    links.attach(recorder)
    return links, recorder


@asynccontextmanager
async def pair(
    runtime: AsyncioRuntime,
) -> AsyncIterator[tuple[AsyncioLinks, Recorder, AsyncioLinks, Recorder]]:
    """Two nodes, a and b, that know each other and have a link; stopped at the end."""
    a, seen_a = make_links(runtime, "a")
    b, seen_b = make_links(runtime, "b")
    try:
        await a.start()
        await b.start()
        a.set_address("b", HOST, b.port)
        b.set_address("a", HOST, a.port)
        await eventually(lambda: seen_a.count("up") and seen_b.count("up"))
        yield a, seen_a, b, seen_b
    finally:
        await a.stop()
        await b.stop()


@asynccontextmanager
async def serving(runtime: AsyncioRuntime, **changes: Any) -> AsyncIterator[tuple[RpcServer, RpcChannel]]:
    """An RPC server with an `echo` method, and a channel to it; closed at the end."""
    server = RpcServer(runtime, peer("n0"), HOST, 0, SECRET, CLUSTER, **changes)
    server.handlers["echo"] = lambda call: call.reply(call.body)
    await server.start()
    channel = make_channel(runtime, server.port)
    try:
        yield server, channel
    finally:
        channel.close()
        await channel.wait_closed()
        await server.stop()


def make_channel(runtime: AsyncioRuntime, port: int, **changes: Any) -> RpcChannel:
    arguments: dict[str, Any] = {
        "secret": SECRET,
        "cluster_id": CLUSTER,
        "identity": Identity("client"),
        **changes,
    }
    return RpcChannel(HOST, port, runtime=runtime, **arguments)


class RawClient:
    """A well-behaved handshake and then whatever a test wants to send, over plain streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = FrameReader(1 << 30)
        self._ready: list[bytes] = []

    @classmethod
    async def connect(cls, port: int, identity: Identity, secret: bytes = SECRET) -> RawClient:
        """Raises `Unauthenticated` where the handshake fails."""
        client = cls(*await asyncio.open_connection(HOST, port))
        await client.authenticate(identity, secret)
        return client

    async def authenticate(self, identity: Identity, secret: bytes = SECRET) -> None:
        """Shake hands on a connection that is open. Raises `Unauthenticated`."""
        reader, writer = self.reader, self.writer
        handshake = ClientHandshake(secret, CLUSTER, identity, random.Random(identity.run_id).randbytes(32))
        try:
            while handshake.result is None:
                writer.write(handshake.data_to_send())
                data = await reader.read(4096)
                assert data, "closed in the middle of the handshake"
                handshake.receive_data(data)
        except BaseException:
            await self.close()
            raise
        self._ready = self._frames.receive_data(handshake.trailing)

    def send(self, payload: bytes) -> None:
        self.writer.write(pack_frame(payload))

    async def frame(self) -> bytes | None:
        """The next frame, pings left out; None once the other end has closed."""
        while True:
            while self._ready:
                if frame := self._ready.pop(0):
                    return frame
            try:
                data = await self.reader.read(65536)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._ready = self._frames.receive_data(data)

    async def close(self) -> None:
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


def soon(runtime: AsyncioRuntime) -> float:
    return runtime.now() + 0.25


def later(runtime: AsyncioRuntime) -> float:
    return runtime.now() + LONG_S


async def raw_reply(raw: RawClient) -> Reply:
    frame = await raw.frame()
    assert frame is not None, "the connection was closed"
    return decode_reply(frame)
