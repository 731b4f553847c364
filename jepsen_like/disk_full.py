"""The drill on full disks: a running node cannot write a byte any more, for a while, and then it can again.

First the leader of a shard is hit, then that of the metadata group. While its disk is full, the node must give up what
it leads, and `/readyz` must say why; the others lead, are ready, and acknowledge writes. Afterwards the same process
must be a full voter again under the names that it had, by itself: a full disk loses nothing, so nothing is refilled.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Collection, Mapping

from jepsen_like.client import Health, health
from jepsen_like.cluster import RealCluster
from jepsen_like.disk import LOOK_S, Disk, judged, stocked
from jepsen_like.surgery import full_disk, running
from jepsen_like.surgery import pid_of as process_of
from jepsen_like.verdict import Result, Round
from jepsen_like.waiting import Progress, eventually, ms
from raftcache.metadata.state import METADATA_GROUP
from raftcache.supervisor.views import led_by

FULL_S = 5.0
"""How long a disk stays full once all have taken notice: several attempts at mending, and more than a lease."""

WHY = os.strerror(errno.EFBIG)
"""What the system says to who writes over its limit."""


async def disk_full(cluster: RealCluster, keys: int, progress: Progress) -> Result:
    """Fill up the disk of a shard's leader, then of the metadata leader. Raises DriverError, ReadFailed."""
    drill = await stocked(cluster, keys)
    shard = (await drill.state(next(iter(cluster.http())))).shards[0].id
    async with drill.load:
        for number, group in enumerate((shard, METADATA_GROUP), start=1):
            await _fill_up(drill, await drill.leader_of(group), f"leader of {group}")
            progress(f"disk-full {number}", drill.load)
    return await judged("disk-full", drill)


async def _fill_up(drill: Disk, node: str, what: str) -> None:
    pid, before, led = process_of(drill.cluster, node), await drill.members(node), led_by(node, await drill.leaders())
    with full_disk(pid) as at:
        service = await drill.in_service(at)
        await _go_on_without(drill, node, led)
        await asyncio.sleep(FULL_S)
        if await drill.in_service(time.monotonic()) is None:
            drill.defects.append(f"with the disk of {node} full, not every shard acknowledges writes")
        await _go_on_without(drill, node, led)
    lifted_at = time.monotonic()
    ready, voter = await asyncio.gather(_ready(drill, node), drill.full_voter(node, lambda: before.__getitem__))
    both = None if ready is None or voter is None else max(ready, voter)
    drill.rounds.append(Round((node,), what, ms(at, service), ms(lifted_at, both)))
    if running(drill.cluster).get(node) != pid:
        drill.defects.append(f"the process of {node} ended over its full disk")


async def _go_on_without(drill: Disk, node: str, led: Collection[str]) -> None:
    """Write to the metadata group, and wait until all is as it has to be while the disk is full. What is not by then is
    a defect.

    A leader that has nothing to write does not notice its disk, and need not. Shards are under load anyway.
    """
    if not await drill.write_metadata(drill.others(node)):
        drill.defects.append(f"with the disk of {node} full, no policy is acknowledged")
    missing: list[str] = []

    async def noticed() -> bool | None:
        addresses = drill.cluster.http()
        seen = {each: await health(address) for each, address in addresses.items()}
        missing[:] = about_full(node, led, seen, await drill.leaders())
        return None if missing else True

    if await eventually(noticed, pause_s=LOOK_S) is None:
        drill.defects += missing


async def _ready(drill: Disk, node: str) -> float | None:
    address = drill.cluster.http()[node]

    async def ready() -> float | None:
        seen = await health(address)
        return time.monotonic() if seen is not None and seen.ready else None

    return await eventually(ready, pause_s=LOOK_S)


def about_full(
    node: str, led: Collection[str], seen: Mapping[str, Health | None], leaders: Mapping[str, str | None]
) -> list[str]:
    """What is wrong while the disk of `node`, which led the groups `led` before, is full. Pure."""
    complaints = []
    for each, said in seen.items():
        if said is None:
            complaints.append(f"{each} does not answer while the disk of {node} is full")
        elif each == node and (said.ready or WHY not in said.reason):
            complaints.append(f"{node}, whose disk is full, says {said.reason or 'that it is ready'!r}")
        elif each != node and not said.ready:
            complaints.append(f"{each} is not ready while the disk of {node} is full: {said.reason}")
    return complaints + [
        f"{group} is led by {leaders.get(group) or 'nobody'} while the disk of {node} is full"
        for group in led
        if leaders.get(group) in (node, None)
    ]
