"""The operations of `asking` as commands of the shards, and their replies as completions. Pure.

Values travel as their JSON text, as over HTTP, so a history from the simulation reads like one from real processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from jepsen_like.asking import Completion, Request
from jepsen_like.history import CONDITION
from raftcache.commands.policy import DEFAULT
from raftcache.commands.types import (
    JSON,
    AckLevel,
    Command,
    Counted,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    ItemReply,
    Many,
    MultiGet,
    MultiSet,
    ReadLevel,
    Reply,
    Scripted,
    Set,
    Used,
    Value,
    Version,
    Written,
)
from raftcache.errors import RaftcacheError, class_of
from raftcache.frontends.http.values import ttl_ms, ttl_seconds


def whole_key(key: str) -> bytes:
    """The key as shards know it: `default` adds no prefix."""
    return key.removeprefix(DEFAULT + ":").encode()


def namespace_of(request: Request) -> str:
    """That of its key; of a batch, which has keys of one namespace, that of the first."""
    first = request.value[0] if request.name in ("read-many", "write-many") else request.key
    return str(first if isinstance(first, str) else first[0]).partition(":")[0]


def command_of(request: Request, named_at: int) -> Command:
    """The command, whose keys are named by their namespace as of that epoch; 0: they are keys of `default`. Raises
    KeyError where the operation is none that shards execute."""
    command: Any = _COMMANDS[request.name](request)
    if isinstance(command, MultiGet | MultiSet):
        items: Any = [replace(item, named_at=named_at) for item in command.items]
        return type(command)(tuple(items))
    return replace(command, named_at=named_at)  # type: ignore[no-any-return]


def completion_of(request: Request, reply: Reply) -> Completion:
    """How the operation ended."""
    if isinstance(reply, Failure):
        return failed(reply.code, reply.message)
    if isinstance(reply, Value):
        return _read(reply)
    if isinstance(reply, Counted):
        return Completion(kind="ok", value=reply.value, version=str(reply.version), level=reply.ack.name.lower())
    if isinstance(reply, Many):
        return _many(request, reply)
    assert isinstance(reply, Written), reply
    return _written(request, reply)


def failed(code: str, message: str) -> Completion:
    """A definite error, or an unknown outcome."""
    return Completion(kind="fail" if class_of(code).definite else "info", error=code, details={"message": message})


def error_completion(error: RaftcacheError) -> Completion:
    """The same for an error that was raised."""
    return failed(error.code, error.message)


def _ack(request: Request) -> AckLevel | None:
    return AckLevel[request.level.upper()] if request.level else None


def _idempotency(request: Request) -> bytes | None:
    key = request.details.get("idempotencyKey")
    return key.encode() if key is not None else None


def _version(text: str | None) -> Version | None:
    return Version.parse(text) if text else None


def _get(request: Request, key: str | None = None) -> Get:
    asked = request.details
    return Get(
        whole_key(request.key if key is None else key),
        ReadLevel[request.level.upper()] if request.level else None,
        asked.get("readPreference") == "replica",
        _version(asked.get("minVersion")),
        asked.get("maxStalenessMs"),
    )


def _set(request: Request) -> Set:
    asked, new = request.details, request.value[1] if request.name == "cas" else request.value
    return Set(
        whole_key(request.key),
        msgspec.json.encode(new),
        JSON,
        ttl_ms(asked.get("ttlSeconds")),
        _version(asked.get("ifVersion")),
        bool(asked.get("ifAbsent")),
        _ack(request),
        _idempotency(request),
        tags=tuple(asked["tags"]) if asked.get("tags") else None,
    )


def _set_many(request: Request) -> MultiSet:
    return MultiSet(
        tuple(Set(whole_key(key), msgspec.json.encode(value), JSON, ack=_ack(request)) for key, value in request.value)
    )


def _delete(request: Request) -> Delete:
    if_version = _version(request.details.get("ifVersion"))
    return Delete(whole_key(request.key), if_version, _ack(request), _idempotency(request))


def _expire(request: Request) -> Expire:
    return Expire(whole_key(request.key), ttl_ms(request.value) or 1, _ack(request), _idempotency(request))


def _incr(request: Request) -> Incr:
    return Incr(whole_key(request.key), request.value, ack=_ack(request), idempotency=_idempotency(request))


_COMMANDS: dict[str, Callable[[Request], Command]] = {
    "read": _get,
    "write": _set,
    "cas": _set,
    "incr": _incr,
    "delete": _delete,
    "expire": _expire,
    "read-many": lambda request: MultiGet(tuple(_get(request, key) for key in request.value)),
    "write-many": _set_many,
}


def _shown(value: bytes | None) -> Any:
    return None if value is None else msgspec.json.decode(value)


def _read(reply: Value) -> Completion:
    details: dict[str, Any] = {}
    if reply.ttl_ms is not None:
        details["ttlSeconds"] = ttl_seconds(reply.ttl_ms)
    if reply.staleness_ms is not None:
        details["stalenessMs"] = reply.staleness_ms
    return _ok(_shown(reply.value), reply.value is not None, reply.version, reply.level, details)


def _ok(
    value: Any, changed: bool, version: Version, level: AckLevel | ReadLevel, details: dict[str, Any]
) -> Completion:
    """Where nothing is there or was changed, the version is the shard's newest and no key's."""
    if not changed:
        details["newestVersion"] = str(version)
    name = level.name.lower()
    return Completion(kind="ok", value=value, version=str(version) if changed else "", level=name, details=details)


def _written(request: Request, reply: Written) -> Completion:
    if request.name == "cas" and not reply.written:
        current = "" if reply.current is None else str(reply.current)
        details = {"current": current}
        return Completion(kind="fail", error=CONDITION, level=reply.ack.name.lower(), details=details)
    found = {"delete": reply.existed, "expire": reply.written}.get(request.name)
    return _ok(found, found is not False, reply.version, reply.ack, {})


def _many(request: Request, reply: Many) -> Completion:
    """What is known of every item. Where the outcome of one is unknown, so is that of the operation: its other items
    are told in its value nonetheless."""
    unknown = any(isinstance(each, Failure) and not class_of(each.code).definite for each in reply.items)
    shown = [_item(each) for each in reply.items]
    levels = {each.level.name.lower() for each in reply.items if isinstance(each, Value)}
    levels |= {each.ack.name.lower() for each in reply.items if isinstance(each, Written)}
    level = levels.pop() if len(levels) == 1 else ""
    return Completion(kind="info" if unknown else "ok", value=shown, level=level)


def _item(reply: ItemReply) -> Any:
    assert not isinstance(reply, Scripted | Used), "no operation runs scripts or asks for uses"
    if isinstance(reply, Failure):
        return f"error {reply.code}"
    if not isinstance(reply, Value):
        return str(reply.version)
    return [_shown(reply.value), "" if reply.value is None else str(reply.version)]
