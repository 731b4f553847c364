"""The watch feed, following side: keeps a view up to date from the nodes of a cluster.

One long poll is always under way, at one node. A failure moves on to the next node after a jittered pause that
doubles while failures last. `refresh` (somebody met a `wrong_shard`) asks the next node at once, beside the long
poll: the node that is being polled may itself be cut off from the news.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from raftcache.clock import Handle, Runtime
from raftcache.errors import RaftcacheError
from raftcache.metadata.state import decode_state
from raftcache.metadata.view import MetadataView
from raftcache.metadata.watch import WatchAnswer, WatchRequest, decode_watch_answer, encode_watch

POLL_SECONDS = 10.0
ANSWER_SECONDS = 2.0
"""How long an answer may be under way, beyond the time that the node was allowed to hold it back."""

PAUSE_MIN_SECONDS = 0.05
PAUSE_MAX_SECONDS = 2.0

UNKNOWN_VERSION = -1
"""No node's leader table has this version, so whoever is asked with it answers at once with the whole table."""

Done = Callable[["bytes | RaftcacheError"], None]
Call = Callable[[str, str, bytes, float, Done], None]
"""`call(node, method, body, deadline, done)`: one RPC; `done` gets the reply's body or the error, once."""

log = logging.getLogger(__name__)


class RemoteWatch:
    """Follows the cluster from outside, or from a node without a metadata replica."""

    def __init__(
        self, view: MetadataView, runtime: Runtime, call: Call, endpoints: Callable[[], Sequence[str]]
    ) -> None:
        """`endpoints` gives whom to ask, in whatever form `call` understands; it is asked before each call."""
        self._view = view
        self._runtime = runtime
        self._call = call
        self._endpoints = endpoints
        self._turn = 0
        self._known_version: dict[str, int] = {}
        self._pause_seconds = PAUSE_MIN_SECONDS
        self._timer: Handle | None = None
        self._refreshing = False
        self._running = False
        view.set_refresher(self.refresh)

    def start(self) -> None:
        """Begin to poll, at a node chosen at random so that many front ends spread over the nodes."""
        self._running = True
        self._turn = self._runtime.random.randrange(1 << 16)
        self._timer = self._runtime.call_soon(self._poll)

    def stop(self) -> None:
        """Poll no more; an answer that is still under way is dropped."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()

    def refresh(self) -> None:
        """Ask another node for news right now; at most one such call is under way."""
        endpoints = self._endpoints()
        if self._running and not self._refreshing and endpoints:
            self._refreshing = True
            node = endpoints[(self._turn + 1) % len(endpoints)]
            self._ask(node, UNKNOWN_VERSION, 0.0, lambda answer: self._refreshed(node, answer))

    def _poll(self) -> None:
        endpoints = self._endpoints()
        if not endpoints:
            return self._retry_later()
        node = endpoints[self._turn % len(endpoints)]
        version = self._known_version.get(node, UNKNOWN_VERSION)
        self._ask(node, version, POLL_SECONDS, lambda answer: self._polled(node, answer))

    def _ask(self, node: str, leaders_version: int, wait_seconds: float, done: Done) -> None:
        request = WatchRequest(self._view.epoch, leaders_version, int(wait_seconds * 1000))
        deadline = self._runtime.now() + wait_seconds + ANSWER_SECONDS
        self._call(node, "watch", encode_watch(request), deadline, done)

    def _polled(self, node: str, answer: bytes | RaftcacheError) -> None:
        if not self._running:
            return
        if self._take(node, answer):
            self._pause_seconds = PAUSE_MIN_SECONDS
            self._timer = self._runtime.call_soon(self._poll)
        else:
            self._turn += 1
            self._retry_later()

    def _retry_later(self) -> None:
        pause = self._pause_seconds * self._runtime.random.uniform(0.5, 1.0)
        self._pause_seconds = min(PAUSE_MAX_SECONDS, self._pause_seconds * 2)
        self._timer = self._runtime.call_later(pause, self._poll)

    def _refreshed(self, node: str, answer: bytes | RaftcacheError) -> None:
        self._refreshing = False
        if self._running:
            self._take(node, answer)

    def _take(self, node: str, answer: bytes | RaftcacheError) -> bool:
        """Bring the view up to date; whether the answer was any good."""
        if isinstance(answer, RaftcacheError):
            return False
        try:
            news = decode_watch_answer(answer)
            state = decode_state(news.state) if news.state is not None else None
        except (msgspec.MsgspecError, ValueError) as error:
            log.warning("%s answered a watch with what cannot be read: %s", node, error)
            return False
        if state is not None:
            self._view.update_state(state)
        self._take_leaders(node, news)
        return True

    def _take_leaders(self, node: str, news: WatchAnswer) -> None:
        if news.leaders is not None:
            self._view.update_leaders(news.leaders)
            self._known_version = {node: news.leaders_version}
