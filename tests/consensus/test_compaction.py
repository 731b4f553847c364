"""When a log is cut, and what a replica gets that needs more than is left of it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hazards.guarded import GuardedLab

from raftcache.consensus import read_remains
from raftcache.consensus.compaction import SnapshotTaken

Make = Callable[..., GuardedLab]
TAIL_BYTES = 1000
PAYLOAD_BYTES = 100


def noise(number: int) -> bytes:
    """A payload that does not compress."""
    return random.Random(number).randbytes(PAYLOAD_BYTES)


def write_on(lab: GuardedLab, count: int, first: int = 0) -> None:
    """n0 writes, ten to a tenth of a second."""
    for number in range(first, first + count):
        lab.propose("n0", noise(number))
        lab.run(0.01)


def test_a_log_in_memory_is_cut_without_a_snapshot(guarded: Make) -> None:
    """There is no start that would read one."""
    lab = guarded(log_tail_bytes=TAIL_BYTES, snapshot_log_bytes=TAIL_BYTES + 1)
    lab.elect("n0")
    write_on(lab, 100)
    lab.run(0.3)
    for name in lab.names:
        group = lab.group(name)
        assert group.compaction.taken == 0
        assert group.status().snapshot_index == 0
        assert group.journal.held_bytes <= 2 * TAIL_BYTES + PAYLOAD_BYTES
        assert group.journal.size_bytes() < 4 * TAIL_BYTES, "nor does the log beneath the journal keep them"
        assert len(group.journal) * PAYLOAD_BYTES >= TAIL_BYTES, "what a replica may lack that lags a little"


def test_a_log_on_disk_is_cut_behind_a_snapshot(guarded: Make) -> None:
    lab = guarded(journal="file", log_tail_bytes=TAIL_BYTES, snapshot_log_bytes=TAIL_BYTES + 1)
    lab.elect("n0")
    write_on(lab, 100)
    lab.run(0.5)
    assert all(lab.group(name).compaction.taken for name in lab.names)


def test_members_are_known_where_their_entry_is_cut(guarded: Make) -> None:
    lab = guarded(size=4, initial=3, log_tail_bytes=TAIL_BYTES)
    lab.elect("n0")
    group = lab.group("n0")
    members = group.members
    write_on(lab, 100)
    lab.run(0.3)
    assert group.journal.start_index > 0
    assert group.journal.change_index == 0
    assert group.members == members


def left_behind(guarded: Make, journal: str, count: int) -> GuardedLab:
    """n0 leads and has written so much while n2 was away, which is there again."""
    lab = guarded(journal=journal, log_tail_bytes=TAIL_BYTES)
    lab.elect("n0")
    lab.isolate("n2")
    write_on(lab, count)
    lab.heal()
    return lab


@pytest.mark.parametrize("journal", ["memory", "file"])
def test_who_was_away_gets_a_snapshot_taken_for_it(guarded: Make, journal: str) -> None:
    lab = left_behind(guarded, journal, 100)
    assert lab.run_until(lambda: lab.state("n2") == lab.state("n0"), 10)
    assert lab.group("n0").compaction.taken == lab.snapshots_installed("n2") == 1


@pytest.mark.parametrize("journal", ["memory", "file"])
def test_regression_a_snapshot_slower_than_the_tail_still_helps(guarded: Make, journal: str) -> None:
    """While a snapshot was being taken for a peer, the log was trimmed as ever. Where writes filled the tail in that
    time, the snapshot was too old when it was done, another one was taken, and the peer stayed behind for as long as
    the writes went on."""
    lab = left_behind(guarded, journal, 300)
    group, first = lab.group("n0"), 300
    assert lab.run_until(lambda: group.compaction.running, 3)
    began_bytes = group.journal.appended_bytes
    while group.compaction.running and first < 600:
        write_on(lab, 1, first)
        first += 1
    assert group.journal.appended_bytes - began_bytes > 2 * TAIL_BYTES, "more than is held of a log"
    while not lab.snapshots_installed("n2") and first < 1500:
        write_on(lab, 1, first)
        first += 1
    assert (group.compaction.taken, lab.snapshots_installed("n2")) == (1, 1)
    assert lab.run_until(lambda: lab.state("n2") == lab.state("n0"), 5)
    lab.propose("n0", b"later")
    lab.run(0.5)
    assert group.journal.held_bytes <= 2 * TAIL_BYTES + PAYLOAD_BYTES, "and it is let go of again"


def snapshot_for_nobody(guarded: Make, journal: str) -> GuardedLab:
    """n0 has begun a snapshot for n2, whose links have broken since."""
    lab = left_behind(guarded, journal, 600)
    assert lab.run_until(lambda: lab.group("n0").compaction.running, 3)
    lab.isolate("n2")
    return lab


def test_a_peer_that_is_gone_keeps_no_log(guarded: Make) -> None:
    lab = snapshot_for_nobody(guarded, "file")
    group = lab.group("n0")
    write_on(lab, 60, 600)
    assert group.compaction.running
    assert group.journal.held_bytes <= 2 * TAIL_BYTES + PAYLOAD_BYTES
    assert not group.sends.active


def test_in_memory_it_is_kept_until_the_snapshot_is_taken(guarded: Make) -> None:
    """Somebody may ask for the snapshot under way who needs what follows it, too: whoever has to write down a replica
    that is to be closed, as its state is nowhere else. It was told of one that the log had left behind."""
    lab = snapshot_for_nobody(guarded, "memory")
    group, number, held = lab.group("n0"), 600, list[int]()
    write_on(lab, 60, number)
    assert group.compaction.running
    group.take_snapshot(lambda _outcome: held.append(read_remains(group.storage).last_index - group.last_index))
    while group.compaction.running and number < 1200:
        write_on(lab, 1, number)
        number += 1
    assert held == [0]
    write_on(lab, 60, number)
    assert group.journal.held_bytes <= 2 * TAIL_BYTES + PAYLOAD_BYTES


def test_a_snapshot_in_memory_that_no_log_goes_on_from_is_let_go_of(guarded: Make) -> None:
    lab = guarded(log_tail_bytes=TAIL_BYTES)
    lab.elect("n0")
    write_on(lab, 60)
    lab.compact("n0")
    assert lab.group("n0").status().snapshot_index
    write_on(lab, 60, 60)
    assert lab.group("n0").storage.snapshots.latest() is None


def test_who_asked_is_told_of_the_snapshot_that_was_taken(guarded: Make) -> None:
    """Not of the next one, which may begin before they are told."""
    lab = snapshot_for_nobody(guarded, "file")
    group, number = lab.group("n0"), 600
    while group.journal[0].index <= (group.compaction.index or 0) and number < 700:
        write_on(lab, 1, number)
        number += 1
    lab.heal()
    assert lab.run_until(lambda: bool(group.sends._awaiting), 3)
    assert group.compaction.running and group.compaction.taken == 0
    told: list[SnapshotTaken | str] = []
    index = group.compaction.index
    group.take_snapshot(told.append)
    assert lab.run_until(lambda: bool(told), 20)
    (taken,) = told
    assert isinstance(taken, SnapshotTaken) and taken.index == index
    assert taken.seconds > 0.05
    assert group.compaction.running, "one that is not too old for the peer"
