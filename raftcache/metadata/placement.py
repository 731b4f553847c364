"""Where a cluster's first replicas go.

Each shard takes its replicas one by one, each time the node whose zone this shard has used least, of those the
one with the fewest replicas so far, of those the first in a ring that alternates between zones. Zones come before
load: where they are of equal size, this walks the ring, every shard takes the next nodes on it, and loads differ
by at most one; where they are not, a shard still lies in as many zones as it can, and load is as even as that
allows. Then each shard in turn gets its preferred leader, one of its replicas, so that the nodes' leaderships differ
by at most one where their loads do (an augmenting path finds a way wherever there is one). With as many replicas as
nodes, shard *i* prefers node *i* mod *n*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple


class Placeable(NamedTuple):
    """A node as placement sees it."""

    id: str
    zone: str = ""


def place(nodes: Sequence[Placeable], shard_count: int, replication_factor: int) -> list[tuple[str, ...]]:
    """For each shard its replicas' node ids, the preferred leader first, the others in the nodes' order.

    Raises ValueError where there are fewer nodes than replicas.
    """
    if not 1 <= replication_factor <= len(nodes):
        raise ValueError(f"replication factor must be 1 to {len(nodes)}, the nodes, got {replication_factor}")
    ring = _ring(nodes)
    order = {node.id: number for number, node in enumerate(nodes)}
    load: Counter[str] = Counter()
    replicas = [_pick(ring, order, load, replication_factor) for _ in range(shard_count)]
    leaders = _spread_leaders(replicas)
    return [
        (leader, *(node_id for node_id in ids if node_id != leader))
        for leader, ids in zip(leaders, replicas, strict=True)
    ]


def _pick(ring: list[Placeable], order: dict[str, int], load: Counter[str], count: int) -> list[str]:
    chosen: list[Placeable] = []
    zones: Counter[str] = Counter()
    for _ in range(count):
        rest = [node for node in ring if node not in chosen]
        best = min(rest, key=lambda node: (zones[node.zone], load[node.id]))
        chosen.append(best)
        zones[best.zone] += 1
        load[best.id] += 1
    return sorted((node.id for node in chosen), key=order.__getitem__)


def _spread_leaders(replicas: list[list[str]]) -> list[str]:
    """One leader a shard. A new shard's goes where the fewest are, if need be by a chain of others giving way."""
    leaders: list[str] = []
    led: dict[str, list[int]] = {}
    for shard, ids in enumerate(replicas):
        came_from = _reachable(ids, replicas, led)
        node: str | None = min(came_from, key=lambda node_id: len(led.get(node_id, ())))
        leaders.append("")
        while node is not None:
            giver, given = came_from[node]
            moved = shard if given is None else given
            leaders[moved] = node
            led.setdefault(node, []).append(moved)
            if giver is not None:
                led[giver].remove(moved)
            node = giver
    return leaders


def _reachable(
    start: list[str], replicas: list[list[str]], led: dict[str, list[int]]
) -> dict[str, tuple[str | None, int | None]]:
    """The nodes that one more leadership can be brought to, nearest first.

    For each, the node that gives one of its shards to it, and that shard; None for the `start` nodes themselves.
    """
    came_from: dict[str, tuple[str | None, int | None]] = dict.fromkeys(start, (None, None))
    queue = list(start)
    for giver in queue:
        for shard in led.get(giver, ()):
            for node in replicas[shard]:
                if node not in came_from:
                    came_from[node] = (giver, shard)
                    queue.append(node)
    return came_from


def _ring(nodes: Sequence[Placeable]) -> list[Placeable]:
    """The nodes, one of each zone in turn."""
    zones: dict[str, list[Placeable]] = {}
    for node in nodes:
        zones.setdefault(node.zone, []).append(node)
    return [node for turn in zip_longest(*zones.values()) for node in turn if node is not None]
