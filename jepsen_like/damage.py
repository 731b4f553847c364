"""The drill on damaged files: one byte of a stopped node is flipped, in a log of one node, in a snapshot of another.

The node must find it at its start, name file and byte, set that replica aside, and refill it under the next number;
the node's other replicas keep their names and their files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from jepsen_like.cluster import DriverError, RealCluster
from jepsen_like.disk import PATIENCE_S, Disk, judged, stocked
from jepsen_like.surgery import flip_middle, largest_segment, newest_snapshot, tells_damage
from jepsen_like.verdict import Result
from jepsen_like.waiting import Progress
from raftcache.cli.local import Local
from raftcache.consensus.api import MemberId
from raftcache.identity import GROUPS_FOLDER
from raftcache.node import admin
from raftcache.supervisor.layout import LOG_FILE
from raftcache.wal.node_files import DAMAGED


async def damage(cluster: RealCluster, keys: int, progress: Progress) -> Result:
    """Damage one group's log on one node, then another group's newest snapshot on another node.

    Raises DriverError, ReadFailed.
    """
    drill = await stocked(cluster, keys)
    first, second = list(cluster.http())[:2]
    shards = (await drill.state(first)).shards
    async with drill.load:
        await _damage(drill, first, shards[0].id, "log", largest_segment)
        progress("damage 1", drill.load)
        await asyncio.to_thread(take_snapshot, cluster, second, shards[1].id)
        await _damage(drill, second, shards[1].id, "snapshot", newest_snapshot)
        progress("damage 2", drill.load)
    return await judged("damage", drill)


def take_snapshot(cluster: RealCluster, node: str, group: str) -> None:
    """Returns when it is on the disk. A shard as small as these would not get one by itself. Raises DriverError."""
    local = Local(cluster.data_dir)
    secret, address = local.data_dir.secret(local.cluster), local.cluster.node(node).rpc
    answer = admin.call(address, secret, local.cluster.cluster_id, "snapshot", {"groups": [group]}, PATIENCE_S)
    errors = [str(row["error"]) for row in answer["taken"] if row.get("error")]
    if errors:
        raise DriverError(f"{node} takes no snapshot of {group}: {errors[0]}")


async def _damage(drill: Disk, node: str, group: str, what: str, find: Callable[[Path], Path]) -> None:
    groups = drill.cluster.data_dir / node / GROUPS_FOLDER
    before = await drill.members(node)
    flipped: list[tuple[Path, int]] = []

    def flip() -> None:
        path = find(groups / group)
        flipped.append((path, flip_middle(path)))

    at = await asyncio.to_thread(drill.kill_and, node, flip)
    renewed = {**before, group: _next(before[group])}
    await drill.watch(node, f"{what} of {group}", at, lambda: renewed.__getitem__)
    log = (drill.cluster.data_dir / node / LOG_FILE).read_text(errors="replace")
    drill.defects += [
        f"{node}'s log does not name {path} and byte {offset}, which was damaged"
        for path, offset in flipped
        if not tells_damage(log, path, offset)
    ]
    drill.defects += about_set_aside(groups / DAMAGED, node, before[group], group)


def _next(member: MemberId) -> MemberId:
    return member._replace(replica=member.replica + 1)


def about_set_aside(folder: Path, node: str, old: MemberId, group: str) -> list[str]:
    """What is wrong with what a node has set aside: the damaged replica must be there by its old number, alone."""
    kept, wanted = sorted(path.name for path in folder.glob("*")), [f"{group}.{old.replica}"]
    return [] if kept == wanted else [f"{node} has set aside {kept}, wanted {wanted}"]
