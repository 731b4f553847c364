"""What Redis has no words for: RC.SET, which asks for an ack level and says which was reached; RC.VERSION and
RC.RECEIPT, which tell afterwards what became of a write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.commands.types import (
    RECEIPT_WAIT_LIMIT_MS,
    AckLevel,
    Command,
    Failure,
    Get,
    Receipt,
    Value,
    Version,
    Written,
)
from raftcache.frontends.resp.encoding import encode
from raftcache.frontends.resp.failures import line_of
from raftcache.frontends.resp.replying import error_bytes
from raftcache.frontends.resp.spec import SYNTAX, Args, Refused, Shape, integer, shown
from raftcache.frontends.resp.state import REQUEST_TIMEOUT_S, Client, Front
from raftcache.frontends.resp.strings import set_command, set_options

_LEVELS = {level.name.encode(): level for level in AckLevel}


def set_(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """RC.SET key value [NX | XX | IFVERSION version] [EX … | PX … | EXAT … | PXAT … | KEEPTTL] [ACK level]."""
    options = set_options(args[3:], wall_ms, "rc.set")
    if options.over:
        raise Refused("ERR invalid expire time in 'rc.set' command")
    if options.words - {"if_absent", "if_present", "keep_ttl"}:
        raise Refused(SYNTAX)
    ack, if_version = None, None
    rest = iter(options.rest)
    for word in rest:
        name, given = word.upper(), next(rest, None)
        if name == b"ACK" and given is not None and ack is None:
            ack = _level(given)
        elif name == b"IFVERSION" and given is not None and if_version is None:
            if_version = parse_version(given)
        else:
            raise Refused(SYNTAX)
    if if_version is not None and options.words & {"if_absent", "if_present"}:
        raise Refused(SYNTAX)
    return set_command(args, options, if_version, ack), _told


def _level(name: bytes) -> AckLevel:
    level = _LEVELS.get(name.upper())
    if level is None:
        raise Refused(f"ERR ACK must be one of primary, quorum, durable, got '{shown(name)}'")
    return level


def _told(reply: Written, resp3: bool) -> bytes:
    """Everything that a write's reply says, in the words of the other interfaces."""
    told: dict[str, Any] = {
        "written": reply.written,
        "version": str(reply.version),
        "durability": reply.ack.name.lower(),
        "expiresAtMs": reply.expires_at_ms,
    }
    if not reply.written:
        told["currentVersion"] = None if reply.current is None else str(reply.current)
    return encode(told, resp3)


def version(args: Args, wall_ms: Callable[[], int]) -> tuple[Command, Shape]:
    """RC.VERSION key: the version of what the key holds, nothing where it holds nothing."""
    return Get(args[1]), _version


def _version(reply: Value, resp3: bool) -> bytes:
    return encode(None if reply.value is None else str(reply.version), resp3)


def parse_version(text: bytes) -> Version:
    """Raises Refused."""
    try:
        return Version.parse(text.decode("ascii"))
    except ValueError:
        raise Refused(f"ERR version must look like v<shard>.<term>.<seq>, got '{shown(text)}'") from None


def receipt(front: Front, client: Client, args: Args, done: Callable[[bytes], None]) -> None:
    """RC.RECEIPT key version [WAIT milliseconds]: what became of that write to the key."""
    if len(args) not in (3, 5) or (len(args) == 5 and args[3].upper() != b"WAIT"):
        raise Refused(SYNTAX)
    asked, wait_ms = parse_version(args[2]), integer(args[4]) if len(args) == 5 else 0
    if not 0 <= wait_ms <= RECEIPT_WAIT_LIMIT_MS:
        raise Refused(f"ERR WAIT must be from 0 to {RECEIPT_WAIT_LIMIT_MS}, got {wait_ms}")
    resp3 = client.resp3

    def answered(found: list[Receipt | Failure]) -> None:
        (first,) = found
        if isinstance(first, Failure):
            done(error_bytes(front, line_of(first, front.is_cluster)))
        else:
            done(encode({"state": first.fate.name.lower(), "durable": first.durable}, resp3))

    deadline = front.runtime.now() + REQUEST_TIMEOUT_S + wait_ms / 1000
    front.backend.receipts([(args[1], asked)], wait_ms, deadline, answered)
