"""A leader brings the policies that its node knows into the shard's log, and says when they hold everywhere.

**Proposing.** Whenever the node's view has namespaces that the log has not, the leader executes a policy point; a new
leader does so before its first command. With too many points under way it waits for one to commit, and takes what is
newest then. An epoch of the metadata that changes no namespace costs nothing, unless somebody asks whether the shard
follows it: then it gets a point that changes nothing. Otherwise a later leader whose node is behind could put an older
epoch's policies after one that was confirmed.

**Confirming** an epoch promises that whoever writes to the shard from now on, at whatever node, does so under its
policies or newer ones. Two things make that true. A point of that epoch, or of a later one, is committed, and synced by
a quorum where there are disks: all later leaders apply it before they serve, also after a loss of power. And no earlier
leader serves any more: one that was cut off goes on until its fallback time is over, without having heard of the point.
It counts that from what a quorum answered before it elected this leader, so it has stopped once as much time, and a
margin for the drift of two clocks, has passed since the election.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from raftcache.clock import Handle, Runtime
from raftcache.commands.namespaces import Namespaces
from raftcache.errors import NotLeader, Overloaded, RaftcacheError
from raftcache.shard.group import ShardGroup
from raftcache.shard.policies import Point, Policies, difference

MAX_PENDING_POINTS = 4
"""Policy points of a shard that are executed and not yet committed. Each holds a table of all namespaces."""

MAX_POLICY_WAITERS = 1024
"""Changes of policy that wait for one shard to confirm them."""

Confirmed: TypeAlias = Callable[["RaftcacheError | None"], None]
"""Called once: with None when the shard follows the epoch asked for, else with why nobody can say so."""


class _Waiter(NamedTuple):
    epoch: int
    deadline: float
    reply: Confirmed


class PolicyFollower:
    """The leader's part of following policies. `start` and `stop` bound one leadership."""

    def __init__(
        self,
        runtime: Runtime,
        policies: Policies,
        known: Callable[[], Namespaces],
        execute: Callable[[Point, Callable[[], None]], None],
    ) -> None:
        """`known` gives the namespaces as this node knows them; `execute(point, durable)` puts a point into the open
        batch and calls `durable` when nothing can undo it any more."""
        self._runtime, self._policies, self._known, self._execute = runtime, policies, known, execute
        self._group: ShardGroup | None = None
        self._compared_epoch = self._safe_epoch = -1
        self._waiting: list[_Waiter] = []
        self._timer: Handle | None = None

    @property
    def waiting(self) -> int:
        """Who waits for a confirmation."""
        return len(self._waiting)

    def start(self, group: ShardGroup) -> None:
        """Begin a leadership, of which everything applied is durable: execute the first point, if anything is new."""
        self._group, self._compared_epoch, self._safe_epoch = group, -1, self._policies.applied.epoch
        self.look()

    def stop(self, error: RaftcacheError) -> None:
        """The leadership is over: what it executed is undone, and who waits gets `error`."""
        self._group = None
        self._policies.abandon()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.reply(error)

    def confirm(self, epoch: int, deadline: float, reply: Confirmed) -> None:
        """Tell when the shard follows the metadata's `epoch`. Who has not been told by the `deadline` is forgotten."""
        now = self._runtime.now()
        self._waiting = [waiter for waiter in self._waiting if waiter.deadline > now]
        if self._group is None:
            reply(NotLeader("this replica does not lead"))
        elif len(self._waiting) >= MAX_POLICY_WAITERS:
            reply(Overloaded(f"changes of policy that wait for a shard must be at most {MAX_POLICY_WAITERS}"))
        else:
            self._waiting.append(_Waiter(epoch, deadline, reply))
            self.look()

    def look(self) -> None:
        """Something may be new: what the node knows, what is committed, who asks. Harmless where nothing is."""
        if self._group is None:
            return
        self._propose()
        if self._waiting:
            self._tell(self._group)

    def _propose(self) -> None:
        known, newest = self._known(), self._policies.newest
        if known.epoch <= newest.epoch or self._policies.pending >= MAX_PENDING_POINTS:
            return
        asked = any(newest.epoch < waiter.epoch <= known.epoch for waiter in self._waiting)
        if known.epoch == self._compared_epoch and not asked:
            return
        self._compared_epoch = known.epoch
        point = difference(newest, known)
        if point.names or asked:
            self._execute(point, lambda: self._durable(point.epoch))

    def _durable(self, epoch: int) -> None:
        if self._group is not None:
            self._safe_epoch = max(epoch, self._safe_epoch)
            self.look()

    def _tell(self, group: ShardGroup) -> None:
        wait_s = group.alone_from_s - self._runtime.now()
        if wait_s > 0:
            if self._timer is None:
                self._timer = self._runtime.call_later(wait_s, self._alone)
            return
        epoch = self._safe_epoch
        told = [waiter for waiter in self._waiting if waiter.epoch <= epoch]
        self._waiting = [waiter for waiter in self._waiting if waiter.epoch > epoch]
        for waiter in told:
            waiter.reply(None)

    def _alone(self) -> None:
        self._timer = None
        self.look()
