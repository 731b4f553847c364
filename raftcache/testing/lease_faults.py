"""Faults aimed at leases: each opens, within the length of a lease, one of the ways in which another leader could be
elected while the first still answers reads (`consensus.lease`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from raftcache.consensus import Group
from raftcache.testing.cluster import ClusterSettings, SimCluster, SimProcess
from raftcache.testing.faults import Nemesis


def tightened(settings: ClusterSettings) -> ClusterSettings:
    """The same cluster with elections that follow as close on a lease as they may."""
    return replace(settings, consensus=replace(settings.consensus, election_max_ms=500, tick_ms=10))


class LeaseFaults:
    """Strikes with the dice of a nemesis. `table` is for `Nemesis.add`."""

    def __init__(self, cluster: SimCluster, nemesis: Nemesis) -> None:
        self._cluster, self._random, self._nemesis = cluster, nemesis.random, nemesis
        self.table: dict[str, Callable[[], None]] = {
            "restart-within-lease": self._restart,
            "transfer-unheard": self._transfer,
            "cut-off-within-lease": self._cut_off,
            "pause-within-lease": self._pause,
        }

    def _led(self) -> tuple[SimProcess, Group] | None:
        """A group with three members or more, and the process that leads it."""
        led = [
            (process, group)
            for process in self._cluster.running()
            for group in process.core.host.groups.values()
            if group.leads_now() and len(group.members) > 2
        ]
        return self._random.choice(led) if led else None

    def _later(self, delay_s: float, strike: Callable[[], None]) -> None:
        """Unless everything is repaired by then."""
        at = self._cluster.loop.time + delay_s
        if at < self._nemesis.until:
            self._cluster.loop.call_at(at, strike)

    def _restart(self) -> None:
        """A follower that hears nothing wants to lead. Then the other, on whose answers the lease rests, restarts."""
        found = self._led()
        if found is None:
            return
        process, group = found
        deaf, answering = self._random.sample([each.member.node for each in group.voters], 2)
        self._cluster.network.block(process.node_id, deaf)

        def strike() -> None:
            self._cluster.kill(answering)
            self._cluster.start(answering)

        self._later(self._random.uniform(0.6, 2.0), strike)
        self._later(self._random.uniform(2.1, 3.0), self._cluster.network.heal)

    def _transfer(self) -> None:
        """The target is told to campaign and hears of it when its leader has given up and serves again."""
        found = self._led()
        if found is None:
            return
        process, group = found
        target = self._random.choice(group.voters).member.node
        self._cluster.network.slow[process.node_id, target] = self._random.uniform(0.2, 0.35)
        self._later(0.5, lambda: process.runtime.deliver(partial(group.transfer_leadership, target)))
        self._later(self._random.uniform(1.5, 2.5), self._cluster.network.heal)

    def _cut_off(self) -> None:
        """A leader is cut off for about as long as an election takes, while its answers are still under way."""
        found = self._led()
        if found is None:
            return
        process, group = found
        for voter in group.voters:
            self._cluster.network.slow[voter.member.node, process.node_id] = self._random.uniform(0.2, 0.6)
        self._later(0.5, lambda: self._mute(process.node_id, group))
        self._later(self._random.uniform(1.2, 2.0), self._cluster.network.heal)

    def _mute(self, node_id: str, group: Group) -> None:
        for voter in group.voters:
            self._cluster.network.block(node_id, voter.member.node)

    def _pause(self) -> None:
        """A leader stands still for about as long as an election takes, and wakes with old answers in its sockets."""
        found = self._led()
        if found is not None:
            found[0].runtime.pause(self._random.uniform(0.3, 0.95))
