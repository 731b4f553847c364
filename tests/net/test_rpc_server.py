"""The serving side of RPC: bounds, bad messages, bad handlers, deaf clients."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from raftcache.errors import (
    BadRequest,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    RaftcacheError,
    Unavailable,
    UnknownCommand,
)
from raftcache.net import rpc_server as server_module
from raftcache.net.protected import BindRefused
from raftcache.net.rpc_server import RpcCall, RpcServer
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.handshake import Identity
from raftcache.wire.rpc import BODY_LIMIT_BYTES, Reply, decode_failure, encode_request

from .support import (
    CLUSTER,
    HOST,
    LONG_S,
    SECRET,
    RawClient,
    eventually,
    later,
    make_channel,
    peer,
    raw_reply,
    run,
    serving,
    soon,
)


def test_a_call_knows_its_caller_and_its_deadline() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, _):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            identity = Identity("frontend", "f1", "i", "r")
            channel = make_channel(runtime, server.port, identity=identity)
            deadline = later(runtime)
            channel.call("hold", b"body", deadline, lambda _: None)
            await eventually(lambda: held)
            (call,) = held
            assert (call.peer, call.method, call.body) == (identity, "hold", b"body")
            assert deadline - 1 < call.deadline < deadline + LONG_S
            call.reply(b"")
            channel.close()
            await channel.wait_closed()

    run(test)


def test_errors_come_as_themselves() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):

            def refuse(call: RpcCall) -> None:
                raise NotLeader("elsewhere", leader="n2", term=7)

            server.handlers["refuse"] = refuse
            server.handlers["fail"] = lambda call: call.fail(Overloaded("full"))
            with pytest.raises(NotLeader, match="elsewhere") as caught:
                await channel.call_async("refuse", b"", later(runtime))
            assert caught.value.details == {"leader": "n2", "term": 7}
            with pytest.raises(Overloaded, match="full"):
                await channel.call_async("fail", b"", later(runtime))
            with pytest.raises(UnknownCommand, match="method 'nope' is not served here"):
                await channel.call_async("nope", b"", later(runtime))

    run(test)


def test_a_handler_that_raises_costs_its_own_call_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            server.handlers["explode"] = lambda call: call.reply(b"%d" % (1 // 0))
            others = [channel.call_async("echo", b"x", later(runtime)) for _ in range(3)]
            with pytest.raises(RaftcacheError, match="explode failed: ZeroDivisionError"):
                await channel.call_async("explode", b"", later(runtime))
            assert await asyncio.gather(*others) == [b"x"] * 3
            assert server.inflight == 0

    run(test)
    assert "ZeroDivisionError" in caplog.text


def test_a_second_answer_is_refused() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            answer = asyncio.create_task(channel.call_async("hold", b"", later(runtime)))
            await eventually(lambda: held)
            held[0].reply(b"first")
            with pytest.raises(RuntimeError, match="answered twice"):
                held[0].reply(b"second")
            with pytest.raises(RuntimeError, match="answered twice"):
                held[0].fail(Overloaded("no"))
            assert await answer == b"first"

    run(test)


def test_a_call_that_its_handler_drops_is_answered_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            server.handlers["drop"] = lambda call: None
            with pytest.raises(RaftcacheError, match="drop gave no answer"):
                await channel.call_async("drop", b"", later(runtime))
            assert server.inflight == 0

    run(test)
    assert "without an answer" in caplog.text


def test_calls_in_flight_are_bounded_per_connection() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime, inflight_limit=2) as (server, channel):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            results: list[Any] = []
            for _ in range(3):
                channel.call("hold", b"", later(runtime), results.append)
            await eventually(lambda: results)
            assert isinstance(results[0], Overloaded) and "the limit is 2" in results[0].message
            held[0].reply(b"done")
            await eventually(lambda: results[1:] == [b"done"])
            assert await channel.call_async("echo", b"room again", later(runtime)) == b"room again"
            held[1].reply(b"")

    run(test)


def test_a_call_past_its_deadline_on_arrival_is_not_executed() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, _):
            raw = await RawClient.connect(server.port, Identity("client"))
            raw.send(encode_request(1, "echo", 0, b""))
            reply = await raw_reply(raw)
            assert isinstance(decode_failure(reply.body), Unavailable) and not reply.ok
            assert server.counters["expired"] == 1 and server.counters["calls"] == 0
            await raw.close()

    run(test)


def test_torn_messages_cost_nobody_else_anything() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, _):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            raw = await RawClient.connect(server.port, Identity("client"))
            raw.send(encode_request(1, "hold", 10_000, b"good"))
            raw.send(encode_request(2, "hold", 10_000, b"torn")[:-2])
            raw.send(msgspec.msgpack.encode([3, "hold", "soon", b"wrong type"]))
            raw.send(msgspec.msgpack.encode([1, "hold"]))
            replies = [await raw_reply(raw) for _ in range(3)]
            assert [(reply.call_id, reply.ok) for reply in replies] == [(0, False), (3, False), (0, False)]
            for reply in replies:
                assert "not an RPC request" in decode_failure(reply.body).message
            held[0].reply(b"still here")
            assert await raw_reply(raw) == Reply(1, True, b"still here")
            await raw.close()

    run(test)


def test_a_call_id_used_twice_ends_the_connection() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, _):
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            raw = await RawClient.connect(server.port, Identity("client"))
            raw.send(encode_request(1, "hold", 10_000, b""))
            raw.send(encode_request(1, "hold", 10_000, b""))
            assert await raw.frame() is None
            assert len(held) == 1 and server.inflight == 0
            held[0].reply(b"into the void")
            await raw.close()

    run(test)


def test_a_reply_over_the_limit_is_an_error_that_says_so() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            server.handlers["huge"] = lambda call: call.reply(bytes(BODY_LIMIT_BYTES + 1))
            with pytest.raises(BadRequest, match=rf"reply to huge: .* the limit is {BODY_LIMIT_BYTES}"):
                await channel.call_async("huge", b"", later(runtime))

    run(test)


def test_a_client_that_reads_no_answers_is_read_no_more() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            server.handlers["big"] = lambda call: call.reply(bytes(1 << 20))
            raw = await RawClient.connect(server.port, Identity("client"))
            raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
            for call_id in range(1, 41):
                raw.send(encode_request(call_id, "big", 10_000, bytes(1 << 16)))
                await channel.call_async("echo", b"", later(runtime))
            assert server.counters["calls"] < 80 and server.counters["reply_overflows"] == 0
            raw.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert [(await raw_reply(raw)).call_id for _ in range(40)] == list(range(1, 41))
            await raw.close()

    run(test)


def test_replies_that_pile_up_drop_their_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REPLY_BUFFER_LIMIT_BYTES", 1 << 20)

    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            server.handlers["big"] = lambda call: call.reply(bytes(20 << 20))
            raw = await RawClient.connect(server.port, Identity("client"))
            raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
            raw.send(encode_request(1, "big", 10_000, b""))
            await eventually(lambda: server.counters["reply_overflows"] == 1)
            assert await channel.call_async("echo", b"alive", later(runtime)) == b"alive"
            await raw.close()

    run(test)


def test_isolation_of_a_server_drops_calls_of_nodes_and_serves_clients() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, channel):
            node = make_channel(runtime, server.port, identity=Identity("node", "n1"))
            assert await node.call_async("echo", b"before", later(runtime)) == b"before"
            held: list[RpcCall] = []
            server.handlers["hold"] = held.append
            answers: list[Any] = []
            node.call("hold", b"", later(runtime), answers.append)
            await eventually(lambda: held)
            calls = server.counters["calls"]
            server.isolate(True)
            held[0].reply(b"swallowed")
            with pytest.raises(OutcomeUnknown):
                await node.call_async("echo", b"during", soon(runtime))
            assert answers == [] and server.counters["calls"] == calls
            assert await channel.call_async("echo", b"client", later(runtime)) == b"client"
            server.isolate(False)
            assert await node.call_async("echo", b"after", later(runtime)) == b"after"
            node.close()
            await node.wait_closed()

    run(test)


def test_a_server_on_a_taken_port_says_so() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with serving(runtime) as (server, _):
            second = RpcServer(runtime, peer("n1"), HOST, server.port, SECRET, CLUSTER)
            with pytest.raises(BindRefused, match=rf"rpc_address = 127\.0\.0\.1:{server.port}: .*already in use"):
                await second.start()
            await second.stop()

    run(test)
