"""What no client can see and must hold nonetheless: the invariants of consensus, watched while a run lasts.

Only a simulation can look into all replicas at once. One leader a term, one entry an index, no lease beside another
leader, equal states at equal indexes (`raftcache.testing.checks` says it in full): where one of them breaks, a promise
to clients may break later, or in another run. A run goes on after it, so that the checkers judge the same history.
"""

from __future__ import annotations

from collections.abc import Callable

from jepsen_like.checking import Complaint, Verdict, verdict
from raftcache.testing import checks
from raftcache.testing.checks import Oracle, Violation
from raftcache.testing.cluster import SimCluster

NAME = "invariants"
SETTLE_S, LOOK_S = 6.0, 0.05
NOTED = 100
"""One broken invariant breaks many more."""


class Invariants:
    """The observer of a cluster (`consensus.host.Observer`) that notes what is broken and lets the run go on."""

    def __init__(self) -> None:
        self._oracle = Oracle()
        self._noted: list[str] = []
        self._cluster: SimCluster | None = None

    def watch(self, cluster: SimCluster) -> None:
        """Look into this cluster, which has this as its observer."""
        self._cluster = cluster
        self._oracle.digest_of, self._oracle.members_without = cluster.digest_of, cluster.members_without
        self._oracle.lease_holders = cluster.lease_holders

    def led(self, group_id: str, node_id: str, term: int) -> None:
        """Observer."""
        self._note(lambda: self._oracle.led(group_id, node_id, term))

    def leased(self, group_id: str, node_id: str, term: int) -> None:
        """Observer."""
        self._note(lambda: self._oracle.leased(group_id, node_id, term))

    def applied(self, group_id: str, node_id: str, index: int, term: int, payload: bytes) -> None:
        """Observer."""
        self._note(lambda: self._oracle.applied(group_id, node_id, index, term, payload))

    def durable(self, group_id: str, node_id: str, index: int) -> None:
        """Observer."""
        self._note(lambda: self._oracle.durable(group_id, node_id, index))

    def lose_power(self, nodes: list[str]) -> list[str]:
        """The nodes are about to lose it. Returns the groups that may go back to what was durable, and are forgiven."""
        cluster = self._cluster
        assert cluster is not None, "watch a cluster first"
        forgetful = cluster.forgetful_groups(nodes)
        for group_id in forgetful:
            commits = {
                node_id: process.core.host.groups[group_id].commit_index
                for node_id, process in cluster.processes.items()
                if group_id in process.core.host.groups
            }
            self._oracle.forgive(group_id, cluster.loop.time, commits)
        return forgetful

    def finish(self) -> None:
        """The last look, when everything is healed and nobody writes any more."""
        cluster = self._cluster
        assert cluster is not None, "watch a cluster first"
        self._note(lambda: checks.check_logs(cluster))
        self._note(lambda: checks.check_running(cluster, self._oracle, last=True))
        if cluster.loop.run_till(lambda: checks.evenly_applied(cluster), SETTLE_S, LOOK_S):
            self._note(lambda: checks.check_digests(cluster))
        else:
            self._add(f"the replicas do not come to the same index within {SETTLE_S:g} s without load")

    def _note(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Violation as violation:
            self._add(str(violation))

    def _add(self, text: str) -> None:
        if len(self._noted) < NOTED:
            self._noted.append(text)

    def verdict(self) -> Verdict:
        """What was noted."""
        commits, changes = sum(self._oracle.commits.values()), self._oracle.leader_changes()
        summary = f"{commits:,} entries committed through {changes:,} changes of leaders"
        if self._noted:
            summary = f"{self._noted[0]}; {summary}"
        return verdict(NAME, summary, map(Complaint, self._noted), commits=commits, leader_changes=changes)
