"""The node's hard memory limit, shared by every shard that the node has a replica of.

Counted are entries, reply records, sessions, undo images, effects that are not yet committed, and what a snapshot cut
pins. Only the leader refuses, and only what grows: followers must apply what was committed, and a delete is the way out
of a full node.

Leaders evict so that what is *settled*, all but undo images and effects, stays under a lower mark: an eviction gives
its memory back only when it is committed, until when the entry is an undo image. The room between the mark and the
limit is for that. Who has to give up something is decided between all namespaces that the node leads shards of, by
`Sharer`: the one with the most bytes for its weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

DEFAULT_LIMIT_BYTES: Final = 4 << 30

RESERVE_PART: Final = 8
"""The lower mark is an eighth below the limit."""

CHOICES_PER_LOOK: Final = 64
"""So often the same namespace gives up something before usage is looked at again."""


class Use(NamedTuple):
    """What a namespace has settled in one shard. `evicts`: whether anything of it may be evicted."""

    name: str
    size_bytes: int
    weight: int
    evicts: bool


class Sharer(Protocol):
    """A shard that this node leads."""

    def uses(self) -> Iterable[Use]:
        """Of each namespace that has something here."""

    def give_up(self, name: str, size_bytes: int) -> int:
        """Evict about so much of a namespace; returns how much it was, 0 for nothing."""


class MemoryBudget:
    """A limit and what is used of it, in bytes. `used_bytes` may pass the limit by what followers must apply."""

    __slots__ = ("_choices", "_donor", "_limit_bytes", "mark_bytes", "sharers", "speculative_bytes", "used_bytes")

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.speculative_bytes = 0
        """The part of it that goes when what is executed commits: undo images and effects."""
        self.sharers: list[Sharer] = []
        self._donor = ""
        self._choices = 0

    @property
    def limit_bytes(self) -> int:
        """The hard limit."""
        return self._limit_bytes

    @limit_bytes.setter
    def limit_bytes(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.mark_bytes = limit_bytes - limit_bytes // RESERVE_PART
        """What is settled is to stay below this."""

    @property
    def settled_bytes(self) -> int:
        """What is used and will be still when all that is executed is committed."""
        return self.used_bytes - self.speculative_bytes

    def has_room(self, size_bytes: int) -> bool:
        """Whether `size_bytes` more stay within the limit."""
        return self.used_bytes + size_bytes <= self.limit_bytes

    def make_room(self, size_bytes: int) -> None:
        """Have whoever uses the most for its weight give up what `size_bytes` more would be over the mark, or at least
        twice as much as comes, so that a mark which was passed long ago is come back to."""
        over_bytes = self.settled_bytes + size_bytes - self.mark_bytes
        if over_bytes <= 0:
            return
        left_bytes = min(over_bytes, 2 * size_bytes)
        for _ in range(2):
            donor = self._chosen()
            for sharer in self.sharers:
                if left_bytes <= 0 or not donor:
                    return
                left_bytes -= sharer.give_up(donor, left_bytes)
            self._choices = 0  # It has no more to give: look again.

    def _chosen(self) -> str:
        if self._choices <= 0:
            self._choices = CHOICES_PER_LOOK
            self._donor = self._heaviest()
        self._choices -= 1
        return self._donor

    def _heaviest(self) -> str:
        """The namespace with the most bytes for its weight, among those that evict at all; "" where there is none."""
        loads: dict[str, float] = {}
        for sharer in self.sharers:
            for use in sharer.uses():
                if use.evicts and use.size_bytes:
                    loads[use.name] = loads.get(use.name, 0.0) + use.size_bytes / use.weight
        return max(loads, key=lambda name: loads[name], default="")
