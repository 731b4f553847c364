"""What the supervisor decides: which node to start when, and whether the cluster is ready. Pure.

The shell tells what happened and when (`started`, `exited`, `observed`), and asks what is `due`. A node that dies is
started again at once; one that dies again and again waits longer each time, so that a broken one does not eat the
machine, and is forgiven after it has lived for a while. A paused node has not died and is left alone.

The cluster is *ready* once every node has been seen to serve, in a probe that began after that node's latest start.
From then on it stays ready until a node dies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

RESTART_MIN_MS = 50
RESTART_MAX_MS = 5_000
FORGIVEN_AFTER_MS = 10_000
"""A node that lived this long starts again without delay, with its back-off reset."""


@dataclass(slots=True)
class _Node:
    pid: int | None = None
    started_at: float = 0.0
    due_at: float | None = 0.0
    backoff_ms: int = RESTART_MIN_MS


class Supervision:
    """The nodes of one local cluster. Times are seconds on a clock that never goes back."""

    def __init__(self, node_ids: Iterable[str]) -> None:
        self._nodes = {node_id: _Node() for node_id in node_ids}
        self.ready = False

    @property
    def pids(self) -> dict[str, int | None]:
        """The process of each node, None while it has none."""
        return {node_id: node.pid for node_id, node in self._nodes.items()}

    def due(self, now: float) -> list[str]:
        """The nodes to start now."""
        return [id_ for id_, node in self._nodes.items() if node.due_at is not None and node.due_at <= now]

    def next_due(self) -> float | None:
        """When the next node will be due, or None while all run."""
        return min((node.due_at for node in self._nodes.values() if node.due_at is not None), default=None)

    def started(self, node_id: str, pid: int, now: float) -> None:
        """The node was started as process `pid`."""
        node = self._nodes[node_id]
        node.pid, node.started_at, node.due_at = pid, now, None

    def exited(self, node_id: str, now: float) -> int:
        """The node's process is gone: the cluster is not ready any more. Returns the delay of its restart in ms."""
        node = self._nodes[node_id]
        forgiven = (now - node.started_at) * 1000 >= FORGIVEN_AFTER_MS
        delay_ms = 0 if forgiven else node.backoff_ms
        node.backoff_ms = RESTART_MIN_MS if forgiven else min(2 * node.backoff_ms, RESTART_MAX_MS)
        node.pid, node.due_at = None, now + delay_ms / 1000
        self.ready = False
        return delay_ms

    def observed(self, serving: Mapping[str, bool], began_at: float) -> bool:
        """A probe that began at `began_at` saw which nodes serve. True where the cluster just became ready."""
        if self.ready or not all(self._counts(node_id, serving, began_at) for node_id in self._nodes):
            return False
        self.ready = True
        return True

    def _counts(self, node_id: str, serving: Mapping[str, bool], began_at: float) -> bool:
        node = self._nodes[node_id]
        return node.pid is not None and began_at >= node.started_at and serving.get(node_id, False)
