"""Writers that use more of the interface than plain writes: compare-and-set, removals, counters.

Each writer has a register, a counter and any number of keys that it writes once. Its attempts go round in eights:

    0       set the register
    2 4 6   compare-and-set the register, on the version that was acknowledged last: each finds out at once whether
            the write before it is still there
    1 3     set a new key
    5       remove the key of attempt 1, where that stands there for certain
    7       add one to the counter

Where an attempt has nothing to go by (no acknowledged version, nothing certain), it is a plain write instead.
"""

from __future__ import annotations

from typing import Any

from jepsen_like.ledger import Ledger
from jepsen_like.load import SHARD_PERIOD_S, Target, Write, tag_in
from raftcache.cli.api import key_path

ROUND = 8
_SWAP, _REMOVE, _COUNT = (2, 4, 6), 5, 7
_REMOVED_AFTER = 4
"""So many attempts later a key is removed."""


class MixedTarget:
    """The keys of one writer in one shard. What is attempted depends on what `ledger` knows of them."""

    def __init__(self, ledger: Ledger, namespace: str, durability: str, shard: dict[str, Any], number: int) -> None:
        self.group, self.period_s = str(shard["id"]), SHARD_PERIOD_S
        self._ledger, self._namespace, self._durability = ledger, namespace, durability
        self._tag = tag_in(namespace, shard["slots"], number)

    def write(self, value: int) -> Write:
        """Attempt number `value`."""
        turn = value % ROUND
        if turn == _COUNT:
            return self._count()
        old = self._key(value - _REMOVED_AFTER)
        if turn == _REMOVE and self._ledger.certain(old):
            return self._remove(old)
        if turn % 2:
            return self._set(self._key(value), value)
        return self._swap(value) if turn in _SWAP else self._set(self._register, value)

    @property
    def _register(self) -> str:
        return f"{{{self._tag}}}register"

    def _key(self, value: int) -> str:
        return f"{{{self._tag}}}{value}"

    def _set(self, key: str, value: int, **more: Any) -> Write:
        path = key_path(self._namespace, key.encode())
        document = {"value": value, "durability": self._durability, **more}
        return Write(key, path, document, durability=self._durability)

    def _swap(self, value: int) -> Write:
        newest = self._ledger.newest(self._register)
        condition = {} if newest is None else {"ifVersion": str(newest.version)}
        return self._set(self._register, value, **condition)

    def _remove(self, key: str) -> Write:
        """As a batch of one, whose answer carries the version in its body."""
        document = {"namespace": self._namespace, "keys": [key], "durability": self._durability}
        path = "/v1/cache/batch/delete"
        return Write(key, path, document, b"POST", removes=True, durability=self._durability)

    def _count(self) -> Write:
        key = f"{{{self._tag}}}counter"
        document = {"namespace": self._namespace, "key": key, "durability": self._durability}
        return Write(key, "/v1/cache/incr", document, b"POST", counts=True, durability=self._durability)


def mixed_targets(ledger: Ledger, namespace: str, durability: str, body: dict[str, Any], writers: int) -> list[Target]:
    """So many writers for every shard of a `/v1/cluster` body."""
    shards = body["shards"]
    return [
        MixedTarget(ledger, namespace, durability, shard, i * len(shards) + n)
        for i in range(writers)
        for n, shard in enumerate(shards)
    ]
