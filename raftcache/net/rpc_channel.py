"""The calling side of RPC: one connection per address, many calls in flight, precise errors.

A call waits in `_unsent` until the connection is up and the loop has run what was due, then all of them leave in
one write. That moment divides the errors: a call that has not left fails with a definite one (`Unavailable`), a
call that has left and gets no answer is `OutcomeUnknown`. The connection is made on demand. After a failed attempt
calls fail at once until the back-off is over: whoever calls has other places to ask.

One timer serves all deadlines. It is set for the earliest one and looks through the calls in flight only when it
fires, so a call that is answered in time costs a comparison.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import ceil, inf
from typing import Final

from raftcache.clock import Handle
from raftcache.errors import BadRequest, OutcomeUnknown, Overloaded, RaftcacheError, Unavailable
from raftcache.net.connection import Credentials
from raftcache.net.rpc_link import ChannelLink
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.frames import pack_frames
from raftcache.wire.handshake import Identity
from raftcache.wire.rpc import (
    BODY_LIMIT_BYTES,
    METHOD_LIMIT_CHARS,
    UNKNOWN_CALL,
    Reply,
    decode_failure,
    decode_reply,
    encode_request,
)

log = logging.getLogger(__name__)

CALLS_LIMIT = 8192
"""Calls of one channel that are waiting or in flight."""
UNSENT_LIMIT_BYTES = 64 << 20
"""Bodies of one channel that wait to be sent."""
DEADLINE_GRAIN: Final = 0.01
"""Seconds: how often calls in flight are looked through at most."""

Done = Callable[[bytes | RaftcacheError], None]


class _Call:
    __slots__ = ("body", "call_id", "deadline", "done", "method", "sent")

    def __init__(self, call_id: int, method: str, body: bytes, deadline: float, done: Done) -> None:
        self.call_id = call_id
        self.method = method
        self.body = body
        self.deadline = deadline
        self.done = done
        self.sent = False


class RpcChannel:
    """Calls to one address. `identity` is what it shows in the handshake.

    Callbacks never run inside the call that made them. What a callback raises is logged.
    """

    def __init__(
        self,
        host: str,
        port: int,
        secret: bytes,
        cluster_id: str,
        identity: Identity,
        runtime: AsyncioRuntime,
    ) -> None:
        self.host, self.port = host, port
        self._runtime = runtime
        self._calls: dict[int, _Call] = {}
        self._unsent: list[_Call] = []
        self._unsent_bytes = 0
        self._last_id = 0
        self._link = ChannelLink(self, host, port, Credentials(secret, cluster_id, identity), runtime)
        self._flush_due = False
        self._deadline_at = inf
        self._deadline_timer: Handle | None = None
        self._closed = False

    @property
    def inflight(self) -> int:
        """Calls that are waiting or in flight."""
        return len(self._calls)

    @property
    def gone(self) -> bool:
        """Whether neither task nor socket is left of a closed channel."""
        return self._link.gone

    def call(self, method: str, body: bytes, deadline: float, done: Done) -> None:
        """Call `method`; `done` gets the reply's body or the error. `deadline` is on `runtime.now()`."""
        refusal = self._refusal(method, body, deadline)
        if refusal is not None:
            error = refusal
            self._runtime.call_soon(lambda: done(error))
            return
        self._last_id += 1
        call = _Call(self._last_id, method, body, deadline, done)
        self._calls[call.call_id] = call
        self._unsent.append(call)
        self._unsent_bytes += len(body)
        if deadline < self._deadline_at:
            self._arm_deadline(deadline)
        self._flush_soon()

    async def call_async(self, method: str, body: bytes, deadline: float) -> bytes:
        """The reply's body. Raises the error; cancelled, the answer is ignored when it comes."""
        future: asyncio.Future[bytes] = self._runtime.loop.create_future()

        def done(result: bytes | RaftcacheError) -> None:
            if future.done():
                return
            if isinstance(result, RaftcacheError):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.call(method, body, deadline, done)
        return await future

    def isolate(self, on: bool) -> None:
        """A fault drill: while on, what is sent and what comes back is dropped, and no socket closes for it."""
        self._link.isolate(on)

    def close(self) -> None:
        """Close the connection; calls under way get their error, later ones too."""
        self._closed = True
        self._fail_all(Unavailable(f"the channel to {self.host}:{self.port} was closed"))
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._link.close()

    async def wait_closed(self) -> None:
        """After `close`: wait until neither task nor socket is left."""
        await self._link.wait_closed()

    def link_up(self) -> None:
        """The link is authenticated: send what waits."""
        self._flush_soon()

    def link_down(self, error: RaftcacheError) -> None:
        """The link is gone, or could not be made."""
        self._fail_all(error)

    def frames_received(self, frames: list[bytes]) -> None:
        """Replies. Raises `MalformedMessage`, which ends the connection."""
        pop = self._calls.pop
        for frame in frames:
            reply = decode_reply(frame)
            call = pop(reply.call_id, None)
            if call is not None:
                self._finish(call, reply.body if reply.ok else decode_failure(reply.body))
            elif reply.call_id == UNKNOWN_CALL:
                self._complaint(reply)

    def _refusal(self, method: str, body: bytes, deadline: float) -> RaftcacheError | None:
        if self._closed:
            return Unavailable(f"the channel to {self.host}:{self.port} was closed")
        if not 1 <= len(method) <= METHOD_LIMIT_CHARS:
            return BadRequest(f"method: {len(method)} characters, allowed are 1 to {METHOD_LIMIT_CHARS}")
        if len(body) > BODY_LIMIT_BYTES:
            return BadRequest(f"body of {method}: {len(body)} bytes, the limit is {BODY_LIMIT_BYTES}")
        if len(self._calls) >= CALLS_LIMIT:
            return Overloaded(f"calls to {self.host}:{self.port} under way: the limit is {CALLS_LIMIT}")
        if self._unsent_bytes + len(body) > UNSENT_LIMIT_BYTES:
            return Overloaded(f"bytes waiting for {self.host}:{self.port}: the limit is {UNSENT_LIMIT_BYTES}")
        if deadline <= self._runtime.now():
            return Unavailable(f"{method}: its deadline had passed before it was sent")
        return self._link.objection()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._runtime.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if not self._unsent or not self._link.ready_to_send():
            return
        calls, self._unsent, self._unsent_bytes = self._unsent, [], 0
        now, frames = self._runtime.now(), []
        for call in calls:
            call.sent = True
            left_ms = ceil((call.deadline - now) * 1000)
            frames.append(encode_request(call.call_id, call.method, left_ms, call.body))
        self._link.write(pack_frames(frames))

    def _finish(self, call: _Call, result: bytes | RaftcacheError) -> None:
        try:
            call.done(result)
        except Exception:
            log.exception("the callback of rpc call %s failed", call.method)

    def _fail(self, call: _Call, cause: str, unsent: RaftcacheError) -> None:
        if call.sent:
            self._finish(call, OutcomeUnknown(f"{call.method} was sent to {self.host}:{self.port}; {cause}"))
        else:
            self._finish(call, unsent)

    def _fail_all(self, error: RaftcacheError) -> None:
        calls, self._calls = list(self._calls.values()), {}
        self._unsent, self._unsent_bytes = [], 0

        def fail() -> None:
            for call in calls:
                self._fail(call, error.message, error)

        if calls:
            self._runtime.call_soon(fail)

    def _arm_deadline(self, at: float) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._deadline_at = at
        self._deadline_timer = self._runtime.call_later(max(0.0, at - self._runtime.now()), self._expire)

    def _expire(self) -> None:
        now = self._runtime.now()
        expired = [call for call in self._calls.values() if call.deadline <= now]
        for call in expired:
            del self._calls[call.call_id]
        self._deadline_at, self._deadline_timer = inf, None
        if self._calls:
            earliest = min(call.deadline for call in self._calls.values())
            self._arm_deadline(max(earliest, now + DEADLINE_GRAIN))
        if any(not call.sent for call in expired):
            self._unsent = [call for call in self._unsent if call.call_id in self._calls]
            self._unsent_bytes = sum(len(call.body) for call in self._unsent)
        for call in expired:
            unsent = Unavailable(f"{call.method}: its deadline passed before {self.host}:{self.port} was reached")
            self._fail(call, "its deadline passed without an answer", unsent)

    def _complaint(self, reply: Reply) -> None:
        log.warning(
            "%s:%d: %s",
            self.host,
            self.port,
            "a reply to no call" if reply.ok else decode_failure(reply.body),
        )
