"""The serving side of RPC: many calls in flight on a connection, answered in any order.

A handler is a plain function that gets an `RpcCall` and answers it now or later, once. Answers gather until the
loop has run what was due and leave in one write per connection. A connection that is lost takes its answers along
in silence; a bad message, an unknown method or a handler that raises costs nobody but its own call.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from raftcache.errors import (
    BadRequest,
    InternalError,
    Overloaded,
    RaftcacheError,
    Unavailable,
    UnknownCommand,
)
from raftcache.net.api import Peer
from raftcache.net.connection import Connection, Credentials
from raftcache.net.heartbeat import Heartbeat
from raftcache.net.listener import Listener
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.frames import pack_frames
from raftcache.wire.handshake import Identity
from raftcache.wire.rpc import (
    BODY_LIMIT_BYTES,
    RPC_FRAME_LIMIT_BYTES,
    UNKNOWN_CALL,
    MalformedMessage,
    Request,
    decode_request,
    encode_failure,
    encode_reply,
)

log = logging.getLogger(__name__)

INFLIGHT_LIMIT: Final = 8192
"""Calls under way per connection."""
REPLY_BUFFER_LIMIT_BYTES = 64 << 20
"""Replies that may wait for a client that does not read; over it the connection is dropped."""
PING_EVERY_MS = 1000


class RpcCall:
    """One call, to be answered by exactly one `reply` or `fail`; a second answer raises RuntimeError.

    `deadline` is in seconds on `runtime.now()`; `peer` is the authenticated caller.
    """

    __slots__ = ("_session", "body", "call_id", "deadline", "method", "peer")

    def __init__(self, session: _Session, peer: Identity, request: Request, deadline: float) -> None:
        self._session: _Session | None = session
        self.peer = peer
        self.call_id = request.call_id
        self.method = request.method
        self.body = request.body
        self.deadline = deadline

    @property
    def answered(self) -> bool:
        """Whether `reply` or `fail` was called."""
        return self._session is None

    def reply(self, body: bytes) -> None:
        """Answer. A body over `BODY_LIMIT_BYTES` becomes an error that says so."""
        if len(body) > BODY_LIMIT_BYTES:
            self.fail(BadRequest(f"reply to {self.method}: {len(body)} bytes, the limit is {BODY_LIMIT_BYTES}"))
            return
        self._take_session().answer(self.call_id, encode_reply(self.call_id, body))

    def fail(self, error: RaftcacheError) -> None:
        """Answer with an error."""
        self._take_session().answer(self.call_id, encode_failure(self.call_id, error))

    def __del__(self) -> None:
        # A handler that lets go of its call must not leave the caller waiting and a place in flight taken.
        if self._session is not None and self._session.forgotten(self):
            self.fail(InternalError(f"{self.method} gave no answer"))

    def _take_session(self) -> _Session:
        session, self._session = self._session, None
        if session is None:
            raise RuntimeError(f"call {self.call_id} of {self.method} was answered twice")
        return session


Handler = Callable[[RpcCall], None]


class RpcServer:
    """Serves `handlers`, by method name, on one port.

    `counters` counts `calls`, `failures`, `expired`, `overloaded`, `malformed` and `reply_overflows`. A call from
    another node is dropped without an answer while `isolate(True)` holds.
    """

    def __init__(
        self,
        runtime: AsyncioRuntime,
        identity: Peer,
        host: str,
        port: int,
        secret: bytes,
        cluster_id: str,
        field: str = "rpc_address",
        inflight_limit: int = INFLIGHT_LIMIT,
    ) -> None:
        self.handlers: dict[str, Handler] = {}
        self.counters: Counter[str] = Counter()
        self.isolated = False
        self.inflight_limit = inflight_limit
        self.runtime = runtime
        self.heartbeat = Heartbeat(runtime, PING_EVERY_MS)
        credentials = Credentials(secret, cluster_id, Identity("node", *identity))
        self._sessions: set[_Session] = set()
        self._listener = Listener(runtime, credentials, field, host, port, RPC_FRAME_LIMIT_BYTES, self._accepted)

    @property
    def port(self) -> int:
        """The RPC port."""
        return self._listener.port

    @property
    def inflight(self) -> int:
        """Calls under way, over all connections."""
        return sum(len(session.inflight) for session in self._sessions)

    async def start(self) -> None:
        """Listen. Raises `protected.BindRefused`."""
        await self._listener.start()

    async def stop(self) -> None:
        """Close the port and every connection; late answers are dropped."""
        for session in list(self._sessions):
            session.end()
        await self._listener.stop()

    def isolate(self, on: bool) -> None:
        """A fault drill: while on, calls from other nodes and answers to them are dropped."""
        self.isolated = on

    def forget(self, session: _Session) -> None:
        """The session has ended."""
        self._sessions.discard(session)

    def _accepted(self, connection: Connection) -> None:
        session = _Session(self, connection)
        self._sessions.add(session)
        connection.owner = session
        self.heartbeat.add(connection)


class _Session:
    """One client's connection: its calls in flight and the answers that wait for the end of the turn."""

    def __init__(self, server: RpcServer, connection: Connection) -> None:
        assert connection.identity is not None
        self.inflight: set[int] = set()
        self._server = server
        self._connection = connection
        self._peer = connection.identity
        self._answers: list[bytes] = []
        self._ended = False

    def answer(self, call_id: int, payload: bytes) -> None:
        """Queue a packed answer; dropped once the connection is gone."""
        self.inflight.discard(call_id)
        if self._ended:
            return
        if not self._answers:
            self._server.runtime.call_soon(self._flush)
        self._answers.append(payload)

    def forgotten(self, call: RpcCall) -> bool:
        """A handler dropped its call unanswered: a defect of ours, unless nobody waits any more."""
        if not self._ended:
            log.error("rpc handler %s dropped call %d without an answer", call.method, call.call_id)
        return not self._ended

    def end(self) -> None:
        """No more calls and no more answers."""
        self._ended = True
        self._server.heartbeat.remove(self._connection)
        self._server.forget(self)
        self.inflight.clear()
        self._answers.clear()

    def frames_received(self, connection: Connection, frames: list[bytes]) -> None:
        """ConnectionOwner: requests."""
        if self._deaf():
            return
        now = self._server.runtime.now()
        for frame in frames:
            try:
                request = decode_request(frame)
            except MalformedMessage as error:
                self._malformed(error)
            else:
                self._take(request, now)
            if self._connection.closing:
                return

    def connection_ready(self, connection: Connection) -> None:
        """ConnectionOwner: never called, since the listener owns connections until they are ready."""

    def connection_closed(self, connection: Connection, error: Exception | None) -> None:
        """ConnectionOwner: the client has gone."""
        log.debug("rpc connection of %s %s closed: %s", self._peer.role, connection.remote, error or "in good order")
        self.end()

    def writing_blocked(self, connection: Connection, blocked: bool) -> None:
        """ConnectionOwner: who does not read answers gets no more calls in."""
        connection.pause_reading(blocked)

    def _deaf(self) -> bool:
        return self._server.isolated and self._peer.role == "node"

    def _take(self, request: Request, now: float) -> None:
        """Check a call against the bounds, then hand it to its handler."""
        server = self._server
        handler = server.handlers.get(request.method)
        error: RaftcacheError | None = None
        if handler is None:
            error = UnknownCommand(f"method {request.method!r} is not served here")
        elif request.deadline_ms_remaining <= 0:
            server.counters["expired"] += 1
            error = Unavailable(f"{request.method}: its deadline had passed when it arrived; not executed")
        elif len(self.inflight) >= server.inflight_limit:
            server.counters["overloaded"] += 1
            error = Overloaded(f"calls in flight on this connection: the limit is {server.inflight_limit}")
        if error is not None:
            self.answer_unstarted(request.call_id, error)
        elif request.call_id in self.inflight:
            # An answer to either would be taken for the other's.
            self._connection.close(BadRequest(f"call_id {request.call_id} is in flight already"))
        else:
            assert handler is not None
            self._run(handler, RpcCall(self, self._peer, request, now + request.deadline_ms_remaining / 1000))

    def _run(self, handler: Handler, call: RpcCall) -> None:
        self._server.counters["calls"] += 1
        self.inflight.add(call.call_id)
        try:
            handler(call)
        except RaftcacheError as error:
            self._raised(call, error)
        except Exception as error:
            log.exception("rpc handler %s failed", call.method)
            self._raised(call, InternalError(f"{call.method} failed: {type(error).__name__}"))

    def _raised(self, call: RpcCall, error: RaftcacheError) -> None:
        self._server.counters["failures"] += 1
        if call.answered:
            log.error("rpc handler %s raised after it had answered: %s", call.method, error)
        else:
            call.fail(error)

    def _malformed(self, error: MalformedMessage) -> None:
        self._server.counters["malformed"] += 1
        log.warning("rpc message from %s %s: %s", self._peer.role, self._connection.remote, error)
        # A call in flight under that id must not be ended by somebody else's error.
        call_id = UNKNOWN_CALL if error.call_id in self.inflight else error.call_id
        self.answer_unstarted(call_id, error)

    def answer_unstarted(self, call_id: int, error: RaftcacheError) -> None:
        """Refuse a call that no handler has seen."""
        if not self._answers:
            self._server.runtime.call_soon(self._flush)
        self._answers.append(encode_failure(call_id, error))

    def _flush(self) -> None:
        answers, self._answers = self._answers, []
        if self._ended or not answers or self._deaf():
            return
        self._connection.write(pack_frames(answers))
        if self._connection.buffered_bytes > REPLY_BUFFER_LIMIT_BYTES:
            self._server.counters["reply_overflows"] += 1
            error = Overloaded(f"over {REPLY_BUFFER_LIMIT_BYTES} bytes of replies wait for a client that reads none")
            log.warning("rpc connection of %s %s dropped: %s", self._peer.role, self._connection.remote, error)
            self._connection.close(error)
