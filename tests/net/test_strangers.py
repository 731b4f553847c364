"""Strangers on the peer and RPC ports: sent away with a log line, and the node serves on."""

from __future__ import annotations

import asyncio
import logging
import struct

import pytest

from raftcache.errors import Unauthenticated
from raftcache.net import connection as connection_module
from raftcache.net import listener as listener_module
from raftcache.net.rpc_server import RpcServer
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.handshake import Identity

from .support import CLUSTER, HOST, RawClient, eventually, make_channel, make_links, peer, run, serving


async def shout(port: int, data: bytes) -> bytes:
    """Say `data` to a port and return all that it answers until it hangs up."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(data)
    try:
        answer = await reader.read(-1)
    except ConnectionError:
        answer = b""
    writer.transport.abort()
    return answer


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "announced by the bytes b'GET '"),
        (b"*1\r\n$4\r\nPING\r\n", "announced by the bytes"),
        (struct.pack("!I", 1 << 31), "the limit is 1024"),
        (struct.pack("!I", 5) + b"\xc1\xc1\xc1\xc1\xc1", "not a raftcache handshake"),
        (struct.pack("!I", 1000) + b"x" * 100_000, "not a raftcache handshake"),
    ],
)
def test_garbage_hears_nothing_and_the_ports_serve_on(
    data: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        links, _ = make_links(runtime, "b")
        await links.start()
        async with serving(runtime) as (server, channel):
            assert await shout(links.port, data) == b""
            assert await shout(server.port, data) == b""
            assert await channel.call_async("echo", b"alive", runtime.now() + 20) == b"alive"
        await links.stop()

    with caplog.at_level(logging.WARNING):
        run(test)
    for field in ("peer_address", "rpc_address"):
        assert f"{field}: connection from 127.0.0.1" in caplog.text
    assert complaint in caplog.text


def test_a_silent_stranger_is_sent_away(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE_TIMEOUT_MS", 20)

    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, _):
            assert await shout(server.port, b"") == b""

    run(test)
    assert "no handshake within 20 ms" in caplog.text


def test_strangers_are_bounded_and_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "STRANGERS_LIMIT", 3)

    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            silent = [RawClient(*await asyncio.open_connection(HOST, server.port)) for _ in range(5)]
            assert await silent[0].frame() is None
            assert await channel.call_async("echo", b"in", runtime.now() + 20) == b"in"
            for client in silent:
                await client.close()

    run(test)


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "CONNECTIONS_LIMIT", 1)

    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            assert await channel.call_async("echo", b"in", runtime.now() + 20) == b"in"
            second = await RawClient.connect(server.port, Identity("client"))
            assert await second.frame() is None
            await second.close()
            assert await channel.call_async("echo", b"still", runtime.now() + 20) == b"still"

    run(test)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"secret": b"wrong"}, "the client does not hold this cluster's secret"),
        ({"cluster_id": "c2"}, "cluster_id 'c2' is not this cluster's"),
        ({"identity": Identity("king")}, "role 'king' is none of"),
    ],
)
def test_a_caller_that_fails_the_handshake_gets_a_definite_error(
    changes: dict[str, object], complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            stranger = make_channel(runtime, server.port, **changes)
            with pytest.raises(Unauthenticated, match=complaint) as caught:
                await stranger.call_async("echo", b"", runtime.now() + 20)
            assert caught.value.definite
            stranger.close()
            await stranger.wait_closed()
            assert await channel.call_async("echo", b"alive", runtime.now() + 20) == b"alive"

    run(test)
    assert complaint in caplog.text


def test_a_frame_over_the_limit_ends_the_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            raw = await RawClient.connect(server.port, Identity("client"))
            raw.writer.write(struct.pack("!I", 1 << 31))
            assert await raw.frame() is None
            await raw.close()
            assert await channel.call_async("echo", b"alive", runtime.now() + 20) == b"alive"

    run(test)
    assert "frame length 2147483648 bytes is over the limit" in caplog.text


def test_an_empty_secret_works_on_loopback() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        server = RpcServer(runtime, peer("n0"), HOST, 0, b"", CLUSTER)
        server.handlers["echo"] = lambda call: call.reply(call.body)
        await server.start()
        channel = make_channel(runtime, server.port, secret=b"")
        assert await channel.call_async("echo", b"hi", runtime.now() + 20) == b"hi"
        channel.close()
        await channel.wait_closed()
        await server.stop()
        await eventually(lambda: server.inflight == 0)

    run(test)
