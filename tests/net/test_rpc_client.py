"""The calling side of RPC: many calls on a connection, and errors that say whether anything was sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from raftcache.errors import (
    BadRequest,
    OutcomeUnknown,
    Overloaded,
    RaftcacheError,
    Unavailable,
)
from raftcache.net import rpc_channel as channel_module
from raftcache.net import rpc_client as client_module
from raftcache.net.connection import Connection
from raftcache.net.protected import listening_socket
from raftcache.net.rpc_client import RpcPool
from raftcache.net.rpc_server import RpcCall, RpcServer
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.handshake import Identity
from raftcache.wire.rpc import BODY_LIMIT_BYTES

from .support import CLUSTER, HOST, SECRET, eventually, later, make_channel, peer, run, serving, soon


def test_calls_are_answered_in_any_order() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            order: list[Any] = []
            for body in (b"1", b"2", b"3"):
                channel.call("hold", body, later(runtime), order.append)
            await eventually(lambda: len(held) == 3)
            assert (server.inflight, channel.inflight, order) == (3, 3, [])
            for call in reversed(held):
                call.reply(b"re " + call.body)
            await eventually(lambda: order == [b"re 3", b"re 2", b"re 1"])
            assert (server.inflight, channel.inflight) == (0, 0)

    run(test)


@pytest.mark.replaces_methods
def test_the_calls_and_the_answers_of_a_turn_leave_in_one_write_each(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (_, channel):
            await channel.call_async("echo", b"", later(runtime))
            writes: list[str] = []
            write = Connection.write

            def noted(connection: Connection, data: bytes) -> None:
                writes.append("client" if connection.identity and connection.identity.role == "node" else "server")
                write(connection, data)

            monkeypatch.setattr(Connection, "write", noted)
            results: list[Any] = []
            for i in range(100):
                channel.call("echo", b"%d" % i, later(runtime), results.append)
            await eventually(lambda: len(results) == 100)
            assert writes == ["client", "server"]

    run(test)


def test_what_was_never_sent_is_unavailable() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        with listening_socket("free", HOST, 0) as sock:
            port = sock.getsockname()[1]
        channel = make_channel(runtime, port)
        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port} cannot be reached") as caught:
            await channel.call_async("echo", b"", later(runtime))
        assert caught.value.definite
        with pytest.raises(Unavailable, match="cannot be reached"):  # At once, within the back-off.
            await channel.call_async("echo", b"", later(runtime))
        channel.close()
        await channel.wait_closed()

    run(test)


def test_a_deadline_before_the_handshake_is_over_is_unavailable() -> None:
    """The port takes connections and says nothing."""

    async def test(runtime: AsyncioRuntime) -> None:
        with listening_socket("mute", HOST, 0) as sock:
            channel = make_channel(runtime, sock.getsockname()[1])
            with pytest.raises(Unavailable, match="deadline passed before"):
                await channel.call_async("echo", b"", soon(runtime))
            assert channel.inflight == 0
            channel.close()
            await channel.wait_closed()

    run(test)


def test_a_deadline_in_the_past_is_unavailable() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (_, channel):
            with pytest.raises(Unavailable, match="had passed before it was sent"):
                await channel.call_async("echo", b"", runtime.now())

    run(test)


def test_closing_a_channel_ends_its_calls_precisely() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            sent: list[Any] = []
            unsent: list[Any] = []
            channel.call("hold", b"", later(runtime), sent.append)
            await eventually(lambda: held)
            channel.call("hold", b"", later(runtime), unsent.append)
            channel.close()
            assert not sent and not unsent  # Never inside the call that made it.
            await eventually(lambda: sent and unsent)
            assert isinstance(sent[0], OutcomeUnknown) and isinstance(unsent[0], Unavailable)
            with pytest.raises(Unavailable, match="was closed"):
                await channel.call_async("echo", b"", later(runtime))

    run(test)


def test_a_channel_refuses_what_can_never_work() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (_, channel):
            with pytest.raises(BadRequest, match=f"the limit is {BODY_LIMIT_BYTES}"):
                await channel.call_async("echo", bytes(BODY_LIMIT_BYTES + 1), later(runtime))
            with pytest.raises(BadRequest, match="method: 65 characters"):
                await channel.call_async("m" * 65, b"", later(runtime))

    run(test)


def test_calls_that_wait_for_a_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "CALLS_LIMIT", 2)
    monkeypatch.setattr(channel_module, "UNSENT_LIMIT_BYTES", 100)

    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (_, channel):
            results: list[Any] = []
            channel.call("echo", b"x" * 60, later(runtime), results.append)
            channel.call("echo", b"y" * 60, later(runtime), results.append)
            channel.call("echo", b"z", later(runtime), results.append)
            channel.call("echo", b"", later(runtime), results.append)
            await eventually(lambda: len(results) == 4)
            refused = sorted(str(result) for result in results if isinstance(result, RaftcacheError))
            assert ["the limit is 100" in refused[0], "the limit is 2" in refused[1]] == [True, True]
            assert [result for result in results if isinstance(result, bytes)] == [b"x" * 60, b"z"]

    run(test)


def test_a_callback_that_raises_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (_, channel):
            results: list[Any] = []
            channel.call("echo", b"", later(runtime), lambda _: results.append(1 // 0))
            channel.call("echo", b"fine", later(runtime), results.append)
            await eventually(lambda: results == [b"fine"])

    run(test)
    assert "the callback of rpc call echo failed" in caplog.text


def test_a_cancelled_call_ignores_its_answer() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            task = asyncio.create_task(channel.call_async("hold", b"", later(runtime)))
            await eventually(lambda: held)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            held[0].reply(b"late")
            await eventually(lambda: channel.inflight == 0)

    run(test)


def test_large_bodies_and_slow_readers_lose_nothing() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (_, channel):
            bodies = [bytes([i]) * (1 << 20) for i in range(12)]
            calls = [channel.call_async("echo", body, later(runtime)) for body in bodies]
            assert await asyncio.gather(*calls) == bodies

    run(test)


def test_isolation_of_a_pool_cuts_its_calls_off_until_it_is_healed() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, _):
            pool = RpcPool(SECRET, CLUSTER, Identity("node", "n1"), runtime)
            address = (HOST, server.port)
            assert await pool.call_async(address, "echo", b"before", later(runtime)) == b"before"
            calls = server.counters["calls"]
            pool.isolate(True)
            with pytest.raises(OutcomeUnknown):
                await pool.call_async(address, "echo", b"during", soon(runtime))
            assert server.counters["calls"] == calls
            pool.isolate(False)
            await eventually(lambda: pool.channel(*address).inflight == 0)
            results: list[Any] = []

            def retry(result: bytes | RaftcacheError) -> None:
                if isinstance(result, Unavailable):
                    pool.call(address, "echo", b"after", later(runtime), retry)
                else:
                    results.append(result)

            retry(Unavailable("begin"))
            await eventually(lambda: results == [b"after"])
            pool.close()
            await pool.wait_closed()

    run(test)


def test_a_pool_keeps_one_channel_per_address_and_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CHANNELS_LIMIT", 1)

    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, _):
            pool = RpcPool(SECRET, CLUSTER, Identity("client"), runtime)
            assert pool.channel(HOST, server.port) is pool.channel(HOST, server.port)
            results: list[Any] = []
            pool.call((HOST, 1), "echo", b"", later(runtime), results.append)
            assert results == []
            await eventually(lambda: results)
            assert isinstance(results[0], Overloaded) and "1 addresses are in use" in results[0].message
            pool.forget(HOST, server.port)
            assert pool.channel(HOST, 1).inflight == 0
            pool.close()
            await pool.wait_closed()

    run(test)


def test_sent_and_unanswered_at_the_deadline_is_outcome_unknown() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            await channel.call_async("echo", b"connected", later(runtime))
            patient: list[Any] = []
            channel.call("hold", b"patient", later(runtime), patient.append)
            with pytest.raises(OutcomeUnknown, match="deadline passed without an answer") as caught:
                await channel.call_async("hold", b"", soon(runtime))
            assert not caught.value.definite
            await eventually(lambda: len(held) == 2)
            for call in held:
                call.reply(b"late" + call.body)
            await eventually(lambda: patient == [b"latepatient"])
            assert channel.inflight == 0

    run(test)


def test_sent_and_the_connection_lost_is_outcome_unknown_and_the_next_call_reconnects() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            answer = asyncio.create_task(channel.call_async("hold", b"", later(runtime)))
            await eventually(lambda: held)
            port = server.port
            await server.stop()
            with pytest.raises(OutcomeUnknown, match="hold was sent to"):
                await answer
            held[0].reply(b"into the void")
            again = RpcServer(runtime, peer("n0"), HOST, port, SECRET, CLUSTER)
            again.handlers["echo"] = lambda call: call.reply(call.body)
            await again.start()
            assert await channel.call_async("echo", b"back", later(runtime)) == b"back"
            await again.stop()

    run(test)
