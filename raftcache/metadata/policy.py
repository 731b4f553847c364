"""Namespace policies as people write them: a JSON document, to and from the `Namespace` struct.

A document replaces the whole policy: a field left out takes its default. Every mistake is an `InvalidPolicy`
that names the field, what it may be, and what it was.
"""

from __future__ import annotations

from enum import Enum
from reprlib import Repr
from typing import Any, TypeVar

import msgspec

from raftcache.commands.policy import (
    LIMIT_RANGES,
    TTL_JITTER_LIMIT_PERCENT,
    WINDOW_LIMITS,
    Admission,
    Eviction,
    Limits,
    LossWindow,
    Namespace,
    OnExceeded,
)
from raftcache.commands.types import TTL_LIMIT_MS, VALUE_LIMIT_BYTES, AckLevel, ReadLevel
from raftcache.errors import InvalidPolicy
from raftcache.metadata.checks import check_name

ACK_LEVELS: dict[str, AckLevel] = {level.name.lower(): level for level in AckLevel}
READ_LEVELS: dict[str, ReadLevel] = {level.name.lower(): level for level in ReadLevel if level != ReadLevel.REPLICA}

ON_EXCEEDED = {choice.name.lower(): choice for choice in OnExceeded}

EVICTIONS = {choice.value: choice for choice in Eviction}
ADMISSIONS = {choice.value: choice for choice in Admission}
LIMIT_FIELDS = {
    "quotaBytes": "quota_bytes",
    "quotaItems": "quota_items",
    "weight": "weight",
    "operationsPerSecond": "operations_per_second",
    "bytesPerSecond": "bytes_per_second",
    "burstMs": "burst_ms",
}
"""What `Limits` has, by the names that documents give it."""

FIELDS = (
    "ack",
    "readLevel",
    "allowReplicaReads",
    "defaultTtlSeconds",
    "maxTtlSeconds",
    "ttlJitterPercent",
    "maxItemBytes",
    "lossWindow",
    "onExceeded",
    "eviction",
    "admission",
    *LIMIT_FIELDS,
)
_MISSING = object()

Choice = TypeVar("Choice", bound=Enum)

_brief = Repr()
_brief.maxstring = 80
_shown = _brief.repr
"""A value for an error message, cut in length and in depth."""


def parse_policy(name: str, document: Any, replication_factor: int) -> Namespace:
    """The namespace that a policy document describes, with id 0: the metadata group gives the id.

    `replicationFactor` may be named if it is the cluster's. Raises `InvalidName` or `InvalidPolicy`.
    """
    check_name(name)
    if not isinstance(document, dict):
        raise InvalidPolicy(f"a policy must be a JSON object, got {_shown(document)}")
    _check_fields(document, replication_factor)
    ack = _choice(document, "ack", ACK_LEVELS, AckLevel.PRIMARY)
    plain = Namespace(name, 0, ack)
    fitting = plain.reads_at
    read_level = _choice(document, "readLevel", READ_LEVELS, fitting)
    return Namespace(
        name,
        0,
        ack,
        None if read_level == fitting else read_level,
        _ttl_ms("defaultTtlSeconds", document),
        _max_item_bytes(document.get("maxItemBytes", VALUE_LIMIT_BYTES)),
        _loss_window(document.get("lossWindow", {})),
        _choice(document, "onExceeded", ON_EXCEEDED, OnExceeded.QUORUM),
        allow_replica_reads=_allow_replica_reads(document.get("allowReplicaReads"), plain.replica_reads),
        max_ttl_ms=_ttl_ms("maxTtlSeconds", document),
        ttl_jitter_percent=_ttl_jitter_percent(document.get("ttlJitterPercent", 0)),
        limits=_limits(document),
        eviction=_choice(document, "eviction", EVICTIONS, Eviction.LRU),
        admission=_choice(document, "admission", ADMISSIONS, Admission.ALL),
    )


def policy_document(namespace: Namespace) -> dict[str, Any]:
    """The whole policy as a document; `parse_policy` reads it back to the same policy."""
    return {
        "ack": namespace.ack.name.lower(),
        "readLevel": namespace.reads_at.name.lower(),
        "allowReplicaReads": namespace.replica_reads,
        "defaultTtlSeconds": _seconds(namespace.default_ttl_ms),
        "maxTtlSeconds": _seconds(namespace.max_ttl_ms),
        "ttlJitterPercent": namespace.ttl_jitter_percent,
        "maxItemBytes": namespace.max_item_bytes,
        "lossWindow": msgspec.to_builtins(namespace.loss_window),
        "onExceeded": namespace.on_exceeded.name.lower(),
        "eviction": namespace.eviction.value,
        "admission": namespace.admission.value,
        **{field: getattr(namespace.limits, name) for field, name in LIMIT_FIELDS.items()},
    }


def _seconds(ttl_ms: int | None) -> float | None:
    return None if ttl_ms is None else ttl_ms // 1000 if ttl_ms % 1000 == 0 else ttl_ms / 1000


def _check_fields(document: dict[Any, Any], replication_factor: int) -> None:
    factor = document.get("replicationFactor", _MISSING)
    if factor is not _MISSING and (type(factor) is not int or factor != replication_factor):
        raise InvalidPolicy(
            f"replicationFactor must be {replication_factor}, got {_shown(factor)}: it belongs to the shards, "
            "which all namespaces share, so it is set for the whole cluster and not for a namespace"
        )
    for field in document:
        if field not in FIELDS and field != "replicationFactor":
            raise InvalidPolicy(f"unknown field {_shown(field)}: a policy has {', '.join(FIELDS)}")


def _choice(document: dict[Any, Any], field: str, choices: dict[str, Choice], fallback: Choice) -> Choice:
    value = document.get(field)
    if value is None:
        return fallback
    if isinstance(value, str) and value in choices:
        return choices[value]
    allowed = " or ".join(map(repr, choices))
    raise InvalidPolicy(f"{field} must be {allowed}, got {_shown(value)}")


def _allow_replica_reads(value: Any, fitting: bool) -> bool | None:
    """None where it is what fits the ack level anyway."""
    if value is not None and type(value) is not bool:
        raise InvalidPolicy(f"allowReplicaReads must be true, false or null, got {_shown(value)}")
    return None if value is None or value == fitting else value


def _ttl_ms(field: str, document: dict[Any, Any]) -> int | None:
    value = document.get(field)
    if value is None:
        return None
    limit = TTL_LIMIT_MS // 1000
    number = type(value) in (int, float) and 0 < value <= limit
    if not number or round(value * 1000) < 1:
        raise InvalidPolicy(f"{field} must be null or a positive number up to {limit}, got {_shown(value)}")
    ttl_ms: int = round(value * 1000)
    return ttl_ms


def _ttl_jitter_percent(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= TTL_JITTER_LIMIT_PERCENT:
        limit = TTL_JITTER_LIMIT_PERCENT
        raise InvalidPolicy(f"ttlJitterPercent must be an integer from 0 to {limit}, got {_shown(value)}")
    return value


def _max_item_bytes(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= VALUE_LIMIT_BYTES:
        raise InvalidPolicy(f"maxItemBytes must be an integer from 1 to {VALUE_LIMIT_BYTES}, got {_shown(value)}")
    return value


def _limits(document: dict[Any, Any]) -> Limits:
    """What is left out takes its default; null lifts a bound where there may be none."""
    given: dict[str, Any] = {}
    for field, name in LIMIT_FIELDS.items():
        fallback = getattr(Limits(), name)
        value = document.get(field, fallback)
        low, high = LIMIT_RANGES[name]
        if (value is None and fallback is not None) or (
            value is not None and (type(value) is not int or not low <= value <= high)
        ):
            or_null = "null or " if fallback is None else ""
            raise InvalidPolicy(f"{field} must be {or_null}an integer from {low} to {high}, got {_shown(value)}")
        given[name] = value
    return Limits(**given)


def _loss_window(value: Any) -> LossWindow:
    """`{ms, writes, bytes}`: what is left out takes its default, null lifts a bound. Null for all of it would leave
    open which of the two is meant, so it is refused."""
    if not isinstance(value, dict):
        named = ", ".join(WINDOW_LIMITS)
        raise InvalidPolicy(f"lossWindow must be an object of {named}, each a number or null, got {_shown(value)}")
    for field, bound in value.items():
        limit = WINDOW_LIMITS.get(field) if isinstance(field, str) else None
        if limit is None:
            raise InvalidPolicy(f"unknown field {_shown(field)} in lossWindow: it has {', '.join(WINDOW_LIMITS)}")
        if bound is not None and (type(bound) is not int or not 1 <= bound <= limit):
            raise InvalidPolicy(f"lossWindow.{field} must be null or an integer from 1 to {limit}, got {_shown(bound)}")
    return LossWindow(**value)
