"""What a workload can ask of a cluster, whatever that is: real processes over HTTP, or the simulation. Pure.

| name | value | details asked | answer |
|---|---|---|---|
| `read` | | `readPreference`, `minVersion`, `maxStalenessMs` | value or None, `version`; `ttlSeconds`, `stalenessMs` |
| `write` | text or integer | `ttlSeconds`, `idempotencyKey`, `tags` | `version` |
| `cas` | `[expected, new]` | `ifVersion`, or `ifAbsent` | `version`; or `fail` with `CONDITION`, and `current` |
| `incr` | by how much | `idempotencyKey` | the count, `version` |
| `delete` | | `ifVersion`, `idempotencyKey` | whether anything was there, `version` |
| `expire` | seconds | | whether anything was there |
| `read-many` | `[key, ...]` | as `read` | `[[value or None, version], ...]` |
| `write-many` | `[[key, value], ...]` | | `[version, ...]` |
| `receipt` | a version | `waitMs` | `pending`, `committed` or `lost`; `durable` |
| `lost-writes` | a namespace | | `[version, ...]`; `total`, `truncated`, `unreachable` |
| `set-namespace` | a policy, as `PUT /v1/namespaces` takes it | | |
| `delete-namespace` | | | |
| `invalidate` | a tag, or None for all of the namespace | | |

`ifVersion` of a `cas` is that of the expected value, and `current` the version that stood there instead, "" for none.
An item of a batch that failed is the text `error CODE`. Where the outcome of one is unknown, the operation's is; its
value tells of the others all the same.

`version` is one that the key has, or had: where nothing is there, or nothing was changed, it is "", and the version
that the answer names all the same is `newestVersion` in the details, the shard's.

`key` carries the namespace, `namespace:key`; that of a policy, and of `invalidate`, is the namespace's name. A write's
`level` is an ack level, a read's a read level; "" is the namespace's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from jepsen_like.history import Kind


class Request(msgspec.Struct, kw_only=True, frozen=True):
    """One operation to come, as the event that invokes it will have it."""

    name: str
    key: str = ""
    value: Any = None
    level: str = ""
    details: dict[str, Any] = {}


class Completion(msgspec.Struct, kw_only=True, frozen=True):
    """How it ended, as the event that completes it will have it. Never `invoke`."""

    kind: Kind
    value: Any = None
    version: str = ""
    level: str = ""
    error: str = ""
    details: dict[str, Any] = {}


class Target(Protocol):
    """A cluster under test, seen by its clients. Every node is a front end."""

    def nodes(self) -> list[str]:
        """The ids of all nodes, running or not."""

    def now_ms(self) -> float:
        """Since the run began."""

    def wall_ms(self) -> int:
        """The wall clock."""

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after that much time."""

    def ask(self, node: str, request: Request, timeout_s: float, done: Callable[[Completion], None]) -> None:
        """Have a node do it. `done` is called exactly once, later, at the latest about `timeout_s` from now: an outcome
        that is not known then is `info`. Nothing that was sent is sent again."""
