"""Peer links over loopback: one per pair, authenticated, in order, never a frame of an older connection."""

from __future__ import annotations

import asyncio
import logging

import pytest

from raftcache.errors import Unauthenticated
from raftcache.net import connection as connection_module
from raftcache.net import links as links_module
from raftcache.net.protected import BindRefused
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.handshake import Identity

from .support import HOST, RawClient, eventually, make_links, pair, peer, run


def raw_peer(node_id: str, run_id: str = "r1") -> Identity:
    return Identity("node", *peer(node_id, run_id))


def test_a_pair_has_one_link_and_both_know_whom_with() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, seen_a, b, seen_b):
            assert seen_a.events == [("up", peer("b"))] and seen_b.events == [("up", peer("a"))]
            assert a.connected() == [peer("b")] and b.connected() == [peer("a")]

    run(test)


def test_frames_arrive_whole_and_in_order_both_ways() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, seen_a, b, seen_b):
            frames = [bytes([i]) * (i * 997 + 1) for i in range(200)]
            for frame in frames:
                a.send("b", frame)
                b.send("a", frame)
            await eventually(lambda: len(seen_a.frames) + len(seen_b.frames) == 400)
            assert seen_a.frames == frames and seen_b.frames == frames

    run(test)


def test_a_frame_for_nobody_is_dropped_and_counted() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        a, _ = make_links(runtime, "a")
        a.send("b", b"x")
        assert a.counters["frames_dropped"] == 1

    run(test)


def test_a_peer_that_starts_late_is_found() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        a, seen_a = make_links(runtime, "a")
        b, _ = make_links(runtime, "b")
        await b.start()
        port = b.port
        await b.stop()
        await a.start()
        a.set_address("b", HOST, port)
        later, seen_b = make_links(runtime, "b", port=port)
        later.set_address("a", HOST, a.port)
        await later.start()
        await eventually(lambda: seen_a.count("up") and seen_b.count("up"))
        await later.stop()
        await eventually(lambda: seen_a.events[-1] == ("down", "b"))
        await a.stop()

    run(test)


def test_after_stop_nothing_is_reported_and_the_port_is_free() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, seen_a, b, _):
            port = a.port
            await a.stop()
            await b.stop()
            assert seen_a.events == [("up", peer("b"))]
            again, _ = make_links(runtime, "a", port=port)
            await again.start()
            await again.stop()

    run(test)


def test_stop_in_the_middle_of_dialling_leaves_nothing() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        a, _ = make_links(runtime, "a")
        a.set_address("b", "192.0.2.1", 9)
        await a.start()
        await asyncio.sleep(0)
        await a.stop()

    run(test)


def test_a_taken_port_and_protected_mode_are_clear_errors() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        a, _ = make_links(runtime, "a")
        await a.start()
        b, _ = make_links(runtime, "b", port=a.port)
        with pytest.raises(BindRefused, match=rf"peer_address = 127\.0\.0\.1:{a.port}: .*already in use"):
            await b.start()
        open_to_all, _ = make_links(runtime, "c", host="0.0.0.0", secret=b"")
        with pytest.raises(BindRefused, match=r"protected mode: peer_address = '0\.0\.0\.0'"):
            await open_to_all.start()
        for links in (a, b, open_to_all):
            await links.stop()

    run(test)


def test_a_newer_connection_replaces_the_older_whose_frames_are_never_delivered() -> None:
    """Hazard 29: the old socket stays open and goes on sending."""

    async def test(runtime: AsyncioRuntime) -> None:
        b, seen = make_links(runtime, "b")
        b.set_address("a", HOST, 1)
        await b.start()
        old = await RawClient.connect(b.port, raw_peer("a", "r1"))
        old.send(b"of the old one")
        await eventually(lambda: seen.frames)
        new = await RawClient.connect(b.port, raw_peer("a", "r2"))
        old.send(b"too late")
        new.send(b"of the new one")
        await eventually(lambda: len(seen.frames) == 2)
        assert await old.frame() is None
        assert seen.events == [
            ("up", peer("a", "r1")),
            ("frame", "a", b"of the old one"),
            ("down", "a"),
            ("up", peer("a", "r2")),
            ("frame", "a", b"of the new one"),
        ]
        assert b.counters["links_replaced"] == 1
        b.send("a", b"answer")
        assert await new.frame() == b"answer"
        await old.close()
        await new.close()
        await b.stop()

    run(test)


def test_an_older_connection_that_authenticates_late_does_not_replace_the_newer() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        b, seen = make_links(runtime, "b")
        b.set_address("a", HOST, 1)
        await b.start()
        old = RawClient(*await asyncio.open_connection(HOST, b.port))
        new = await RawClient.connect(b.port, raw_peer("a", "r2"))
        await old.authenticate(raw_peer("a", "r1"))
        assert await old.frame() is None
        assert seen.events == [("up", peer("a", "r2"))]
        await old.close()
        await new.close()
        await b.stop()

    run(test)


def test_frames_read_together_with_the_replacement_are_not_delivered() -> None:
    """The receiver forgets the peer at its first frame: the rest of that same read is dropped."""

    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, _, b, seen_b):
            deliver = seen_b.frame_received

            def forget_at_once(node_id: str, frame: bytes) -> None:
                deliver(node_id, frame)
                b.forget("a")

            seen_b.frame_received = forget_at_once  # type: ignore[method-assign]
            for number in range(50):
                a.send("b", b"%d" % number)
            await eventually(lambda: seen_b.count("down"))
            assert seen_b.frames == [b"0"]

    run(test)


@pytest.mark.parametrize(
    ("identity", "secret", "complaint"),
    [
        (raw_peer("a"), b"wrong", "client does not hold this cluster's secret"),
        (raw_peer("c"), b"secret", "node id 'c' is not a known peer of 'b'"),
        (raw_peer("b"), b"secret", "node id 'b' is this node's own"),
        (raw_peer("z"), b"secret", "the smaller node id dials: 'b', not 'z'"),
        (Identity("client"), b"secret", "role 'client' has no business on a peer port"),
    ],
)
def test_who_may_not_link_is_told_why_and_the_node_lives(
    identity: Identity, secret: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        b, seen = make_links(runtime, "b")
        b.set_address("a", HOST, 1)
        b.set_address("z", HOST, 1)
        await b.start()
        with pytest.raises(Unauthenticated, match=complaint):
            await RawClient.connect(b.port, identity, secret)
        welcome = await RawClient.connect(b.port, raw_peer("a"))
        await eventually(lambda: seen.events)
        assert seen.events == [("up", peer("a"))]
        await welcome.close()
        await b.stop()

    with caplog.at_level(logging.WARNING):
        run(test)
    assert complaint in caplog.text


def test_an_address_that_turns_out_to_be_another_node_gives_no_link(caplog: pytest.LogCaptureFixture) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, seen_a, b, seen_b):
            a.set_address("c", HOST, b.port)
            await eventually(lambda: "should be node 'c' and says it is node 'b'" in caplog.text)
            assert seen_a.count("up") == seen_b.count("up") == 1

    run(test)


def test_a_moved_peer_is_dialled_at_its_new_address() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, seen_a, _b, _):
            moved, seen_moved = make_links(runtime, "b")
            moved.set_address("a", HOST, a.port)
            await moved.start()
            a.set_address("b", HOST, moved.port)
            await eventually(lambda: seen_moved.count("up"))
            await eventually(lambda: seen_a.count("up") == 2)
            assert [event[0] for event in seen_a.events] == ["up", "down", "up"]
            await moved.stop()

    run(test)


def test_a_forgotten_peer_goes_down_and_stays_down() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, seen_a, b, seen_b):
            b.forget("a")
            await eventually(lambda: seen_a.count("down") and seen_b.count("down"))
            with pytest.raises(Unauthenticated, match="not a known peer"):
                await RawClient.connect(b.port, raw_peer("a"))
            b.set_address("a", HOST, a.port)
            await eventually(lambda: seen_b.count("up") == 2)

    run(test)


def test_isolation_swallows_frames_without_closing_and_heals_with_new_links() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, seen_a, b, seen_b):
            a.isolate(True)
            a.send("b", b"lost")
            b.send("a", b"lost too")
            stranger = RawClient(*await asyncio.open_connection(HOST, a.port))
            stranger.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            for _ in range(50):
                await asyncio.sleep(0)
            assert seen_a.count("down") == seen_b.count("down") == 0
            a.isolate(False)
            await eventually(lambda: seen_a.count("up") == 2 and seen_b.count("up") == 2)
            a.send("b", b"through")
            b.send("a", b"through")
            await eventually(lambda: seen_a.frames and seen_b.frames)
            assert seen_a.frames == seen_b.frames == [b"through"]
            assert [event[0] for event in seen_a.events[:3]] == ["up", "down", "up"]
            assert await stranger.frame() is None
            await stranger.close()

    run(test)


@pytest.mark.parametrize("isolated", ["a", "b"])
def test_a_link_in_isolation_falls_silent_and_no_new_one_comes_up(
    isolated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "PING_EVERY_MS", 10)
    monkeypatch.setattr(connection_module, "HANDSHAKE_TIMEOUT_MS", 20)

    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, seen_a, b, seen_b):
            cut = a if isolated == "a" else b
            cut.isolate(True)
            await eventually(lambda: seen_a.count("down") and seen_b.count("down"))
            assert seen_a.count("up") == seen_b.count("up") == 1
            cut.isolate(False)
            await eventually(lambda: seen_a.count("up") == 2 and seen_b.count("up") == 2)

    run(test)


def test_pings_keep_an_idle_link_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "PING_EVERY_MS", 5)

    async def test(runtime: AsyncioRuntime) -> None:
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            runtime.call_later(0.005, tick)

        async with pair(runtime) as (_, seen_a, _b, seen_b):
            tick()
            await eventually(lambda: ticks >= 12)
            assert seen_a.events == [("up", peer("b"))] and seen_b.events == [("up", peer("a"))]

    run(test)


def test_a_peer_that_does_not_read_loses_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "BUFFER_LIMIT_BYTES", 1 << 20)

    async def test(runtime: AsyncioRuntime) -> None:
        b, seen = make_links(runtime, "b")
        b.set_address("a", HOST, 1)
        await b.start()
        deaf = await RawClient.connect(b.port, raw_peer("a"))
        await eventually(lambda: seen.count("up"))
        for _ in range(40):
            b.send("a", bytes(1 << 20))
        assert b.counters["buffer_overflows"] == 1 and b.counters["frames_dropped"] > 0
        assert seen.count("down") == 0  # Not inside the call that sent.
        await eventually(lambda: seen.count("down"))
        await deaf.close()
        await b.stop()

    run(test)


def test_a_receiver_that_raises_loses_the_link_and_not_the_node(caplog: pytest.LogCaptureFixture) -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        async with pair(runtime) as (a, seen_a, _b, seen_b):
            deliver = seen_b.frame_received

            def explode(node_id: str, frame: bytes) -> None:
                if frame == b"bomb":
                    raise ZeroDivisionError("bomb")
                deliver(node_id, frame)

            seen_b.frame_received = explode  # type: ignore[method-assign]
            a.send("b", b"bomb")
            a.send("b", b"behind it")
            await eventually(lambda: seen_a.count("up") == 2 and seen_b.count("up") == 2)
            a.send("b", b"again")
            await eventually(lambda: seen_b.frames == [b"again"])

    run(test)
    assert "ZeroDivisionError: bomb" in caplog.text
