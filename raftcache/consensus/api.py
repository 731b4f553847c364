"""What the rest of raftcache sees of consensus: a group, its state machine, its status.

Nothing here, and nothing outside this package, knows which Raft engine runs inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class MemberId(NamedTuple):
    """A replica's identity in its group. A node whose disk is empty is a new incarnation, so a new member.

    `replica` is raised when this group's files alone were wiped (DESIGN §8).
    """

    node: str
    incarnation: str
    replica: int = 0

    def __str__(self) -> str:
        return f"{self.node}.{self.incarnation}.{self.replica}"

    @classmethod
    def parse(cls, text: str) -> MemberId:
        """The inverse of `str`. Raises ValueError."""
        node, incarnation, replica = text.rsplit(".", 2)
        return cls(node, incarnation, int(replica))


class StateMachine(Protocol):
    """The replicated state behind a group. All methods run on the loop, but for `prepare_restore`.

    `apply`, `synced`, `leadership_gained` and `leadership_lost` must not raise: an error there is a defect of ours that
    no replica survives. The order is: `leadership_gained(term)`, any number of `apply`, `leadership_lost(term)`.
    """

    def apply(self, index: int, term: int, payload: bytes) -> None:
        """`payload` was committed at `index`. Called once an index, in order, on every replica."""

    def leadership_gained(self, term: int) -> None:
        """This replica leads `term`; `propose` works from now on. Earlier entries may not be applied yet."""

    def leadership_lost(self, term: int) -> None:
        """This replica leads no more. Called before anything of a later term is applied."""

    def synced(self, index: int) -> None:
        """At the leader, after applying: everything up to `index` is committed, and synced on a quorum. Told only as
        far as somebody proposed with `sync`."""

    def snapshot_blocks(self) -> Iterator[bytes]:
        """The committed state as of the last `apply`, in blocks of at most about 256 KiB.

        The cut is made when this is called; the iterator is pulled over many loop turns while service goes on,
        each step doing bounded work. Closing the iterator early abandons the snapshot. Where it has an attribute
        `keys`, that is how many keys it will hold.
        """

    def prepare_restore(self, blocks: Iterable[bytes]) -> Any:
        """Build a state from snapshot blocks. Runs off the loop and must not touch the live state.

        Raises ValueError where the blocks make no sense.
        """

    def discard(self, prepared: Any) -> None:
        """Let go of what `prepare_restore` built and nobody will install; of a large one in steps."""

    def install(self, prepared: Any, index: int, term: int) -> None:
        """Replace the live state by what `prepare_restore` built, which is the state as of `index`."""


@dataclass(slots=True)
class PeerStatus:
    """How far one other member has come, as its leader sees it."""

    member: MemberId
    match_index: int
    lag_entries: int
    lag_ms: float
    connected: bool
    snapshot_sending: bool


@dataclass(slots=True)
class GroupStatus:
    """One replica's view of its group. `leader` is a node id, or None while unknown."""

    group_id: str
    member: MemberId
    members: tuple[MemberId, ...]
    is_leader: bool
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    first_index: int
    log_bytes: int
    snapshot_index: int
    synced_index: int = 0
    durable_index: int = 0
    suspect: bool = False
    peers: list[PeerStatus] = field(default_factory=list)
