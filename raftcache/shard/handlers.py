"""Which function executes which command. A command's row is in `commands.table`, its type in `commands.types`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from raftcache.commands.types import Append, Delete, Expire, Get, Incr, Minted, Persist, Script, Set, Transaction, Usage
from raftcache.shard import counters, expiry, strings
from raftcache.shard.executor import Executed, Executor
from raftcache.shard.minted import minted
from raftcache.shard.retries import once
from raftcache.shard.scripts import script
from raftcache.shard.transactions import transaction
from raftcache.shard.usage import usage

Handler: TypeAlias = Callable[[Executor, Any], Executed]

HANDLERS: dict[type[Any], Handler] = {
    Get: strings.get,
    Set: once(strings.set_),
    Delete: once(strings.delete),
    Incr: once(counters.incr),
    Append: once(strings.append),
    Expire: once(expiry.expire),
    Persist: once(expiry.persist),
    Usage: usage,
}
"""Single-key commands, transactions and scripts of them. Multi-key commands are their items, in order (`multi`)."""
HANDLERS |= {Transaction: transaction(dict(HANDLERS)), Script: script(dict(HANDLERS))}
HANDLERS |= {Minted: minted(dict(HANDLERS))}
