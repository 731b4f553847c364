"""The shard that takes a lost one's place, as an operator asks for it. Pure.

It lies on the same nodes, under their present incarnations and a new random id. Started from a survivor, it begins as a
group of that one member, and the controller adds the others; started empty, all its replicas found it together.
"""

from __future__ import annotations

import random

from raftcache.consensus.api import MemberId
from raftcache.errors import BadRequest
from raftcache.metadata.commands import ReplaceShard
from raftcache.metadata.state import MetadataState, Shard

SHARD_ID_BITS = 16
WIDE_SHARD_ID_BITS = 64
"""Of an id that is tried where a short one is taken."""


def plan_replacement(
    state: MetadataState, lost_id: str, source_node: str | None, chance: random.Random
) -> ReplaceShard:
    """The command that replaces `lost_id` by a shard that starts from the survivor on `source_node`, or empty (None).

    Raises BadRequest where there is no such shard, it is not lost, or that node holds no survivor of it.
    """
    lost = state.shard(lost_id)
    if lost is None:
        successor = state.replacement(lost_id)
        raise BadRequest(
            f"shard {lost_id[:80]!r} has been replaced already, by {successor}"
            if successor is not None
            else f"shard must be one of {', '.join(shard.id for shard in state.shards)}, got {lost_id[:80]!r}"
        )
    if lost.state != "lost":
        raise BadRequest(f"shard {lost_id} must be declared lost before it is replaced, it is {lost.state}")
    source = None if source_node is None else _survivor_on(lost, source_node)
    replicas = _replicas(state, lost, source)
    initial = replicas if source is None else tuple(each for each in replicas if each.node == source.node)
    preferred = next((each.node for each in replicas if each.node == lost.preferred), initial[0].node)
    new = Shard(_new_id(state, chance), lost.slots, replicas, initial, preferred)
    return ReplaceShard(lost_id, new, source)


def _survivor_on(lost: Shard, node_id: str) -> MemberId:
    for survivor in lost.survivors:
        if survivor.member.node == node_id:
            return survivor.member
    there = ", ".join(survivor.member.node for survivor in lost.survivors) or "none is left"
    raise BadRequest(f"from must be the node of a survivor of shard {lost.id} ({there}), got {node_id[:80]!r}")


def _replicas(state: MetadataState, lost: Shard, source: MemberId | None) -> tuple[MemberId, ...]:
    """A survivor may lie on a node that was to leave the shard: it takes the place of the last one then."""
    nodes = list(lost.nodes)
    if source is not None and source.node not in nodes:
        nodes[-1] = source.node
    incarnations = {node.id: node.incarnation for node in state.nodes}
    return tuple(MemberId(node_id, incarnations[node_id]) for node_id in nodes)


def _new_id(state: MetadataState, chance: random.Random) -> str:
    used = {shard.id for shard in state.shards} | {each for pair in state.replaced for each in pair}
    short = f"{chance.getrandbits(SHARD_ID_BITS):04x}"
    return short if short not in used else f"{chance.getrandbits(WIDE_SHARD_ID_BITS):016x}"
