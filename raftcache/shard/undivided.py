"""Commands that stand together in the open batch, with nothing between them: what transactions and scripts share.

While they are executed the batch is not sealed (`Pipeline.undivided`), and none of them is answered, so none counts in
a loss window before all are done (`acknowledge`). Each fails alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace

from raftcache.commands.types import AckLevel, Counted, ItemReply, Scripted, Written
from raftcache.errors import Overloaded, RaftcacheError
from raftcache.shard.executor import DURABLE, PRIMARY, QUORUM, Answer, Executor, WaitsFor
from raftcache.shard.held import Hold
from raftcache.shard.pipeline import Acknowledged

Handlers = Mapping[type[Any], Callable[[Executor, Any], Any]]

ItemAnswer: TypeAlias = tuple[ItemReply, WaitsFor]
"""The reply of one of a transaction's commands, and what it waits for."""


def execute_item(ex: Executor, handlers: Handlers, item: Any) -> Answer:
    """Execute one of the commands that are to stand in the open batch. It fails alone, and is not held."""
    try:
        try:
            answer: Answer = handlers[type(item)](ex, item)
        except Hold:
            answer = _execute_unheld(ex, handlers, replace(item, ack=QUORUM))
    except RaftcacheError as error:
        answer = ex.stats.refusal(error), PRIMARY
    return answer


def _execute_unheld(ex: Executor, handlers: Handlers, item: Any) -> Answer:
    """A key that was not named beforehand may be of a namespace of which others are held."""
    try:
        answer: Answer = handlers[type(item)](ex, item)
    except Hold as hold:
        raise Overloaded(f"writes of namespace {hold.namespace!r} are held before this one: not executed") from None
    return answer


def acknowledge(ex: Executor, acknowledged: list[Acknowledged]) -> bool:
    """Count the writes as answered before they commit, if there is room for all of them."""
    windows, resolve = ex.pipeline.windows, ex.namespaces().resolve
    for id_, namespace in {id_: resolve(key) for id_, key, _, _ in acknowledged}.items():
        sizes = [size_bytes for of, _, _, size_bytes in acknowledged if of == id_]
        if sizes and not windows.has_room(namespace, len(sizes), sum(sizes)):
            return False
    for each in acknowledged:
        ex.pipeline.acknowledged(*each)
    return True


def highest(waits: list[WaitsFor]) -> AckLevel:
    """What all of them wait for. An older batch is committed before the one that they stand in."""
    if DURABLE in waits:
        return DURABLE
    return PRIMARY if all(each is PRIMARY for each in waits) else QUORUM


def reached(answer: Any, waits_for: AckLevel) -> Any:
    """A reply with the level that its write has truly reached when all of them are answered."""
    if waits_for is PRIMARY or not isinstance(answer, Written | Counted | Scripted):
        return answer
    return replace(answer, ack=max(answer.ack, waits_for))
