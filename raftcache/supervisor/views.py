"""What the bodies of `GET /v1/cluster` say, when several nodes are asked. Pure.

Each node answers from what it has heard, so answers differ for a moment after a change of leaders. The one that
names the highest term is the newest; and the cluster is whole only when every node says that it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

METADATA = "meta"
"""How the metadata group is named beside the shards."""

Body = Mapping[str, Any]


def is_whole(body: Body, shards: int, replicas: int) -> bool:
    """Whether one node sees every group led, every replica a voter, and as many of both as were asked for."""
    groups = [group for _, group in _groups(body)]
    led = all(group.get("leader") is not None for group in groups)
    voters = all(_voters(group) == len(group.get("replicas", ())) for group in groups)
    full = all(_voters(shard) >= replicas for shard in body.get("shards", ()))
    return led and voters and full and len(body.get("shards", ())) >= shards


def _voters(group: Body) -> int:
    return sum(replica.get("state") == "voter" for replica in group.get("replicas", ()))


def leaders(bodies: Iterable[Body]) -> dict[str, str | None]:
    """The leader of each group by the answer of the highest term; shards by their slots, then the metadata group."""
    newest: dict[str, tuple[int, str | None]] = {}
    for body in bodies:
        for group_id, group in _groups(body):
            claim = (int(group.get("term") or 0), group.get("leader"))
            known = newest.get(group_id)
            if known is None or claim[0] > known[0] or (claim[0] == known[0] and known[1] is None):
                newest[group_id] = claim
    return {group_id: leader for group_id, (_, leader) in newest.items()}


def _groups(body: Body) -> Sequence[tuple[str, Body]]:
    shards = [(str(shard["id"]), shard) for shard in in_slot_order(body)]
    metadata = body.get("metadata")
    return [*shards, (METADATA, metadata)] if metadata else shards


def in_slot_order(body: Body) -> list[Body]:
    """The shards of one body, by their first slots."""
    return sorted(body.get("shards", ()), key=lambda shard: [list(slots) for slots in shard.get("slots", ())])


def led_by(node_id: str, known_leaders: Mapping[str, str | None]) -> list[str]:
    """The groups that a node leads."""
    return [group_id for group_id, leader in known_leaders.items() if leader == node_id]
