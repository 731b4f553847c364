"""Joint writes on their way: told when they are committed, and brought through a change of leaders.

They are executed by this node's own replica, and so each has its version from the first. Where the leadership ends
before their batch commits, a front end elsewhere would have to send them again under keys that it minted beforehand
(`session`), each with a record in the log. Here there is something cheaper and as exact: a receipt. The next leader,
once it serves, says of each version whether it is committed or lost. A lost write was never executed, and is sent
again like any other; a committed one is answered as it would have been. Where that cannot be learned by the deadline,
the outcome is unknown.

**Order.** Asking takes a round trip, and in that time nothing that came later may go past, or an older value would end
up on top of a newer one of the same client. So from a failure until its receipts are there, all that this front end
has for the shard, and that writes, waits in a line behind it, in the order of its arrival. The line moves as its heads
become ready; whoever stands in it has its deadline all the same.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from raftcache.commands.types import (
    AckLevel,
    Command,
    Failure,
    Fate,
    Receipt,
    Reply,
    Set,
    Version,
    Written,
    failure_of,
)
from raftcache.errors import NoLeader, OutcomeUnknown
from raftcache.routing.retry import ROUTING_CODES
from raftcache.shard.joint import JointWrites

Told = Callable[[list[Receipt | Failure]], None]


class Sends(Protocol):
    """What joint writes need of their dispatcher."""

    retries: Counter[str]

    def now(self) -> float:
        """The clock that deadlines are on."""

    def sweep_soon(self) -> None:
        """Something is in flight, and has a deadline."""

    def receipts(
        self, asked: Sequence[tuple[bytes, Version]], wait_ms: int, deadline: float, done: Told
    ) -> None:
        """See `Dispatcher.receipts`."""

    def execute(self, command: Command, deadline: float, reply: Callable[[Reply], None]) -> None:
        """See `Dispatcher.execute`."""


class _Step:
    """A place in a line: `run` is due when it is at the head and `ready`."""

    __slots__ = ("ready", "run")

    def __init__(self, run: Callable[[], None], ready: bool) -> None:
        self.run, self.ready = run, ready


class Joining:
    """The joint writes of one dispatcher that are not answered, and the lines behind those whose fate is asked for."""

    def __init__(self, dispatcher: Sends) -> None:
        self._dispatcher = dispatcher
        self._waiting: dict[JointWrites, None] = {}
        self._resumed: dict[JointWrites, None] = {}
        self._lines: dict[str, deque[_Step]] = {}
        self._moving = ""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._resumed)

    @property
    def writes(self) -> int:
        """How many writes that is."""
        return sum(len(each.items) for each in (*self._waiting, *self._resumed))

    @property
    def is_asking(self) -> bool:
        """Whether there is any line."""
        return bool(self._lines)

    def stands_before(self, shard_id: str) -> bool:
        """Whether a write for that shard has to stand in line."""
        return shard_id in self._lines and shard_id != self._moving

    def line_up(self, shard_id: str, run: Callable[[], None], ready: bool = True) -> _Step:
        """Take the last place in the shard's line."""
        step = _Step(run, ready)
        self._lines.setdefault(shard_id, deque()).append(step)
        return step

    def move(self, shard_id: str) -> None:
        """Let those at the head of a line go that are ready."""
        line = self._lines.get(shard_id)
        if line is None or self._moving == shard_id:
            return
        before, self._moving = self._moving, shard_id
        while line and line[0].ready:
            line.popleft().run()
        self._moving = before
        if not line:
            del self._lines[shard_id]

    def take_in(self, writes: JointWrites, deadline_s: float) -> None:
        """See to writes that have just been begun."""
        writes.answered, writes.deadline_s = self._answered, deadline_s
        self._waiting[writes] = None
        self._dispatcher.sweep_soon()

    def sweep(self, now_s: float) -> None:
        """Answer those whose time is over: of their batch nobody knows yet."""
        for each in [each for each in self._waiting if each.deadline_s <= now_s]:
            text = "no answer within the deadline: the write may or may not take effect"
            self._finish(each, [_unknown(version, text) for _, _, version in each.items])

    def _answered(self, writes: JointWrites, reply: Reply) -> None:
        """Their batch is committed, or its leadership has ended."""
        if type(reply) is not Failure:
            return self._finish(writes, None)
        self._waiting.pop(writes, None)
        self._resumed[writes] = None
        self._dispatcher.retries[reply.code] += len(writes.items)
        _Resumed(self._dispatcher, self, writes, partial(self._finish, writes)).resume(reply)

    def _finish(self, writes: JointWrites, replies: list[Reply] | None) -> None:
        self._waiting.pop(writes, None)
        self._resumed.pop(writes, None)
        writes.finish(replies)


class _Resumed:
    """Joint writes whose leadership has ended: the replies so far."""

    def __init__(
        self, dispatcher: Sends, joining: Joining, writes: JointWrites, done: Callable[[list[Reply]], None]
    ) -> None:
        self._dispatcher, self._joining, self._writes, self._done = dispatcher, joining, writes, done
        self._shard_id = writes.items[0][2].shard
        self._replies: list[Reply | None] = [None] * len(writes.items)
        self._missing = len(writes.items)
        self._receipts: list[Receipt | Failure] = []

    def resume(self, failure: Failure) -> None:
        """Find out what became of each. `failure` is what their leader said last."""
        writes, joining = self._writes, self._joining
        if failure.code == OutcomeUnknown.code:
            step = joining.line_up(self._shard_id, self._act, ready=False)
            asked = [(key, version) for key, _, version in writes.items]
            wait_ms = max(0, int((writes.deadline_s - self._dispatcher.now()) * 1000))
            return self._dispatcher.receipts(asked, wait_ms, writes.deadline_s, partial(self._learned, step))
        for place in range(len(writes.items)):
            if failure.code in ROUTING_CODES:
                self._send_again(place)
            else:
                self._put(place, failure)

    def _learned(self, step: _Step, receipts: list[Receipt | Failure]) -> None:
        self._receipts, step.ready = receipts, True
        self._joining.move(self._shard_id)

    def _act(self) -> None:
        """It is their turn, and their fates are known."""
        for place, receipt in enumerate(self._receipts):
            version = self._writes.items[place][2]
            fate = receipt.fate if isinstance(receipt, Receipt) else Fate.PENDING
            if fate == Fate.COMMITTED:
                self._put(place, Written(True, version, None, AckLevel.QUORUM))
            elif fate == Fate.LOST:
                self._send_again(place)
            else:
                self._put(place, _unknown(version, "leadership was lost before it was committed, and it still may be"))

    def _send_again(self, place: int) -> None:
        """Of a write that was never executed, and never will be by what was done so far."""
        writes, dispatcher = self._writes, self._dispatcher
        if dispatcher.now() >= writes.deadline_s:
            text = "no leader answered within the deadline: not executed"
            return self._put(place, failure_of(NoLeader(text)))
        key, value, _ = writes.items[place]
        dispatcher.execute(Set(key, value), writes.deadline_s, partial(self._put, place))

    def _put(self, place: int, reply: Reply) -> None:
        self._replies[place] = reply
        self._missing -= 1
        if not self._missing:
            self._done([reply for reply in self._replies if reply is not None])


def _unknown(version: Version, text: str) -> Failure:
    return failure_of(OutcomeUnknown(text, version=str(version)))
