"""This node's replicas: opened off the loop, closed, and renewed where they are lost.

**Numbers.** A replica goes by (node, incarnation, number). The number is the storage's word, whatever the metadata
state says: it was raised before the files went, so what runs under it never speaks for what was lost. Only number 0
may be one of a group's first members.

**Opening** reads files and decodes a snapshot, which takes seconds for a large shard, so it happens off the loop, a few
groups at a time; the group itself starts on the loop. A group that is being opened, renewed or set aside stands in
`busy`, and nothing else is done to it until that is over.

A replica whose disk refuses to be read or written is `refused`, and tried again every `RETRY_S`.

**Losing one.** Files that are damaged, or an entry taken back that was applied, mean that the replica must not speak
for what it acknowledged: it is closed, set aside under its old number, and opened again, empty, under the next one. The
metadata leader hears of the number and swaps the members. A disk that damages every replica put on it would go on so
for ever, so after `RENEWALS_LIMIT` times within `RENEWALS_WINDOW_S` the replica stays closed, and `refused` says why.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from raftcache.clock import Runtime
from raftcache.consensus import Group, Host, MemberId, StateMachine, prepare_group
from raftcache.consensus.compaction import SnapshotTaken
from raftcache.errors import Overloaded
from raftcache.node.storage import NodeStorage
from raftcache.wal.api import GroupStorage
from raftcache.wal.errors import Damaged
from raftcache.wal.storage import is_continued

log = logging.getLogger("raftcache.node")

OPENING_AT_ONCE = 2
"""Groups read at the same time: decoding is Python's work, and more threads would only keep the loop from its turn."""

RENEWALS_LIMIT = 3
"""Renewals of one group within `RENEWALS_WINDOW_S`."""

RENEWALS_WINDOW_S = 60.0

OPENING = "opening"

TAKE_AGAIN_S = 0.05
"""After a snapshot that was not taken, or was too old."""
RETRY_S = 2.0
"""Before a replica that the disk refused is tried again."""

PROGRESS_LOG_S = 2.0
"""Between two lines about what is being opened."""

T = TypeVar("T")


class Abandoned(Exception):
    """The process stops, or the replica is not wanted any more: what is being read is of no use."""


Progress = Callable[[int, int], None]
"""How many keys are restored, of about how many; raises Abandoned."""


class Plan(NamedTuple):
    """How to open a group, now and again after a loss: its first members, what makes a fresh machine (which tells how
    its restore goes on), and who is told that the group is open or closed."""

    group_id: str
    bootstrap: tuple[MemberId, ...]
    make: Callable[[Progress], StateMachine]
    opened: Callable[[Group, Any], None]
    closed: Callable[[], None]
    always: bool = False
    """Whether its log is synced before anything that speaks of it leaves, whatever the settings say."""


@dataclass(slots=True)
class Busy:
    """A group that something is being done to. `keys` of `total` are restored; a `total` of 0 is not known."""

    group_id: str
    doing: str
    keys: int = 0
    total: int = 0
    abandoned: bool = False
    then: Callable[[], None] | None = None

    def restored(self, keys: int, total: int) -> None:
        """Note progress; off the loop. Raises Abandoned where it is of no use any more."""
        if self.abandoned:
            raise Abandoned(self.group_id)
        self.keys, self.total = keys, total

    def describe(self) -> str:
        """For people."""
        if self.doing != OPENING or not self.keys:
            return self.doing
        return f"restored {self.keys:,}" + (f" of {self.total:,} keys" if self.total else " keys")


class Replicas:
    """All groups of one node, between its storage and its consensus host."""

    def __init__(
        self, runtime: Runtime, host: Host, storage: NodeStorage, node_id: str, incarnation: str
    ) -> None:
        self.busy: dict[str, Busy] = {}
        self.refused: dict[str, str] = {}
        """Groups whose replica here stays closed, and why."""
        self._told: dict[str, str] = {}
        self.renewals = 0
        self.storage = storage
        self.held = set(storage.held())
        self._runtime, self._host = runtime, host
        self._node_id, self._incarnation = node_id, incarnation
        self._waiting: deque[tuple[Plan, Busy]] = deque()
        self._reading = 0
        self._renewed_at: dict[str, deque[float]] = {}
        self._stopped: Callable[[], None] | None = None
        self._whole = True
        self._logging = False

    # -- opening ---------------------------------------------------------------------------------

    def member(self, group_id: str) -> MemberId:
        """Under which identity this node holds a group."""
        return MemberId(self._node_id, self._incarnation, self.storage.replica(group_id))

    def open(self, plan: Plan) -> None:
        """Open a group, unless it is open, refused or busy."""
        group_id = plan.group_id
        if group_id in self._host.groups or group_id in self.refused or group_id in self.busy:
            return
        self._enqueue(plan)

    def _enqueue(self, plan: Plan) -> None:
        self._waiting.append((plan, self._begin(plan.group_id, OPENING)))
        self._read_next()

    def _begin(self, group_id: str, doing: str) -> Busy:
        busy = self.busy[group_id] = Busy(group_id, doing)
        if not self._logging:
            self._logging = True
            self._runtime.call_later(PROGRESS_LOG_S, self._log_progress)
        return busy

    def _read_next(self) -> None:
        while self._waiting and self._reading < OPENING_AT_ONCE:
            self._reading += 1
            self._read(*self._waiting.popleft())

    def _read(self, plan: Plan, busy: Busy) -> None:
        machine = plan.make(busy.restored)

        def work() -> tuple[GroupStorage, Any]:
            busy.restored(0, 0)
            storage = self.storage.open(plan.group_id)
            try:
                return storage, prepare_group(storage, machine)
            except BaseException:
                storage.log.close()
                raise

        self._runtime.offload(work, lambda result: self._was_read(plan, busy, machine, result))

    def _was_read(
        self, plan: Plan, busy: Busy, machine: StateMachine, result: tuple[GroupStorage, Any] | BaseException
    ) -> None:
        self._reading -= 1
        self._read_next()
        if busy.abandoned and isinstance(result, tuple):
            result[0].log.close()
        if busy.abandoned:
            self._over(busy)
        elif isinstance(result, BaseException):
            self._failed(plan, busy, result)
        else:
            self._start(plan, busy, machine, *result)

    def _start(self, plan: Plan, busy: Busy, machine: StateMachine, storage: GroupStorage, prepared: Any) -> None:
        group_id = plan.group_id
        number = self.storage.replica(group_id)
        bootstrap = plan.bootstrap if number == 0 else ()
        try:
            group = self._host.open_group(
                group_id, storage, machine, number, bootstrap, always=plan.always, prepared=prepared
            )
        except (OSError, Damaged) as error:
            storage.log.close()
            self._failed(plan, busy, error)
            return
        group.on_lost = lambda reason: self._lost(plan, group, reason)
        self.held.add(group_id)
        plan.opened(group, machine)
        self._over(busy)

    def _failed(self, plan: Plan, busy: Busy, error: BaseException) -> None:
        if isinstance(error, Damaged):
            self._renew(plan, str(error))
        else:
            self.refuse(plan.group_id, f"{error}")
            self._over(busy)
            if isinstance(error, OSError | Overloaded):
                self._retry_later(plan.group_id, lambda: self.open(plan))

    def _retry_later(self, group_id: str, again: Callable[[], None]) -> None:
        """What the disk refuses, it may allow again. Given up where somebody has done something else meanwhile."""
        reason = self.refused[group_id]

        def retry() -> None:
            if self._stopped is None and self.refused.get(group_id) is reason:
                del self.refused[group_id]
                again()

        self._runtime.call_later(RETRY_S, retry)

    def refuse(self, group_id: str, reason: str) -> None:
        """Leave a replica closed."""
        if self._told.get(group_id) != reason:
            log.error("%s: this node's replica is not started: %s", group_id, reason)
        self.refused[group_id] = self._told[group_id] = reason

    # -- losing ----------------------------------------------------------------------------------

    def _lost(self, plan: Plan, group: Group, reason: str) -> None:
        """May be called in the middle of a step of the group, so it ends that step first."""

        def close_and_renew() -> None:
            if self._host.groups.get(plan.group_id) is group and self._stopped is None:
                self._close(plan)
                self._renew(plan, reason)

        self._runtime.call_soon(close_and_renew)

    def _close(self, plan: Plan) -> None:
        self._host.close_group(plan.group_id)
        plan.closed()

    def _renew(self, plan: Plan, reason: str) -> None:
        group_id = plan.group_id
        busy = self._begin(group_id, "being set aside, to come back empty")
        if not self._may_renew(group_id):
            self.refuse(group_id, f"lost {RENEWALS_LIMIT + 1} times in {RENEWALS_WINDOW_S:.0f} s, at last: {reason}")
            self._over(busy)
            return
        log.error("%s: this node's replica is lost and comes back empty, as a new member: %s", group_id, reason)
        self.renewals += 1
        self._set_aside(busy, True, lambda: self._enqueue(plan))

    @property
    def renewed(self) -> frozenset[str]:
        """The groups of which this process has lost a replica."""
        return frozenset(self._renewed_at)

    def _may_renew(self, group_id: str) -> bool:
        now = self._runtime.now()
        times = self._renewed_at.setdefault(group_id, deque(maxlen=RENEWALS_LIMIT))
        if len(times) == RENEWALS_LIMIT and now - times[0] < RENEWALS_WINDOW_S:
            return False
        times.append(now)
        return True

    # -- setting aside ---------------------------------------------------------------------------

    def retire(self, group_id: str, *, keep: bool, then: Callable[[], None] | None = None) -> None:
        """Close a replica for good: set it aside (`keep`) or remove it, under a raised number; then call `then`."""

        def set_aside() -> None:
            busy = self._begin(group_id, "being set aside" if keep else "being removed")
            self._set_aside(busy, keep, then or (lambda: None))

        self.refused.pop(group_id, None)
        self._host.close_group(group_id)
        self.when_idle(group_id, set_aside)

    def _set_aside(self, busy: Busy, keep: bool, then: Callable[[], None]) -> None:
        group_id = busy.group_id

        def again() -> None:
            self._set_aside(self._begin(group_id, busy.doing), keep, then)

        def done(result: object) -> None:
            if isinstance(result, BaseException):
                self.refuse(group_id, f"it cannot be set aside: {result}")
                self._over(busy)
                self._retry_later(group_id, again)
                return
            self.held.discard(group_id)
            self._over(busy)
            if not busy.abandoned:
                then()

        self._runtime.offload(lambda: self.storage.renew(group_id, keep=keep), done)

    def close(self, group_id: str) -> None:
        """Stop a replica; its files stay."""
        self._host.close_group(group_id)

    def write_down(self, group_id: str, then: Callable[[], None]) -> None:
        """Call `then` when the storage of a group holds all that the group holds, be it closed at once. Where there is
        no disk, the log is cut without a snapshot, and what is applied is nowhere but in the machine."""
        group = self._host.groups.get(group_id)
        if group is None or group.storage.log.on_disk:
            return then()
        busy = self._begin(group_id, "being written down")

        def over() -> None:
            self._over(busy)
            if not busy.abandoned and not self.stopping:
                then()

        def take() -> None:
            """Nothing else holds the state: tried until it is held, for one under way may be too old by its end."""
            storage = group.storage
            if group.stopped or busy.abandoned or is_continued(storage.log, storage.snapshots.latest()):
                over()
            else:
                group.take_snapshot(done)

        def done(outcome: SnapshotTaken | str) -> None:
            if isinstance(outcome, str):
                log.warning("%s: no snapshot of it: %s", group_id, outcome)
            self._runtime.call_later(TAKE_AGAIN_S, take)  # This is the middle of a step of the group.

        take()

    def is_empty(self, group_id: str) -> bool:
        """Whether a replica is open and knows nothing of its group yet."""
        group = self._host.groups.get(group_id)
        return group is not None and not group.members and group.last_index == 0

    def is_ending(self, group_id: str) -> bool:
        """Whether the group is being closed, or will be once it is open."""
        busy = self.busy.get(group_id)
        return busy is not None and (busy.abandoned or busy.doing != OPENING)

    def when_idle(self, group_id: str, then: Callable[[], None]) -> None:
        """Call `then` now, or once what is being done to the group is over; an opening is broken off for that."""
        busy = self.busy.get(group_id)
        if busy is None:
            then()
        else:
            busy.abandoned, busy.then = True, then

    def run_on(
        self, group_id: str, doing: str, work: Callable[[], T], done: Callable[[T | BaseException], None]
    ) -> None:
        """Do something else off the loop to a group that is neither open nor busy."""
        busy = self._begin(group_id, doing)

        def over(result: T | BaseException) -> None:
            self._over(busy)
            if not busy.abandoned:
                done(result)

        self._runtime.offload(work, over)

    def _over(self, busy: Busy) -> None:
        if self.busy.get(busy.group_id) is busy:
            del self.busy[busy.group_id]
        if self._stopped is not None:
            self._finish_stop()
        elif busy.then is not None:
            busy.then()

    # -- stopping, watching ----------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped is not None

    def stop(self, whole: bool, done: Callable[[], None]) -> None:
        """Call `done` when nothing is under way any more and the storage is closed. Every group is closed already;
        `whole`: all that they had is on disk."""
        self._stopped, self._whole = done, whole
        for _, busy in self._waiting:
            self.busy.pop(busy.group_id, None)
        self._waiting.clear()
        for busy in self.busy.values():
            busy.abandoned = True
        self._finish_stop()

    def _finish_stop(self) -> None:
        done = self._stopped
        if done is not None and not self.busy:
            self._stopped = lambda: None
            if self._whole:
                self.storage.close()
            done()

    def _log_progress(self) -> None:
        self._logging = bool(self.busy) and self._stopped is None
        if self._logging:
            for busy in self.busy.values():
                log.info("%s: %s", busy.group_id, busy.describe())
            self._runtime.call_later(PROGRESS_LOG_S, self._log_progress)
