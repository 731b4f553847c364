"""Commands on keys whatever they hold: DEL, UNLINK, EXISTS, TOUCH, TYPE."""

from __future__ import annotations

from collections.abc import Callable

from raftcache.commands.types import Command, Delete, Get, Many, MultiDelete, MultiGet, Value
from raftcache.frontends.resp.encoding import ONE, ZERO, integer
from raftcache.frontends.resp.expiry import changed
from raftcache.frontends.resp.spec import Args, Shape


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
