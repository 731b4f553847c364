"""Changes and reads of single keys, as operations tell of them. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from jepsen_like.history import CONDITION, Operation, Outcome
from jepsen_like.targets.commands import whole_key
from raftcache.commands.types import AckLevel, ReadLevel, Version
from raftcache.errors import class_of
from raftcache.store.effects import EFFECT_OVERHEAD_BYTES

NEVER = float("inf")
CHANGES = frozenset({"write", "cas", "incr", "delete", "expire"})


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that may alter a key. `value` is what the key has afterwards, None where nobody can tell or nothing
    is there; `version` is the change's own, and None where it is not known or nothing was changed."""

    number: int
    name: str
    key: str
    outcome: Outcome
    asked: Any
    value: Any
    version: Version | None
    level: AckLevel
    began_ms: float
    ended_ms: float
    ttl_ms: float | None
    """What the key has to live; the shortest that the policy may have given it, where `asked_ttl` is false."""
    asked_ttl: bool
    idempotency: str | None

    @property
    def refused(self) -> bool:
        """It had no effect and never will."""
        return self.outcome is Outcome.FAIL

    @property
    def size_bytes(self) -> int:
        """What a loss window counts for it, or less where the value is not known."""
        known = self.value is not None and self.name != "delete"
        return len(whole_key(self.key)) + EFFECT_OVERHEAD_BYTES + (len(msgspec.json.encode(self.value)) if known else 0)


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A read that was answered. `version` is that of the value, None for a miss; `newest` the state's, where told."""

    number: int
    process: int
    key: str
    value: Any
    version: Version | None
    newest: Version | None
    level: ReadLevel
    replica: bool
    """Whether the request let any replica answer."""
    began_ms: float
    ended_ms: float
    asked: dict[str, Any]
    told: dict[str, Any]

    @property
    def proved(self) -> bool:
        """Whether it shows all that was done before it began."""
        return self.level is ReadLevel.LINEARIZABLE

    @property
    def committed(self) -> bool:
        """Whether it shows nothing that can be lost."""
        return self.level is not ReadLevel.LATEST


def version_of(text: Any) -> Version | None:
    """The version of that text; None where it is none."""
    try:
        return Version.parse(text) if isinstance(text, str) and text else None
    except ValueError:
        return None


def shown(value: Any) -> str:
    """A value in a complaint."""
    return "nothing" if value is None else msgspec.json.encode(value).decode()[:80]


def served(operation: Operation) -> bool:
    """Whether the cluster did what it is there for: an answer, if only that a condition did not hold or that the
    request can never work. What asks to come again later is no service."""
    if operation.outcome is not Outcome.FAIL or operation.completed is None:
        return operation.outcome is Outcome.OK
    code = operation.completed.error
    return code == CONDITION or class_of(code).http_status < 500


def newer_of_one_shard(version: Version, than: Version) -> bool:
    """Whether it stands behind `than` in the log of the same shard."""
    return version.shard == than.shard and version > than


def value_after(name: str, asked: Any, told: Any) -> Any:
    """What a change leaves behind, by what was asked and told; None where nobody can tell or nothing is there."""
    if name == "cas":
        return asked[1] if isinstance(asked, list) and len(asked) == 2 else None
    return {"write": asked, "incr": told}.get(name)


def text_or_none(value: Any) -> str | None:
    """As text, if it is there."""
    return None if value is None else str(value)
