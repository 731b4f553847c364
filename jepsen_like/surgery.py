"""What is done to nodes behind the supervisor's back: signals at one moment, full disks, files of dead nodes.

`raftcache fault` does the same as an operator would, but takes a good part of a second for it; a strike has to come at
its moment, and to hit several nodes within a millisecond. Only children of the supervisor that was started here are
ever touched.
"""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from jepsen_like.cluster import DriverError, RealCluster, is_alive, wait_until
from raftcache.supervisor.layout import LOG_FILE
from raftcache.wal.records import RECORD_OVERHEAD_BYTES
from raftcache.wal.segments import SEGMENT_SUFFIX
from raftcache.wal.snapshots import SNAPSHOT_SUFFIX

LEAST_BYTES = 24
"""A file that is smaller has no middle worth damaging."""

NEAR_BYTES = 1024 * 1024
"""How far before a damaged byte its record or block may begin: no drill writes larger ones."""


def running(cluster: RealCluster) -> dict[str, int]:
    """The process of each node that has one, by node id."""
    assert cluster.up is not None
    parent = cluster.up.pid
    return {node: pid for node, pid in cluster.pids().items() if pid is not None and _is_child(pid, parent)}


def pid_of(cluster: RealCluster, node: str) -> int:
    """The process of one node. Raises DriverError where it has none."""
    pid = running(cluster).get(node)
    if pid is None:
        raise DriverError(f"{node} does not run; see {cluster.folder}")
    return pid


def strike(pids: Sequence[int]) -> float:
    """Kill -9 these processes at once; returns the moment (`time.monotonic()`)."""
    for pid in pids:
        with suppress(ProcessLookupError):  # It ended by itself since it was looked up.
            os.kill(pid, signal.SIGKILL)
    return time.monotonic()


@contextmanager
def unsupervised(cluster: RealCluster) -> Iterator[None]:
    """Inside, nobody starts a node again: the supervisor is stopped in its tracks."""
    assert cluster.up is not None
    cluster.up.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        cluster.up.send_signal(signal.SIGCONT)


def kill_for_good(cluster: RealCluster, node: str) -> float:
    """Kill one node and wait until it is gone; to be called `unsupervised`. Returns the moment. Raises DriverError."""
    pid = pid_of(cluster, node)
    at = strike([pid])
    wait_until(lambda: not is_alive(pid), f"the end of {node}", folder=cluster.folder)
    return at


def hold(cluster: RealCluster, node: str, dead_pid: int) -> int:
    """Stop a node's next process as soon as it is there, before it has joined anything. Returns its pid."""

    def started() -> int | None:
        pid = running(cluster).get(node)
        return None if pid == dead_pid else pid

    wait_until(started, f"a new process of {node}", folder=cluster.folder)
    pid = started()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return pid


# -- disks -------------------------------------------------------------------------------------------


def remove_folder(cluster: RealCluster, node: str) -> None:
    """Remove a dead node's folder; its log is kept beside the others of the drill."""
    folder = cluster.data_dir / node
    for number, log in enumerate(sorted(folder.glob(f"{LOG_FILE}*"))):
        log.replace(cluster.folder / f"{node}-emptied-{time.monotonic_ns()}-{number}.log")
    shutil.rmtree(folder)


@contextmanager
def full_disk(pid: int) -> Iterator[float]:
    """Inside, the process cannot write a byte to any file, as on a full disk; gives the moment.

    Raises DriverError where the system cannot limit another process.
    """
    if not hasattr(resource, "prlimit"):
        raise DriverError("a full disk needs prlimit, which only Linux has")
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield time.monotonic()
    finally:
        with suppress(ProcessLookupError):  # What became of it is for others to judge.
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def largest_segment(group: Path) -> Path:
    """The largest file of a group's log. Raises DriverError where there is none."""
    return _last(sorted((group / "log").glob(f"*{SEGMENT_SUFFIX}"), key=lambda path: path.stat().st_size), group)


def newest_segment(group: Path) -> Path:
    """The file that a group's log is appended to. Raises DriverError where there is none."""
    return _last(sorted((group / "log").glob(f"*{SEGMENT_SUFFIX}")), group)


def newest_snapshot(group: Path) -> Path:
    """A group's newest snapshot. Raises DriverError where there is none."""
    return _last(sorted((group / "snapshots").glob(f"*{SNAPSHOT_SUFFIX}")), group)


def _last(paths: Sequence[Path], group: Path) -> Path:
    if not paths:
        raise DriverError(f"{group} holds nothing of the kind that is to be damaged")
    return paths[-1]


def flip_middle(path: Path) -> int:
    """Invert the byte in the middle of a file, and nothing else; returns its offset.

    Raises DriverError for a file too small to have a middle.
    """
    size = path.stat().st_size
    if size < LEAST_BYTES:
        raise DriverError(f"{path} has {size} bytes: too small to be damaged in the middle")
    offset = size // 2
    with open(path, "r+b") as file:
        file.seek(offset)
        (kept,) = file.read(1)
        file.seek(offset)
        file.write(bytes([kept ^ 0xFF]))
    return offset


def tear(path: Path, dice: random.Random) -> int:
    """Append the beginning of a record to a segment, shorter than any whole one; returns how many bytes.

    So a process leaves its log that is killed between the parts of a write; nothing acknowledged stands in it.
    """
    torn = dice.randbytes(dice.randrange(1, RECORD_OVERHEAD_BYTES))
    with open(path, "ab") as file:
        file.write(torn)
    return len(torn)


def tells_damage(log: str, path: Path, offset: int) -> bool:
    """Whether a node's log names the file (by group, kind and name), and the byte where what is damaged begins."""
    name = re.escape("/".join(path.parts[-3:]))
    told = (int(byte) for byte in re.findall(rf"{name}: .* at byte (\d+)\.", log))
    return any(offset - NEAR_BYTES <= byte <= offset for byte in told)


def _is_child(pid: int, parent: int) -> bool:
    """Whether the process is one of ours still, and not another that was given its number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return not Path("/proc/self").exists() and is_alive(pid)
    return fields[0] != "Z" and int(fields[1]) == parent
