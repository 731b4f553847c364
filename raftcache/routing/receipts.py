"""Receipts over many shards: versions are grouped by the shard that gave them out, and each group goes to its leader.

A version names its shard, so that routes it. The key beside it is what the client believes to have written, and holds
it to account: the key's slot has to belong to that shard. A version of a shard that was lost and replaced is an error
that says so: what its successor was started from, if from anything, is not on record, so nobody can tell its fate.
A shard that this map does not know may be newer than the map; that is given UNKNOWN_SHARD_SECONDS to show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from raftcache.commands.types import Failure, Receipt, ReceiptList, Receipts, Reply, Version, failure_of
from raftcache.errors import BadRequest, InternalError, UnknownVersion
from raftcache.routing.request import Request

if TYPE_CHECKING:
    from raftcache.routing.dispatcher import Dispatcher

UNKNOWN_SHARD_SECONDS: Final = 1.0

Item = Receipt | Failure
ReceiptsDone = Callable[[list[Item]], None]


class ReceiptGather:
    """One question: the answers so far."""

    __slots__ = ("_asked", "_done", "_missing", "_results", "deadline", "dispatcher", "wait_until")

    def __init__(
        self,
        dispatcher: Dispatcher,
        asked: Sequence[tuple[bytes, Version]],
        wait_ms: int,
        deadline: float,
        done: ReceiptsDone,
    ) -> None:
        self.dispatcher, self.deadline = dispatcher, deadline
        self.wait_until = dispatcher.now() + wait_ms / 1000
        self._asked, self._done = asked, done
        self._results: list[Item | None] = [None] * len(asked)
        self._missing = 0

    def parts(self) -> list[ReceiptRequest]:
        """A request a shard. Where that is none, the question has been answered by now."""
        groups: dict[str, list[int]] = {}
        for place, (_, version) in enumerate(self._asked):
            groups.setdefault(version.shard, []).append(place)
        parts = [self._part(shard_id, places) for shard_id, places in groups.items()]
        if not parts:
            self._done([])
        self._missing = len(parts)
        return parts

    def key_is_of(self, place: int, shard_id: str) -> bool:
        """Whether the key beside a version lies in that shard."""
        return self.dispatcher.map.shard_of(self._asked[place][0]) == shard_id

    def _part(self, shard_id: str, places: list[int]) -> ReceiptRequest:
        versions = [self._asked[place][1] for place in places]

        def settled(reply: Reply) -> None:
            items: Sequence[Item | Reply] = reply.items if isinstance(reply, ReceiptList) else [reply] * len(places)
            self._put(places, items)

        return ReceiptRequest(self, shard_id, places, versions, settled)

    def _put(self, places: list[int], items: Sequence[Item | Reply]) -> None:
        for place, item in zip(places, items, strict=True):
            self._results[place] = item if isinstance(item, Receipt | Failure) else _wrong(item)
        self._missing -= 1
        if not self._missing:
            self._done([item for item in self._results if item is not None])


class ReceiptRequest(Request):
    """The versions of one shard. It goes from node to node like any request, but by the shard's id."""

    __slots__ = ("_gather", "_of", "_places", "_versions", "_wrong_places")

    def __init__(
        self,
        gather: ReceiptGather,
        shard_id: str,
        places: list[int],
        versions: list[Version],
        reply: Callable[[Reply], None],
    ) -> None:
        super().__init__(gather.dispatcher, Receipts(()), b"", gather.deadline, reply)
        self._gather, self._of, self._places, self._versions = gather, shard_id, places, versions
        self._wrong_places: set[int] = set()
        self.shard_id = shard_id

    def attempt(self) -> None:
        """Ask the replica on this node, if there is one, then the leader and the others, or park."""
        dispatcher = self._dispatcher
        if self._attempt and dispatcher.now() >= self.deadline:
            return self.expire()
        self._attempt += 1
        self.epoch = dispatcher.map.epoch
        if self._of not in dispatcher.map.shards:
            return self._unknown_shard()
        self.deadline = self._gather.deadline
        self._sort_out()
        if len(self._wrong_places) == len(self._places):
            return self.on_reply(ReceiptList(()))
        replica = dispatcher.local(self._of)
        if replica is None or self._was_tried(dispatcher.node_id, 0):
            return self._attempt_elsewhere(self._of)
        self.out = True
        self._sent_node, self._sent_term = dispatcher.node_id, 0
        replica.receipts(self.command, self.on_reply)
        if not self.done:
            dispatcher.track(self)

    def finish(self, reply: Reply) -> None:
        """Answer, with an error for each version whose key is another shard's."""
        super().finish(self._whole(reply) if isinstance(reply, ReceiptList) else reply)

    def expire(self) -> None:
        """The deadline has come; or no shard of that id has shown."""
        if self._of in self._dispatcher.map.shards or not self._dispatcher.map.epoch:
            return super().expire()
        self.finish(failure_of(UnknownVersion(f"version {self._versions[0]}: this cluster has no such shard")))

    def _sort_out(self) -> None:
        """The command for now: what is left of the wait, and only versions whose keys are the shard's."""
        wait_ms = max(0, round((self._gather.wait_until - self._dispatcher.now()) * 1000))
        self._wrong_places = {place for place in self._places if not self._gather.key_is_of(place, self._of)}
        asked = zip(self._places, self._versions, strict=True)
        self.command = Receipts(tuple(v for place, v in asked if place not in self._wrong_places), wait_ms)

    def _unknown_shard(self) -> None:
        dispatcher = self._dispatcher
        successor = dispatcher.view.state.replacement(self._of)
        if successor is not None:
            text = f"version {self._versions[0]}: shard {self._of} was lost and replaced by {successor}"
            return self.finish(failure_of(UnknownVersion(f"{text}; what became of its writes is not known")))
        if self.epoch:
            self.deadline = min(self.deadline, dispatcher.now() + UNKNOWN_SHARD_SECONDS)
        dispatcher.view.refresh()
        self._park()

    def _whole(self, reply: ReceiptList) -> Reply:
        expected = len(self._places) - len(self._wrong_places)
        if len(reply.items) != expected:
            return failure_of(InternalError(f"shard {self._of} answered {len(reply.items)} of {expected} versions"))
        answers = iter(reply.items)
        pairs = zip(self._places, self._versions, strict=True)
        return ReceiptList(
            tuple(_strange(version) if place in self._wrong_places else next(answers) for place, version in pairs)
        )


def _strange(version: Version) -> Failure:
    text = f"version: {version} is of shard {version.shard}, and the key's slot belongs to another shard"
    return failure_of(BadRequest(text))


def _wrong(reply: object) -> Failure:
    return failure_of(InternalError(f"receipts were answered by {type(reply).__name__}"))
