"""The drill on emptied disks: a node's whole folder is removed, first of any node, then of the metadata's leader.

Such a node comes back as a new incarnation, which the metadata leader swaps in everywhere, in the metadata group too.
"""

from __future__ import annotations

import asyncio

from jepsen_like.cluster import RealCluster
from jepsen_like.disk import Disk, MemberOf, judged, stocked
from jepsen_like.members import incarnation
from jepsen_like.surgery import remove_folder
from jepsen_like.verdict import Result
from jepsen_like.waiting import Progress
from raftcache.consensus.api import MemberId
from raftcache.metadata.state import METADATA_GROUP


async def empty_disk(cluster: RealCluster, keys: int, progress: Progress) -> Result:
    """Empty the folder of a node that does not lead the metadata group, then of the one that does.

    Raises DriverError, ReadFailed.
    """
    drill = await stocked(cluster, keys)
    async with drill.load:
        leader = await drill.leader_of(METADATA_GROUP)
        await _empty(drill, drill.others(leader)[0], "not the metadata leader")
        progress("empty-disk 1", drill.load)
        await _empty(drill, await drill.leader_of(METADATA_GROUP), "metadata leader")
        progress("empty-disk 2", drill.load)
    return await judged("empty-disk", drill)


async def _empty(drill: Disk, node: str, what: str) -> None:
    cluster = drill.cluster
    before = incarnation(cluster, node)
    at = await asyncio.to_thread(drill.kill_and, node, lambda: remove_folder(cluster, node))

    def member_of() -> MemberOf | None:
        now = incarnation(cluster, node)
        return None if now is None or now == before else lambda group: MemberId(node, now)

    await drill.watch(node, what, at, member_of)
