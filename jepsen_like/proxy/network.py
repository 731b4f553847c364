"""All the links of a cluster, each through a forwarder of its own.

Nodes must be told apart, and a proxy cannot see who dials: a hello names its sender, but in a handshake that a proxy
has no business to read. So every node has its own view of the others (`[dial]` in node.toml): it dials ports that
nobody else was given. Between nodes a and b there are then three forwarders:

    a → b's RPC port      a's calls, and b's answers
    b → a's RPC port      b's calls, and a's answers
    a → b's peer port     where a has the smaller id, which dials: Raft, both ways

and one in front of each node's HTTP port, which the clients of the run are given. What is wrong is said by ordered pair
(sender, receiver), and holds for that direction of every connection between the two, whoever dialled it. The supervisor
and the harness's own looks at the cluster go past all this.

Faults lie in layers, by name: each puts its own on and takes its own away, and what is wrong with a pair is all of its
layers at once (`toxics.both`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

from jepsen_like.proxy.forwarder import Forwarder
from jepsen_like.proxy.partitions import CLIENTS, Pair
from jepsen_like.proxy.toxics import HEALTHY, Toxics, both
from raftcache.config import DialConfig, parse_address
from raftcache.supervisor.cluster import LocalNode


class Network:
    """The forwarders of a cluster. `await start()` before the cluster, `await stop()` after it, on one event loop."""

    def __init__(self, nodes: Sequence[LocalNode], seed: int = 0) -> None:
        self.nodes = [node.id for node in nodes]
        self._layers: dict[str, dict[Pair, Toxics]] = {}
        self._dice = random.Random(seed)
        self._rpc = {
            (one.id, other.id): self._forwarder(one.id, other.id, other.rpc)
            for one in nodes
            for other in nodes
            if one is not other
        }
        self._peer = {
            (one.id, other.id): self._forwarder(one.id, other.id, other.peer)
            for one in nodes
            for other in nodes
            if one.id < other.id
        }
        self._http = {node.id: self._forwarder(CLIENTS, node.id, node.http) for node in nodes}

    def _forwarder(self, dialler: str, listener: str, target: str) -> Forwarder:
        return Forwarder(dialler, listener, parse_address(target), self.toxics, random.Random(self._dice.random()))

    @property
    def forwarders(self) -> list[Forwarder]:
        """All of them."""
        return [*self._rpc.values(), *self._peer.values(), *self._http.values()]

    async def start(self) -> None:
        """Listen on free ports. Raises OSError, and then listens nowhere."""
        try:
            for forwarder in self.forwarders:
                await forwarder.start()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything."""
        await asyncio.gather(*(forwarder.stop() for forwarder in self.forwarders))

    def dial(self) -> dict[str, dict[str, DialConfig]]:
        """Each node's view of the others, for `LocalCluster.dial`."""
        views: dict[str, dict[str, DialConfig]] = {node: {} for node in self.nodes}
        for (one, other), forwarder in self._rpc.items():
            peer = self._peer.get((one, other))
            views[one][other] = DialConfig(rpc=forwarder.address, peer="" if peer is None else peer.address)
        return views

    def http(self) -> dict[str, str]:
        """Where clients reach each node."""
        return {node: forwarder.address for node, forwarder in self._http.items()}

    def was_refused(self, node: str, port: int) -> bool:
        """Whether the node's HTTP port refused the client's connection from `port`: nothing reached the node then."""
        return self._http[node].was_refused(port)

    # -- faults ----------------------------------------------------------------------------------

    def toxics(self, sender: str, receiver: str) -> Toxics:
        """All that is wrong from one end to another."""
        found = (layer[sender, receiver] for layer in self._layers.values() if (sender, receiver) in layer)
        return reduce(both, found, HEALTHY)

    def lay(self, layer: str, pairs: Iterable[Pair], toxics: Toxics) -> None:
        """Put `toxics` on these pairs, and nothing else, under the layer's name."""
        self.lay_each(layer, dict.fromkeys(pairs, toxics))

    def lay_each(self, layer: str, toxics: Mapping[Pair, Toxics]) -> None:
        """The same with toxics of its own for each pair. Raises ValueError for a pair that is no link."""
        ends = {*self.nodes, CLIENTS}
        for sender, receiver in toxics:
            if sender not in ends or receiver not in ends or sender == receiver:
                raise ValueError(f"there is no link from {sender!r} to {receiver!r}")
        before = self._layers.pop(layer, {})
        if toxics:
            self._layers[layer] = dict(toxics)
        self._refresh({*before, *toxics})

    def lift(self, layer: str) -> None:
        """Take the layer away, if it is there."""
        self.lay_each(layer, {})

    def reset(self, pairs: Iterable[Pair]) -> None:
        """Reset every connection between these ends, once."""
        hit = set(pairs)
        for forwarder in self.forwarders:
            if not hit.isdisjoint(_directions(forwarder)):
                forwarder.reset()

    def _refresh(self, pairs: set[Pair]) -> None:
        for forwarder in self.forwarders:
            if not pairs.isdisjoint(_directions(forwarder)):
                forwarder.refresh()


def _directions(forwarder: Forwarder) -> tuple[Pair, Pair]:
    return (forwarder.dialler, forwarder.listener), (forwarder.listener, forwarder.dialler)
