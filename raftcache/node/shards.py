"""Which shards this node holds a replica of, and what follows from a change of the metadata state.

A replica is opened where the state wants this node, or where the disk holds one, since its group may count on it still.
It is removed once the state no longer wants it *and* its group has let it go. Of a shard that was declared lost and
replaced, whatever is here is set aside for good.

**Founding.** A shard may start from a survivor of the lost one that it replaces. The survivor's node fences its old
replica by closing it, reads what it holds, writes that as the new shard's first snapshot with itself as the only
member, sets the old replica aside, and opens the new one. The old one's number, raised when it is set aside, is the
mark: a node killed before it does everything again, over whatever is half there, and after it the new shard is
complete. So the new shard is never opened before the old replica is out of the way, and never founded again once it
may have been written to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from raftcache.clock import Runtime
from raftcache.consensus import Group, MemberId, read_remains
from raftcache.metadata.state import MetadataState, Shard, Source
from raftcache.metadata.view import MetadataView
from raftcache.node.replicas import Plan, Progress, Replicas
from raftcache.routing.slots import Owned
from raftcache.shard.executor import Interpreter
from raftcache.shard.losses import Losses
from raftcache.shard.pipeline import PACE_S
from raftcache.shard.rates import NodeRates
from raftcache.shard.replica import ShardReplica
from raftcache.shard.salvage import salvage
from raftcache.store.memory import MemoryBudget
from raftcache.wal.api import SnapshotMeta
from raftcache.wal.errors import Damaged

log = logging.getLogger("raftcache.node")


class Shards:
    """The shards of one node. `table` has the replicas that are open."""

    def __init__(
        self,
        runtime: Runtime,
        view: MetadataView,
        replicas: Replicas,
        budget: MemoryBudget,
        member: tuple[str, str],
        announce: Callable[[str, int], None],
        losses: Losses,
        rates: NodeRates,
        interpreter: Interpreter,
    ) -> None:
        """`member` is this node and its incarnation; `announce(shard_id, term)` is called by a leader that serves;
        `interpreter` runs scripts."""
        self.table: dict[str, ShardReplica] = {}
        self._runtime, self._view, self._replicas, self._budget = runtime, view, replicas, budget
        self._member, self._announce, self._losses, self._rates = member, announce, losses, rates
        self._interpreter = interpreter
        self._known_lost: set[str] = set()
        self._opened_any = self._said_opened = False
        self._started_at = runtime.now()

    def reconcile(self) -> None:
        """Bring what is open here to what the state says."""
        if self._replicas.stopping:
            return
        state = self._view.state
        self._tell_lost(state)
        for lost_id, new_id in state.replaced:
            if lost_id in self._replicas.held and lost_id not in self._replicas.busy:
                self._fence(state, lost_id, new_id)
        for shard in state.shards:
            wanted = any((member.node, member.incarnation) == self._member for member in shard.replicas)
            if wanted or shard.id in self._replicas.held:
                self._open(shard)

    def _tell_lost(self, state: MetadataState) -> None:
        lost = {shard.id for shard in state.shards if shard.state == "lost"}
        for shard_id in sorted(lost - self._known_lost):
            log.error(
                "shard %s is lost: its quorum is gone for good; `raftcache shard replace %s ...` starts a new one",
                shard_id, shard_id,
            )
        self._known_lost = lost

    # -- opening ---------------------------------------------------------------------------------

    def _open(self, shard: Shard) -> None:
        if shard.id in self.table or shard.id in self._replicas.busy or shard.id in self._replicas.refused:
            return
        if shard.source is not None and self._must_found(shard.id, shard.source):
            self._found(shard, shard.source)
        else:
            self._replicas.open(self._plan(shard))

    def _plan(self, shard: Shard) -> Plan:
        return Plan(
            shard.id,
            shard.initial if shard.source is None else (),
            lambda progress: self._make(shard, progress),
            lambda group, replica: self._opened(shard.id, group, replica),
            lambda: self.forget(shard.id),
        )

    def _make(self, shard: Shard, progress: Progress) -> ShardReplica:
        owned = Owned(shard.slots)
        replica = ShardReplica(
            shard_id=shard.id,
            node_id=self._member[0],
            runtime=self._runtime,
            budget=self._budget,
            namespaces=lambda: self._view.namespaces,
            owns=owned.key,
            owns_slot=owned.slot,
            on_serving=lambda term: self._announce(shard.id, term),
            place=lambda: self._view.place_of(shard.id),
            losses=self._losses,
            rates=self._rates,
            interpreter=self._interpreter,
            pace_s=PACE_S,
        )
        replica.on_restored = progress
        return replica

    def _opened(self, shard_id: str, group: Group, replica: Any) -> None:
        replica.attach(group)
        self.table[shard_id] = replica
        self._opened_any = True
        self._runtime.call_soon(self.reconcile)
        self._runtime.call_soon(self._say_opened)

    def _say_opened(self) -> None:
        """Once, when all that this node held when it started is open."""
        if self._said_opened or self._replicas.busy or not self._opened_any:
            return
        self._said_opened = True
        keys = sum(len(replica.keyspace) for replica in self.table.values())
        took_s = self._runtime.now() - self._started_at
        node, count = self._member[0], len(self.table)
        log.info("node %s has opened %d groups with %s keys after %.1f s", node, count, f"{keys:,}", took_s)

    # -- closing ---------------------------------------------------------------------------------

    def forget(self, shard_id: str) -> None:
        """The replica's group is closed."""
        replica = self.table.pop(shard_id, None)
        if replica is not None:
            replica.close()

    def drop(self, shard_id: str) -> None:
        """Remove a replica that is not wanted any more and that its group has let go."""
        log.info("%s: this node's replica is not wanted any more and is removed", shard_id)
        self._retire(shard_id, keep=False)

    def _retire(self, shard_id: str, *, keep: bool, then: Callable[[], None] | None = None) -> None:
        self._replicas.retire(shard_id, keep=keep, then=then)
        self.forget(shard_id)
        self._losses.abandon(shard_id)

    def _fence(self, state: MetadataState, lost_id: str, new_id: str) -> None:
        new = state.shard(new_id)
        if new is not None and new.source is not None and self._must_found(new_id, new.source):
            return
        # A node that replays the metadata's log opens the lost shard once more, empty, and must not put that in the
        # place of what it has set aside already.
        log.warning("%s: replaced by %s, this node's replica of it is set aside", lost_id, new_id)
        self._retire(lost_id, keep=not self._replicas.is_empty(lost_id))

    # -- founding --------------------------------------------------------------------------------

    def _must_found(self, new_id: str, source: Source) -> bool:
        """Whether this node has to start the shard and has not finished that yet."""
        mine = (source.member.node, source.member.incarnation) == self._member
        storage = self._replicas.storage
        return mine and storage.replica(source.shard_id) == source.member.replica and storage.replica(new_id) == 0

    def _found(self, shard: Shard, source: Source) -> None:
        if self._replicas.is_ending(source.shard_id):
            return
        self._replicas.write_down(source.shard_id, lambda: self._close_source(shard, source))

    def _close_source(self, shard: Shard, source: Source) -> None:
        self._replicas.close(source.shard_id)
        self.forget(source.shard_id)
        log.warning("%s: starts from what this node holds of %s", shard.id, source.shard_id)
        self._replicas.when_idle(source.shard_id, lambda: self._write_founding(shard, source))

    def _write_founding(self, shard: Shard, source: Source) -> None:
        self._replicas.run_on(
            shard.id,
            f"being started from {source.shard_id}",
            lambda: self._salvage(shard, source),
            lambda result: self._founded(shard, source, result),
        )

    def _salvage(self, shard: Shard, source: Source) -> None:
        """Off the loop. Raises Damaged, OSError, ValueError."""
        storage = self._replicas.storage
        if source.shard_id not in storage.held():
            raise ValueError(f"nothing is held here of {source.shard_id}")
        old = storage.open(source.shard_id)
        try:
            remains = read_remains(old)
            blocks = salvage(source.shard_id, shard.id, remains.blocks, remains.commands)
            member = MemberId(*self._member)
            meta = SnapshotMeta(shard.id, remains.last_index, remains.last_term, (str(member),))
            storage.found(shard.id, meta, blocks, remains.term)
        finally:
            old.log.close()

    def _founded(self, shard: Shard, source: Source, result: object) -> None:
        if isinstance(result, Damaged | ValueError):
            # Nobody else can start this shard: under the next number its first member is gone for good, and so it is
            # declared lost in its turn, which leaves the operator the choice of an empty one.
            log.error("%s: cannot be started from %s: %s", shard.id, source.shard_id, result)
            self._retire(shard.id, keep=False, then=self.reconcile)
        elif isinstance(result, BaseException):
            self._replicas.refuse(shard.id, f"it cannot be started from {source.shard_id}: {result}")
        else:
            self._replicas.held.add(shard.id)
            self._retire(source.shard_id, keep=True, then=lambda: self._replicas.open(self._plan(shard)))
