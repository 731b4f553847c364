"""MULTI, EXEC, DISCARD, WATCH, UNWATCH; and MSETNX, which is a transaction in one command.

Between MULTI and EXEC commands are kept, and executed by EXEC: those of one slot as one `Transaction` of its shard, in
one batch, so that all of them are there or none. A block over several slots is split, a transaction a slot, and is then
not atomic: pipelines of many clients are such blocks, and mean only to save round trips. With WATCH it may not be, for
what was watched could not be compared at the moment of all of it.

Scripts are commands of a block like others: those of EVALSHA are looked up by EXEC, and one that is not known is an
error in its place. A script that names no keys is executed in the first slot that the block has.

WATCH reads the keys' versions and EXEC sends them along: where another version stands by then, nothing is executed and
the answer is nothing, as in Redis. A key that was deleted and set again meanwhile is another version, too.

Texts of errors are Redis's (multi.c).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from raftcache.commands.table import check_transaction
from raftcache.commands.types import (
    MULTI_KEY_LIMIT,
    Command,
    Failure,
    Get,
    Many,
    MultiGet,
    Reply,
    Script,
    Set,
    Transaction,
    Unmet,
    Value,
    failure_of,
)
from raftcache.errors import RaftcacheError
from raftcache.frontends.resp.encoding import NULL_3, OK, ONE, ZERO, array_head
from raftcache.frontends.resp.failures import failed_items, line_of
from raftcache.frontends.resp.redirecting import CROSS_SLOT
from raftcache.frontends.resp.replying import defect_bytes, error_bytes, reply_bytes
from raftcache.frontends.resp.scripting import told
from raftcache.frontends.resp.spec import Args, Refused, Shape, Spec, wrong_arity
from raftcache.frontends.resp.state import REQUEST_TIMEOUT_S, Block, Client, Front
from raftcache.routing.slots import slot_of

QUEUED = b"+QUEUED\r\n"
NULL_ARRAY = b"*-1\r\n"
QUEUED_LIMIT_BYTES = 16 << 20
"""Of the arguments of one block; there are at most MULTI_KEY_LIMIT commands."""
WATCHED_LIMIT = MULTI_KEY_LIMIT
Done = Callable[[bytes], None]


def multi(front: Front, client: Client, args: Args) -> bytes:
    """MULTI."""
    if client.block is not None:
        raise Refused("ERR MULTI calls can not be nested")
    client.block = Block()
    return OK


def discard(front: Front, client: Client, args: Args) -> bytes:
    """DISCARD."""
    if client.block is None:
        raise Refused("ERR DISCARD without MULTI")
    client.block = None
    client.watched.clear()
    return OK


def unwatch(front: Front, client: Client, args: Args) -> bytes:
    """UNWATCH."""
    client.watched.clear()
    return OK


def queue(front: Front, client: Client, block: Block, spec: Spec, args: Args) -> bytes:
    """Keep a command for EXEC, or refuse it, and with it the whole block."""
    size_bytes = sum(map(len, args))
    if spec.later is not None and spec.script is None and spec.local is None:
        refusal = "ERR Command not allowed inside a transaction"
    elif len(block.commands) >= MULTI_KEY_LIMIT:
        refusal = f"ERR a transaction has at most {MULTI_KEY_LIMIT} commands"
    elif block.size_bytes + size_bytes > QUEUED_LIMIT_BYTES:
        refusal = f"ERR the commands of a transaction have at most {QUEUED_LIMIT_BYTES} bytes"
    else:
        block.commands.append((spec, args))
        block.size_bytes += size_bytes
        return QUEUED
    block.broken = True
    return error_bytes(front, refusal)


def watch(front: Front, client: Client, args: Args, done: Done) -> None:
    """WATCH key [key ...]."""
    if client.block is not None:
        raise Refused("ERR WATCH inside MULTI is not allowed")
    keys = [key for key in dict.fromkeys(args[1:]) if key not in client.watched]
    if len(client.watched) + len(keys) > WATCHED_LIMIT:
        raise Refused(f"ERR a connection watches at most {WATCHED_LIMIT} keys")

    def answered(reply: Reply) -> None:
        items = reply.items if isinstance(reply, Many) else (reply,)
        failed = failed_items(items)  # type: ignore[arg-type]
        if failed:
            return done(error_bytes(front, line_of(failed[0], front.is_cluster)))
        for key, item in zip(keys, items, strict=True):
            assert isinstance(item, Value), "a Get is answered by a Value"
            client.watched[key] = None if item.value is None else item.version
        done(OK)

    if not keys:
        return done(OK)
    front.backend.execute(MultiGet(tuple(map(Get, keys))), front.runtime.now() + REQUEST_TIMEOUT_S, answered)


def exec_(front: Front, client: Client, args: Args, done: Done) -> None:
    """EXEC."""
    block = client.block
    if block is None:
        raise Refused("ERR EXEC without MULTI")
    watched, client.block, client.watched = client.watched, None, {}
    if block.broken:
        raise Refused("EXECABORT Transaction discarded because of previous errors.")
    _Execution(front, client, watched, done).run(block)


@dataclass(slots=True)
class _Step:
    """One command of a block. `data`: it is answered already; else its results are those from `first` to `last`."""

    spec: Spec
    args: Args
    data: bytes | None = None
    command: Any = None
    shape: Shape | None = None
    first: int = 0
    last: int = 0


@dataclass(slots=True)
class _Execution:
    """One EXEC: `results` come from the transactions, slot by slot, and are told in the order of the commands."""

    front: Front
    client: Client
    watched: dict[bytes, Any]
    done: Done
    steps: list[_Step] = field(default_factory=list)
    singles: list[Any] = field(default_factory=list)
    """Single-key commands and scripts, each with a result, and the key by which its shard was found."""
    results: list[Any] = field(default_factory=list)
    routes: list[bytes] = field(default_factory=list)
    missing: int = 0
    is_split: bool = False
    unmet: bool = False
    whole: Failure | None = None
    """Why all of an unsplit block was not executed, or may not have been."""

    def run(self, block: Block) -> None:
        """Execute the commands of `block`."""
        for spec, args in block.commands:
            self.steps.append(self._planned(spec, args))
        groups: dict[int, list[int]] = {}
        for place, single in enumerate(self.singles):
            if not _is_keyless(single):
                groups.setdefault(slot_of(single.key), []).append(place)
        for key in self.watched:
            groups.setdefault(slot_of(key), [])
        if len(groups) > 1 and (self.watched or self.front.is_cluster):
            return self.done(error_bytes(self.front, CROSS_SLOT))
        self._place_keyless(groups)
        self.results, self.routes = [None] * len(self.singles), [b""] * len(self.singles)
        self.missing, self.is_split = len(groups), len(groups) > 1
        for places in list(groups.values()):
            self._send(places)
        if not groups:
            self._finish()

    def _place_keyless(self, groups: dict[int, list[int]]) -> None:
        """Scripts without keys go to the first slot of the block, or where the first of them would go alone."""
        places = [place for place, single in enumerate(self.singles) if _is_keyless(single)]
        if places:
            slot = next(iter(groups), slot_of(self.singles[places[0]].key))
            groups[slot] = sorted([*groups.get(slot, ()), *places])

    def _planned(self, spec: Spec, args: Args) -> _Step:
        if spec.group == "scripting" and spec.local is not None:
            # What EVALSHA finds depends on the SCRIPT commands before it.
            return _Step(spec, args, self._local_bytes(spec, args))
        if spec.plan is None and spec.script is None:
            return _Step(spec, args)
        try:
            command, shape = self._command_of(spec, args)
        except Refused as refusal:
            self.front.metrics.rejected[spec.name] += 1
            return _Step(spec, args, error_bytes(self.front, str(refusal)))
        first = len(self.singles)
        self.singles += getattr(command, "items", (command,))
        return _Step(spec, args, None, command, shape, first, len(self.singles))

    def _command_of(self, spec: Spec, args: Args) -> tuple[Command, Shape | None]:
        """Raises Refused."""
        if spec.script is not None:
            return spec.script(self.front, args), None
        assert spec.plan is not None, "what is local has no command"
        command, shape = spec.plan(args, self.front.runtime.wall_ms)
        if type(command) is Transaction:
            raise Refused(f"ERR {spec.name.upper()} is not supported inside MULTI")
        return command, shape

    def _send(self, places: list[int]) -> None:
        items = tuple([self.singles[place] for place in places])
        transaction = Transaction(items, tuple(self.watched.items()))
        for place in places:
            self.routes[place] = transaction.key
        try:
            # What EVALSHA names is not counted by `queue`, and may be too much to be sent.
            check_transaction(transaction)
        except RaftcacheError as error:
            return self._answered(places, failure_of(error))
        deadline = self.front.runtime.now() + REQUEST_TIMEOUT_S
        self.front.backend.execute(transaction, deadline, partial(self._answered, places))

    def _answered(self, places: list[int], reply: Reply) -> None:
        if isinstance(reply, Many):
            for place, item in zip(places, reply.items, strict=True):
                self.results[place] = item
        elif isinstance(reply, Unmet):
            self.unmet = True
        else:
            assert isinstance(reply, Failure), "a transaction is answered by Many, Unmet or a Failure"
            self.whole = None if self.is_split else reply
            for place in places:
                self.results[place] = reply
        self.missing -= 1
        if not self.missing:
            self._finish()

    def _finish(self) -> None:
        try:
            self.done(self._bytes())
        except Exception:
            self.done(defect_bytes(self.front, "exec"))

    def _bytes(self) -> bytes:
        if self.unmet:
            return NULL_3 if self.client.resp3 else NULL_ARRAY
        if self.whole is not None:
            return error_bytes(self.front, line_of(self.whole, self.front.is_cluster))
        return b"".join([array_head(len(self.steps)), *map(self._step_bytes, self.steps)])

    def _step_bytes(self, step: _Step) -> bytes:
        front, client = self.front, self.client
        if step.data is not None:
            return step.data
        if step.command is None:
            return self._local_bytes(step.spec, step.args)
        results = self.results[step.first : step.last]
        if type(step.command) is Script:
            return told(front, client, step.command, results[0], client.resp3, self.routes[step.first])
        reply = Many(tuple(results)) if hasattr(step.command, "items") else results[0]
        return reply_bytes(front, client, reply, step.command, step.shape, client.resp3)

    def _local_bytes(self, spec: Spec, args: Args) -> bytes:
        assert spec.local is not None, "what is later is not queued"
        try:
            return spec.local(self.front, self.client, args)
        except Refused as refusal:
            return error_bytes(self.front, str(refusal))


def _is_keyless(single: Any) -> bool:
    return type(single) is Script and not single.keys


def msetnx(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """MSETNX key value [key value ...]: all or nothing, so the keys must be of one slot."""
    if len(args) % 2 == 0:
        raise wrong_arity("msetnx")
    keys = args[1::2]
    if len({slot_of(key) for key in keys}) > 1:
        raise Refused(CROSS_SLOT)
    items = tuple([Set(key, value) for key, value in zip(keys, args[2::2], strict=True)])
    expected = tuple([(key, None) for key in dict.fromkeys(keys)])
    return Transaction(items, expected), lambda reply, resp3: ZERO if isinstance(reply, Unmet) else ONE
