"""What must hold in every simulated run, whatever breaks: watched while it runs, and checked at its end.

- *Election safety*: at most one leader a group and term.
- *State machine safety*: an index of a group is the same entry wherever and whenever it is applied. So nothing
  committed is ever lost or changed, across restarts too.
- *Log matching*: two logs that agree on an entry's term agree on everything up to it.
- *Agreement*: replicas of a group have the same digest, every so many entries and at the end.
- *Acknowledgements*: every write acknowledged at `quorum` or `durable` lies within what its term committed.
- *Leases*: while a leader goes by its lease nobody has been elected after it.
- *Reads*: a linearizable read shows nothing older than what was acknowledged before it began.

Where a majority of a group's replicas may have forgotten something at once, all of them having lost power, the group
may go back to what was durable (`Oracle.forgive`): what was synced on a quorum never changes, and what was acknowledged
as `durable` is never lost.

Planted bugs (`plants.py`) show that each of them can fail.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from itertools import chain

from raftcache.commands.types import AckLevel, Version
from raftcache.consensus import Group
from raftcache.metadata.state import METADATA_GROUP
from raftcache.store.effects import decode_batch
from raftcache.testing.cluster import SimCluster

DIGEST_EVERY = 200
"""A replica's state is compared with the others' before every two hundredth entry."""


class Violation(BaseException):
    """A promise was broken. The message says which, where and when. Nobody on the way up may take it for an error."""


class Oracle:
    """Watches every replica (`consensus.host.Observer`) and remembers what must never change."""

    def __init__(self) -> None:
        self.digest_of: Callable[[str, str], str | None] = lambda _node_id, _group_id: None
        self.members_without: Callable[[str, str, int], tuple[int, int]] = lambda _group_id, _leader_id, _index: (0, 1)
        self.on_commit: Callable[[str, bytes], None] = lambda _group_id, _payload: None
        """Told of every entry when it is first applied anywhere."""
        self.lease_holders: Callable[[str], list[tuple[str, int]]] = lambda _group_id: []
        self.newest_terms: Counter[str] = Counter()
        self.leases_used = 0
        self.digests: dict[tuple[str, int], tuple[str, str]] = {}
        self.leaders: dict[tuple[str, int], str] = {}
        self.entries: dict[str, dict[int, tuple[int, int]]] = {}
        self.ends: dict[str, dict[int, list[tuple[int, int]]]] = {}
        """Of each shard's entries that were applied anywhere: by term, the last `seq` of each and its index."""
        self.acked: dict[AckLevel, list[Version]] = {AckLevel.QUORUM: [], AckLevel.DURABLE: []}
        self.commits: Counter[str] = Counter()
        self.durable_indexes: dict[str, int] = {}
        self.forgiven: dict[str, float] = {}
        """Groups of which a majority lost power, and when last."""
        self.majorities_lost = 0
        self.exempt: dict[tuple[str, str], int] = {}
        """Up to where a replica that kept power may still apply what the group has gone back on, by group and node."""

    def led(self, group_id: str, node_id: str, term: int) -> None:
        """Election safety."""
        other = self.leaders.setdefault((group_id, term), node_id)
        if other != node_id:
            raise Violation(f"{group_id}: {other} and {node_id} both lead term {term}")
        for other, older in self.lease_holders(group_id):
            if older < term:
                raise Violation(f"{group_id}: {node_id} leads term {term} while {other} has the lease of term {older}")
        self.newest_terms[group_id] = max(term, self.newest_terms[group_id])

    def leased(self, group_id: str, node_id: str, term: int) -> None:
        """A leader goes by its lease: nobody may have been elected after it."""
        newest = self.newest_terms[group_id]
        if newest > term:
            raise Violation(f"{group_id}: {node_id} goes by the lease of term {term}, and term {newest} has a leader")
        self.leases_used += 1

    def applied(self, group_id: str, node_id: str, index: int, term: int, payload: bytes) -> None:
        """State machine safety; and now and then agreement on the state before this entry."""
        if index <= self.exempt.get((group_id, node_id), 0):
            return
        entries = self.entries.setdefault(group_id, {})
        entry = (term, zlib.crc32(payload))
        known = entries.setdefault(index, entry)
        if known is entry:
            self.commits[group_id] += 1
            if group_id != METADATA_GROUP:
                batch = decode_batch(payload)
                last = batch.first_seq + len(batch.effects) - 1
                self.ends.setdefault(group_id, {}).setdefault(term, []).append((last, index))
            self.on_commit(group_id, payload)
        elif known != entry:
            raise Violation(f"{group_id}: {node_id} applies {entry} at index {index}, where {known} was applied")
        if index % DIGEST_EVERY == 0:
            self._compare(group_id, node_id, index)

    def _compare(self, group_id: str, node_id: str, index: int) -> None:
        digest = self.digest_of(node_id, group_id)
        if digest is not None:
            first, expected = self.digests.setdefault((group_id, index), (node_id, digest))
            if digest != expected:
                raise Violation(f"{group_id}: {node_id} and {first} differ in their states before entry {index}")

    def durable(self, group_id: str, node_id: str, index: int) -> None:
        """What is durable stays; and a majority has synced it at this moment, as far as can be seen."""
        without, members = self.members_without(group_id, node_id, index)
        if 2 * without >= members:
            text = f"{group_id}: {node_id} calls entry {index} durable, and {without} of {members} have not synced it"
            raise Violation(text)
        self.durable_indexes[group_id] = max(index, self.durable_indexes.get(group_id, 0))

    def forgive(self, group_id: str, now: float, commits: dict[str, int]) -> None:
        """A majority of a group lost power: it may go back to what was durable, and take another course from there.

        `commits`: what the replicas that kept power know to be committed, by node; they may yet apply that."""
        self.exempt |= {(group_id, node_id): index for node_id, index in commits.items()}
        floor = self.durable_indexes.get(group_id, 0)
        entries = self.entries.get(group_id, {})
        self.entries[group_id] = {index: entry for index, entry in entries.items() if index <= floor}
        for term, ends in self.ends.get(group_id, {}).items():
            self.ends[group_id][term] = [end for end in ends if end[1] <= floor]
        self.digests = {key: value for key, value in self.digests.items() if key[0] != group_id or key[1] <= floor}
        self.acked[AckLevel.QUORUM] = [version for version in self.acked[AckLevel.QUORUM] if version.shard != group_id]
        self.forgiven[group_id] = now
        self.majorities_lost += 1

    def write_acked(self, version: Version, level: AckLevel, asked_at: float) -> None:
        """A client that asked at `asked_at` got this version at that level."""
        if level == AckLevel.DURABLE or asked_at > self.forgiven.get(version.shard, -1.0):
            self.acked[level].append(version)

    def leader_changes(self) -> int:
        """Elections won after the first one of each group."""
        return len(self.leaders) - len({group for group, _ in self.leaders})


def check_logs(cluster: SimCluster) -> None:
    """Log matching, between any two replicas that run."""
    groups: dict[str, list[Group]] = {}
    for _, process in sorted(cluster.processes.items()):
        for group in process.core.host.groups.values():
            groups.setdefault(group.group_id, []).append(group)
    for group_id, replicas in sorted(groups.items()):
        for position, one in enumerate(replicas):
            for other in replicas[position + 1 :]:
                _check_pair(group_id, one, other)


def _check_pair(group_id: str, one: Group, other: Group) -> None:
    ours = {entry.index: entry for entry in one.journal[1:]}
    theirs = {entry.index: entry for entry in other.journal[1:]}
    agreed = False
    for index in sorted(set(ours) & set(theirs), reverse=True):
        agreed = agreed or ours[index].term == theirs[index].term
        if agreed and ours[index] != theirs[index]:
            raise Violation(f"{group_id}: the logs of {one.member.node} and {other.member.node} differ at {index}")


def check_running(cluster: SimCluster, oracle: Oracle, last: bool) -> None:
    """No replica has stopped: only a defect stops one for good. What a disk refuses is tried again, so only at the
    `last` check nothing may be refused. No simulated disk damages what was synced, so a replica comes back empty only
    where its group had lost a majority and took back what it had applied."""
    for node_id, process in sorted(cluster.processes.items()):
        for group in process.core.host.groups.values():
            if group.halted:
                raise Violation(f"{group.group_id}: the replica on {node_id} has stopped: {group.halted}")
        if lost := process.core.replicas.renewed - oracle.forgiven.keys():
            raise Violation(f"{node_id} has lost its replicas of {sorted(lost)}")
        if last and process.core.replicas.refused:
            raise Violation(f"{node_id} refuses to start replicas: {process.core.replicas.refused}")


def check_caught_up(cluster: SimCluster, oracle: Oracle) -> None:
    """After healing, every replica has applied everything that any replica ever applied."""
    for node_id, process in sorted(cluster.processes.items()):
        for group in process.core.host.groups.values():
            newest = max(oracle.entries.get(group.group_id, {0: (0, 0)}))
            if group.applied_index < newest:
                raise Violation(
                    f"{group.group_id}: {node_id} is at entry {group.applied_index} of {newest}, long after healing"
                )


def evenly_applied(cluster: SimCluster) -> bool:
    """Whether all replicas of each group have applied up to the same index."""
    applied: dict[str, set[int]] = {}
    for process in cluster.processes.values():
        for group in process.core.host.groups.values():
            applied.setdefault(group.group_id, set()).add(group.applied_index)
    return all(len(indexes) == 1 for indexes in applied.values())


def check_digests(cluster: SimCluster) -> None:
    """Agreement; to be called when nothing is written any more."""
    digests: dict[str, dict[str, str]] = {}
    for node_id, process in sorted(cluster.processes.items()):
        for shard_id, replica in process.core.shards.items():
            digests.setdefault(shard_id, {})[node_id] = replica.digest()
        if METADATA_GROUP in process.core.host.groups:
            digests.setdefault(METADATA_GROUP, {})[node_id] = process.core.metadata.digest()
    for group_id, by_node in sorted(digests.items()):
        if len(set(by_node.values())) > 1:
            raise Violation(f"{group_id}: the replicas differ: {by_node}")


def check_acknowledged(cluster: SimCluster, oracle: Oracle) -> None:
    """Every version acknowledged at `quorum` or above is committed, by the table of terms of every replica."""
    for _, process in sorted(cluster.processes.items()):
        for version in chain.from_iterable(oracle.acked.values()):
            replica = process.core.shards.get(version.shard)
            if replica is not None and replica.history.last_committed_seq(version.term) < version.seq:
                last = replica.history.last_committed_seq(version.term)
                raise Violation(f"{version} was acknowledged and is lost: its term ended at {last}")
