"""The processes that `snapshot.py` measures: a node whose loop tells its longest turn, and the replacement of a state.

    snapshot_node.py node CONFIG                 as `raftcache node`
    snapshot_node.py metered CONFIG              the same; every SIGUSR1 prints the longest turn since the one before
    snapshot_node.py replace FOLDER GROUP        installs a snapshot over a state of the same size, and prints a line

A turn is what the loop does between two looks at its sockets, in CPU time of its thread: other load of the machine does
not count, nor what other threads do.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.config import NodeConfig, load_config
from raftcache.net.runtime import AsyncioRuntime
from raftcache.node import main as node_main
from raftcache.shard.replica import ShardReplica
from raftcache.store.memory import MemoryBudget
from raftcache.wal.files import OsFiles
from raftcache.wal.snapshots import FileSnapshots

SAMPLE_S = 0.001
MEMORY_BYTES = 32 << 30


class MeteredLoop(asyncio.SelectorEventLoop):
    """Keeps the longest turn, and the longest that a timer of a millisecond was late."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_ms = 0.0

    def _run_once(self) -> None:
        began = time.thread_time()
        super()._run_once()  # type: ignore[misc]
        self.longest_ms = max(self.longest_ms, (time.thread_time() - began) * 1000)

    def take(self) -> float:
        """The longest turn so far, in ms of CPU; begin anew."""
        longest, self.longest_ms = self.longest_ms, 0.0
        return longest


def serve(config: NodeConfig, metered: bool) -> None:
    """Run a node until it is told to stop."""
    if not metered:
        node_main.run_node(config)
        return
    node_main.uvloop.new_event_loop = _metered_loop  # type: ignore[attr-defined]
    node_main.run_node(config)


def _metered_loop() -> MeteredLoop:
    loop = MeteredLoop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(f"turn {loop.take():.3f}", flush=True))
    return loop


class Lateness:
    """How late timers of a millisecond come, in ms."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.late_ms: list[float] = []
        self._loop, self._due = loop, 0.0
        self._arm()

    def _arm(self) -> None:
        self._due = self._loop.time() + SAMPLE_S
        self._loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        self.late_ms.append((self._loop.time() - self._due) * 1000)
        self._arm()

    def take(self) -> float:
        """The 99th percentile so far; begin anew."""
        late, self.late_ms = sorted(self.late_ms), []
        return late[len(late) * 99 // 100] if late else 0.0


async def replace(folder: Path, group_id: str) -> dict[str, float]:
    """Restore a state, then another over it while the loop is watched; the longest turn and the lateness of each."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, MeteredLoop)
    runtime = AsyncioRuntime(loop)
    snapshots = FileSnapshots(OsFiles(), str(folder), group_id)
    meta = snapshots.latest()
    assert meta is not None, "take a snapshot first"
    namespaces = Namespaces(1, (Namespace("default", 1),))
    budget = MemoryBudget(MEMORY_BYTES)
    replica = ShardReplica(group_id, "n0", runtime, budget, lambda: namespaces, lambda _key: True, lambda _term: None)

    def prepare() -> Any:
        return replica.prepare_restore(snapshots.blocks(meta))

    async def off_loop() -> Any:
        done: asyncio.Future[Any] = loop.create_future()
        runtime.offload(prepare, done.set_result)
        return await done

    replica.install(await off_loop(), meta.index, meta.term)
    await asyncio.sleep(0.5)
    lateness = Lateness(loop)
    await asyncio.sleep(2.0)
    quiet_late_ms = lateness.take()
    loop.take()
    began = time.monotonic()
    prepared = await off_loop()
    took_s, preparing_ms, preparing_late_ms = time.monotonic() - began, loop.take(), lateness.take()
    replica.install(prepared, meta.index, meta.term)
    del prepared
    await asyncio.sleep(0)
    installing_ms = loop.take()
    while replica._trash.waiting:
        await asyncio.sleep(0.01)
    freeing_ms, freeing_late_ms = loop.take(), lateness.take()
    assert not isinstance(await off_loop(), BaseException)
    return {
        "prepare_s": took_s,
        "prepare_turn_ms": preparing_ms,
        "prepare_late_p99_ms": preparing_late_ms,
        "quiet_late_p99_ms": quiet_late_ms,
        "install_turn_ms": installing_ms,
        "free_turn_ms": freeing_ms,
        "free_late_p99_ms": freeing_late_ms,
    }


def main() -> int:
    """See the module."""
    kind, path, *rest = sys.argv[1:]
    if kind == "replace":
        node_main.tune_interpreter()
        with asyncio.Runner(loop_factory=MeteredLoop) as runner:
            print(json.dumps(runner.run(replace(Path(path), rest[0]))), flush=True)
    else:
        serve(load_config(NodeConfig, Path(path)), metered=kind == "metered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
