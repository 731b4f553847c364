"""What simulated faults stand on: a cluster under virtual time, its links in layers, and who leads what."""

from __future__ import annotations

from collections.abc import Iterable

from jepsen_like.nemeses.plan import METADATA
from jepsen_like.proxy.partitions import CLIENTS, Pair
from jepsen_like.simulated.invariants import Invariants
from jepsen_like.targets.simulated import SimTarget
from raftcache.consensus import MemberId
from raftcache.metadata.state import METADATA_GROUP
from raftcache.testing.cluster import SimCluster, SimProcess


class SimGround:
    """A running cluster. Every fault on links has a layer of its own, so that to lift one leaves the others."""

    def __init__(self, cluster: SimCluster, target: SimTarget, invariants: Invariants) -> None:
        self.cluster, self.target = cluster, target
        self._invariants = invariants
        self._cuts: dict[object, frozenset[Pair]] = {}
        self._delays: dict[object, dict[Pair, float]] = {}

    # -- links -----------------------------------------------------------------------------------

    def cut(self, layer: object, pairs: Iterable[Pair]) -> None:
        """Nothing gets from the first to the second of any of these pairs."""
        self._cuts[layer] = frozenset(pairs)
        self._apply()

    def delay(self, layer: object, pairs: Iterable[Pair], seconds: float) -> None:
        """What these links carry is late."""
        self._delays[layer] = dict.fromkeys(pairs, seconds)
        self._apply()

    def lift(self, layer: object) -> None:
        """Take a layer away."""
        self._cuts.pop(layer, None)
        self._delays.pop(layer, None)
        self._apply()

    @property
    def layers(self) -> set[object]:
        """Those there are."""
        return {*self._cuts, *self._delays}

    def _apply(self) -> None:
        network = self.cluster.network
        network.heal()
        for sender, receiver in sorted(set().union(*self._cuts.values())):
            network.block(sender, receiver)
        for delays in self._delays.values():
            network.slow.update(delays)
        cut = {pair for pairs in self._cuts.values() for pair in pairs if CLIENTS in pair}
        self.target.cut_off = {end for pair in cut for end in pair if end != CLIENTS}

    # -- power -----------------------------------------------------------------------------------

    def lose_power(self, nodes: list[str]) -> list[str]:
        """The machines of these nodes lose it at one moment. Returns the groups of which a majority may have forgotten
        something."""
        forgetful = self._invariants.lose_power(nodes)
        for node in nodes:
            self.cluster.lose_power(node)
        return [_name(group_id) for group_id in forgetful]

    # -- who is who ------------------------------------------------------------------------------

    def leaders(self) -> dict[str, str | None]:
        """The node that leads each group and that a majority still hears; the metadata's last."""
        found: dict[str, str | None] = {}
        for process in self.cluster.running():
            for group in process.core.host.groups.values():
                name = _name(group.group_id)
                if group.leads_now():
                    found[name] = process.node_id
                else:
                    found.setdefault(name, None)
        metadata = found.pop(METADATA, None)
        return {**dict(sorted(found.items())), METADATA: metadata}

    def replicas(self) -> dict[str, list[str]]:
        """The nodes of each group, as its members' newest processes know them."""
        return {
            _name(group.group_id): [member.node for member in group.members]
            for process in self.cluster.running()
            for group in process.core.host.groups.values()
        }

    def missing(self) -> list[str]:
        """Nodes that some group counts among its members and that cannot stand in for others: their process is down, or
        has not opened the group yet, their disk was replaced, or they may have forgotten something and do not vote yet.
        """
        running = {process.node_id: process.core.host.groups for process in self.cluster.running()}
        members = {(group_id, member) for group_id, seen in self.cluster.members().items() for member in seen}

        def able(group_id: str, member: MemberId) -> bool:
            group = running.get(member.node, {}).get(group_id)
            return group is not None and group.member == member and not group.election.suspect

        return sorted({member.node for group_id, member in members if not able(group_id, member)})

    def process(self, node: str) -> SimProcess | None:
        """The node's process, where it has one."""
        return self.cluster.processes.get(node)


def _name(group_id: str) -> str:
    return METADATA if group_id == METADATA_GROUP else group_id
