"""Writes held before they are executed, until their namespace's loss window has room (`on_exceeded: wait`).

    submit ──> no room ──> queue of the namespace ──> room, in order ──> executed as if it came now
                                  │  └─ its time is over: `loss_window_full`, not executed
                                  └─ leadership lost: `not_leader`, not executed

A held command has had no effect, so every way out of here is definite. It is given up shortly before its deadline,
for the answer to arrive in time, and never executed after that: a process that was stopped meanwhile gives up first.

**Repeats.** Of two commands with the same idempotency key both may be held. Once the first is executed, nobody may be
told that nothing was done under that key: the other one, when its time is over, gets the first one's reply, which needs
no room; and where leadership is lost, `outcome_unknown`.

**Order.** As long as a namespace has held commands, every other write command for it is held behind them, at any level,
before its key is even looked up: else the writes of a client that does not wait for its answers would change places.
One that asks for `quorum` loses nothing by that, since it cannot commit before what fills the window. Other namespaces,
reads, and repeats of what was executed are not held.

**When.** Room comes with commits (`room_made`), and the commands run in a turn of their own, a bounded number a turn;
the namespace at which the turn ends is the last one in the next. A timer gives up what is due, and tries the first of
each queue, for a changed policy makes room too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from raftcache.clock import Handle, Runtime
from raftcache.commands.policy import OnExceeded
from raftcache.commands.types import AckLevel, Failure, Reply
from raftcache.errors import Overloaded
from raftcache.shard.pipeline import PendingBatch, ReplyTo, deliver, outcome_unknown
from raftcache.shard.stats import ShardStats
from raftcache.shard.window import GAVE_UP, Exceeded, LossWindows
from raftcache.store.memory import MemoryBudget

HELD_COMMANDS_LIMIT = 4096
HELD_BYTES_LIMIT = 16 << 20
"""Of all held commands of a shard. They count as memory of the node."""
RESUMED_PER_TURN = 256
HELD_INTERVAL_S = 0.02
GIVE_UP_EARLY_S = 0.1
"""How long before its deadline a command is given up, or a quarter of its time if that is less."""


class Hold(Exception):
    """A command that is to be held: not executed. `exceeded` is None where it has only others before it."""

    def __init__(self, namespace_id: int, namespace: str, size_bytes: int, exceeded: Exceeded | None) -> None:
        super().__init__(namespace)
        self.namespace_id, self.namespace = namespace_id, namespace
        self.size_bytes, self.exceeded = size_bytes, exceeded


class Held(NamedTuple):
    """A command that is held, by which front end it came, and for how long at most."""

    source: str
    command: Any
    reply_to: ReplyTo
    give_up_s: float
    namespace: str
    size_bytes: int
    exceeded: Exceeded


class HeldCommands:
    """The held commands of one shard. `blocked` are the namespaces whose next write has to be held."""

    def __init__(
        self,
        runtime: Runtime,
        budget: MemoryBudget,
        stats: ShardStats,
        windows: LossWindows,
        execute: Callable[[str, Any], tuple[Reply, AckLevel | PendingBatch]],
        answer: Callable[[ReplyTo, Reply, AckLevel | PendingBatch], None],
        is_repeat: Callable[[Any], bool],
        leads_now: Callable[[], bool],
        not_leader: Callable[[], Failure],
    ) -> None:
        """`execute` runs a command of a front end or raises Hold, `answer` answers it when what it returned has come,
        and `is_repeat` tells whether a command was executed under its idempotency key by now."""
        self.blocked: set[int] = set()
        self.count = self.size_bytes = 0
        self._runtime, self._budget, self._stats, self._windows = runtime, budget, stats, windows
        self._execute, self._answer, self._is_repeat = execute, answer, is_repeat
        self._leads_now, self._not_leader = leads_now, not_leader
        self._queues: dict[int, deque[Held]] = {}
        self._timer: Handle | None = None
        self._scheduled = False

    def add(self, hold: Hold, command: Any, reply_to: ReplyTo, deadline_s: float, source: str = "") -> None:
        """Hold a command that came in by the front end `source`, or refuse it where too many are held."""
        if self.count >= HELD_COMMANDS_LIMIT:
            return deliver(reply_to, self._overloaded("held commands", HELD_COMMANDS_LIMIT, self.count))
        if self.size_bytes + hold.size_bytes > HELD_BYTES_LIMIT:
            return deliver(reply_to, self._overloaded("held bytes", HELD_BYTES_LIMIT, self.size_bytes))
        queue = self._queues.setdefault(hold.namespace_id, deque())
        exceeded = hold.exceeded or queue[-1].exceeded
        self._windows.note(hold.namespace, exceeded.bound, OnExceeded.WAIT.name.lower())
        now_s = self._runtime.now()
        give_up_s = deadline_s - min(GIVE_UP_EARLY_S, (deadline_s - now_s) / 4)
        queue.append(Held(source, command, reply_to, give_up_s, hold.namespace, hold.size_bytes, exceeded))
        self._account(1, hold.size_bytes)
        self.blocked.add(hold.namespace_id)
        if self._timer is None:
            self._timer = self._runtime.call_later(HELD_INTERVAL_S, self._tick)

    def room_made(self) -> None:
        """Something was committed: look in a moment who can go on."""
        if self._queues and not self._scheduled:
            self._scheduled = True
            self._runtime.call_soon(self._go_on)

    def drain(self) -> list[tuple[ReplyTo, bool]]:
        """The leadership is over: take everything out. To be called before the reply records are undone, which tell of
        each whether it is a repeat. `dismiss` answers them."""
        queues, self._queues = self._queues, {}
        self.blocked.clear()
        drained = [held for queue in queues.values() for held in queue]
        for held in drained:
            self._account(-1, -held.size_bytes)
        return [(held.reply_to, self._is_repeat(held.command)) for held in drained]

    def dismiss(self, drained: list[tuple[ReplyTo, bool]]) -> None:
        """Answer what was held when the leadership ended: nothing of it was executed."""
        for reply_to, is_repeat in drained:
            self._stats.outcomes_unknown += is_repeat
            deliver(reply_to, outcome_unknown(None) if is_repeat else self._not_leader())

    def _tick(self) -> None:
        self._timer = None
        self._go_on()
        if self._queues:
            self._timer = self._runtime.call_later(HELD_INTERVAL_S, self._tick)

    def _go_on(self) -> None:
        self._scheduled = False
        if self._queues and not self._leads_now():
            self.dismiss(self.drain())
        self._give_up(self._runtime.now())
        left = RESUMED_PER_TURN
        for namespace_id in list(self._queues):
            left = self._resume_some(namespace_id, left)
            if not left:
                self._put_last(namespace_id)
                return self.room_made()

    def _put_last(self, namespace_id: int) -> None:
        """A namespace that always has room and commands would else keep all others waiting."""
        queue = self._queues.pop(namespace_id, None)
        if queue is not None:
            self._queues[namespace_id] = queue

    def _give_up(self, now_s: float) -> None:
        """Answer those whose time is over."""
        due = []
        for namespace_id, queue in list(self._queues.items()):
            if any(held.give_up_s <= now_s for held in queue):
                due += [held for held in queue if held.give_up_s <= now_s]
                left = [held for held in queue if held.give_up_s > now_s]
                queue.clear()
                queue.extend(left)
                self._forget_if_empty(namespace_id)
        for held in due:
            self._account(-1, -held.size_bytes)
            if self._is_repeat(held.command):
                self._answer(held.reply_to, *self._execute(held.source, held.command))
                continue
            self._windows.note(held.namespace, held.exceeded.bound, GAVE_UP)
            error = held.exceeded.error(held.namespace, "it was held for room until its time was over")
            deliver(held.reply_to, self._stats.refusal(error))

    def _resume_some(self, namespace_id: int, left: int) -> int:
        """Execute from the front of a queue what there is room for; returns how many more may be in this turn."""
        while left and (queue := self._queues.get(namespace_id)):
            held = queue[0]
            self.blocked.discard(namespace_id)
            try:
                answer, waits_for = self._execute(held.source, held.command)
            except Hold:
                self.blocked.add(namespace_id)
                break
            left -= 1
            # Who is answered may send on at once, and has to queue behind those that are left.
            self.blocked.add(namespace_id)
            self._take_first(namespace_id)
            self._answer(held.reply_to, answer, waits_for)
        return left

    def _take_first(self, namespace_id: int) -> None:
        held = self._queues[namespace_id].popleft()
        self._account(-1, -held.size_bytes)
        self._forget_if_empty(namespace_id)

    def _forget_if_empty(self, namespace_id: int) -> None:
        if not self._queues[namespace_id]:
            del self._queues[namespace_id]
            self.blocked.discard(namespace_id)

    def _overloaded(self, what: str, limit: int, value: int) -> Failure:
        self._stats.overloaded[what] += 1
        said = f"{what} of this shard: {value} reach the limit of {limit}; try again later"
        return self._stats.refusal(Overloaded(said))

    def _account(self, commands: int, size_bytes: int) -> None:
        self.count += commands
        self.size_bytes += size_bytes
        self._budget.used_bytes += size_bytes
