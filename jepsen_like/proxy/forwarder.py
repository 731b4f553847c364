"""Carries bytes between two ends of a link: one listening port in front of one address. Nothing is decided here.

A connection is two sockets and two flows (`flow.Flow`). Whatever arrives goes into a flow, whatever a flow lets go is
written, and one timer wakes the connection when the next thing is due. A side that reads slowly holds up the other, as
if no proxy stood between: what waits is at most the flow's limit and a transport's buffer.

The address behind is dialled when the first byte is due there, as a SYN would not have come through earlier either. If
it refuses, the near side is reset, and the port that it came from is noted: whoever asks `was_refused` knows for sure
that nothing which it sent from there arrived anywhere.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

from jepsen_like.proxy.flow import End, Flow
from jepsen_like.proxy.toxics import Toxics

CONNECTIONS_LIMIT = 1024
"""Of one forwarder at a time; one more is reset."""
REFUSALS_REMEMBERED = 4096
HOST = "127.0.0.1"
_RESETTING = struct.pack("ii", 1, 0)

ToxicsOf = Callable[[str, str], Toxics]
"""What is wrong from a sender to a receiver just now."""


class Forwarder:
    """Listens on a free port of loopback for `dialler`, and forwards to `target`, where `listener` listens.

    `await start()`, then `await stop()`. `toxics_of` is asked about every new connection, and about all of them when
    `refresh` is called. `dice` are thrown for jitter, losses, sizes.
    """

    def __init__(
        self, dialler: str, listener: str, target: tuple[str, int], toxics_of: ToxicsOf, dice: random.Random
    ) -> None:
        self.dialler, self.listener, self.target = dialler, listener, target
        self.toxics_of, self.dice = toxics_of, dice
        self.connections: set[_Carried] = set()
        self.refused: OrderedDict[int, None] = OrderedDict()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens, `host:port`."""
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and reset all connections; returns when no task and no socket is left."""
        if self._server is not None:
            self._server.close()
        leaving = list(self.connections)
        for connection in leaving:
            connection.finish(End.RESET)
        await asyncio.gather(*(connection.gone for connection in leaving))
        if self._server is not None:
            await self._server.wait_closed()

    def refresh(self) -> None:
        """The toxics have changed."""
        for connection in list(self.connections):
            connection.refresh()

    def reset(self) -> None:
        """Reset every connection that there is."""
        for connection in list(self.connections):
            connection.finish(End.RESET)

    def was_refused(self, port: int) -> bool:
        """Whether the newest connection from that port of ours was refused, and so brought nothing to the target."""
        return port in self.refused

    def _accept(self) -> _Side:
        connection = _Carried(self)
        self.connections.add(connection)
        return connection.near


class _Side(asyncio.Protocol):
    """One socket of a connection."""

    def __init__(self, connection: _Carried) -> None:
        self._connection = connection
        self.transport: asyncio.Transport | None = None
        self.blocked = self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connection.made(self)

    def data_received(self, data: bytes) -> None:
        self._connection.received(self, data)

    def eof_received(self) -> bool:
        self._connection.ended(self, End.EOF)
        return True  # The other direction stays open.

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._connection.ended(self, End.RESET)

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        self._connection.pump()

    @property
    def open(self) -> bool:
        """Whether bytes can be written to it. It is closing from the first failed write on, and lost a turn later."""
        return self.transport is not None and not self.lost and not self.transport.is_closing()

    def read(self, on: bool) -> None:
        """Go on taking what arrives, or leave it to the system's buffers."""
        if self.transport is not None and not self.transport.is_closing() and on != self.transport.is_reading():
            (self.transport.resume_reading if on else self.transport.pause_reading)()

    def end_writing(self) -> bool:
        """Say that no more bytes will come. False where the other end has reset the connection, and nobody was told
        yet: the system knows of it first."""
        try:
            if self.open and self.transport is not None:
                self.transport.write_eof()
        except OSError:
            return False
        return True

    def end(self, how: End) -> None:
        """Close the socket."""
        if self.transport is None:
            return
        if how is End.RESET:
            sock = self.transport.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETTING)
            self.transport.abort()
        else:
            self.transport.close()


class _Carried:
    """One connection through a forwarder. `gone` completes when neither task nor socket is left of it."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder, self._loop = forwarder, asyncio.get_running_loop()
        now = self._loop.time()
        self.near, self.far = _Side(self), _Side(self)
        self._to_far, self._to_near = (Flow(forwarder.dice, now, toxics) for toxics in self._toxics())
        self._timer: asyncio.TimerHandle | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._finished = False
        self.gone: asyncio.Future[None] = self._loop.create_future()

    def _toxics(self) -> tuple[Toxics, Toxics]:
        dialler, listener = self._forwarder.dialler, self._forwarder.listener
        return self._forwarder.toxics_of(dialler, listener), self._forwarder.toxics_of(listener, dialler)

    @property
    def _directions(self) -> tuple[tuple[_Side, Flow, _Side], ...]:
        return (self.near, self._to_far, self.far), (self.far, self._to_near, self.near)

    def refresh(self) -> None:
        """The toxics have changed."""
        for flow, toxics in zip((self._to_far, self._to_near), self._toxics(), strict=True):
            flow.set_toxics(toxics, self._loop.time())
        self.pump()

    # -- what the sockets say --------------------------------------------------------------------

    def made(self, side: _Side) -> None:
        """A socket is open."""
        if side is self.near:
            self._forwarder.refused.pop(self._near_port(), None)
        if self._finished or len(self._forwarder.connections) > CONNECTIONS_LIMIT:
            self.finish(End.RESET)
            side.end(End.RESET)
        else:
            self.pump()

    def received(self, side: _Side, data: bytes) -> None:
        """Bytes arrived."""
        (self._to_far if side is self.near else self._to_near).receive_data(data, self._loop.time())
        self.pump()

    def ended(self, side: _Side, how: End) -> None:
        """A socket will bring nothing more, or is gone."""
        (self._to_far if side is self.near else self._to_near).receive_end(how, self._loop.time())
        self.pump()
        self._settle()

    # -- what is done about it -------------------------------------------------------------------

    def pump(self) -> None:
        """Write what is due, end what has ended, and wait for the next thing."""
        if self._finished:
            return
        now, due = self._loop.time(), float("inf")
        for source, flow, sink in self._directions:
            if self._carry(flow, sink, now):
                return
            source.read(not flow.full)
            due = min(due, flow.due(blocked=self._holds_up(sink)))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due == float("inf") else self._loop.call_at(due, self.pump)

    def _carry(self, flow: Flow, sink: _Side, now: float) -> bool:
        """Carry one direction as far as it goes; returns whether the connection is finished."""
        if sink is self.far and sink.transport is None and flow.due() <= now:
            self._dial()
        if not self._holds_up(sink):
            for piece in flow.take(now):
                if sink.open and sink.transport is not None:
                    sink.transport.write(piece)
        elif flow.due(blocked=True) > now:
            return False
        how = flow.ended(now)
        if how is End.EOF:
            self._close_half(sink)
        elif how is not None:
            self.finish(how)
        return self._finished

    def _holds_up(self, sink: _Side) -> bool:
        """Whether nothing may be taken for it: it is not there yet, or reads too slowly. What is gone takes all."""
        return not sink.lost and (sink.transport is None or sink.blocked)

    def _close_half(self, sink: _Side) -> None:
        if not sink.end_writing():
            self.finish(End.RESET)
        elif all(flow.told_eof for flow in (self._to_far, self._to_near)):
            self.finish(End.CLOSE)

    def _dial(self) -> None:
        if self._dialling is None:
            self._dialling = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: self.far, *self._forwarder.target)
        except OSError:
            self._note_refused()
            self.finish(End.RESET)

    def _note_refused(self) -> None:
        refused = self._forwarder.refused
        refused[self._near_port()] = None
        while len(refused) > REFUSALS_REMEMBERED:
            refused.popitem(last=False)

    def _near_port(self) -> int:
        assert self.near.transport is not None
        peer = self.near.transport.get_extra_info("peername")
        return int(peer[1]) if peer else 0

    def finish(self, how: End) -> None:
        """End the connection on both sides. A close waits for what was written; a reset does not."""
        if not self._finished:
            self._finished = True
            if self._timer is not None:
                self._timer.cancel()
            if self._dialling is not None and self.far.transport is None:
                self._dialling.cancel()
            if self._dialling is not None:
                self._dialling.add_done_callback(lambda _: self._settle())
        for side in (self.near, self.far):
            side.end(how)
        self._settle()

    def _settle(self) -> None:
        """Once both sockets and the task are gone, so is the connection."""
        dialled = self._dialling is None or self._dialling.done()
        sides = all(side.transport is None or side.lost for side in (self.near, self.far))
        if self._finished and dialled and sides and not self.gone.done():
            self._forwarder.connections.discard(self)
            self.gone.set_result(None)
