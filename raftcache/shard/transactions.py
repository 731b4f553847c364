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
for that at the highest level of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from raftcache.commands.table import check_transaction
from raftcache.commands.types import Many, Transaction, Unmet
from raftcache.errors import Overloaded, RaftcacheError
from raftcache.shard.executor import DURABLE, PRIMARY, QUORUM, Answer, Executed, Executor, WaitsFor
from raftcache.shard.held import Hold

Handlers = Mapping[type[Any], Callable[[Executor, Any], Any]]


def transaction(handlers: Handlers) -> Callable[[Executor, Transaction], Executed]:
    """The function that executes a transaction of commands that `handlers` execute."""

    def execute(ex: Executor, command: Transaction) -> Executed:
        """Raises what is found before anything is executed: BadRequest, TooManyKeys, WrongShard, Hold…"""
        check_transaction(command)
        _require_all(ex, command)
        ex.pipeline.admit()
        ex.pipeline.undivided = True
        try:
            unmet = _first_unmet(ex, command)
            if unmet is not None:
                return unmet
            answers = [execute_item(ex, handlers, item) for item in command.items]
        finally:
            ex.pipeline.undivided = False
        return Many(tuple([answer for answer, _ in answers])), highest([waits_for for _, waits_for in answers])

    return execute


def _require_all(ex: Executor, command: Transaction) -> None:
    """Every key can be executed here, and now."""
    for item in command.items:
        namespace = ex.resolve(item)
        ex.in_turn(namespace, item.key, len(getattr(item, "value", b"")))
    for key, _ in command.expected:
        ex.require_own(key)


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


def highest(waits: list[WaitsFor]) -> WaitsFor:
    """What all of them wait for. An older batch is committed before the one that the transaction stands in."""
    if DURABLE in waits:
        return DURABLE
    return PRIMARY if all(each is PRIMARY for each in waits) else QUORUM
