"""Transactions: single-key commands of one shard, executed one after another with nothing between them, in one batch.

A batch is one log entry, so whoever leads next has all of a transaction or nothing of it, and no read ever sees a part.
For that the open batch is not sealed between the commands (`Pipeline.undivided`), which may make it as large as
`TRANSACTION_LIMIT_BYTES` and a batch together; what comes of the commands is bounded besides, for an append of one byte
may write a megabyte.

**What is looked at first**, before anything is executed: the bounds, that every key is this shard's and of a namespace
that it knows, that none of them is held up (`held`), and the versions that are expected. Where one of those does not
stand, the answer is `Unmet`, which reveals what does stand.

**Commands fail alone**, as in Redis: one that is refused has done nothing, and the others are executed all the same. A
command that would be held for room in its namespace's loss window waits for its commit instead, for it cannot be
executed at another time than the rest.

**The answer** leaves when all that the commands' own answers wait for has come: as they stand in one batch, it waits
for that at the highest level of theirs, and then none of them was acknowledged before. Where all could leave at once,
they count in the loss windows together; if one has no room for all, the answer waits for the commit, whatever the
policy says of writes that exceed it: what is executed cannot be refused any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from raftcache.commands.table import check_transaction
from raftcache.commands.types import AckLevel, Counted, Many, Transaction, Unmet, Written
from raftcache.errors import Overloaded, RaftcacheError
from raftcache.shard.executor import DURABLE, PRIMARY, QUORUM, Answer, Executed, Executor, WaitsFor
from raftcache.shard.held import Hold
from raftcache.shard.pipeline import Acknowledged

Handlers = Mapping[type[Any], Callable[[Executor, Any], Any]]


def transaction(handlers: Handlers) -> Callable[[Executor, Transaction], Executed]:
    """The function that executes a transaction of commands that `handlers` execute."""

    def execute(ex: Executor, command: Transaction) -> Executed:
        """Raises what is found before anything is executed: BadRequest, TooManyKeys, WrongShard, Hold…"""
        check_transaction(command)
        _require_all(ex, command)
        ex.pipeline.admit()
        acknowledged: list[Acknowledged] = []
        ex.pipeline.undivided = acknowledged
        try:
            unmet = _first_unmet(ex, command)
            if unmet is not None:
                return unmet
            answers = [execute_item(ex, handlers, item) for item in command.items]
        finally:
            ex.pipeline.undivided = None
        waits_for = highest([each for _, each in answers])
        if waits_for is PRIMARY and not acknowledge(ex, acknowledged):
            waits_for = QUORUM
        return Many(tuple([_reached(answer, waits_for) for answer, _ in answers])), waits_for

    return execute


def _require_all(ex: Executor, command: Transaction) -> None:
    """Every key can be executed here, and now."""
    for item in command.items:
        namespace = ex.resolve(item)
        ex.in_turn(namespace, item.key, len(getattr(item, "value", b"")))
    for key, _ in command.expected:
        ex.require_own(key)


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


def _reached(answer: Any, waits_for: WaitsFor) -> Any:
    """The level that a write has truly reached when all of them are answered."""
    if waits_for is PRIMARY or not isinstance(answer, Written | Counted):
        return answer
    return replace(answer, ack=max(answer.ack, DURABLE if waits_for == DURABLE else QUORUM))


def _first_unmet(ex: Executor, command: Transaction) -> tuple[Unmet, WaitsFor] | None:
    for key, version in command.expected:
        namespace = ex.namespaces().resolve(key)
        entry = ex.lookup(key, namespace)
        if version != (None if entry is None else ex.version_of(entry)):
            _, waits_for, _ = ex.showing(key, PRIMARY, namespace)
            return Unmet(key), waits_for
    return None


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


def highest(waits: list[WaitsFor]) -> AckLevel:
    """What all of them wait for. An older batch is committed before the one that the transaction stands in."""
    if DURABLE in waits:
        return DURABLE
    return PRIMARY if all(each is PRIMARY for each in waits) else QUORUM
