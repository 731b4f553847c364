"""What a shard needs of its Raft group; `raftcache.consensus` provides it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ShardGroup(Protocol):
    """A group as its state machine sees it."""

    time_ms: Callable[[], int]
    """Given by the machine: what time it is there, where it leads; 0 where it does not say."""
    on_time: Callable[[int], None]
    """Given by the machine: told, at a follower, what the leader's machine said just now."""
    propose_rest: Callable[[], None]
    """Given by the machine: called before a leadership ends in good order, to propose what is executed."""

    @property
    def leader(self) -> str | None:
        """The node id of the leader, as far as is known."""

    @property
    def term(self) -> int:
        """The current term."""

    def leads_now(self) -> bool:
        """Whether this replica leads and a quorum has confirmed it within the fallback time."""

    def leads_at(self, now_s: float) -> bool:
        """The same, for one who has just read the clock: `now_s` is `Runtime.now`."""

    def holds_lease(self) -> bool:
        """Whether it is certain, at this moment, that nobody has been elected after this replica: a linearizable read
        needs no other proof then."""

    @property
    def alone_from_s(self) -> float:
        """At the leader: from when on, by `Runtime.now`, no earlier leader can be serving any more."""

    @property
    def on_disk(self) -> bool:
        """Whether a quorum can keep anything over a loss of power."""

    @property
    def durable_index(self) -> int:
        """Everything up to it is committed and synced on a quorum, as far as that was asked for."""

    def longest_ms(self, measured_s: float) -> int:
        """What a time that this node's clock measured can have been at most, for its rate may be off; rounded up."""

    def staleness_ms(self) -> int | None:
        """How long ago it can have been, at most, that something was committed which is not applied here; None while
        that is not known."""

    def propose(self, payload: bytes, sync: bool = False) -> int:
        """Append to the log; returns the index. Raises NotLeader or Overloaded where it did not.

        With `sync`, the entry is synced on every member as soon as can be, and `synced` tells when a quorum has."""

    def want_synced(self, index: int) -> None:
        """At the leader: have everything up to `index` synced on every member; `synced` tells when a quorum has."""

    def step_down(self, reason: str) -> None:
        """Give up leadership."""

    def median_wall_ms(self) -> int:
        """The median of the voters' wall clocks."""
