"""Transactions: commands and scripts of one shard, executed one after another with nothing between them, in one batch.

A batch is one log entry, so whoever leads next has all of a transaction or nothing of it, and no read ever sees a part.
For that the open batch is not sealed between the commands (`Pipeline.undivided`), which may make it as large as
`TRANSACTION_LIMIT_BYTES` and a batch together; what comes of the commands is bounded besides, for an append of one byte
may write a megabyte.

**What is looked at first**, before anything is executed: the bounds, that every key is this shard's and of a namespace
that it knows, that none of them is held up (`held`), and the versions that are expected. Where one of those does not
stand, the answer is `Unmet`, which reveals what does stand.

**Commands fail alone**, as in Redis: one that is refused has done nothing, and the others are executed all the same. A
command that would be held for room in its namespace's loss window waits for its commit instead, for it cannot be
executed at another time than the rest. A script that fails leaves what it has done, as it does outside. One whose
reply would show a value with which all replies are over `REPLIES_LIMIT_BYTES` is not executed: a reply that no message
can carry would leave everybody in doubt.

**Scripts** (`scripts`) run where they stand among the commands. All of a transaction's have one interpreter, which
bounds what they take together.

**The answer** leaves when all that the commands' own answers wait for has come: as they stand in one batch, it waits
for that at the highest level of theirs, and then none of them was acknowledged before. Where all could leave at once,
they count in the loss windows together; if one has no room for all, the answer waits for the commit, whatever the
policy says of writes that exceed it: what is executed cannot be refused any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from raftcache.commands.table import check_transaction
from raftcache.commands.types import Failure, Get, Many, Script, Transaction, Unmet
from raftcache.errors import ValueTooLarge
from raftcache.shard.executor import PRIMARY, QUORUM, Executed, Executor, Interpret, WaitsFor
from raftcache.shard.pipeline import Acknowledged
from raftcache.shard.scripts import require_keys, run_item
from raftcache.shard.undivided import Handlers, ItemAnswer, acknowledge, execute_item, highest, reached

REPLIES_LIMIT_BYTES = 12 << 20
"""Of the values in a transaction's replies. With the results of its scripts they fit into one message between nodes."""


def transaction(handlers: Handlers) -> Callable[[Executor, Transaction], Executed]:
    """The function that executes a transaction of scripts and of commands that `handlers` execute."""

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
            answers = _execute_all(ex, handlers, command.items)
        finally:
            ex.pipeline.undivided = None
        waits_for = highest([each for _, each in answers])
        if waits_for is PRIMARY and not acknowledge(ex, acknowledged):
            waits_for = QUORUM
        return Many(tuple([reached(answer, waits_for) for answer, _ in answers])), waits_for

    return execute


def _execute_all(ex: Executor, handlers: Handlers, items: Sequence[Any]) -> list[ItemAnswer]:
    interpret, room_bytes, answers = ex.interpreter(), REPLIES_LIMIT_BYTES, list[ItemAnswer]()
    for item in items:
        size_bytes = _revealed_bytes(ex, item)
        if size_bytes > room_bytes:
            answers.append((_too_long(ex), PRIMARY))
        else:
            room_bytes -= size_bytes
            answers.append(_execute(ex, handlers, interpret, item))
    return answers


def _revealed_bytes(ex: Executor, item: Any) -> int:
    """Of the value that an item's reply shows, of what stands there. Scripts have a bound of their own."""
    if type(item) is not Get and not getattr(item, "reveal", False):
        return 0
    entry = ex.keyspace.get(item.key)
    return 0 if entry is None else len(entry.value)


def _too_long(ex: Executor) -> Failure:
    text = f"replies: with this one's value those of the transaction are over {REPLIES_LIMIT_BYTES} bytes: not executed"
    return ex.stats.refusal(ValueTooLarge(text))


def _execute(ex: Executor, handlers: Handlers, interpret: Interpret, item: Any) -> ItemAnswer:
    if type(item) is Script:
        return run_item(ex, handlers, interpret, item)
    return execute_item(ex, handlers, item)


def _require_all(ex: Executor, command: Transaction) -> None:
    """Every key can be executed here, and now."""
    for item in command.items:
        if isinstance(item, Script):
            require_keys(ex, item)
        else:
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
