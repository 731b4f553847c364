"""Which function executes which command. A command's row is in `commands.table`, its type in `commands.types`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from raftcache.commands.types import Delete, Expire, Get, Incr, Persist, Set
from raftcache.shard import counters, expiry, strings
from raftcache.shard.executor import Answer, Executor

Handler: TypeAlias = Callable[[Executor, Any], Answer]

HANDLERS: dict[type[Any], Handler] = {
    Get: strings.get,
    Set: strings.set_,
    Delete: strings.delete,
    Incr: counters.incr,
    Expire: expiry.expire,
    Persist: expiry.persist,
}
"""Single-key commands. Multi-key commands are their items, executed in order (`multi`)."""
