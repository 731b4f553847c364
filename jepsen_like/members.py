"""Whether a node's replicas are full voters under the names that they must have now.

`/v1/cluster` shows nodes, not members: a node that came back empty and its former self are the same name there. What
is *wanted* of each group, member by member, stands in the metadata state, which any node hands out over RPC. The two
together prove a swap: with the new member wanted, a list that shows every replica as a voter, and no more replicas
than are wanted, shows that the new member is in and its former self is out.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from jepsen_like.cluster import RealCluster
from raftcache.cli.local import Local
from raftcache.config import parse_address
from raftcache.consensus.api import MemberId
from raftcache.errors import RaftcacheError
from raftcache.identity import load_identity
from raftcache.metadata.state import METADATA_GROUP, MetadataState, decode_state
from raftcache.metadata.watch import WatchRequest, decode_watch_answer, encode_watch
from raftcache.net.rpc_client import RpcChannel
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.handshake import Identity

TIMEOUT_S = 2.0


async def metadata_state(cluster: RealCluster, node: str) -> MetadataState | None:
    """The metadata state as one node has it; None where it does not answer."""
    local = await asyncio.to_thread(Local, cluster.data_dir)
    runtime = AsyncioRuntime(asyncio.get_running_loop())
    who, secret = Identity("client", "", "", secrets.token_hex(8)), local.data_dir.secret(local.cluster)
    address = parse_address(local.cluster.node(node).rpc)
    channel = RpcChannel(*address, secret, local.cluster.cluster_id, who, runtime)
    try:
        body = encode_watch(WatchRequest(0, 0, 0))
        answer = decode_watch_answer(await channel.call_async("watch", body, runtime.now() + TIMEOUT_S))
    except (RaftcacheError, OSError):
        return None
    finally:
        channel.close()
        await channel.wait_closed()
        runtime.close()
    return None if answer.state is None else decode_state(answer.state)


def incarnation(cluster: RealCluster, node: str) -> str | None:
    """Who the node is just now, by its folder; None while that is empty."""
    identity = load_identity(cluster.data_dir / node)
    return None if identity is None else identity.incarnation


def groups_of(state: MetadataState) -> list[str]:
    """Every group of the cluster, the metadata's last."""
    return [*(shard.id for shard in state.shards), METADATA_GROUP]


def is_full_voter(state: MetadataState, body: Mapping[str, Any], member_of: Callable[[str], MemberId]) -> bool:
    """Whether `member_of(group)` is a voter in every group, and each group's members are those that are wanted.

    `body` is `/v1/cluster` of the node that handed out `state`, asked for after that.
    """
    shown = {**{shard["id"]: shard for shard in body["shards"]}, METADATA_GROUP: body["metadata"]}
    return all(_is_voter(state.wanted(group), shown.get(group), member_of(group)) for group in groups_of(state))


def _is_voter(wanted: tuple[MemberId, ...], group: Mapping[str, Any] | None, member: MemberId) -> bool:
    replicas = [] if group is None else group["replicas"]
    voters = [replica for replica in replicas if replica["state"] == "voter"]
    return member in wanted and len(voters) == len(replicas) == len(wanted)
