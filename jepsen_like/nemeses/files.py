"""Faults on disks. The node is killed, its files are worked on while nobody starts it, then it comes back.

Nobody promises to survive two disks at once. So a disk is hit only while the whole cluster is well, and the fault is
over when the node is a full voter of every group again, which for damaged groups is under a new name.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from jepsen_like.client import ReadFailed, cluster_body
from jepsen_like.damage import take_snapshot
from jepsen_like.members import groups_of, is_full_voter, metadata_state
from jepsen_like.nemeses.api import TROUBLE, Details, Ground, Skipped, Victims
from jepsen_like.surgery import (
    flip_middle,
    kill_for_good,
    largest_segment,
    newest_segment,
    newest_snapshot,
    remove_folder,
    tear,
    unsupervised,
)
from jepsen_like.waiting import eventually
from raftcache.consensus.api import MemberId
from raftcache.identity import GROUPS_FOLDER
from raftcache.metadata.state import MetadataState

REFILL_PATIENCE_S = 90.0
LOOK_S = 0.1


class Disk(ABC):
    """What the faults on disks have in common. `work` is the one thing in which they differ."""

    def __init__(self) -> None:
        self._node = ""
        self._gone: dict[str, MemberId] = {}

    async def strike(self, ground: Ground, victims: Victims) -> Details:
        """Nemesis: the node is on its way back when this returns."""
        if ground.cluster.memory:
            raise Skipped("nodes of this cluster have no disk")
        async with ground.files:
            if not await ground.is_whole():
                raise Skipped("a disk is hit only while the whole cluster is well")
            state = await metadata_state(ground.cluster, victims.node)
            if state is None:
                raise Skipped(f"{victims.node} does not say what it holds")
            held = _members(state, victims.node)
            group = group_to_hit(victims.node, held, victims.dice)
            await self.prepare(ground, victims.node, group)
            self._node = victims.node
            told = await asyncio.to_thread(self._hit, ground, victims.node, group, victims.dice)
        self._gone = {each: held[each] for each in self.renewed(list(held), group)}
        return {"nodes": [victims.node], **told}

    async def heal(self, ground: Ground) -> Details:
        """Nemesis: the node is refilled by the cluster itself."""
        if not self._node:
            return {}
        began_at = time.monotonic()

        async def look() -> bool | None:
            with suppress(*TROUBLE, ReadFailed):
                return True if await _is_full_again(ground, self._node, self._gone) else None
            return None

        seen = await eventually(look, REFILL_PATIENCE_S, LOOK_S)
        return {"back": bool(seen), "backAfterMs": round((time.monotonic() - began_at) * 1000)}

    def _hit(self, ground: Ground, node: str, group: str, dice: random.Random) -> Details:
        with unsupervised(ground.cluster):
            kill_for_good(ground.cluster, node)
            return self.work(ground, node, group, dice)

    async def prepare(self, ground: Ground, node: str, group: str) -> None:  # noqa: B027  (most need nothing)
        """Before the node is killed."""

    @abstractmethod
    def work(self, ground: Ground, node: str, group: str, dice: random.Random) -> Details:
        """Break the files of a dead node. Raises DriverError."""

    def renewed(self, held: list[str], group: str) -> list[str]:
        """Of which of its groups the node's replica comes back under a new name."""
        return [group]


class EmptyDisk(Disk):
    """The node's whole folder is gone."""

    def work(self, ground: Ground, node: str, group: str, dice: random.Random) -> Details:
        """Remove it."""
        remove_folder(ground.cluster, node)
        return {}

    def renewed(self, held: list[str], group: str) -> list[str]:
        """It is another incarnation."""
        return held


class FlipLog(Disk):
    """One byte of one group's log is flipped."""

    def work(self, ground: Ground, node: str, group: str, dice: random.Random) -> Details:
        """In the middle of its largest segment."""
        return _flipped(largest_segment(_folder(ground, node, group)), group)


class FlipSnapshot(Disk):
    """One byte of one group's newest snapshot is flipped."""

    async def prepare(self, ground: Ground, node: str, group: str) -> None:
        """A group as small as those of a test has none by itself."""
        await asyncio.to_thread(take_snapshot, ground.cluster, node, group)

    def work(self, ground: Ground, node: str, group: str, dice: random.Random) -> Details:
        """In the middle."""
        return _flipped(newest_snapshot(_folder(ground, node, group)), group)


class TornLog(Disk):
    """One group's log ends in the beginning of a record, as where a process is killed while it appends.

    Nothing that was acknowledged is missing, so the replica keeps its name. (A tail that *is* missing is what a loss of
    power does, which real processes cannot be made to suffer.)
    """

    def work(self, ground: Ground, node: str, group: str, dice: random.Random) -> Details:
        """Behind its newest segment."""
        path = newest_segment(_folder(ground, node, group))
        return {"group": group, "file": path.name, "bytes": tear(path, dice)}

    def renewed(self, held: list[str], group: str) -> list[str]:
        """None: the node cuts it and goes on."""
        return []


def group_to_hit(node: str, held: Collection[str], dice: random.Random) -> str:
    """One of the groups of which the node has a replica. Raises Skipped where there is none: a small cluster leaves
    some of its nodes without."""
    if not held:
        raise Skipped(f"{node} holds no group")
    return dice.choice(sorted(held))


def _flipped(path: Path, group: str) -> Details:
    return {"group": group, "file": path.name, "byte": flip_middle(path)}


def _folder(ground: Ground, node: str, group: str) -> Path:
    return ground.cluster.data_dir / node / GROUPS_FOLDER / group


def _members(state: MetadataState, node: str) -> dict[str, MemberId]:
    """Under which name the node is wanted in each of its groups."""
    return {group: member for group in groups_of(state) for member in state.wanted(group) if member.node == node}


async def _is_full_again(ground: Ground, node: str, gone: Mapping[str, MemberId]) -> bool:
    """Whether another node sees this one as a voter of every group it is wanted in, under names that are not gone."""
    other = next(each for each in ground.nodes if each != node)
    state = await metadata_state(ground.cluster, other)
    if state is None:
        return False
    body, members = await cluster_body([ground.cluster.http()[other]]), _members(state, node)
    if any(members.get(group) in (None, member) for group, member in gone.items()):
        return False
    anyone = {group: next(iter(state.wanted(group))) for group in groups_of(state)}
    return is_full_voter(state, body, (anyone | members).__getitem__)
