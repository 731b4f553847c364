"""The node's hard memory limit, shared by every shard that the node has a replica of.

Counted are entries, reply records, undo images, effects that are not yet committed, and what a snapshot cut pins.
Only the leader refuses, and only what grows: followers must apply what was committed, and a delete is the way
out of a full node.
"""

from __future__ import annotations

DEFAULT_LIMIT_BYTES = 4 << 30


class MemoryBudget:
    """A limit and what is used of it, in bytes. `used_bytes` may pass the limit by what followers must apply."""

    __slots__ = ("limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def has_room(self, size_bytes: int) -> bool:
        """Whether `size_bytes` more stay within the limit."""
        return self.used_bytes + size_bytes <= self.limit_bytes
