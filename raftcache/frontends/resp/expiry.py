"""Times to live: EXPIRE and its kin, TTL and its kin, PERSIST.

Shards count times to live from when they execute a command, so points in time are turned into spans by this process's
clock, and back. What is to expire at once, or has already, is deleted, as Redis does (`expireGenericCommand`); under a
condition, which only the shard can look at, it gets a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable

from raftcache.commands.types import INT64_MAX, Command, Delete, Expire, ExpireIf, Get, Persist, Value, Written
from raftcache.frontends.resp.encoding import ONE, ZERO, integer
from raftcache.frontends.resp.spec import Args, Plan, Refused, Shape
from raftcache.frontends.resp.spec import integer as number

GONE, FOR_EVER = -2, -1
SECOND_MS, MILLISECOND = 1000, 1
_OPTIONS = frozenset({b"NX", b"XX", b"GT", b"LT"})
_CONDITIONS = {
    frozenset[bytes](): ExpireIf.ALWAYS,
    frozenset({b"NX"}): ExpireIf.PERSISTENT,
    frozenset({b"XX"}): ExpireIf.VOLATILE,
    frozenset({b"GT"}): ExpireIf.LONGER,
    frozenset({b"XX", b"GT"}): ExpireIf.LONGER,
    frozenset({b"LT"}): ExpireIf.SHORTER,
    frozenset({b"XX", b"LT"}): ExpireIf.VOLATILE_SHORTER,
}
"""A key without a time to live lives longer than any, so GT is never for one."""


def span_ms(argument: bytes, unit_ms: int, absolute: bool, wall_ms: Callable[[], int], command: str) -> int:
    """How long from now, in milliseconds; 0 or less: that is over. Raises Refused."""
    asked = number(argument)
    if abs(asked) > INT64_MAX // unit_ms:
        raise invalid_time(command)
    return asked * unit_ms - (wall_ms() if absolute else 0)


def invalid_time(command: str) -> Refused:
    """The error for a time that cannot be."""
    return Refused(f"ERR invalid expire time in '{command}' command")


def expire(name: str, unit_ms: int, absolute: bool) -> Plan:
    """EXPIRE key time [NX | XX | GT | LT], and the same in other units."""

    def plan(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
        span = span_ms(args[2], unit_ms, absolute, wall_ms, name)
        when = _condition(args[3:])
        if span <= 0 and when == ExpireIf.ALWAYS:
            return Delete(args[1]), changed
        return Expire(args[1], max(1, span), when=when), changed

    return plan


def _condition(options: Args) -> ExpireIf:
    names = frozenset(option.upper() for option in options)
    for option in options:
        if option.upper() not in _OPTIONS:
            raise Refused(f"ERR Unsupported option {option[:128].decode(errors='replace')}")
    if b"NX" in names and len(names) > 1:
        raise Refused("ERR NX and XX, GT or LT options at the same time are not compatible")
    if names >= {b"GT", b"LT"}:
        raise Refused("ERR GT and LT options at the same time are not compatible")
    return _CONDITIONS[names]


def persist(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """PERSIST key."""
    return Persist(args[1]), changed


def changed(reply: Written, resp3: bool) -> bytes:
    """1 where something was written or removed."""
    return ONE if reply.written else ZERO


def ttl(unit_ms: int) -> Plan:
    """TTL key, PTTL key. Seconds are rounded to the nearest, as Redis does."""

    def shape(reply: Value, resp3: bool) -> bytes:
        return integer(_left(reply, unit_ms, 0))

    return lambda args, wall_ms: (Get(args[1]), shape)


def expire_time(unit_ms: int) -> Plan:
    """EXPIRETIME key, PEXPIRETIME key: by this process's clock."""

    def plan(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
        return Get(args[1]), lambda reply, resp3: integer(_left(reply, unit_ms, wall_ms()))

    return plan


def _left(reply: Value, unit_ms: int, since_ms: int) -> int:
    if reply.value is None:
        return GONE
    if reply.ttl_ms is None:
        return FOR_EVER
    return (since_ms + max(0, reply.ttl_ms) + unit_ms // 2) // unit_ms
