"""The dispatcher: takes a command, brings it to the leader of its shard wherever that is, answers once.

It recovers by itself from an old map or an unknown leader (`request` tells how) until the command's deadline.
A command whose shard this node serves goes straight into the replica, and is answered from there; it is kept in
the table of requests in flight only where the answer did not come at once. Deadlines are looked after by one sweep
over that table, not by a timer a request.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from raftcache.clock import Runtime
from raftcache.commands.types import (
    MULTI_KEY_LIMIT,
    Append,
    Asked,
    Command,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    Many,
    MintedKey,
    Multi,
    MultiDelete,
    MultiGet,
    MultiSet,
    Persist,
    Receipts,
    Reply,
    Scan,
    Set,
    Usage,
    Version,
    failure_of,
)
from raftcache.errors import Overloaded, TooManyKeys
from raftcache.metadata.view import MetadataView
from raftcache.routing.current import shard_map_of
from raftcache.routing.gather import Gather
from raftcache.routing.joining import Joining
from raftcache.routing.moments import Added, Moments, Pair, Wrote
from raftcache.routing.receipts import ReceiptGather, ReceiptsDone
from raftcache.routing.request import Request, SlotRequest
from raftcache.routing.retry import ROUTING_CODES, RetrySettings, pause_seconds
from raftcache.routing.session import KeySession
from raftcache.shard.joint import Joint
from raftcache.shard.moment import ShardMoment
from raftcache.store.entry import Looked

SWEEP_SECONDS: Final = 0.05
WAKES_PER_TURN: Final = 500
"""Parked requests woken in one loop turn when a leader appears; the others follow in the next turns."""


ReplyTo = Callable[[Reply], None]
Later = Callable[[], ReplyTo]
"""Makes the receiver of an answer, for one that does not come at once."""

Mint = Callable[[int, Callable[[bytes], bool]], MintedKey | None]
"""`mint(place, has_room)`: see `Request.mint`."""
Waits = Callable[[], tuple[ReplyTo, Mint | None]]
"""The same, with what mints its key."""

AT_ONCE: frozenset[type] = frozenset({Append, Delete, Expire, Get, Incr, Persist, Set, Usage})
"""What a shard that is led here answers as a rule before the call returns."""


class LocalShard(Protocol):
    """What the dispatcher needs of a shard's replica on this node."""

    @property
    def serving(self) -> bool:
        """Whether it leads and executes commands."""

    def submit(
        self,
        command: Asked,
        reply: Callable[[Reply], None],
        deadline_s: float,
        mint: Mint | None = None,
    ) -> None:
        """Execute, not after `deadline_s`, replica reads also where it does not lead; `reply` is called exactly once,
        now or later. `mint` is called for a write, or an item of one, that waits and whose outcome may become
        unknown. Never raises."""

    def receipts(self, asked: Receipts, reply: Callable[[Reply], None]) -> None:
        """Say what became of versions; as `submit`, but asked of replicas that do not lead, too."""

    def submit_now(self, command: Command, later: Waits, deadline_s: float) -> Reply | None:
        """The same, with an answer that is there at once as the result; only for one that is not, `later` is called,
        for its `reply` and `mint`."""

    def moment(self, now_s: float) -> ShardMoment | None:
        """For plain reads and writes of one moment, where it leads. See `ShardReplica.moment`."""


Local = Callable[[str], "LocalShard | None"]
"""The replica of a shard on this node, if there is one."""

Remote = Callable[[str, str, int, Asked | Receipts, float, Callable[[Reply], None]], None]
"""`remote(node_id, shard_id, epoch, command, deadline, done)`: send to a node; `done` exactly once, now or later.

A `Failure` of `unavailable` says that nothing was sent, one of `outcome_unknown` that no answer came.
"""


class _UnderWay:
    """Makes the request of a command that is answered later than at once. No closure, for those cost more to make."""

    __slots__ = ("_command", "_deadline", "_dispatcher", "_later", "_shard_id")

    def __init__(
        self, dispatcher: Dispatcher, command: Command, deadline: float, later: Later, shard_id: str | None
    ) -> None:
        self._dispatcher, self._command, self._deadline = dispatcher, command, deadline
        self._later, self._shard_id = later, shard_id

    def __call__(self) -> tuple[ReplyTo, Mint]:
        dispatcher, command = self._dispatcher, self._command
        key: bytes = command.key  # type: ignore[union-attr]
        request = Request(dispatcher, command, key, self._deadline, self._later())
        request.is_sent_here(self._shard_id)
        dispatcher.track(request)
        return request.on_reply, request.mint


class Dispatcher:
    """Routes commands for one front end. `node_id` is the node that it runs in, empty for one that stands alone."""

    def __init__(
        self,
        view: MetadataView,
        runtime: Runtime,
        local: Local,
        remote: Remote,
        settings: RetrySettings | None = None,
        node_id: str = "",
    ) -> None:
        self.view = view
        self.map = shard_map_of(view.state)
        self.local = local
        self.remote = remote
        self.node_id = node_id
        self.retries = Counter[str]()
        self.session = KeySession(runtime.random)
        self._runtime = runtime
        self._settings = settings or RetrySettings()
        self._inflight: dict[Request, None] = {}
        self._parked: dict[Request, None] = {}
        self.joining = Joining(self)
        self._sweeping = False
        self._waking = False
        view.subscribe(self._view_changed)

    def now(self) -> float:
        """The clock that deadlines are on."""
        return self._runtime.now()

    @property
    def chance(self) -> random.Random:
        """The dice of this process."""
        return self._runtime.random

    @property
    def inflight(self) -> int:
        """Requests not yet answered, the parked ones included."""
        return len(self._inflight) + self.joining.writes

    def _is_full(self, more: int = 1) -> bool:
        """Whether so many more may not be put in flight. Joint writes count as one for each batch."""
        return len(self._inflight) + len(self.joining) + more > self._settings.inflight_limit

    @property
    def parked(self) -> int:
        """Requests that wait for a leader or a newer map."""
        return len(self._parked)

    def execute(self, command: Command, deadline: float, reply: Callable[[Reply], None]) -> None:
        """Answer `command` by one call of `reply`, now or later, at the latest about `deadline` (`runtime.now`).

        Failures of its own: `no_leader` (never executed), `outcome_unknown` (a write may take effect),
        `overloaded` and `too_many_keys` (not executed).
        """
        if isinstance(command, MultiGet | MultiSet | MultiDelete):
            return self._scatter(command, deadline, reply)
        if self._is_full():
            return reply(self._overloaded())
        kind = SlotRequest if type(command) is Scan else Request
        kind(self, command, command.key, deadline, reply).attempt()

    def execute_now(self, command: Command, deadline: float, later: Later) -> Reply | None:
        """`execute` for one who can use an answer that is there at once: it is returned, and nothing was made to wait
        for it. Else the result is None, and what `later` returned, when it was called once, gets the answer."""
        if self._is_full():
            return self._overloaded()
        shard_id = self.map.shard_of(command.key) if type(command) in AT_ONCE else None  # type: ignore[union-attr]
        replica = None if shard_id is None else self.local(shard_id)
        if replica is None or not replica.serving or self.joining.is_asking:
            self.execute(command, deadline, later())
            return None

        answer = replica.submit_now(command, _UnderWay(self, command, deadline, later, shard_id), deadline)
        if type(answer) is Failure and answer.code in ROUTING_CODES:
            self.execute(command, deadline, later())
            return None
        return answer

    def look_many(self, keys: Sequence[bytes], now_s: float, until_bytes: int | None = None) -> list[Looked]:
        """What reads of these keys that name no level find, for each whose shard this node leads and where a look is
        enough; None for one that has to be executed. With `until_bytes` there is nothing said behind the first None,
        nor behind the value with which there are so many bytes. `now_s` was read from the runtime's clock since they
        were asked for."""
        moments = Moments(self.map, self.local, now_s)
        try:
            return moments.look(keys, until_bytes)
        finally:
            moments.close()

    def write_many(self, pairs: Sequence[Pair], now_s: float, joint: Joint | None = None) -> Wrote:
        """Write keys as plain sets do, in order, where this node leads their shards, up to the first that has to be
        executed: each is acknowledged at once, or each waits for a quorum, in `joint`. `now_s` as for `look_many`.
        What is acknowledged at once is not refused for what is in flight."""
        if self.joining.is_asking:
            return Wrote(0, [], [])
        moments = Moments(self.map, self.local, now_s)
        try:
            count = moments.write(pairs)
            if count or joint is None or self._is_full():
                return Wrote(count, moments.newest(), [])
            joined = moments.join(pairs, joint)
        finally:
            moments.close()
        for writes in joined:
            if writes.answered is None:
                self.joining.take_in(writes, now_s + joint.timeout_s)
        return Wrote(len(joined), [], joined)

    def add_many(self, items: Sequence[tuple[bytes, int]], now_s: float) -> Added:
        """Add to counters, each by its number, as `incr` does that names nothing else: like `write_many`, of those that
        are acknowledged at once."""
        if self.joining.is_asking:
            return Added([], [])
        moments = Moments(self.map, self.local, now_s)
        try:
            return Added(moments.add(items), moments.newest())
        finally:
            moments.close()

    def receipts(
        self, asked: Sequence[tuple[bytes, Version]], wait_ms: int, deadline: float, done: ReceiptsDone
    ) -> None:
        """Say what became of each version, which a write to the key beside it was acknowledged with.

        `done` gets one `Receipt` or `Failure` for each, in order, at the latest about `deadline`. Those of one shard
        are asked together, and held back there for up to `wait_ms` while one is pending.
        """
        if len(asked) > MULTI_KEY_LIMIT:
            many = failure_of(TooManyKeys(f"versions must be at most {MULTI_KEY_LIMIT}, got {len(asked)}"))
            return done([many] * len(asked))
        parts = ReceiptGather(self, asked, wait_ms, deadline, done).parts()
        if self._is_full(len(parts)):
            return done([self._overloaded()] * len(asked))
        for part in parts:
            part.attempt()

    def _scatter(self, command: Multi, deadline: float, reply: Callable[[Reply], None]) -> None:
        count = len(command.items)
        if count > MULTI_KEY_LIMIT:
            return reply(failure_of(TooManyKeys(f"keys must be at most {MULTI_KEY_LIMIT}, got {count}")))
        if count == 0:
            return reply(Many(()))
        parts = Gather(self, command, deadline, reply).parts(range(count))
        if self._is_full(len(parts)):
            return reply(self._overloaded())
        for part in parts:
            part.attempt()

    def _overloaded(self) -> Failure:
        limit = self._settings.inflight_limit
        return failure_of(Overloaded(f"requests in flight must be at most {limit}: not executed, try again"))

    # What requests ask of their dispatcher.

    def track(self, request: Request) -> None:
        """Hold a request that was not answered at once, and see to its deadline."""
        self._inflight[request] = None
        self.sweep_soon()

    def sweep_soon(self) -> None:
        """Something is in flight, and has a deadline."""
        if not self._sweeping:
            self._sweeping = True
            self._runtime.call_later(SWEEP_SECONDS, self._sweep)

    def forget(self, request: Request) -> None:
        """The request is answered."""
        self._inflight.pop(request, None)
        self._parked.pop(request, None)

    def park(self, request: Request) -> None:
        """Hold a request until its pause is over or the view brings news for it."""
        self.track(request)
        self._parked[request] = None
        pause = pause_seconds(self._settings, request.rounds, self._runtime.random)
        request.timer = self._runtime.call_later(pause, request.wake)

    def unpark(self, request: Request) -> None:
        """The request begins another round."""
        self._parked.pop(request, None)

    def heed(self, shard_id: str, failure: Failure) -> None:
        """Take over the hint in a `not_leader` or `too_stale` failure, if there is a usable one."""
        self.view.heed(shard_id, failure.details)

    def _view_changed(self) -> None:
        if self.view.epoch != self.map.epoch:
            self.map = shard_map_of(self.view.state)
        if self._inflight and not self._waking:
            self._waking = True
            self._runtime.call_soon(self._wake)

    def _wake(self) -> None:
        self._waking = False
        for request in [each for each in self._inflight if each.out]:
            request.leader_changed()
        news = [request for request in self._parked if self._has_news(request)]
        for request in news[:WAKES_PER_TURN]:
            request.wake()
        if len(news) > WAKES_PER_TURN:
            self._waking = True
            self._runtime.call_soon(self._wake)

    def _has_news(self, request: Request) -> bool:
        leader = self.view.leaders.get(request.shard_id or "")
        return request.epoch != self.map.epoch or leader != request.seen_leader

    def _sweep(self) -> None:
        now = self._runtime.now()
        for request in [each for each in self._inflight if each.deadline <= now]:
            if not request.done:
                request.expire()
        self.joining.sweep(now)
        self._sweeping = bool(self._inflight) or len(self.joining) > 0
        if self._sweeping:
            self._runtime.call_later(SWEEP_SECONDS, self._sweep)
