"""Forwarders on real sockets: that bytes, ends and resets come through, and what toxics make of them."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from jepsen_like.proxy.flow import HELD_LIMIT_BYTES
from jepsen_like.proxy.forwarder import Forwarder
from jepsen_like.proxy.toxics import CUT, HEALTHY, Toxics

T = TypeVar("T")

A, B = "a", "b"
PATIENCE_S = 20.0
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Bench:
    """A server behind a forwarder. `accepted` gives the far end of each connection."""

    def __init__(self) -> None:
        self.toxics: dict[tuple[str, str], Toxics] = {}
        self.accepted: asyncio.Queue[Stream] = asyncio.Queue()
        self.server: asyncio.Server
        self.forwarder: Forwarder

    async def start(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.accepted.put((reader, writer))

        self.server = await asyncio.start_server(serve, "127.0.0.1", 0)
        target = self.server.sockets[0].getsockname()
        self.forwarder = Forwarder(A, B, (target[0], target[1]), self.toxics_of, random.Random(0))
        await self.forwarder.start()

    def toxics_of(self, sender: str, receiver: str) -> Toxics:
        return self.toxics.get((sender, receiver), HEALTHY)

    def put(self, sender: str, receiver: str, toxics: Toxics) -> None:
        self.toxics[sender, receiver] = toxics
        self.forwarder.refresh()

    async def dial(self) -> Stream:
        return await asyncio.open_connection("127.0.0.1", self.forwarder.port)

    async def connect(self) -> tuple[Stream, Stream]:
        """Near and far end of a connection, over which one byte has gone."""
        near = await self.dial()
        near[1].write(b"!")
        far = await self.accepted.get()
        assert await far[0].readexactly(1) == b"!"
        return near, far

    async def settled(self) -> None:
        """Until no connection is left; it takes as many turns of the loop as it takes."""
        while self.forwarder.connections:
            await asyncio.sleep(0)


def play(scene: Callable[[Bench], Awaitable[T]]) -> T:
    """Play a scene; nothing may be left of it."""

    async def run() -> T:
        bench = Bench()
        await bench.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await scene(bench)
        finally:
            await bench.forwarder.stop()
            assert not bench.forwarder.connections
            bench.server.close()
            assert len(asyncio.all_tasks()) == 1, "a task was left behind"

    return asyncio.run(run())


def test_bytes_go_both_ways() -> None:
    async def scene(bench: Bench) -> None:
        near, far = await bench.connect()
        near[1].write(b"question")
        assert await far[0].readexactly(8) == b"question"
        far[1].write(b"answer")
        assert await near[0].readexactly(6) == b"answer"

    play(scene)


def test_one_side_may_end_and_still_be_answered() -> None:
    async def scene(bench: Bench) -> None:
        near, far = await bench.connect()
        near[1].write_eof()
        assert await far[0].read() == b""
        far[1].write(b"bye")
        far[1].close()
        assert await near[0].read() == b"bye"
        await bench.settled()

    play(scene)


def test_a_reset_comes_through_as_a_reset() -> None:
    async def scene(bench: Bench) -> None:
        near, far = await bench.connect()
        far[1].transport.abort()
        with pytest.raises(ConnectionResetError):
            while True:
                near[1].write(b"x")
                await near[1].drain()
                if not await near[0].read(1):
                    near[1].write(b"x")
                    await asyncio.sleep(0)

    play(scene)


def test_an_end_that_meets_a_reset_does_not_spoil_the_heal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lifts a cut refreshes every connection: none may fail in the face of it."""

    async def scene(bench: Bench) -> None:
        near, _ = await bench.connect()
        bench.put(A, B, CUT)
        [carried] = bench.forwarder.connections
        assert carried.far.transport is not None

        def not_connected() -> None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

        monkeypatch.setattr(carried.far.transport, "write_eof", not_connected)
        near[1].write_eof()
        while carried._to_far._end is None:
            await asyncio.sleep(0)
        bench.put(A, B, HEALTHY)
        await bench.settled()
        with pytest.raises(ConnectionResetError):
            await near[0].read()

    play(scene)


def test_a_cut_holds_one_direction_and_the_heal_lets_it_go() -> None:
    async def scene(bench: Bench) -> None:
        near, far = await bench.connect()
        bench.put(A, B, CUT)
        near[1].write(b"late")
        far[1].write(b"now")
        assert await near[0].readexactly(3) == b"now"
        late = asyncio.ensure_future(far[0].readexactly(4))
        while not any(connection._to_far.held_bytes for connection in bench.forwarder.connections):
            await asyncio.sleep(0)
        assert not late.done()
        bench.put(A, B, HEALTHY)
        assert await late == b"late"

    play(scene)


def test_over_a_cut_nobody_is_dialled_and_the_end_is_not_told() -> None:
    async def scene(bench: Bench) -> None:
        bench.put(A, B, CUT)
        near = await bench.dial()
        near[1].write(b"hello")
        near[1].write_eof()
        while not any(connection._to_far.held_bytes for connection in bench.forwarder.connections):
            await asyncio.sleep(0)
        assert bench.accepted.empty()
        bench.put(A, B, HEALTHY)
        far = await bench.accepted.get()
        assert await far[0].read() == b"hello"

    play(scene)


def test_latency_is_no_less_than_asked_for() -> None:
    async def scene(bench: Bench) -> float:
        near, far = await bench.connect()
        bench.put(A, B, Toxics(latency_ms=40))
        began_at = asyncio.get_running_loop().time()
        near[1].write(b"x")
        await far[0].readexactly(1)
        return asyncio.get_running_loop().time() - began_at

    assert play(scene) >= 0.039


def test_slices_arrive_whole() -> None:
    async def scene(bench: Bench) -> None:
        near, far = await bench.connect()
        bench.put(A, B, Toxics(slice_bytes=7, slice_variation_bytes=3))
        sent = random.Random(1).randbytes(20_000)
        near[1].write(sent)
        assert await far[0].readexactly(len(sent)) == sent

    play(scene)


def test_a_limit_closes_both_sides_behind_its_bytes() -> None:
    async def scene(bench: Bench) -> None:
        near, far = await bench.connect()
        bench.put(B, A, Toxics(limit_bytes=3))
        far[1].write(b"abcdef")
        assert await near[0].read() == b"abc"
        assert await far[0].read() == b""
        await bench.settled()

    play(scene)


def test_reset_peer_resets_both_sides() -> None:
    async def scene(bench: Bench) -> None:
        near, far = await bench.connect()
        bench.put(A, B, Toxics(reset_after_ms=0))
        for reader, _ in (near, far):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        await bench.settled()

    play(scene)


def test_all_connections_can_be_reset_once() -> None:
    async def scene(bench: Bench) -> None:
        near, _ = await bench.connect()
        bench.forwarder.reset()
        with pytest.raises(ConnectionResetError):
            await near[0].read()
        again, far = await bench.connect()
        again[1].write(b"x")
        assert await far[0].readexactly(1) == b"x"

    play(scene)


def test_what_nobody_listens_behind_is_refused_and_known_to_be() -> None:
    async def scene(bench: Bench) -> None:
        bench.server.close()
        await bench.server.wait_closed()
        reader, writer = await bench.dial()
        port = writer.get_extra_info("sockname")[1]
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert bench.forwarder.was_refused(port) and not bench.forwarder.was_refused(port + 1)

    play(scene)


def test_a_connection_that_was_carried_was_not_refused() -> None:
    async def scene(bench: Bench) -> None:
        near, _ = await bench.connect()
        port = near[1].get_extra_info("sockname")[1]
        bench.forwarder.refused[port] = None
        near[1].close()
        again = await asyncio.open_connection("127.0.0.1", bench.forwarder.port, local_addr=None)
        again[1].write(b"x")
        await bench.accepted.get()
        assert not bench.forwarder.was_refused(again[1].get_extra_info("sockname")[1])

    play(scene)


def test_a_slow_reader_holds_up_the_sender() -> None:
    """The most that is under way is what the buffers of the system, of transports and of the flow take."""

    async def scene(bench: Bench) -> None:
        near, far = await bench.connect()
        bench.put(A, B, CUT)
        piece, sent = bytes(64 << 10), 0
        [connection] = bench.forwarder.connections
        near[1].transport.set_write_buffer_limits(high=0)
        while not connection._to_far.full:
            near[1].write(piece)
            sent += len(piece)
            await asyncio.sleep(0)
        assert connection._to_far.held_bytes <= HELD_LIMIT_BYTES + (256 << 10), "asyncio reads up to 256 KiB at once"
        assert connection.near.transport is not None and not connection.near.transport.is_reading()
        bench.put(A, B, HEALTHY)
        assert len(await far[0].readexactly(sent)) == sent

    play(scene)


def test_a_forwarder_stops_whatever_is_under_way() -> None:
    async def scene(bench: Bench) -> None:
        await bench.connect()
        bench.put(A, B, CUT)
        near = await bench.dial()
        near[1].write(b"held")
        await asyncio.sleep(0)

    play(scene)
