"""What the metadata tests share: virtual time, a Raft group of the simplest kind, and a cluster to start from."""

from __future__ import annotations

from collections.abc import Callable

from raftcache.commands.policy import DEFAULT, Namespace
from raftcache.commands.types import AckLevel
from raftcache.consensus.api import MemberId
from raftcache.errors import NotLeader, RaftcacheError
from raftcache.metadata.applying import apply
from raftcache.metadata.commands import InitCluster
from raftcache.metadata.replica import MetadataReplica
from raftcache.metadata.state import EMPTY, Addresses, MetadataState, Node, Shard


class OneMemberGroup:
    """A group that keeps what is proposed until the test commits it."""

    def __init__(self, replica: MetadataReplica) -> None:
        self.replica = replica
        self.is_leader = False
        self.leader: str | None = None
        self.term = 0
        self.log: list[tuple[int, bytes]] = []
        self.committed = 0
        self.barriers: list[Callable[[bool], None]] = []
        self.steps_down: list[str] = []
        self.refuse: RaftcacheError | None = None

    def propose(self, payload: bytes) -> int:
        if self.refuse is not None:
            raise self.refuse
        if not self.is_leader:
            raise NotLeader("not the leader")
        self.log.append((self.term, payload))
        return len(self.log)

    def barrier(self, done: Callable[[bool], None]) -> None:
        self.barriers.append(done)

    def step_down(self, reason: str) -> None:
        self.steps_down.append(reason)

    def gain(self) -> None:
        self.term, self.is_leader, self.leader = self.term + 1, True, self.replica.node_id
        self.replica.leadership_gained(self.term)

    def lose(self, leader: str | None = None) -> None:
        self.is_leader, self.leader = False, leader
        self.replica.leadership_lost(self.term)

    def commit(self) -> None:
        while self.committed < len(self.log):
            term, payload = self.log[self.committed]
            self.committed += 1
            self.replica.apply(self.committed, term, payload)


def node(name: str, incarnation: str = "a", zone: str = "") -> Node:
    number = int(name[1:])
    ports = (7100 + 10 * number, 7101 + 10 * number, 7102 + 10 * number)
    return Node(name, incarnation, Addresses(*(f"127.0.0.1:{port}" for port in ports)), zone)


def member(name: str, incarnation: str = "a") -> MemberId:
    return MemberId(name, incarnation)


def init_cluster(cluster_id: str = "c1") -> InitCluster:
    """Three nodes, two shards on all of them, `default` and `safe`."""
    members = (member("n0"), member("n1"), member("n2"))
    return InitCluster(
        cluster_id,
        3,
        (node("n0"), node("n1"), node("n2")),
        (
            Shard("7c1f", ((0, 8191),), members, members, "n0"),
            Shard("02ab", ((8192, 16383),), members, members, "n1"),
        ),
        members,
        (Namespace("safe", 0, AckLevel.QUORUM), Namespace(DEFAULT, 0)),
    )


def a_cluster() -> MetadataState:
    return apply(EMPTY, init_cluster())[0]
