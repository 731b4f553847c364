"""Hazards 13 and 29: the connections themselves. We replace them altogether (`raftcache.net`).

13. PYSYNCOBJ tcp_connection.py 186-204: a connection on which nothing was *read* for its timeout is closed by the
    next *send*. Followers say nothing to each other, so the first vote request after a quiet while kills the
    very link that it needs.
29. transport.py 368-380: a second connection of the same node takes the place of the first, which stays
    subscribed and goes on delivering. And tcp_connection.py 249-251 unpickles whatever anybody sends to the port,
    before it knows who that is.

Expected of our links: pings keep an idle link alive and detect a dead one; a new link reports the older one down
first and nothing of the older one is delivered after that; the handshake comes before any other byte is parsed.
The links' own tests hold that: an idle link outlives its timeout; a frame of a replaced link is dropped; a
stranger's bytes reach no decoder. Here: that consensus relies on no more than that contract.
"""

from __future__ import annotations

import pickle
import socket
import struct
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pysyncobj import tcp_connection
from pysyncobj.poller import POLL_EVENT_TYPE
from pysyncobj.tcp_connection import CONNECTION_STATE, TcpConnection
from pysyncobj.transport import TCPTransport

from .stock import StockNode

TIMEOUT = 3.5


class OnePoller:
    """Remembers the one subscription, so that a test can say when the socket is ready."""

    def __init__(self) -> None:
        self.callback: Callable[[int, int], None] | None = None

    def subscribe(self, _descriptor: int, callback: Callable[[int, int], None], _mask: int) -> None:
        self.callback = callback

    def unsubscribe(self, _descriptor: int) -> None:
        self.callback = None


def test_stock_13_the_first_message_after_a_quiet_while_kills_its_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(tcp_connection, "monotonicTime", lambda: now[0])
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        link = TcpConnection(OnePoller(), socket=ours, timeout=TIMEOUT)
        now[0] += TIMEOUT + 0.1
        link.send({"type": "request_vote"})
        assert link.state == CONNECTION_STATE.DISCONNECTED


def test_guarded_13_followers_that_never_spoke_elect_at_once(guarded: Callable[..., Any]) -> None:
    """Links may idle as long as they like; n1 and n2 have not exchanged a frame for 60 s when n0 dies."""
    lab = guarded()
    lab.elect("n0")
    lab.run(1)
    quiet: list[str] = []
    lab.watch = lambda source, target, _frame: quiet.append(source + target)
    lab.run(60)
    assert "n1n2" not in quiet and "n2n1" not in quiet
    lab.crash("n0")
    assert lab.run_until(lambda: lab.leads("n1"), 2)


STRUCK: list[str] = []


def strike(what: str) -> None:
    """What a stranger's bytes must never make us call."""
    STRUCK.append(what)


class Exploit:
    """Runs code in whoever unpickles it."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return strike, ("code of a stranger",)


def test_stock_29_runs_what_a_stranger_sends() -> None:
    STRUCK.clear()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    poller = OnePoller()
    link = TcpConnection(poller, socket=ours, timeout=TIMEOUT)
    body = zlib.compress(pickle.dumps(Exploit()))
    with theirs:
        theirs.sendall(struct.pack("i", len(body)) + body)
        assert poller.callback is not None
        poller.callback(ours.fileno(), POLL_EVENT_TYPE.READ)
        link.disconnect()
    assert STRUCK == ["code of a stranger"]


class FakeConnection:
    """What the transport asks of a connection."""

    state = CONNECTION_STATE.CONNECTED
    receive: Callable[[Any], None]

    def setOnMessageReceivedCallback(self, callback: Callable[[Any], None]) -> None:
        self.receive = callback

    def setOnDisconnectedCallback(self, _callback: Callable[[], None]) -> None:
        pass


def test_stock_29_an_old_connection_goes_on_delivering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TCPTransport, "_createServer", lambda self: None)
    engine = SimpleNamespace(addOnTickCallback=lambda callback: None, encryptor=None)
    transport = TCPTransport(engine, StockNode("n0"), [])
    transport._nodeAddrToNode["n1"] = StockNode("n1")
    heard: list[Any] = []
    transport.setOnMessageReceivedCallback(lambda node, message: heard.append((node.address, message)))
    old, new = FakeConnection(), FakeConnection()
    for connection in (old, new):
        transport._onNewIncomingConnection(connection)
        connection.receive("n1")
    new.receive("of the new connection")
    old.receive("of the old connection")
    assert heard == [("n1", "of the new connection"), ("n1", "of the old connection")]


def test_guarded_29_a_frame_from_nobody_is_dropped(guarded: Callable[..., Any]) -> None:
    """After "down" nothing of that link counts: a vote that comes late from n1's older link is no vote."""
    lab = guarded()
    lab.elect("n0")
    lab.hold("n0", "n1")
    lab.propose("n0", b"late")
    lab.run(0.02)
    late = list(lab.network.queue("n0", "n1"))
    assert late
    lab.disconnect("n0", "n1")
    for frame in late:
        lab._receive("n0", "n1", frame)
    assert b"late" not in lab.payloads("n1")


@pytest.mark.parametrize(
    "frame", [b"", b"\x00", b"\xff" * 40, pickle.dumps(Exploit()), b"\x91\x91\x01", b"\x93\x01\x02\x03"]
)
def test_guarded_29_a_malformed_frame_costs_itself_only(guarded: Callable[..., Any], frame: bytes) -> None:
    STRUCK.clear()
    lab = guarded()
    lab.elect("n0")
    lab._receive("n1", "n0", frame)
    assert STRUCK == []
    lab.propose("n0", b"served")
    assert lab.run_until(lambda: b"served" in lab.acked, 1)
