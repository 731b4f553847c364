"""The one table of commands: name, type, whether it writes, which keys it touches, what makes it valid.

Anatomy of a command: its struct and reply are in `types`, its row is here, and the function that executes it is in
`shard.handlers`. Interfaces translate to and from these and know nothing else.

Validation is pure and needs only the namespaces, so a front end refuses bad input early with it; the shard runs
the same checks again, for its view of the policies is the one that counts. Every message names the field, the
limit and the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from raftcache.commands import types as t
from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.commands.types import AckLevel, ReadLevel
from raftcache.errors import BadRequest, InvalidKey, LevelTooLow, TooManyKeys, ValueTooLarge

_KEY_LIMIT_BYTES: Final = t.KEY_LIMIT_BYTES
_IDEMPOTENCY_KEY: Final = re.compile(rb"[\x20-\x7e]{1,%d}\Z" % t.IDEMPOTENCY_KEY_LIMIT_BYTES)

_TAG: Final = re.compile(t.TAG_PATTERN.removesuffix("$") + r"\Z")

SHOWN_BYTES: Final = 64
"""How much of a key an error message repeats."""


class CommandSpec(NamedTuple):
    """A row of the table.

    `check` validates a single-key command against its namespace and returns the level in force. For a multi-key
    command `item` is the type of its items, each of which is checked and fails alone.
    """

    name: str
    struct: type[Any]
    is_write: bool
    keys: Callable[[Any], tuple[bytes, ...]]
    check: Callable[[Any, Namespace], int] | None
    item: type[Any] | None = None


def check_get(command: t.Get, namespace: Namespace) -> ReadLevel:
    """The read level in force: `REPLICA` where any replica may answer. Raises InvalidKey, LevelTooLow, BadRequest."""
    _check_key(command.key)
    if command.replica or command.min_version is not None or command.max_staleness_ms is not None:
        return _check_replica_read(command, namespace)
    policy = namespace.reads_at
    level = policy if command.level is None else command.level
    if level < policy:
        raise _too_low("consistency", level, "reads", policy, namespace)
    return level


def _check_replica_read(command: t.Get, namespace: Namespace) -> ReadLevel:
    if not command.replica:
        raise BadRequest("minVersion, maxStalenessMs: they are for readPreference=replica, which was not given")
    if command.level is not None:
        raise BadRequest(
            f"consistency: {command.level.name.lower()} and readPreference=replica were both given; at most one may be"
        )
    if not namespace.replica_reads:
        raise BadRequest(
            f"readPreference: replica is not allowed by the policy of namespace {namespace.name!r} (allowReplicaReads)"
        )
    limit = command.max_staleness_ms
    if limit is not None and not 0 <= limit <= t.STALENESS_LIMIT_MS:
        raise BadRequest(f"maxStalenessMs: {limit} is not within 0 to {t.STALENESS_LIMIT_MS}")
    return ReadLevel.REPLICA


def check_set(command: t.Set, namespace: Namespace) -> AckLevel:
    """The ack level in force. Raises InvalidKey, ValueTooLarge, LevelTooLow, BadRequest."""
    _check_key(command.key)
    _check_idempotency(command.idempotency)
    check_size(len(command.value), namespace)
    if command.flag not in (t.RAW, t.JSON):
        raise BadRequest(f"flag: {command.flag} is neither {t.RAW} (raw) nor {t.JSON} (json)")
    if command.if_absent + command.if_present + (command.if_version is not None) > 1:
        raise BadRequest(
            f"if_absent, if_present, if_version: {command.if_absent}, {command.if_present} and {command.if_version} "
            "were given; at most one may be"
        )
    if command.keep_ttl and command.ttl_ms is not None:
        raise BadRequest(f"keep_ttl, ttl: both were given (true, {command.ttl_ms} ms); at most one may be")
    _check_revealing(command.reveal, command.idempotency)
    _check_ttl(command.ttl_ms)
    if command.tags is not None:
        _check_tags(command.tags)
    return ack_level(command.ack, namespace)


def check_size(size_bytes: int, namespace: Namespace) -> None:
    """Raises ValueTooLarge."""
    limit = min(namespace.max_item_bytes, t.VALUE_LIMIT_BYTES)
    if size_bytes > limit:
        raise ValueTooLarge(
            f"value: {size_bytes} bytes is over the limit of {limit} bytes of namespace {namespace.name!r}"
        )


def check_delete(command: t.Delete, namespace: Namespace) -> AckLevel:
    """The ack level in force. Raises InvalidKey, LevelTooLow, BadRequest."""
    _check_key(command.key)
    _check_idempotency(command.idempotency)
    _check_revealing(command.reveal, command.idempotency)
    return ack_level(command.ack, namespace)


def check_append(command: t.Append, namespace: Namespace) -> AckLevel:
    """The ack level in force. Raises InvalidKey, ValueTooLarge, LevelTooLow, BadRequest."""
    _check_key(command.key)
    _check_idempotency(command.idempotency)
    check_size(len(command.value), namespace)
    return ack_level(command.ack, namespace)


def check_incr(command: t.Incr, namespace: Namespace) -> AckLevel:
    """The ack level in force. Raises InvalidKey, LevelTooLow, BadRequest."""
    _check_key(command.key)
    _check_idempotency(command.idempotency)
    _check_ttl(command.ttl_ms)
    if not t.INT64_MIN <= command.delta <= t.INT64_MAX:
        raise BadRequest(f"delta: {command.delta} is not within {t.INT64_MIN} to {t.INT64_MAX}")
    return ack_level(command.ack, namespace)


def check_expire(command: t.Expire, namespace: Namespace) -> AckLevel:
    """The ack level in force. Raises InvalidKey, LevelTooLow, BadRequest."""
    _check_key(command.key)
    _check_idempotency(command.idempotency)
    _check_ttl(command.ttl_ms)
    _check_revealing(command.reveal, command.idempotency)
    return ack_level(command.ack, namespace)


def check_persist(command: t.Persist, namespace: Namespace) -> AckLevel:
    """The ack level in force. Raises InvalidKey, LevelTooLow, BadRequest."""
    _check_key(command.key)
    _check_idempotency(command.idempotency)
    _check_revealing(command.reveal, command.idempotency)
    return ack_level(command.ack, namespace)


def check_usage(command: t.Usage, namespace: Namespace) -> ReadLevel:
    """The read level in force. Raises InvalidKey."""
    _check_key(command.key)
    return namespace.reads_at


def check_many(command: t.Multi) -> None:
    """Bound the number of items. Raises TooManyKeys, BadRequest where one carries an idempotency key."""
    if len(command.items) > t.MULTI_KEY_LIMIT:
        raise TooManyKeys(f"keys: {len(command.items)} are over the limit of {t.MULTI_KEY_LIMIT}")
    if isinstance(command, t.MultiGet):
        return
    for item in command.items:
        if item.idempotency is not None:
            raise BadRequest(f"idempotency: {item.idempotency!r:.140} is on an item; only single-key writes take one")


def check_transaction(command: t.Transaction) -> None:
    """Bound what one batch takes, and each script of it. Raises TooManyKeys, BadRequest."""
    count = len(command.items) + len(command.expected)
    if count > t.MULTI_KEY_LIMIT:
        raise TooManyKeys(f"keys: {count} are over the limit of {t.MULTI_KEY_LIMIT}")
    size_bytes = sum([_item_bytes(item) for item in command.items])
    if size_bytes > t.TRANSACTION_LIMIT_BYTES:
        raise BadRequest(f"transaction: {size_bytes} bytes are over the limit of {t.TRANSACTION_LIMIT_BYTES} bytes")
    if not count:
        raise BadRequest("transaction: 0 commands and 0 expected versions; at least one of either must be given")
    for item in command.items:
        if type(item) is t.Script:
            check_script(item)
        elif getattr(item, "idempotency", None) is not None or getattr(item, "replica", False):
            raise BadRequest("transaction: its commands take no idempotency keys and are executed by the leader")


def _item_bytes(item: Any) -> int:
    """What a transaction carries for one of its commands: a script is sent whole each time that it is executed."""
    if type(item) is t.Script:
        return len(item.source) + _handed_bytes(item)
    return len(item.key) + len(getattr(item, "value", b""))


def _handed_bytes(command: t.Script) -> int:
    """Keys and arguments of a script."""
    return sum(map(len, command.keys)) + sum(map(len, command.args))


def check_minted(envelope: t.Minted) -> None:
    """Raises BadRequest, TooManyKeys."""
    command, count, numbers = envelope.command, 1, envelope.numbers
    if type(command) is t.MultiSet or type(command) is t.MultiDelete:
        check_many(command)
        count = len(command.items)
    if not 0 < len(envelope.session) <= t.SESSION_LIMIT_BYTES:
        raise BadRequest(f"session: {len(envelope.session)} bytes; it must be 1 to {t.SESSION_LIMIT_BYTES}")
    if len(numbers) != count or not 0 <= envelope.floor < (numbers[0] if count == 1 else min(numbers, default=1)):
        shown = f"{len(numbers)} numbers from {min(numbers, default=0)}"
        raise BadRequest(f"minted key: {shown} over the floor {envelope.floor} for {count} writes")


def check_scan(command: t.Scan) -> None:
    """Raises BadRequest."""
    bounds = (
        ("slot", command.slot, t.SLOT_LIMIT),
        ("page", command.page, t.SCAN_PAGES - 1),
        ("count", command.count, t.SCAN_LIMIT),
    )
    for field, value, limit in bounds:
        if not 0 <= value <= limit:
            raise BadRequest(f"{field}: {value} is not within 0 to {limit}")


def check_script(command: t.Script) -> None:
    """Bound what is handed to a script. Raises TooManyKeys, BadRequest."""
    if len(command.source) > t.SCRIPT_LIMIT_BYTES:
        raise BadRequest(f"script: {len(command.source)} bytes are over the limit of {t.SCRIPT_LIMIT_BYTES} bytes")
    if len(command.keys) > t.MULTI_KEY_LIMIT:
        raise TooManyKeys(f"keys: {len(command.keys)} are over the limit of {t.MULTI_KEY_LIMIT}")
    count = len(command.keys) + len(command.args)
    if count > t.SCRIPT_ARGUMENTS_LIMIT:
        raise BadRequest(f"script: {count} keys and arguments are over the limit of {t.SCRIPT_ARGUMENTS_LIMIT}")
    size_bytes = _handed_bytes(command)
    if size_bytes > t.TRANSACTION_LIMIT_BYTES:
        raise BadRequest(
            f"script: {size_bytes} bytes of keys and arguments are over the limit of {t.TRANSACTION_LIMIT_BYTES} bytes"
        )


def validate(command: t.Command, namespaces: Namespaces) -> None:
    """Refuse what no shard would execute. Items of a multi-key command are not looked at: each fails alone."""
    spec = TABLE[type(command)]
    if type(command) is t.Transaction:
        check_transaction(command)
    elif type(command) is t.Scan:
        check_scan(command)
    elif type(command) is t.Script:
        check_script(command)
    elif spec.check is None:
        check_many(command)  # type: ignore[arg-type]
    else:
        spec.check(command, namespaces.resolve(spec.keys(command)[0]))


def is_key(key: bytes) -> bool:
    """Whether a key has a length that keys may have."""
    return 1 <= len(key) <= _KEY_LIMIT_BYTES


def _check_key(key: bytes) -> None:
    if not is_key(key):
        raise InvalidKey(f"key: {len(key)} bytes is not within 1 to {t.KEY_LIMIT_BYTES} bytes ({key[:SHOWN_BYTES]!r})")


def _check_ttl(ttl_ms: int | None) -> None:
    if ttl_ms is not None and not 0 < ttl_ms <= t.TTL_LIMIT_MS:
        raise BadRequest(f"ttl: {ttl_ms} ms is not within 1 to {t.TTL_LIMIT_MS} ms")


def _check_tags(tags: tuple[str, ...]) -> None:
    if len(tags) > t.TAGS_LIMIT:
        raise BadRequest(f"tags: {len(tags)} are over the limit of {t.TAGS_LIMIT} for a key")
    for tag in tags:
        check_tag(tag)


def check_tag(tag: str) -> None:
    """Raises BadRequest."""
    if not _TAG.match(tag):
        raise BadRequest(
            f"tag: {len(tag)} characters ({tag[:SHOWN_BYTES]!r}): it must be 1 to {t.TAG_LIMIT_BYTES} "
            "of A-Z a-z 0-9 _ . : @ = + -"
        )


def _check_idempotency(key: bytes | None) -> None:
    if key is not None and not _IDEMPOTENCY_KEY.match(key):
        limit, shown = t.IDEMPOTENCY_KEY_LIMIT_BYTES, key[:SHOWN_BYTES]
        raise BadRequest(
            f"idempotency key: {len(key)} bytes ({shown!r}): it must be 1 to {limit} printable ASCII characters"
        )


def _check_revealing(reveal: bool, idempotency: bytes | None) -> None:
    """A reply record would have to keep the value, of whatever size, for as long as it may be asked for."""
    if reveal and idempotency is not None:
        raise BadRequest("reveal, idempotency: both were given; what stood there before is told once")


def ack_level(asked: AckLevel | None, namespace: Namespace) -> AckLevel:
    """The ack level in force for a write that asks for `asked`. Raises LevelTooLow."""
    level = namespace.ack if asked is None else asked
    if level < namespace.ack:
        raise _too_low("durability", level, "acknowledges", namespace.ack, namespace)
    return level


def _too_low(
    field: str, asked: AckLevel | ReadLevel, does: str, policy: AckLevel | ReadLevel, namespace: Namespace
) -> LevelTooLow:
    return LevelTooLow(
        f"{field}: {asked.name.lower()} is less than the policy of namespace {namespace.name!r}, "
        f"which {does} at {policy.name.lower()}"
    )


def _one_key(command: Any) -> tuple[bytes, ...]:
    return (command.key,)


def _item_keys(command: Any) -> tuple[bytes, ...]:
    return tuple(item.key for item in command.items)


def _transaction_keys(command: t.Transaction) -> tuple[bytes, ...]:
    keys = [key for item in command.items for key in (item.keys if type(item) is t.Script else (item.key,))]
    return (*keys, *(key for key, _ in command.expected))


def _no_keys(_command: t.Scan) -> tuple[bytes, ...]:
    return ()


def _script_keys(command: t.Script) -> tuple[bytes, ...]:
    return command.keys


_ROWS: Final = (
    CommandSpec("get", t.Get, False, _one_key, check_get),
    CommandSpec("set", t.Set, True, _one_key, check_set),
    CommandSpec("delete", t.Delete, True, _one_key, check_delete),
    CommandSpec("incr", t.Incr, True, _one_key, check_incr),
    CommandSpec("append", t.Append, True, _one_key, check_append),
    CommandSpec("expire", t.Expire, True, _one_key, check_expire),
    CommandSpec("persist", t.Persist, True, _one_key, check_persist),
    CommandSpec("usage", t.Usage, False, _one_key, check_usage),
    CommandSpec("multi_get", t.MultiGet, False, _item_keys, None, t.Get),
    CommandSpec("multi_set", t.MultiSet, True, _item_keys, None, t.Set),
    CommandSpec("multi_delete", t.MultiDelete, True, _item_keys, None, t.Delete),
    CommandSpec("scan", t.Scan, False, _no_keys, None),
    CommandSpec("transaction", t.Transaction, True, _transaction_keys, None),
    CommandSpec("script", t.Script, True, _script_keys, None),
)

TABLE: dict[type[Any], CommandSpec] = {row.struct: row for row in _ROWS}
BY_NAME: dict[str, CommandSpec] = {row.name: row for row in _ROWS}
