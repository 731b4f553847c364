"""Scripts: programs that execute commands of one shard, in one batch with nothing between them, as transactions do.

What a script is and how it runs is not known here: an interpreter comes from outside (`Executor.interpreter`) and calls
back with commands. The loop does nothing else meanwhile, so the interpreter bounds how long that takes; the bytes that
come of it are bounded as a transaction's are (`Pipeline.admit`).

**Before it runs** the bounds are looked at, that the keys it names are this shard's, and that none of their namespaces
has writes held up: then it is held as a whole. Keys that it has not named it may use all the same, as long as they are
this shard's; a command for another shard's key fails, as any command may.

**What was executed remains**, whatever becomes of the script: nothing is rolled back, as in Redis. All of it stands in
one batch, so whoever leads next has all of that or nothing. The reply waits for the highest level that one of the
commands waits for, reads included: what the script returns may be made of anything that they showed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.commands.table import check_many, check_script
from raftcache.commands.types import (
    AckLevel,
    Counted,
    Failure,
    Get,
    Many,
    MultiDelete,
    MultiGet,
    MultiSet,
    Reply,
    Script,
    Scripted,
    Transaction,
    Unmet,
    Used,
    Value,
    Version,
    Written,
    failure_of,
)
from raftcache.errors import BadRequest, RaftcacheError
from raftcache.shard.executor import PRIMARY, QUORUM, Executed, Executor, Interpret, WaitsFor
from raftcache.shard.pipeline import Acknowledged
from raftcache.shard.undivided import Handlers, ItemAnswer, acknowledge, execute_item, highest, reached

_MULTI = (MultiGet, MultiSet, MultiDelete)


def script(handlers: Handlers) -> Callable[[Executor, Script], Executed]:
    """The function that executes a script of commands that `handlers` execute."""

    def execute(ex: Executor, command: Script) -> Executed:
        """Raises what is found before anything is executed: BadRequest, TooManyKeys, WrongShard, Hold…"""
        check_script(command)
        require_keys(ex, command)
        ex.pipeline.admit()
        acknowledged: list[Acknowledged] = []
        ex.pipeline.undivided = acknowledged
        try:
            answer, level = _run(ex, handlers, ex.interpreter(), command)
        finally:
            ex.pipeline.undivided = None
        if level is PRIMARY and not acknowledge(ex, acknowledged):
            level = QUORUM
        return reached(answer, level), level

    return execute


def require_keys(ex: Executor, command: Script) -> None:
    """The keys that a script names can be used here, and now. Raises WrongShard, Hold."""
    for key in command.keys:
        ex.require_own(key)
        ex.in_turn(ex.namespaces().resolve(key), key)


def run_item(ex: Executor, handlers: Handlers, interpret: Interpret, command: Script) -> ItemAnswer:
    """Run a script that is a part of a transaction. It fails alone."""
    try:
        return _run(ex, handlers, interpret, command)
    except RaftcacheError as error:
        return ex.stats.refusal(error), PRIMARY


def _run(ex: Executor, handlers: Handlers, interpret: Interpret, command: Script) -> tuple[Scripted, AckLevel]:
    """Raises what the interpreter finds before anything is executed: BadRequest."""
    run = _Run(ex, handlers)
    result = interpret(command, run.execute)
    level = highest(run.waits)
    return Scripted(result, run.wrote, level), level


class _Run:
    """One script that runs. `waits` is all that its commands wait for, `wrote` the version of its newest write."""

    def __init__(self, ex: Executor, handlers: Handlers) -> None:
        self.waits: list[WaitsFor] = []
        self.wrote: Version | None = None
        self._ex, self._handlers = ex, handlers

    def execute(self, command: Any) -> Reply:
        """Execute a command of the script's. Errors are `Failure` replies."""
        if type(command) is Transaction:
            return self._transaction(command)
        if type(command) not in _MULTI:
            return self._single(command)
        try:
            check_many(command)
        except RaftcacheError as error:
            return self._ex.stats.refusal(error)
        return Many(tuple([self._single(item) for item in command.items]))

    def _single(self, item: Any) -> Value | Written | Counted | Used | Failure:
        if getattr(item, "replica", False) or getattr(item, "idempotency", None) is not None:
            return failure_of(BadRequest("script: its commands take no idempotency keys, and the leader executes them"))
        answer, waits_for = execute_item(self._ex, self._handlers, item)
        if waits_for is not PRIMARY and waits_for not in self.waits:
            self.waits.append(waits_for)
        if isinstance(answer, Counted) or (isinstance(answer, Written) and answer.written):
            self.wrote = answer.version
        shown = answer.value or b"" if isinstance(answer, Value) else getattr(item, "value", b"")
        self._ex.spent(item.key, len(shown))
        return answer

    def _transaction(self, command: Transaction) -> Reply:
        """All is one batch, so what is expected is looked at first, and then the commands are executed."""
        for key, version in command.expected:
            found = self._single(Get(key))
            if isinstance(found, Failure):
                return found
            if version != (found.version if isinstance(found, Value) and found.value is not None else None):
                return Unmet(key)
        return Many(tuple([self._single(item) for item in command.items]))
