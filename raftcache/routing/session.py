"""The keys that a front end mints for writes that it may have to send again: `(session, number)`.

The session is this run of the process, the numbers go up. With each write a shard is told the *floor* there: the
highest number below all that were sent to that shard and are not answered, up to which it may forget. The floors are
kept shard by shard, so that one without a leader does not make the others remember all that is sent meanwhile.
`store.sessions` tells what a shard does with all that.
"""

from __future__ import annotations

import random
from heapq import heappop, heappush
from typing import Final

from raftcache.commands.types import MintedKey

SESSION_BYTES: Final = 8


class _Unanswered:
    """The numbers of one shard that are not answered. The heap may have answered ones, the set has not."""

    __slots__ = ("heap", "numbers")

    def __init__(self) -> None:
        self.heap: list[int] = []
        self.numbers: set[int] = set()


class KeySession:
    """One front end's session. `dice` make its name, with the first key."""

    def __init__(self, dice: random.Random) -> None:
        self._dice, self._id = dice, b""
        self._newest = 0
        self._shards: dict[str, _Unanswered] = {}

    @property
    def id(self) -> bytes:
        """The session's name."""
        if not self._id:
            self._id = self._dice.randbytes(SESSION_BYTES)
        return self._id

    def __len__(self) -> int:
        """How many numbers are not answered."""
        return sum(len(shard.numbers) for shard in self._shards.values())

    def take(self, shard_id: str) -> int:
        """A new number, for a write to a shard."""
        self._newest += 1
        self.hold(shard_id, self._newest)
        return self._newest

    def hold(self, shard_id: str, number: int) -> None:
        """A write goes on at this shard under the number that it has."""
        shard = self._shards.get(shard_id)
        if shard is None:
            shard = self._shards[shard_id] = _Unanswered()
        shard.numbers.add(number)
        heappush(shard.heap, number)

    def settle(self, shard_id: str, number: int) -> None:
        """The write is answered, or goes on elsewhere."""
        shard = self._shards[shard_id]
        shard.numbers.discard(number)
        if not shard.numbers:
            del self._shards[shard_id]
            return
        while shard.heap[0] not in shard.numbers:
            heappop(shard.heap)

    def key(self, shard_id: str, number: int) -> MintedKey:
        """The key of a write that is not answered, with the floor of now."""
        return MintedKey(self.id, number, self.floor(shard_id))

    def floor(self, shard_id: str) -> int:
        """The floor at a shard to which something was sent that is not answered."""
        return self._shards[shard_id].heap[0] - 1
