"""The watch feed, serving side: long polls for a newer state or leader table.

A watcher names the epoch and the leader-table version that it has. It is answered as soon as the view has a newer
epoch or another version, and at its deadline otherwise; changes of one loop turn leave in one answer. The state is
sent only to whom it is news, and encoded once an epoch however many watch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from raftcache.clock import Handle, Runtime
from raftcache.errors import BadRequest, Overloaded, RaftcacheError
from raftcache.metadata.state import encode_state
from raftcache.metadata.view import Leader, MetadataView

WATCHER_LIMIT = 10_000
"""Long polls waiting at one node."""


class WatchRequest(msgspec.Struct, frozen=True, array_like=True):
    """What the watcher has (epoch 0: nothing yet), and how long the node may hold the answer back."""

    epoch: int
    leaders_version: int
    wait_ms: int


class WatchAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What the node has; `state` (encoded) only where its epoch is newer, `leaders` only where it differs."""

    epoch: int
    leaders_version: int
    state: bytes | None
    leaders: dict[str, Leader] | None


encode_watch = msgspec.msgpack.Encoder().encode
decode_watch_request = msgspec.msgpack.Decoder(WatchRequest).decode
decode_watch_answer = msgspec.msgpack.Decoder(WatchAnswer).decode

WatchReply = Callable[["WatchAnswer | Overloaded"], None]


@dataclass(eq=False, slots=True)
class _Watcher:
    epoch: int
    leaders_version: int
    reply: WatchReply
    timer: Handle | None = None


class WatchHub:
    """All long polls of one node."""

    def __init__(self, view: MetadataView, runtime: Runtime) -> None:
        self._view = view
        self._runtime = runtime
        self._watchers: dict[_Watcher, None] = {}
        self._flushing = False
        self._encoded: tuple[int, bytes] = (0, b"")
        view.subscribe(self._view_changed)

    @property
    def watchers(self) -> int:
        """Long polls waiting."""
        return len(self._watchers)

    def serve(self, body: bytes, deadline: float, reply: Callable[[bytes | RaftcacheError], None]) -> None:
        """The RPC method `watch`: an encoded request in, an encoded answer or an error out."""
        try:
            request = decode_watch_request(body)
        except msgspec.MsgspecError as error:
            return reply(BadRequest(f"not a watch request: {error}"))
        until = min(deadline, self._runtime.now() + request.wait_ms / 1000)

        def answered(answer: WatchAnswer | Overloaded) -> None:
            reply(answer if isinstance(answer, Overloaded) else encode_watch(answer))

        self.wait(request.epoch, request.leaders_version, until, answered)

    def wait(self, epoch: int, leaders_version: int, deadline: float, reply: WatchReply) -> None:
        """Call `reply` once: now or later with what is newer, at `deadline` (on `runtime.now`) with nothing new.

        Beyond `WATCHER_LIMIT` the reply is `Overloaded`.
        """
        if self._has_news(epoch, leaders_version):
            return reply(self._answer(epoch, leaders_version))
        if len(self._watchers) >= WATCHER_LIMIT:
            return reply(Overloaded(f"watchers must be at most {WATCHER_LIMIT}: try another node"))
        watcher = _Watcher(epoch, leaders_version, reply)
        self._watchers[watcher] = None
        delay = max(0.0, deadline - self._runtime.now())
        watcher.timer = self._runtime.call_later(delay, lambda: self._finish(watcher))

    def _has_news(self, epoch: int, leaders_version: int) -> bool:
        return self._view.epoch > epoch or self._view.leaders_version != leaders_version

    def _answer(self, epoch: int, leaders_version: int) -> WatchAnswer:
        view = self._view
        return WatchAnswer(
            view.epoch,
            view.leaders_version,
            self._state_bytes() if view.epoch > epoch else None,
            view.leaders if view.leaders_version != leaders_version else None,
        )

    def _state_bytes(self) -> bytes:
        if self._encoded[0] != self._view.epoch:
            self._encoded = (self._view.epoch, encode_state(self._view.state))
        return self._encoded[1]

    def _view_changed(self) -> None:
        if self._watchers and not self._flushing:
            self._flushing = True
            self._runtime.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        for watcher in list(self._watchers):
            if self._has_news(watcher.epoch, watcher.leaders_version):
                self._finish(watcher)

    def _finish(self, watcher: _Watcher) -> None:
        if watcher not in self._watchers:
            return
        del self._watchers[watcher]
        if watcher.timer is not None:
            watcher.timer.cancel()
        watcher.reply(self._answer(watcher.epoch, watcher.leaders_version))
