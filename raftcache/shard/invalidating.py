"""A leader drops tags, and says when no reader will see what they carried.

The drop is one effect, and holds from when it is executed: what carries the tag is a miss. It is confirmed under the
same two conditions as a policy point (`following`): that it is committed, and synced by a quorum where there are disks,
so that every later leader has it before it serves; and that no earlier leader serves any more, which goes on until its
fallback time is over without having heard of it. Whoever asked and hears that leadership was lost asks the next leader,
which drops the tag again. That harms nothing: what was written in between may be dropped as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from raftcache.clock import Handle, Runtime
from raftcache.commands.policy import DEFAULT, Namespace
from raftcache.commands.table import check_tag
from raftcache.commands.types import Failure, Many, Reply
from raftcache.errors import NotFollowing, NotLeader, Overloaded, RaftcacheError, UnknownNamespace, from_wire
from raftcache.shard.executor import Executor
from raftcache.shard.group import ShardGroup

MAX_DROP_WAITERS = 1024
"""Drops of one shard that are executed and not confirmed."""

Dropped: TypeAlias = Callable[["RaftcacheError | None"], None]
"""Called once: with None when the drop holds for all readers, else with why nobody can say so."""


class TagDrops:
    """The leader's part of dropping tags. `start` and `stop` bound one leadership."""

    def __init__(self, runtime: Runtime, executor: Executor) -> None:
        self._runtime, self._executor = runtime, executor
        self._group: ShardGroup | None = None
        self._under_way = 0
        self._waiting: list[Dropped] = []
        self._timer: Handle | None = None

    @property
    def waiting(self) -> int:
        """Drops that are executed and not confirmed."""
        return self._under_way + len(self._waiting)

    def start(self, group: ShardGroup) -> None:
        """Begin a leadership."""
        self._group, self._under_way = group, 0

    def stop(self, error: RaftcacheError) -> None:
        """The leadership is over: who waits gets `error`. The pipeline answers those whose drop is not committed."""
        self._group = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            reply(error)

    def drop(self, namespace: str, tag: str, named_at: int, reply: Dropped) -> None:
        """Execute a drop, and confirm it once it holds for all readers."""
        try:
            self._execute(namespace, tag, named_at)
        except RaftcacheError as error:
            self._executor.stats.refusal(error)
            return reply(error)
        self._under_way += 1
        self._executor.pipeline.wait(lambda answer: self._durable(answer, reply), Many(()), durable=True)

    def _execute(self, namespace: str, tag: str, named_at: int) -> None:
        """Raises BadRequest, UnknownNamespace, NotFollowing, Overloaded."""
        ex = self._executor
        check_tag(tag)
        space = self._space(namespace, named_at)
        if self.waiting >= MAX_DROP_WAITERS:
            ex.stats.overloaded["drops of tags"] += 1
            raise Overloaded(f"drops of tags that wait for a shard must be at most {MAX_DROP_WAITERS}")
        ex.pipeline.admit()
        ex.drop_tag(space, tag)

    def _space(self, name: str, named_at: int) -> Namespace:
        namespaces = self._executor.namespaces()
        if name == DEFAULT:
            return namespaces.default
        space = namespaces.by_name.get(name)
        if space is not None:
            return space
        if namespaces.epoch >= named_at:
            raise UnknownNamespace(f"namespace {name!r} does not exist", namespace=name)
        raise NotFollowing(f"shard {self._executor.shard_id} does not know namespace {name!r} yet", namespace=name)

    def _durable(self, answer: Reply, reply: Dropped) -> None:
        """Nothing undoes it any more; or its leadership was lost before."""
        self._under_way -= 1
        if isinstance(answer, Failure):
            reply(from_wire({"code": answer.code, "message": answer.message, "details": answer.details}))
        elif self._group is None:
            reply(NotLeader("this replica does not lead"))
        else:
            self._waiting.append(reply)
            self._tell(self._group)

    def _tell(self, group: ShardGroup) -> None:
        wait_s = group.alone_from_s - self._runtime.now()
        if wait_s > 0:
            if self._timer is None:
                self._timer = self._runtime.call_later(wait_s, self._alone)
            return
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            reply(None)

    def _alone(self) -> None:
        self._timer = None
        if self._group is not None:
            self._tell(self._group)
