"""GET, SET and their kin, and the counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, cast

from raftcache.commands.types import (
    INT64_MIN,
    MULTI_KEY_LIMIT,
    AckLevel,
    Append,
    Command,
    Counted,
    Delete,
    Expire,
    Get,
    Incr,
    Many,
    Multi,
    MultiGet,
    MultiSet,
    Persist,
    Set,
    Value,
    Version,
    Written,
)
from raftcache.frontends.resp.encoding import (
    EMPTY_BULK,
    NULL_2,
    NULL_3,
    OK,
    ONE,
    ZERO,
    add_bulk,
    array_head,
    bulk,
    integer,
)
from raftcache.frontends.resp.expiry import MILLISECOND, SECOND_MS, invalid_time, span_ms
from raftcache.frontends.resp.spec import SYNTAX, Args, Plan, Planned, Ran, Refused, Run, Shape, wrong_arity
from raftcache.frontends.resp.spec import integer as number
from raftcache.frontends.resp.state import Client, Front

WallMs = Callable[[], int]
_TIMES: Final = {
    b"EX": (SECOND_MS, False),
    b"PX": (MILLISECOND, False),
    b"EXAT": (SECOND_MS, True),
    b"PXAT": (MILLISECOND, True),
}
_WORDS: Final = {b"NX": "if_absent", b"XX": "if_present", b"KEEPTTL": "keep_ttl", b"GET": "reveal"}
REPLY_LIMIT_BYTES = 32 << 20
"""Of the values in one MGET's reply: as much as one RPC between nodes carries."""


class SetOptions(NamedTuple):
    """What stands behind SET key value. `rest` is what SET does not know, for RC.SET. `over`: it has expired."""

    words: frozenset[str]
    ttl_ms: int | None = None
    over: bool = False
    rest: tuple[bytes, ...] = ()


def get(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """GET key."""
    return Get(args[1]), value


def get_run(front: Front, client: Client, run: list[Args], now_s: float, until_bytes: int) -> Ran | None:
    """GET key, by looks. In pieces, for a turn's replies are put together in one copy anyway."""
    found = front.backend.look_many([args[1] for args in run], now_s, until_bytes)
    missing = NULL_3 if client.resp3 else NULL_2
    pieces, count = list[bytes](), 0
    for looked in found:
        if looked is None:
            break
        if looked is False:
            pieces.append(missing)
        else:
            add_bulk(pieces, looked.value)
        count += 1
    return Ran(count, pieces, []) if count else None


def gets_together(run: list[Args]) -> tuple[Multi, Shape]:
    """GET key, several of them."""
    return MultiGet(tuple([Get(args[1]) for args in run])), value


def value(reply: Value, resp3: bool) -> bytes:
    """What a key holds."""
    found = reply.value
    if found is None:
        return NULL_3 if resp3 else NULL_2
    return bulk(found)


def set_run(front: Front, client: Client, run: list[Args], now_s: float, until_bytes: int) -> Ran | None:
    """SET key value, where it is acknowledged from memory, or waits for a quorum."""
    if len(run[0]) != 3:
        return None
    wrote = front.backend.write_many([(args[1], args[2]) for args in run], now_s, client.joint)
    if not wrote.count:
        return None
    for key, version in wrote.newest:
        client.note_write(key, version)
    return Ran(wrote.count, [] if wrote.joint else [OK * wrote.count], wrote.joint)


def sets_together(run: list[Args]) -> tuple[Multi, Shape] | None:
    """SET key value, several of them."""
    if len(run[0]) != 3:
        return None
    return MultiSet(tuple([Set(args[1], args[2]) for args in run])), stored


def set_(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | KEEPTTL]."""
    if len(args) == 3:
        return Set(args[1], args[2]), stored
    options = set_options(args[3:], wall_ms, "set")
    if options.rest:
        raise Refused(SYNTAX)
    reveal = "reveal" in options.words
    if options.over and options.words <= {"reveal"}:
        return Delete(args[1], reveal=reveal), previous if reveal else ok
    return set_command(args, options), previous if reveal else stored


def set_command(args: Args, options: SetOptions, if_version: Version | None = None, ack: AckLevel | None = None) -> Set:
    """The write of args[2] to args[1]."""
    words = options.words
    return Set(
        args[1],
        args[2],
        ttl_ms=options.ttl_ms,
        if_version=if_version,
        if_absent="if_absent" in words,
        ack=ack,
        if_present="if_present" in words,
        keep_ttl="keep_ttl" in words,
        reveal="reveal" in words,
    )


def set_options(given: Args, wall_ms: WallMs, command: str) -> SetOptions:
    """Raises Refused."""
    ttl_ms: int | None = None
    words, over, rest, at = set[str](), False, list[bytes](), 0
    while at < len(given):
        word = given[at].upper()
        if word in _WORDS:
            words.add(_WORDS[word])
        elif word not in _TIMES:
            rest.append(given[at])
        elif ttl_ms is not None or at + 1 == len(given):
            raise Refused(SYNTAX)
        else:
            at += 1
            ttl_ms = _asked_ms(given[at], *_TIMES[word], wall_ms, command)
            over, ttl_ms = ttl_ms <= 0, max(1, ttl_ms)
        at += 1
    if words >= {"if_absent", "if_present"} or ("keep_ttl" in words and ttl_ms is not None):
        raise Refused(SYNTAX)
    return SetOptions(frozenset(words), ttl_ms, over, tuple(rest))


def _asked_ms(argument: bytes, unit_ms: int, absolute: bool, wall_ms: WallMs, command: str) -> int:
    """A span of time or a point in it, neither of which may be 0 or negative; the point may be past."""
    span = span_ms(argument, unit_ms, absolute, wall_ms, command)
    if number(argument) <= 0:
        raise invalid_time(command)
    return span


def stored(reply: Written, resp3: bool) -> bytes:
    """OK, or nothing where the condition did not hold."""
    if reply.written:
        return OK
    return NULL_3 if resp3 else NULL_2


def previous(reply: Written, resp3: bool) -> bytes:
    """What stood there before."""
    if reply.previous is None:
        return NULL_3 if resp3 else NULL_2
    return bulk(reply.previous)


def ok(reply: Written | Many, resp3: bool) -> bytes:
    """OK in any case."""
    return OK


def setnx(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """SETNX key value."""
    return Set(args[1], args[2], if_absent=True), lambda reply, resp3: ONE if reply.written else ZERO


def setex(command: str, unit_ms: int) -> Plan:
    """SETEX key seconds value, PSETEX key milliseconds value."""

    def plan(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
        return Set(args[1], args[3], ttl_ms=_asked_ms(args[2], unit_ms, False, wall_ms, command)), stored

    return plan


def getset(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """GETSET key value."""
    return Set(args[1], args[2], reveal=True), previous


def getdel(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """GETDEL key."""
    return Delete(args[1], reveal=True), previous


def getex(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """GETEX key [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | PERSIST]."""
    if len(args) == 2:
        return Get(args[1]), value
    options = set_options(args[2:], wall_ms, "getex")
    if options.words or (options.rest and options.ttl_ms is not None) or len(options.rest) > 1:
        raise Refused(SYNTAX)
    if options.rest:
        if options.rest[0].upper() != b"PERSIST":
            raise Refused(SYNTAX)
        return Persist(args[1], reveal=True), previous
    if options.over or options.ttl_ms is None:
        return Delete(args[1], reveal=True), previous
    return Expire(args[1], options.ttl_ms, reveal=True), previous


def append(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """APPEND key value."""
    return Append(args[1], args[2]), counted


def mget(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """MGET key [key ...]."""
    return MultiGet(tuple([Get(key) for key in args[1:]])), values


def mget_now(front: Front, client: Client, args: Args, now_s: float) -> list[bytes] | Planned | None:
    """MGET key [key ...], by looks. Those that need more are asked for, and put between the others."""
    keys = args[1:]
    if len(keys) > MULTI_KEY_LIMIT:
        return None
    found = front.backend.look_many(keys, now_s)
    rest = [place for place, looked in enumerate(found) if looked is None]
    contents = [looked.value if looked else None for looked in found]
    if not rest:
        return _array_of(contents, client.resp3) if _bytes_of(contents) <= REPLY_LIMIT_BYTES else None

    def filled(reply: Many, resp3: bool) -> bytes:
        for place, item in zip(rest, cast(tuple[Value, ...], reply.items), strict=True):
            contents[place] = item.value
        return b"".join(_array_of(contents, resp3))

    return MultiGet(tuple([Get(keys[place]) for place in rest])), filled


def _bytes_of(contents: list[bytes | None]) -> int:
    return sum([len(each) for each in contents if each is not None])


def _array_of(contents: list[bytes | None], resp3: bool) -> list[bytes]:
    """An array of values, in pieces. Raises Refused."""
    size = _bytes_of(contents)
    if size > REPLY_LIMIT_BYTES:
        raise Refused(f"ERR the values have {size} bytes together, the limit of one reply is {REPLY_LIMIT_BYTES}")
    missing, pieces = NULL_3 if resp3 else NULL_2, [array_head(len(contents))]
    for each in contents:
        if each is None:
            pieces.append(missing)
        else:
            add_bulk(pieces, each)
    return pieces


def values(reply: Many, resp3: bool) -> bytes:
    """One value or nothing for each key. Raises Refused."""
    return b"".join(_array_of([item.value for item in cast(tuple[Value, ...], reply.items)], resp3))


def mset(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """MSET key value [key value ...]: each key by itself; there is no atomicity over shards."""
    if len(args) % 2 == 0:
        raise wrong_arity("mset")
    return MultiSet(tuple([Set(args[at], args[at + 1]) for at in range(1, len(args), 2)])), ok


def strlen(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """STRLEN key."""
    return Get(args[1]), lambda reply, resp3: integer(len(reply.value or b""))


def getrange(args: Args, wall_ms: WallMs) -> tuple[Command, Shape]:
    """GETRANGE key start end: both count, and from the end where they are negative."""
    first, last = number(args[2]), number(args[3])

    def shape(reply: Value, resp3: bool) -> bytes:
        text = reply.value or b""
        start = max(0, first + len(text) if first < 0 else first)
        end = max(0, last + len(text) if last < 0 else last)
        nothing = not text or start > end or (first < 0 and last < 0 and first > last)
        return EMPTY_BULK if nothing else bulk(text[start : end + 1])

    return Get(args[1]), shape


def counted(reply: Counted, resp3: bool) -> bytes:
    """The new value of a counter, or the new length."""
    return b":%d\r\n" % reply.value


def incr_delta(args: Args) -> int:
    """INCR key."""
    return 1


def decr_delta(args: Args) -> int:
    """DECR key."""
    return -1


def incrby_delta(args: Args) -> int:
    """INCRBY key increment. Raises Refused."""
    return number(args[2])


def decrby_delta(args: Args) -> int:
    """DECRBY key decrement. Raises Refused."""
    delta = number(args[2])
    if delta == INT64_MIN:
        raise Refused("ERR decrement would overflow")
    return -delta


def incr(delta_of: Callable[[Args], int]) -> Plan:
    """Add to a counter what the arguments say."""
    return lambda args, wall_ms: (Incr(args[1], delta_of(args)), counted)


def incr_run(delta_of: Callable[[Args], int]) -> Run:
    """The same, where it is acknowledged from memory."""

    def execute(front: Front, client: Client, run: list[Args], now_s: float, until_bytes: int) -> Ran | None:
        items = list[tuple[bytes, int]]()
        for args in run:
            try:
                items.append((args[1], delta_of(args)))
            except Refused:
                break
        added = front.backend.add_many(items, now_s)
        if not added.values:
            return None
        for key, version in added.newest:
            client.note_write(key, version)
        return Ran(len(added.values), [b":%d\r\n" % value for value in added.values], [])

    return execute
