"""What a shard needs of its Raft group; `raftcache.consensus` provides it."""

from __future__ import annotations

from typing import Protocol


class ShardGroup(Protocol):
    """A group as its state machine sees it."""

    @property
    def leader(self) -> str | None:
        """The node id of the leader, as far as is known."""

    @property
    def term(self) -> int:
        """The current term."""

    def leads_now(self) -> bool:
        """Whether this replica leads and a quorum has confirmed it within the fallback time."""

    def propose(self, payload: bytes) -> int:
        """Append to the log; returns the index. Raises NotLeader or Overloaded where it did not."""

    def step_down(self, reason: str) -> None:
        """Give up leadership."""

    def median_wall_ms(self) -> int:
        """The median of the voters' wall clocks."""
