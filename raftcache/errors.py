"""The one tree of errors, and the one table that gives each its face over HTTP, RESP and RPC.

Two kinds are never mixed up. A *definite* error says that the command had no effect and never will: it may be
retried. `OutcomeUnknown` says that a write may or may not take effect: only reads and keyed writes may be
retried after it. The `code` is the name on every wire, in logs and in metrics.
"""

from __future__ import annotations

from typing import Any, ClassVar

STANDALONE_PREFIXES = {"CLUSTERDOWN": "LOADING"}
"""A standalone Redis has no cluster that could be down. Clients try again, by themselves, what is LOADING: so it must
mean that nothing was executed."""


class RaftcacheError(Exception):
    """Base of all errors that an interface may show to a client."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    resp_prefix: ClassVar[str] = "ERR"
    resp_text: ClassVar[str] = ""
    definite: ClassVar[bool] = True
    retry_after_ms: ClassVar[int | None] = None

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    @classmethod
    def to_resp(cls, message: str, cluster: bool = False) -> str:
        """The line that a Redis client gets: on a cluster port, or on one that looks like a standalone server.

        `resp_text` is what Redis says in that case; clients look for it, so it stands before what we have to say.
        """
        prefix = cls.resp_prefix if cluster else STANDALONE_PREFIXES.get(cls.resp_prefix, cls.resp_prefix)
        return f"{prefix} {cls.resp_text} ({message})" if cls.resp_text else f"{prefix} {message}"

    def to_wire(self) -> dict[str, Any]:
        """`{"code", "message", "details"}`: how the error travels between nodes and clients."""
        return {"code": self.code, "message": self.message, "details": self.details}


class InternalError(RaftcacheError):
    """A defect of ours, met at a point that nobody knows: so the outcome is not known either."""

    code, resp_prefix, definite = "internal", "UNKNOWN", False


class BadRequest(RaftcacheError):
    """Input that can never work: the message names field, limit and value."""

    code, http_status = "bad_request", 400


class InvalidKey(BadRequest):
    """A key that is empty or over the limit."""

    code = "invalid_key"


class InvalidName(BadRequest):
    """A namespace name outside `[A-Za-z0-9_.-]{1,64}`."""

    code = "invalid_name"


class InvalidPolicy(BadRequest):
    """A namespace policy with an unknown field, or with a value that cannot be."""

    code = "invalid_policy"


class LevelTooLow(BadRequest):
    """A request that asks for less than its namespace's policy."""

    code = "level_too_low"


class NoDisk(BadRequest):
    """`durable` asked of replicas that keep nothing on disk. Not executed."""

    code = "no_disk"


class TooManyKeys(BadRequest):
    """A multi-key command over the limit."""

    code = "too_many_keys"


class ValueTooLarge(BadRequest):
    """A value over 1 MiB or over its namespace's `max_item_bytes`."""

    code, http_status = "value_too_large", 413


class UnknownNamespace(RaftcacheError):
    """No namespace of that name."""

    code, http_status = "unknown_namespace", 404


class UnknownVersion(RaftcacheError):
    """A version that no leader has given out, or of a shard that is none of this cluster's any more."""

    code, http_status = "unknown_version", 404


class UnknownCommand(BadRequest):
    """No command or RPC method of that name."""

    code, http_status = "unknown_command", 404


class NotAnInteger(RaftcacheError):
    """`incr` on a value that is no integer, or with a result outside 64 bits."""

    code, http_status, resp_text = "not_an_integer", 409, "value is not an integer or out of range"


class IdempotencyMismatch(RaftcacheError):
    """The idempotency key was used for another write. Not executed, and never will be under this key."""

    code, http_status = "idempotency_mismatch", 422


class RepliesFull(RaftcacheError):
    """The namespace's table of reply records has no room for another keyed write. Not executed."""

    code, http_status, resp_prefix, retry_after_ms = "replies_full", 429, "BUSY", 1000


class RateLimited(RaftcacheError):
    """The namespace is used faster than its policy allows. Not executed; `retry_after_ms` in the details says when
    there is room again."""

    code, http_status, resp_prefix, retry_after_ms = "rate_limited", 429, "BUSY", 1000


class Unauthenticated(RaftcacheError):
    """The handshake or the secret failed."""

    code, http_status, resp_prefix = "unauthenticated", 401, "NOAUTH"


class MemoryFull(RaftcacheError):
    """The node's hard memory limit refuses this write. Not executed."""

    code, http_status, resp_prefix = "memory_full", 507, "OOM"


class QuotaExceeded(RaftcacheError):
    """The namespace's quota has no room for this write, and nothing of it may be evicted. Not executed."""

    code, http_status, resp_prefix = "quota_exceeded", 507, "OOM"


class VersionLost(RaftcacheError):
    """A read asked for a state that holds a version which is lost, and so for one that never comes."""

    code, http_status = "version_lost", 409


class TooStale(RaftcacheError):
    """No replica that could be reached has as new a state as the read asks for. Not executed."""

    code, http_status, resp_prefix, retry_after_ms = "too_stale", 503, "CLUSTERDOWN", 1000


class Overloaded(RaftcacheError):
    """A named bound was reached. Not executed."""

    code, http_status, resp_prefix, retry_after_ms = "overloaded", 503, "BUSY", 1000


class LossWindowFull(RaftcacheError):
    """The namespace's loss window has no room for this write: refused at once, or after it was held for its time.

    `namespace`, `bound` (ms, writes or bytes), `limit` and `value` are in the details. Not executed."""

    code, http_status, resp_prefix, retry_after_ms = "loss_window_full", 503, "BUSY", 1000


class NotLeader(RaftcacheError):
    """This replica does not lead the shard. `leader` (node id or None) and `term` are hints. Not executed."""

    code, http_status, resp_prefix, retry_after_ms = "not_leader", 503, "CLUSTERDOWN", 1000


class WrongShard(RaftcacheError):
    """The shard does not own the key's slot: the sender's map is old. Not executed."""

    code, http_status, resp_prefix, retry_after_ms = "wrong_shard", 503, "CLUSTERDOWN", 1000


class NoLeader(RaftcacheError):
    """No leader could be reached within the deadline. Not executed."""

    code, http_status, resp_prefix, retry_after_ms = "no_leader", 503, "CLUSTERDOWN", 1000


class NotFollowing(RaftcacheError):
    """The shard has not heard yet of the namespace that the request names. Not executed."""

    code, http_status, resp_prefix, retry_after_ms = "not_following", 503, "CLUSTERDOWN", 1000


class Unavailable(RaftcacheError):
    """The peer could not be reached, and nothing was sent. Not executed."""

    code, http_status, resp_prefix, retry_after_ms = "unavailable", 503, "CLUSTERDOWN", 1000


class ChangeInProgress(RaftcacheError):
    """A membership change is not yet committed; one at a time. Not executed."""

    code, http_status, retry_after_ms = "change_in_progress", 503, 1000


class OutcomeUnknown(RaftcacheError):
    """A write that may or may not take effect. `version` is in the details where it is known."""

    code, http_status, resp_prefix, definite = "outcome_unknown", 504, "UNKNOWN", False


def _tree(cls: type[RaftcacheError]) -> list[type[RaftcacheError]]:
    return [cls, *(leaf for child in cls.__subclasses__() for leaf in _tree(child))]


BY_CODE: dict[str, type[RaftcacheError]] = {cls.code: cls for cls in reversed(_tree(RaftcacheError))}
"""The errors of this module, which are those that interfaces document."""


def class_of(code: str) -> type[RaftcacheError]:
    """The error with that code, here or in a module that derives its own; `InternalError` where there is none."""
    found = BY_CODE.get(code)
    if found is None:
        found = next((cls for cls in _tree(RaftcacheError) if cls.code == code), InternalError)
    return found


def from_wire(body: dict[str, Any]) -> RaftcacheError:
    """The error that `to_wire` wrote; an unknown code becomes an `InternalError` that keeps the text."""
    error = class_of(body.get("code", ""))(str(body.get("message", "")))
    error.details = dict(body.get("details", {}))
    return error
