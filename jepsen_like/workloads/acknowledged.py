"""What was acknowledged, and the questions about it that a workload asks in the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from jepsen_like.asking import Completion, Request

REMEMBERED = 50_000
"""The newest so many; a receipt is a request of its own."""
WAIT_MS = 1_000
"""How long a receipt is waited for that is pending still."""
READ_AT_ONCE = 100

ITEM_ERROR = "error "
"""How the result of a batch's item begins that failed."""

_WRITES = ("write", "cas", "incr", "delete")


class Acknowledged:
    """Keys with the versions that were given out for them, of operations that wrote something."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._newest: deque[tuple[str, str]] = deque(maxlen=remembered)

    def note(self, request: Request, told: Completion) -> None:
        """Remember what this operation wrote, if it did."""
        self._newest.extend(acknowledged(request, told))

    def recent(self, count: int) -> list[tuple[str, str]]:
        """At most the newest `count`."""
        return [self._newest[-place] for place in range(min(count, len(self._newest)), 0, -1)]

    def receipts(self) -> list[Request]:
        """A question for each of them."""
        return [receipt(key, version, WAIT_MS) for key, version in self._newest]


def acknowledged(request: Request, told: Completion) -> Iterator[tuple[str, str]]:
    """Each key that was written, with its version. Of a batch some items may be acknowledged, and others unknown."""
    if request.name == "write-many" and isinstance(told.value, list):
        for (key, _), version in zip(request.value, told.value, strict=True):
            if not version.startswith(ITEM_ERROR):
                yield key, version
    elif request.name in _WRITES and told.kind == "ok" and told.version:
        yield request.key, told.version


def receipt(key: str, version: str, wait_ms: int = 0) -> Request:
    """What became of a version."""
    return Request(name="receipt", key=key, value=version, details={"waitMs": wait_ms} if wait_ms else {})


def lost_writes(namespaces: Iterable[str]) -> list[Request]:
    """What the cluster itself says it has lost."""
    return [Request(name="lost-writes", value=name) for name in namespaces]


def reads(keys: Iterable[str]) -> list[Request]:
    """A linearizable read of each, one by one."""
    return [Request(name="read", key=key, level="linearizable") for key in keys]


def reads_of_many(keys: Iterable[str]) -> list[Request]:
    """The same, many at once."""
    rest = list(keys)
    chunks = [rest[start : start + READ_AT_ONCE] for start in range(0, len(rest), READ_AT_ONCE)]
    return [Request(name="read-many", value=chunk, level="linearizable") for chunk in chunks]
