"""What must hold in every simulated run, whatever breaks: watched while it runs, and checked at its end.

- *Election safety*: at most one leader a group and term.
- *State machine safety*: an index of a group is the same entry wherever and whenever it is applied. So nothing
  committed is ever lost or changed, across restarts too.
- *Log matching*: two logs that agree on an entry's term agree on everything up to it.
- *Agreement*: replicas of a group have the same digest, every so many entries and at the end.
- *Acknowledgements*: every write acknowledged at `quorum` lies within what its term committed.
- *Reads*: a linearizable read shows nothing older than what was acknowledged before it began.

Planted bugs (`plants.py`) show that each of them can fail.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable

from raftcache.commands.types import Version
from raftcache.consensus import Group
from raftcache.metadata.state import METADATA_GROUP
from raftcache.testing.cluster import SimCluster

DIGEST_EVERY = 10
"""A replica's state is compared with the others' before every tenth entry."""


class Violation(BaseException):
    """A promise was broken. The message says which, where and when. Nobody on the way up may take it for an error."""


class Oracle:
    """Watches every replica (`consensus.host.Observer`) and remembers what must never change."""

    def __init__(self) -> None:
        self.digest_of: Callable[[str, str], str | None] = lambda _node_id, _group_id: None
        self.digests: dict[tuple[str, int], tuple[str, str]] = {}
        self.leaders: dict[tuple[str, int], str] = {}
        self.entries: dict[str, dict[int, tuple[int, int]]] = {}
        self.acked: list[Version] = []
        self.commits: Counter[str] = Counter()

    def led(self, group_id: str, node_id: str, term: int) -> None:
        """Election safety."""
        other = self.leaders.setdefault((group_id, term), node_id)
        if other != node_id:
            raise Violation(f"{group_id}: {other} and {node_id} both lead term {term}")

    def applied(self, group_id: str, node_id: str, index: int, term: int, payload: bytes) -> None:
        """State machine safety; and now and then agreement on the state before this entry."""
        entries = self.entries.setdefault(group_id, {})
        entry = (term, zlib.crc32(payload))
        known = entries.setdefault(index, entry)
        if known is entry:
            self.commits[group_id] += 1
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

    def quorum_acked(self, version: Version) -> None:
        """A client got this version at ack level `quorum`."""
        self.acked.append(version)

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


def check_running(cluster: SimCluster) -> None:
    """No replica has stopped: in a run without disk errors only a defect stops one."""
    for node_id, process in sorted(cluster.processes.items()):
        for group in process.core.host.groups.values():
            if group.halted:
                raise Violation(f"{group.group_id}: the replica on {node_id} has stopped: {group.halted}")
        if process.core.refused:
            raise Violation(f"{node_id} refuses to start replicas: {process.core.refused}")


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
    """Every quorum-acknowledged version is committed, by the table of terms of every replica."""
    for _, process in sorted(cluster.processes.items()):
        for version in oracle.acked:
            replica = process.core.shards.get(version.shard)
            if replica is not None and replica.history.last_committed_seq(version.term) < version.seq:
                last = replica.history.last_committed_seq(version.term)
                raise Violation(f"{version} was acknowledged and is lost: its term ended at {last}")
