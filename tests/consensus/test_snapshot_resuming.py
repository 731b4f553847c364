"""Transfers that break off, transfers at a rate, and files that are damaged at either end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

from hazards.guarded import PAYLOADS_PER_BLOCK, GuardedLab

from raftcache.consensus.compaction import PAUSE_SHARE, SnapshotTaken
from raftcache.consensus.messages import SNAPSHOT, unpack_frame
from raftcache.consensus.snapshots import REFUSED_PAUSE_S, RESUME_S
from raftcache.wal.errors import SnapshotDamaged

CHUNK_BYTES = 64
WINDOW_BYTES = 4 * CHUNK_BYTES

Make = Callable[..., GuardedLab]
Chunk = tuple[int, int, int]
"""The snapshot's index, the offset, the number of bytes."""


def noise(number: int, size: int = 100) -> bytes:
    """A payload that does not compress."""
    return random.Random(number).randbytes(size)


def left_behind(lab: GuardedLab, count: int = 40) -> list[Chunk]:
    """n0 leads and holds `count` payloads in a snapshot that n1 lacks. The list grows by every chunk sent to n1."""
    lab.elect("n0")
    lab.isolate("n1")
    lab.propose_all("n0", [noise(i) for i in range(count)])
    lab.run(0.5)
    lab.compact("n0")
    return watched(lab, "n1")


def watched(lab: GuardedLab, name: str) -> list[Chunk]:
    sent: list[Chunk] = []

    def watch(source: str, target: str, frame: bytes) -> None:
        if target == name:
            chunks = [message for message in unpack_frame(frame) if message[1] == SNAPSHOT]
            sent.extend((message[5], message[8], len(message[9])) for message in chunks)

    lab.watch = watch
    return sent


def join(lab: GuardedLab) -> None:
    lab.apart.discard(frozenset(("n0", "n1")))
    lab.connect("n0", "n1")


def received(lab: GuardedLab) -> int:
    receiver = lab.group("n1").inbox._receiver
    return receiver.received if receiver is not None else 0


def size_of(lab: GuardedLab) -> int:
    return lab.nodes["n0"].storage.snapshots.size(lab.snapshot("n0"))


def break_halfway(lab: GuardedLab, size: int) -> int:
    """Cut the link once half has arrived; returns how much has."""
    lab.throttle("n0", "n1", 1)
    join(lab)
    assert lab.run_until(lambda: received(lab) > size // 2, 10)
    assert received(lab) < size - WINDOW_BYTES
    lab.disconnect("n0", "n1")
    return received(lab)


def test_a_broken_transfer_goes_on_where_it_was(guarded: Make) -> None:
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES)
    sent = left_behind(lab)
    size = size_of(lab)
    had = break_halfway(lab, size)
    before = len(sent)
    lab.run(1)
    join(lab)
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 10)
    assert sent[before][2] == 0, "it asks first"
    assert min(offset for _, offset, count in sent[before:] if count) == had
    assert sum(count for _, _, count in sent) <= size + WINDOW_BYTES


def test_it_goes_on_with_its_own_file_though_a_newer_one_was_taken_meanwhile(guarded: Make) -> None:
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES)
    sent = left_behind(lab)
    had = break_halfway(lab, size_of(lab))
    index = lab.snapshot("n0").index
    lab.propose_all("n0", [noise(1000 + i) for i in range(20)])
    lab.run(0.5)
    lab.compact("n0")
    assert lab.snapshot("n0").index > index >= lab.group("n0").journal[0].index, "the log behind it is kept as well"
    before = len(sent)
    join(lab)
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 10)
    assert {at for at, _, _ in sent[before:]} == {index}
    assert min(offset for _, offset, count in sent[before:] if count) == had
    assert lab.snapshots_installed("n1") == 1


def test_the_place_of_a_peer_that_stays_away_is_given_up(guarded: Make) -> None:
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES)
    left_behind(lab)
    break_halfway(lab, size_of(lab))
    index = lab.snapshot("n0").index
    assert lab.group("n0").sends.active
    assert not lab.group("n0").status().peers[0].snapshot_sending
    lab.run(RESUME_S - 1)
    assert lab.group("n0").sends.active
    lab.run(2)
    assert not lab.group("n0").sends.active
    lab.propose_all("n0", [noise(1000 + i) for i in range(20)])
    lab.run(1)
    assert lab.group("n0").journal[0].index > index, "nothing holds the log back any more"
    join(lab)
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 20)


def test_the_rate_is_kept_and_nothing_is_sent_twice_for_waiting(guarded: Make) -> None:
    rate = 1000
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES, snapshot_rate_bytes_per_s=rate)
    sent = left_behind(lab)
    size, began = size_of(lab), lab.now
    join(lab)
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 30)
    burst_bytes = lab.settings.snapshot_burst_bytes + CHUNK_BYTES
    assert lab.now - began >= (size - burst_bytes) / rate > 3
    assert sum(count for _, _, count in sent) == size
    assert lab.nodes["n0"].host.snapshot_rate.refusals > 0


def test_a_chunk_slower_than_the_patience_for_answers_is_no_stall(guarded: Make) -> None:
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=1000, snapshot_rate_bytes_per_s=500)
    sent = left_behind(lab)
    size = size_of(lab)
    join(lab)
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 30)
    assert sum(count for _, _, count in sent) == size
    assert len([count for _, _, count in sent if not count]) == 1, "asked once, at the beginning"


def spoil_arrivals(lab: GuardedLab, times: int) -> None:
    """The next `times` files that n1 receives have a byte changed on the way."""
    snapshots = lab.nodes["n1"].storage.snapshots
    stock = snapshots.receiver

    def receiver() -> object:
        nonlocal times
        made = stock()
        if times:
            times -= 1
            write = made.write
            made.write = lambda offset, data: write(  # type: ignore[method-assign]
                offset, data if offset else bytes([data[0] ^ 1]) + data[1:] if data else data
            )
        return made

    snapshots.receiver = receiver  # type: ignore[method-assign,assignment]


def test_a_file_spoilt_on_the_way_is_refused_and_sent_again_after_a_pause(guarded: Make) -> None:
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES)
    sent = left_behind(lab)
    size = size_of(lab)
    spoil_arrivals(lab, 1)
    join(lab)
    assert lab.run_until(lambda: lab.group("n0").sends.refused == 1, 5)
    before = len(sent)
    lab.run(REFUSED_PAUSE_S - 0.5)
    assert sent[before:] == [], "the same again at once would likely be spoilt again"
    assert lab.state("n1") == []
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 5)
    assert lab.group("n1").inbox.refused == 1
    assert sum(count for _, _, count in sent) == 2 * size
    assert lab.leads("n0") and not lab.group("n0").halted


def damage(lab: GuardedLab, name: str) -> Path:
    """Change a byte in the middle of the node's newest snapshot."""
    path = max((lab.directory / name / "snapshots").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def test_a_damaged_file_is_replaced_from_memory_where_the_others_are_no_quorum(guarded: Make) -> None:
    lab = guarded(journal="file", log_tail_bytes=1, snapshot_chunk_bytes=4096)
    sent = left_behind(lab, 200)  # Enough that the next wish for a snapshot comes before the new one is taken.
    lost: list[str] = []
    lab.group("n0").on_lost = lost.append
    size, taken = size_of(lab), lab.group("n0").compaction.taken
    path = damage(lab, "n0")
    join(lab)
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 10)
    assert lost == [] and lab.leads("n0")
    assert lab.group("n0").compaction.taken == taken + 1
    assert lab.group("n1").inbox.refused == 1
    assert sum(count for _, _, count in sent) == 2 * size, "the damaged file went out once"
    assert lab.snapshot_state("n0") == lab.state("n0"), "the file at the same place is whole"
    assert path.exists()


def test_a_damaged_file_costs_its_replica_where_the_others_suffice(guarded: Make) -> None:
    lab = guarded(size=4, initial=3, journal="file", log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES)
    lab.elect("n0")
    lab.propose_all("n0", [noise(i) for i in range(40)])
    lab.run(0.5)
    for name in ("n0", "n1", "n2"):
        lab.compact(name)
    lost: list[str] = []
    lab.group("n0").on_lost = lost.append
    path = damage(lab, "n0")
    lab.start("n3")
    lab.group("n0").add_member(lab.member("n3"))
    assert lab.run_until(lambda: bool(lost), 10)
    lab.nodes["n0"].runtime.end_turn()
    assert str(path) in lost[0] and "does not match" in lost[0]
    assert lab.group("n0").halted == lost[0]
    assert lab.state("n3") == [], "nothing of it was installed"
    leader = next(name for name in ("n1", "n2") if lab.run_until(lambda name=name: lab.leads(name), 5))  # type: ignore[misc]
    assert lab.state(leader) == [noise(i) for i in range(40)]


def test_a_snapshot_reports_what_it_came_to(guarded: Make) -> None:
    lab = guarded()
    lab.elect("n0")
    lab.propose_all("n0", [b"a", b"b"])
    lab.run(0.5)
    told: list[SnapshotTaken | str] = []
    assert lab.group("n0").take_snapshot(told.append)
    assert not lab.group("n0").take_snapshot(told.append), "one is under way: that is awaited"
    assert lab.run_until(lambda: len(told) == 2, 2)
    first = told[0]
    assert isinstance(first, SnapshotTaken) and told[1] == first
    snapshots = lab.nodes["n0"].storage.snapshots
    assert (first.index, first.bytes) == (lab.snapshot("n0").index, snapshots.size(lab.snapshot("n0")))
    assert first.keys is None and first.seconds > 0
    taken = lab.group("n0").compaction.taken
    assert not lab.group("n0").take_snapshot(told.append), "nothing is new"
    assert told[2] == first._replace(seconds=0.0)
    assert lab.group("n0").compaction.taken == taken


def test_a_snapshot_that_fails_says_why(guarded: Make) -> None:
    lab = guarded(journal="file")
    lab.elect("n0")
    lab.propose("n0", b"a")
    lab.run(0.5)
    told: list[SnapshotTaken | str] = []
    lab.stall_offload("n0")
    lab.group("n0").take_snapshot(told.append)
    lab.fail_writes("n0")
    lab.resume_offload("n0")
    assert lab.run_until(lambda: bool(told), 2)
    assert "the snapshot failed" in str(told[0]) and "no space left" in str(told[0])
    lab.files["n0"].failing = False


def test_the_log_on_disk_is_dropped_one_file_at_a_time(guarded: Make) -> None:
    lab = guarded(journal="file", log_tail_bytes=1)
    lab.elect("n0")
    lab.propose_all("n0", [noise(i) for i in range(20)])
    lab.run(0.5)
    folder = lab.directory / "n0" / "log"
    lab.group("n0").take_snapshot()
    counts = [len(list(folder.iterdir()))]
    for _ in range(200):
        lab.run(0.01)
        counts.append(len(list(folder.iterdir())))
    assert counts[0] > 15 and counts[-1] <= 3
    assert max(before - after for before, after in itertools.pairwise(counts)) == 1


def test_damage_at_start_is_not_restored(guarded: Make) -> None:
    """The file that nobody asked for meanwhile is found at the next start, before anything of it is served."""
    lab = guarded(journal="file", log_tail_bytes=1)
    left_behind(lab)
    path = damage(lab, "n0")
    lab.crash("n0")
    try:
        lab.start("n0")
    except SnapshotDamaged as error:
        assert str(path) in str(error)
    else:
        raise AssertionError("a damaged snapshot was restored")


def test_a_snapshot_gives_way_where_its_blocks_take_long(guarded: Make) -> None:
    lab = guarded()
    lab.elect("n0")
    blocks, step_s = 25, 0.01
    lab.propose_all("n0", [noise(i) for i in range(blocks * PAYLOADS_PER_BLOCK)])
    lab.run(1)
    told: list[SnapshotTaken | str] = []
    lab.group("n0").take_snapshot(told.append)
    assert lab.run_until(lambda: bool(told), 10)
    assert isinstance(told[0], SnapshotTaken)
    assert told[0].seconds > 0.9 * blocks * step_s * (1 + PAUSE_SHARE)
    assert told[0].seconds < 1.5 * blocks * step_s * (1 + PAUSE_SHARE)
