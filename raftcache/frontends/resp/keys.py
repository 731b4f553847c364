"""Commands on keys whatever they hold: DEL, UNLINK, EXISTS, TOUCH, TYPE, MEMORY USAGE, OBJECT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from raftcache.commands.policy import Admission, Eviction
from raftcache.commands.types import Command, Delete, Get, Many, MultiDelete, MultiGet, Usage, Used, Value
from raftcache.frontends.resp.encoding import ONE, ZERO, bulk, integer, null
from raftcache.frontends.resp.expiry import changed
from raftcache.frontends.resp.spec import SYNTAX, Args, Refused, Shape
from raftcache.frontends.resp.spec import integer as integer_of
from raftcache.store.entry import ENTRY_OVERHEAD_BYTES, TTL_OVERHEAD_BYTES

_NONE: Final = Eviction.NONE.value
_LFU: Final = Eviction.LFU.value
_TINYLFU: Final = Admission.TINYLFU.value
_BY_RECENCY: Final = frozenset({Eviction.LRU.value, Eviction.LRM.value})
_FROM_HALF_ON: Final = "use is tracked from half of a namespace's quota, or of the node's memory, on"


def delete(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """DEL key [key ...], UNLINK key [key ...]: memory is always given back off the loop."""
    if len(args) == 2:
        return Delete(args[1]), changed
    return MultiDelete(tuple([Delete(key) for key in args[1:]])), _removed


def _removed(reply: Many, resp3: bool) -> bytes:
    return integer(sum([item.written for item in reply.items]))  # type: ignore[union-attr]


def exists(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """EXISTS key [key ...], TOUCH key [key ...]: a key named twice counts twice. A read counts as a use of the key."""
    if len(args) == 2:
        return Get(args[1]), _is_there
    return MultiGet(tuple([Get(key) for key in args[1:]])), _are_there


def _is_there(reply: Value, resp3: bool) -> bytes:
    return ZERO if reply.value is None else ONE


def _are_there(reply: Many, resp3: bool) -> bytes:
    return integer(sum([item.value is not None for item in reply.items]))  # type: ignore[union-attr]


def type_(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """TYPE key: there are only strings."""
    return Get(args[1]), lambda reply, resp3: b"+none\r\n" if reply.value is None else b"+string\r\n"


def memory_usage(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """MEMORY USAGE key [SAMPLES count]: what the key is charged, as quotas count it."""
    if len(args) not in (3, 5) or (len(args) == 5 and args[3].upper() != b"SAMPLES"):
        raise Refused(SYNTAX)

    def shape(reply: Value, resp3: bool) -> bytes:
        if reply.value is None:
            return null(resp3)
        overhead_bytes = ENTRY_OVERHEAD_BYTES if reply.ttl_ms is None else TTL_OVERHEAD_BYTES
        return integer(len(args[2]) + len(reply.value) + overhead_bytes)

    return Get(args[2]), shape


def object_encoding(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """OBJECT ENCODING key: what Redis would say of such a value, for those who look for integers."""

    def shape(reply: Value, resp3: bool) -> bytes:
        if reply.value is None:
            return null(resp3)
        return bulk(b"int" if _is_integer(reply.value) else b"embstr" if len(reply.value) <= 44 else b"raw")

    return Get(args[2]), shape


def _is_integer(value: bytes) -> bool:
    try:
        integer_of(value)
    except Refused:
        return False
    return True


def object_refcount(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """OBJECT REFCOUNT key."""
    return Get(args[2]), lambda reply, resp3: null(resp3) if reply.value is None else ONE


def object_freq(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """OBJECT FREQ key: where its namespace counts uses."""
    return Usage(args[2]), _frequency


def _frequency(reply: Used, resp3: bool) -> bytes:
    if not reply.exists:
        return null(resp3)
    if reply.frequency is not None:
        return integer(reply.frequency)
    if reply.eviction != _NONE and (reply.eviction == _LFU or reply.admission == _TINYLFU):
        raise Refused(f"ERR access frequency not tracked yet: {_FROM_HALF_ON}")
    raise Refused(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked: the eviction of the key's "
        f"namespace is {reply.eviction}; give it lfu, or another with admission tinylfu, or see /v1/hotkeys"
    )


def object_idletime(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """OBJECT IDLETIME key: where its namespace goes by recency."""
    return Usage(args[2]), _idle_time


def _idle_time(reply: Used, resp3: bool) -> bytes:
    if not reply.exists:
        return null(resp3)
    if reply.idle_s is not None:
        return integer(reply.idle_s)
    if reply.eviction in _BY_RECENCY:
        raise Refused(f"ERR idle time not tracked yet: {_FROM_HALF_ON}")
    lfu = "An LFU maxmemory policy is selected, " if reply.eviction == _LFU else ""
    raise Refused(
        f"ERR {lfu}idle time not tracked: the eviction of the key's namespace is {reply.eviction}; give it lru, or lrm "
        "for the time since the last write"
    )
