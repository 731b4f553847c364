"""Where a node keeps its groups: one folder each, and a mark for each that was removed.

A replica that was removed and wiped has forgotten what it voted and acknowledged. Should the state want it again, it
must come back empty and wait to be added, and never start the group from nothing as one of its first members: two such
replicas would be a majority that knows nothing of the group's log. A node that replays the metadata's log meets old
states that want it, too. So the mark is made before the folder goes, and is never taken back.
"""

from __future__ import annotations

from raftcache.node.core import Storages
from raftcache.wal.api import GroupStorage
from raftcache.wal.files import Files
from raftcache.wal.storage import memory_storage, open_storage

REMOVED = "removed"
"""The folder of the marks, beside the groups' own; no group has that id."""


def storages_in(files: Files, root: str, segment_bytes: int) -> Storages:
    """Groups in folders under `root`."""
    marks = f"{root}/{REMOVED}"

    def opened(group_id: str) -> GroupStorage:
        return open_storage(files, f"{root}/{group_id}", group_id, segment_bytes=segment_bytes)

    def remove(group_id: str) -> None:
        files.makedirs(marks)
        files.write_atomic(f"{marks}/{group_id}", b"", sync=True)
        files.remove_tree(f"{root}/{group_id}")

    def held() -> frozenset[str]:
        return frozenset(files.listdir(root)) - {REMOVED} if files.exists(root) else frozenset()

    return Storages(opened, remove, held, lambda group_id: files.exists(f"{marks}/{group_id}"))


def storages_in_memory() -> Storages:
    """Groups that live as long as the process, which is as long as their node's incarnation."""
    removed: set[str] = set()
    return Storages(memory_storage, removed.add, frozenset, removed.__contains__)
