"""What of a group's log is on disk: here, and on a quorum.

An entry is *durable* when it is committed and a majority of the members has synced it; then no loss of power takes it
back. Whoever needs that says so with the entry (`Group.propose(…, sync=True)`): a write at the ack level `durable`,
`leader_started`, a change of membership; or afterwards (`Group.want_synced`), as the question for a receipt does.
Everything else is synced now and then (`fsync: interval`), or never.

**Group sync.** The leader's appends carry the index up to which it wants the log synced. Each replica syncs off the
loop, one sync at a time; what is appended while one runs is covered by the next, so one sync serves all that
wait and their number does not depend on the number of writes. The leader syncs beside its followers, not before them.

**Reports.** A follower answers with SYNCED: the newest entry that it has synced, by *index and term*. The leader counts
it only where its own log holds that very entry, for then, by Raft's log matching, all before it is the same, too. An
index alone would count a divergent tail that an earlier leader left there: such a follower has synced an entry of that
index, but not this one. Where one of the two holds that entry in memory no more, for the disk lags behind by more than
the tail of the log, terms cannot be compared. Then the acknowledgements count: what the follower has acknowledged to
this leader is the same in both, and links keep the order in which it said so.
Until what is wanted is durable, every append, heartbeats too, repeats the wish, so a lost report is made good.

A replica without a disk reports that it has synced all it has, and that it has no disk: a leader in a cluster kept in
memory serves like any other, but no write is called durable there. Among a majority with disks its reports count for
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcache.consensus.api import MemberId
from raftcache.consensus.messages import SYNCED, UNKNOWN_TERM
from raftcache.errors import RaftcacheError
from raftcache.wal.api import SyncWork

if TYPE_CHECKING:
    from raftcache.consensus.engine import PeerNode
    from raftcache.consensus.group import Group


class Syncing:
    """Both halves of one replica: the leader's and the follower's."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self.running = False
        """Whether a sync is under way off the loop."""
        self.wanted = 0
        """What this replica is to sync as soon as it can: as a leader its own wish, as a follower its leader's."""
        self.durable_index = 0
        """At a leader: everything up to it is committed and synced on a quorum. It counts anew with each term."""
        self.syncs = 0
        self._reports: dict[MemberId, int] = {}
        self._without_disk: set[MemberId] = set()
        self._leader: PeerNode | None = None
        self._reported = 0

    # -- the disk --------------------------------------------------------------------------------

    def poll(self) -> None:
        """At the end of a step, when all is flushed: sync where somebody waits for it."""
        synced, last = self._g.journal.synced_index, self._g.last_index
        if synced < last and synced < max(self._g.gate.must_sync(), min(self.wanted, last)):
            self.sync()

    def sync(self) -> None:
        """Start to sync what is flushed, unless a sync is running, which then is followed by the next."""
        if self.running or self._g.stopped:
            return
        work = self._g.storage.log.sync_work()
        if work is None:
            return
        self.running = True
        self._g.runtime.offload(work.run, lambda result: self._g.run(self._done, work, result))

    def sync_now(self) -> None:
        """The same on the loop, for the end of a group and for one that has nobody to wait for. Raises OSError."""
        work = self._g.storage.log.sync_work()
        if work is not None:
            work.run()
            self._g.storage.log.synced(work)

    def _done(self, work: SyncWork, result: BaseException | None) -> None:
        self.running = False
        if self._g.stopped or isinstance(result, RaftcacheError):
            return  # The latter never ran: too much is under way off the loop. The next step asks again.
        if isinstance(result, BaseException):
            self._g.storage.log.sync_failed()
            raise result if isinstance(result, OSError) else OSError(str(result))
        self.syncs += 1
        self._g.storage.log.synced(work)
        if self._g.is_leader:
            self.count()
        else:
            self._report(again=False)

    # -- leader ----------------------------------------------------------------------------------

    def leadership_gained(self) -> None:
        """Reports of earlier terms count for nothing."""
        self._reports.clear()
        self.wanted = self.durable_index = 0
        self._leader = None

    def want(self, index: int) -> None:
        """Have everything up to `index` synced on every member."""
        self.wanted = max(self.wanted, index)

    def want_now(self, index: int) -> None:
        """The same for what is in the log already: it may be synced on a quorum by now without anybody's wish."""
        self.want(index)
        self.count()

    def wish(self) -> int:
        """What the next append asks its receiver to sync; 0 where everything wanted is durable."""
        return self.wanted if self.wanted > self.durable_index else 0

    def on_synced(self, node: PeerNode, term: int, index: int, entry_term: int, on_disk: bool) -> None:
        """A follower's report; the arguments are the fields of SYNCED."""
        group = self._g
        if term != group.engine.term() or not group.is_leader or not group.engine.feeds(node):
            return
        (self._without_disk.discard if on_disk else self._without_disk.add)(node.member)
        if self._matches(node, index, entry_term):
            self._reports[node.member] = max(index, self._reports.get(node.member, 0))
            self.count()

    def _matches(self, node: PeerNode, index: int, entry_term: int) -> bool:
        journal = self._g.journal
        if entry_term != UNKNOWN_TERM and index >= journal[0].index:
            return journal.holds(index, entry_term)
        return index <= self._g.engine.match_index(node)

    def count(self) -> None:
        """Work out anew what is durable, and tell the machine where that has advanced."""
        if self.durable_index >= self.wanted:
            return
        group = self._g
        durable = min(self.synced_on_quorum(), group.applied_index)
        if durable > self.durable_index:
            self.durable_index = durable
            if group.host.observer is not None and self.has_disk():
                group.host.observer.durable(group.group_id, group.member.node, durable)
            group.machine.synced(durable)

    def synced_on_quorum(self) -> int:
        """The newest index that a majority of the members in force has synced, this leader with them."""
        ignored = self._without_disk if self.has_disk() else ()
        indexes = [0 if each.member in ignored else self._reports.get(each.member, 0) for each in self._g.voters]
        indexes.append(self._g.journal.synced_index)
        indexes.sort(reverse=True)
        return indexes[len(indexes) // 2]

    def has_disk(self) -> bool:
        """Whether this replica keeps its log on a disk, and no majority is known to have none."""
        members = self._g.members
        without = sum(member in self._without_disk for member in members)
        return self._g.storage.log.on_disk and 2 * (len(members) - without) > len(members)

    # -- follower --------------------------------------------------------------------------------

    def asked(self, node: PeerNode, wanted: int, heartbeat: bool) -> None:
        """`node`, which leads and whose append was taken in, wants everything up to `wanted` synced. `heartbeat`: it
        had nothing new, and still lacks a report."""
        if node is not self._leader:
            self._leader, self._reported, self.wanted = node, 0, 0
        if wanted > 0:
            self.wanted = max(self.wanted, wanted)
            self._report(again=heartbeat)

    def cut(self, first_dropped: int) -> None:
        """The log's suffix is dropped: what was reported of it says nothing about what comes in its place."""
        self._reported = min(self._reported, first_dropped - 1)

    def _report(self, again: bool) -> None:
        journal, node = self._g.journal, self._leader
        index = journal.synced_index
        if node is None or not self.wanted:
            return
        if index > self._reported or (again and index >= self._reported):
            self._reported = index
            entry_term = journal.term_at(index) if index >= journal[0].index else UNKNOWN_TERM
            self._g.post(node, SYNCED, self._g.engine.term(), index, entry_term, self._g.storage.log.on_disk)
