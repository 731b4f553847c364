"""What a front end or node knows of the cluster: the newest metadata state, and who leads each shard.

The state is agreed on, and the higher epoch is the newer one. The leader table is soft: leaders announce
themselves, failures carry hints, and of two claims the higher term is true. A view is fed by the node's own
metadata replica or by a remote watch; everything that routes reads it and subscribes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from raftcache.clock import Runtime
from raftcache.commands.namespaces import Namespaces
from raftcache.metadata.state import EMPTY, SHARD_LIMIT, MetadataState, namespaces_of


class Leader(NamedTuple):
    """Who leads a shard, and in which term that was true."""

    term: int
    node: str


class MetadataView:
    """The newest state and leader table. `leaders_version` differs whenever the table does.

    It starts at a random number, so that a watcher which knew this node before a restart is not misled.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.state: MetadataState = EMPTY
        self.namespaces: Namespaces = namespaces_of(EMPTY)
        self.leaders: dict[str, Leader] = {}
        self.leaders_version = runtime.random.getrandbits(48)
        self._places: dict[str, tuple[int, int]] = {}
        self._subscribers: list[Callable[[], None]] = []
        self._refresher: Callable[[], None] | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the state."""
        return self.state.epoch

    def place_of(self, shard_id: str) -> tuple[int, int]:
        """Which of how many shards this one is, from 0, in the order of their slots: a shard that replaces a lost one
        takes its place. `(0, 0)` where the shard is not known."""
        return self._places.get(shard_id, (0, 0))

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call `callback` after every change of the state or the table."""
        self._subscribers.append(callback)

    def set_refresher(self, refresher: Callable[[], None]) -> None:
        """Name what fetches news on demand: a remote watch. A local replica needs none."""
        self._refresher = refresher

    def refresh(self) -> None:
        """Ask the source for anything newer; it arrives as an update, if at all."""
        if self._refresher is not None:
            self._refresher()

    def update_state(self, state: MetadataState) -> None:
        """Take over `state` if it is newer."""
        if state.epoch <= self.state.epoch:
            return
        self.state = state
        self.namespaces = namespaces_of(state)
        self._follow_shards()
        self._changed()

    def update_leader(self, shard_id: str, term: int, node: str) -> None:
        """Somebody says that `node` leads `shard_id` in `term`; the highest term wins."""
        self.update_leaders({shard_id: Leader(term, node)})

    def heed(self, shard_id: str, details: Mapping[str, Any]) -> None:
        """Take over the hint in a failure's details, if there is a usable one."""
        leader, term = details.get("leader"), details.get("term")
        if isinstance(leader, str) and isinstance(term, int):
            self.update_leader(shard_id, term, leader)

    def update_leaders(self, leaders: dict[str, Leader]) -> None:
        """Take over every claim that is newer than what the table holds.

        Claims for shards outside the map are dropped. Before there is a map any are taken (a node that replays
        its log hears of leaders first), up to the number of shards that there can be.
        """
        news = {
            shard_id: leader
            for shard_id, leader in leaders.items()
            if self._may_hold(shard_id) and (shard_id not in self.leaders or leader.term > self.leaders[shard_id].term)
        }
        if news:
            self.leaders = {**self.leaders, **news}
            self.leaders_version += 1
            self._changed()

    def _may_hold(self, shard_id: str) -> bool:
        if self.state.epoch:
            return shard_id in self._places
        return shard_id in self.leaders or len(self.leaders) < SHARD_LIMIT

    def _follow_shards(self) -> None:
        shards = sorted(self.state.shards, key=lambda shard: (shard.slots, shard.id))
        self._places = {shard.id: (number, len(shards)) for number, shard in enumerate(shards)}
        known = {shard_id: each for shard_id, each in self.leaders.items() if shard_id in self._places}
        if len(known) != len(self.leaders):
            self.leaders = known
            self.leaders_version += 1

    def _changed(self) -> None:
        for callback in self._subscribers:
            callback()
