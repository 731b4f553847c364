"""The port on real sockets: one write a turn, bounds on connections and on what waits, a clean end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from http_backend import FakeBackend
from resp_bytes import packed

from raftcache.frontends.resp import server as servers
from raftcache.frontends.resp.server import Connection, RespServer
from raftcache.frontends.resp.session import COMMANDS_PER_TURN
from raftcache.frontends.resp.state import Front
from raftcache.net.protected import BindRefused

PATIENCE_S = 20.0
PONG = b"+PONG\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Port:
    """A running server over the fake backend, and clients of it."""

    def __init__(self, **bounds: Any) -> None:
        self.backend = FakeBackend()
        self.front = Front(self.backend)
        self.server = RespServer(self.front, "127.0.0.1", 0, "redis_router", **bounds)
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self._writers.append(writer)
        return reader, writer

    def close_clients(self) -> None:
        for writer in self._writers:
            writer.close()


def with_port(test: Callable[[Port], Awaitable[None]], **bounds: Any) -> None:
    """Run `test` with a server that is stopped afterwards; no task and no connection may be left."""

    async def main() -> None:
        port = Port(**bounds)
        await port.server.start()
        try:
            await asyncio.wait_for(test(port), PATIENCE_S)
        finally:
            port.close_clients()
            await asyncio.wait_for(port.server.stop(), PATIENCE_S)
        assert port.server.connections == set() and port.front.clients == {}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def eventually(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_many_commands_in_one_read_are_answered_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    made = Connection.connection_made

    def connection_made(self: Connection, transport: Any) -> None:
        made(self, transport)
        send = transport.write

        def write(data: bytes) -> None:
            writes.append(data)
            send(data)

        monkeypatch.setattr(transport, "write", write, raising=False)

    monkeypatch.setattr(Connection, "connection_made", connection_made)

    async def test(port: Port) -> None:
        reader, writer = await port.connect()
        writer.write(packed("INCR", "c") * 10)
        whole = b"".join(b":%d\r\n" % number for number in range(1, 11))
        assert await reader.readexactly(len(whole)) == whole
        port.backend.held = []
        writer.write(packed("INCR", "c") * 3)
        await eventually(lambda: len(port.backend.commands) == 13)
        port.backend.release()
        await reader.readexactly(3 * 5)
        assert writes == [whole, b":11\r\n:12\r\n:13\r\n"], "late replies of one turn leave together, too"

    with_port(test)


def test_a_deep_pipeline_takes_turns_and_comes_to_its_end() -> None:
    async def test(port: Port) -> None:
        reader, writer = await port.connect()
        writer.write(packed("PING") * 5000)
        assert await reader.readexactly(5000 * len(PONG)) == PONG * 5000

    with_port(test)


def test_a_turn_that_ends_with_the_last_command_is_followed_by_more() -> None:
    """Nothing is left unparsed then, and the connection has to be read from again all the same."""

    async def test(port: Port) -> None:
        reader, writer = await port.connect()
        for _ in range(3):
            writer.write(packed("PING") * COMMANDS_PER_TURN)
            assert await reader.readexactly(COMMANDS_PER_TURN * len(PONG)) == PONG * COMMANDS_PER_TURN

    with_port(test)


@pytest.mark.replaces_methods
def test_a_defect_in_one_connections_turn_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(port: Port) -> None:
        port.backend.held = []
        (first, one), (second, two) = await port.connect(), await port.connect()
        for writer in (one, two):
            writer.write(packed("INCR", "c"))
        await eventually(lambda: len(port.backend.commands) == 2)
        broken = next(iter(port.server.connections))
        monkeypatch.setattr(broken, "turn", lambda: 1 // 0)
        port.backend.release()
        answers = await asyncio.gather(first.read(4), second.read(4), return_exceptions=True)
        told = sorted(each if isinstance(each, bytes) else b"" for each in answers)
        assert told in ([b"", b":1\r\n"], [b"", b":2\r\n"])
        assert port.front.metrics.dropped == {"defect": 1}

    with_port(test)


def test_one_connection_too_many_is_told_so() -> None:
    async def test(port: Port) -> None:
        reader, writer = await port.connect()
        writer.write(packed("PING"))
        assert await reader.readexactly(len(PONG)) == PONG
        refused, _ = await port.connect()
        assert await refused.read() == b"-ERR max number of clients reached\r\n"
        assert (port.front.metrics.accepted, port.front.metrics.turned_away) == (1, 1)
        writer.close()
        await eventually(lambda: not port.front.clients)
        reader, writer = await port.connect()
        writer.write(packed("PING"))
        assert await reader.readexactly(len(PONG)) == PONG

    with_port(test, connections_limit=1)


def test_who_does_not_read_is_not_executed_for_and_dropped_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "SLOW_READER_SECONDS", 0.05)

    async def test(port: Port) -> None:
        port.backend.entries[b"k"] = (b"v" * 1_000_000, 0, port.backend._version(), None)
        _, writer = await port.connect()
        writer.write(packed("GET", "k") * 200)
        await eventually(lambda: port.front.metrics.stalls["output"])
        await eventually(lambda: port.front.metrics.dropped == {"slow_reader": 1})
        await eventually(lambda: not port.front.clients)
        assert len(port.backend.commands) < 50, "no more than fits into sockets and buffers"

    with_port(test)


def test_who_reads_slowly_gets_everything() -> None:
    async def test(port: Port) -> None:
        port.backend.entries[b"k"] = (b"v" * 1_000_000, 0, port.backend._version(), None)
        reader, writer = await port.connect()
        writer.write(packed("GET", "k") * 30)
        await eventually(lambda: port.front.metrics.stalls["output"])
        whole = b"$1000000\r\n" + b"v" * 1_000_000 + b"\r\n"
        for _ in range(30):
            assert await reader.readexactly(len(whole)) == whole

    with_port(test)


def test_a_half_closed_connection_is_answered_and_closed() -> None:
    async def test(port: Port) -> None:
        reader, writer = await port.connect()
        writer.write(b"PING\r\nECHO hi\r\n")
        writer.write_eof()
        assert await reader.read() == PONG + b"$2\r\nhi\r\n"

    with_port(test)


def test_quit_and_nonsense_close_the_connection() -> None:
    async def test(port: Port) -> None:
        wrong = b"-ERR Protocol error: expected '$', got ':'\r\n"
        for sent, said in ((b"QUIT\r\n", b"+OK\r\n"), (b"*1\r\n:1\r\n", wrong)):
            reader, writer = await port.connect()
            writer.write(sent)
            assert await reader.read() == said

    with_port(test)


def test_stopping_answers_what_is_under_way() -> None:
    async def test(port: Port) -> None:
        port.backend.held = []
        reader, writer = await port.connect()
        idle, _ = await port.connect()
        writer.write(packed("INCR", "c"))
        await eventually(lambda: port.backend.commands)
        await eventually(lambda: len(port.front.clients) == 2)
        stopping = asyncio.ensure_future(port.server.stop())
        assert await idle.read() == b""
        port.backend.release()
        assert await reader.read() == b":1\r\n"
        await stopping

    with_port(test)


def test_stopping_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "STOP_SECONDS", 0.01)

    async def test(port: Port) -> None:
        port.backend.held = []
        reader, writer = await port.connect()
        writer.write(packed("INCR", "c"))
        await eventually(lambda: port.backend.commands)
        await port.server.stop()
        assert await _until_gone(reader) == b""
        assert port.front.metrics.dropped == {"stopped": 1}
        port.backend.release()

    with_port(test)


async def _until_gone(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_a_taken_port_is_named() -> None:
    async def test(port: Port) -> None:
        second = RespServer(port.front, "127.0.0.1", port.server.port, "redis_router")
        with pytest.raises(BindRefused, match=r"redis_router = 127\.0\.0\.1:\d+: cannot listen there"):
            await second.start()
        await second.stop()

    with_port(test)
