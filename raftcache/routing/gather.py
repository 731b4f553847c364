"""Multi-key commands: scattered over shards, gathered in the order asked.

Each shard gets one sub-command with its keys; the answers find their places again by index. A part whose map has
become old scatters anew, for its keys may lie on several shards by now; of a write that is in doubt each key keeps its
number. There is no atomicity across shards, and every key has its own result, a `Failure` where its shard gave none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from raftcache.commands.types import Failure, Many, Multi, Reply, failure_of
from raftcache.errors import InternalError, OutcomeUnknown
from raftcache.routing.request import Request
from raftcache.routing.retry import cleared_of_doubt, is_read, may_retry

if TYPE_CHECKING:
    from raftcache.routing.dispatcher import Dispatcher


class Gather:
    """One multi-key command: the results so far."""

    __slots__ = ("_missing", "_reply", "_results", "command", "deadline", "dispatcher")

    def __init__(self, dispatcher: Dispatcher, command: Multi, deadline: float, reply: Callable[[Reply], None]) -> None:
        self.dispatcher = dispatcher
        self.command = command
        self.deadline = deadline
        self._reply = reply
        self._results: list[Any] = [None] * len(command.items)
        self._missing = len(command.items)

    def parts(self, indices: Sequence[int]) -> list[Part]:
        """The items at `indices`, one part a shard by the map of now; those without a shard are one part."""
        routes = self.dispatcher.map
        groups: dict[str | None, list[int]] = {}
        for index in indices:
            groups.setdefault(routes.shard_of(self.command.items[index].key), []).append(index)
        return [Part(self, group, routes.epoch) for group in groups.values()]

    def put(self, index: int, result: Any) -> None:
        """One key's result. With the last one, the caller is answered."""
        self._results[index] = result
        self._missing -= 1
        if self._missing == 0:
            self._reply(Many(tuple(self._results)))


class Part(Request):
    """The keys of one shard. It retries like any request, but only the keys that have no result yet."""

    __slots__ = ("_gather", "_grouped_at", "indices")

    def __init__(self, gather: Gather, indices: list[int], epoch: int) -> None:
        self._gather = gather
        self._grouped_at = epoch
        self.indices = indices
        command = _sub_command(gather.command, indices)
        super().__init__(gather.dispatcher, command, command.items[0].key, gather.deadline, self._settle)

    def attempt(self) -> None:
        """As for any request, but under another map the keys are grouped anew first."""
        if self._dispatcher.map.epoch == self._grouped_at or (self._attempt and self._is_late()):
            return super().attempt()
        self.done = True
        self._dispatcher.forget(self)
        parts = self._gather.parts(self.indices)
        if self._in_doubt and self._numbers:
            self._hand_over(parts)
        elif self._numbers:
            self._leave_numbers()
        for part in parts:
            part.attempt()

    def _hand_over(self, parts: list[Part]) -> None:
        """Let other parts go on with the numbers of this one, which is in doubt."""
        number_of = dict(zip(self.indices, self._numbers, strict=True))
        for part in parts:
            part._in_doubt, part._numbered_at = True, self._numbered_at
            part._numbers = tuple([number_of[index] for index in part.indices])

    def on_reply(self, reply: Reply) -> None:
        """Keep the results that are final; go on with the keys whose failure may be tried again."""
        if self.done or type(reply) is not Many:
            return super().on_reply(reply)
        if len(reply.items) != len(self.indices):
            wrong = f"shard {self.shard_id} answered {len(reply.items)} of {len(self.indices)} keys"
            return self.finish(failure_of(InternalError(wrong)))
        twice = self._is_repeatable()
        again = [at for at, item in enumerate(reply.items) if type(item) is Failure and may_retry(item, twice)]
        if self._in_doubt:
            reply = _cleared(reply, again)
        if not again:
            return self.finish(reply)
        self._keep_only(again, reply)
        failures = [item for at in again if type(item := reply.items[at]) is Failure]
        self._in_doubt |= any(item.code == OutcomeUnknown.code and not is_read(self.command) for item in failures)
        super().on_reply(failures[0])

    def _keep_only(self, again: list[int], reply: Many) -> None:
        final = set(range(len(self.indices))) - set(again)
        for at in sorted(final):
            self._gather.put(self.indices[at], reply.items[at])
        if self._numbers:
            for at in final:
                self._dispatcher.session.settle(self._numbered_at, self._numbers[at])
            self._numbers = tuple([self._numbers[at] for at in again])
        self.indices = [self.indices[at] for at in again]
        self.command = _sub_command(self._gather.command, self.indices)
        self.key = self._gather.command.items[self.indices[0]].key

    def _items(self) -> int:
        return len(self.indices)

    def _settle(self, reply: Reply) -> None:
        items: Sequence[Reply] = reply.items if type(reply) is Many else [reply] * len(self.indices)
        for index, item in zip(self.indices, items, strict=True):
            self._gather.put(index, item)


def _cleared(reply: Many, again: list[int]) -> Many:
    """What the items of a write in doubt are answered with; those at `again` are not answered yet."""
    items = list(reply.items)
    for at, item in enumerate(items):
        if type(item) is Failure and at not in again:
            items[at] = cleared_of_doubt(item)
    return Many(tuple(items))


def _sub_command(command: Multi, indices: Sequence[int]) -> Any:
    """The same kind of command for some of its items."""
    if len(indices) == len(command.items):
        return command
    items: Any = tuple(command.items[index] for index in indices)
    return type(command)(items)
