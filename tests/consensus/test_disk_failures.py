"""A replica whose disk fails: it stops at once, loses nothing, and goes on by itself (hazards 11 and 25)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hazards.fakes import LabFile
from hazards.guarded import GROUP, GuardedLab, frame_of

from raftcache.consensus.messages import APPEND
from raftcache.errors import NotLeader, OutcomeUnknown
from raftcache.wal.errors import WalDamaged

Make = Callable[..., GuardedLab]


def elected(guarded: Make, **settings: Any) -> GuardedLab:
    """A cluster on files that n0 leads."""
    lab = guarded(journal="file", **settings)
    lab.elect("n0")
    return lab


def test_a_leader_whose_disk_is_full_gives_way(guarded: Make) -> None:
    lab = elected(guarded)
    lab.fail_writes("n0")
    with pytest.raises(OutcomeUnknown, match="no space left"):
        lab.group("n0").propose(b"half")
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    assert "no space left" in lab.group("n0").disk_error
    with pytest.raises(NotLeader):
        lab.group("n0").propose(b"again")


def test_it_acknowledges_nothing_while_its_disk_is_full(guarded: Make) -> None:
    lab = elected(guarded)
    for name in ("n1", "n2"):
        lab.fail_writes(name)
    index = lab.group("n0").propose(b"nobody takes it")
    lab.nodes["n0"].runtime.end_turn()
    lab.run(0.3)
    assert lab.commit_index("n0") < index
    assert all("no space left" in lab.group(name).disk_error for name in ("n1", "n2"))


@pytest.mark.parametrize("fail", [GuardedLab.fail_writes, GuardedLab.fail_syncs])
def test_it_goes_on_by_itself_when_the_disk_works_again(guarded: Make, fail: Callable[..., None]) -> None:
    lab = elected(guarded, fsync="interval", fsync_interval_ms=100)
    lab.propose("n0", b"before")
    lab.run(0.3)
    fail(lab, "n0")
    lab.nodes["n0"].machine.waiting.clear()
    with suppress(OutcomeUnknown):
        lab.group("n0").propose(b"unknown")
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    lab.propose("n1", b"meanwhile")
    lab.run(3)
    assert lab.group("n0").disk_error, "it keeps trying in vain"
    fail(lab, "n0", failing=False)
    assert lab.run_until(lambda: not lab.group("n0").disk_error, 3)
    lab.run(1)
    assert lab.state("n0") == lab.state("n1") and lab.state("n0")[:1] == [b"before"]
    lab.crash("n0")
    lab.start("n0")
    assert lab.payloads("n0")[-1] == b"meanwhile", "the log on disk has all of it"


def test_what_the_disk_did_not_take_is_not_forgotten(guarded: Make) -> None:
    """The outcome was unknown: the entry stays in the log, and a quorum that never failed may well commit it."""
    lab = elected(guarded)
    lab.isolate("n0")
    lab.fail_writes("n0")
    with pytest.raises(OutcomeUnknown):
        lab.group("n0").propose(b"unknown")
    lab.fail_writes("n0", failing=False)
    assert lab.run_until(lambda: not lab.group("n0").disk_error, 3)
    assert lab.payloads("n0")[-1] == b"unknown"
    lab.crash("n0")
    lab.start("n0")
    assert lab.payloads("n0")[-1] == b"unknown"


def test_a_failed_sync_is_not_tried_again_on_the_same_file(guarded: Make) -> None:
    """A second sync of it would succeed and prove nothing: the pages are called clean. It is written anew."""
    lab = elected(guarded, fsync="never")
    lab.propose_durable("n0", b"one")
    lab.run(0.3)
    segment = lab.files["n0"].syncs[-1]
    lab.fail_syncs("n0")
    lab.propose_durable("n0", b"two")
    lab.run(0.3)
    assert "did not take it" in lab.group("n0").disk_error
    lab.fail_syncs("n0", failing=False)
    count = len(lab.files["n0"].syncs)
    assert lab.run_until(lambda: not lab.group("n0").disk_error, 3)
    assert segment not in lab.files["n0"].syncs[count:]
    lab.run(1)
    lab.crash("n0")
    lab.start("n0")
    assert lab.payloads("n0")[:2] == [b"one", b"two"]


def test_a_suffix_that_cannot_be_cut_is_cut_when_the_disk_works(guarded: Make) -> None:
    lab = elected(guarded)
    lab.isolate("n0")
    for number in range(5):
        lab.group("n0").propose(b"divergent %d" % number)
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    lab.run(0.3)
    lab.propose("n1", b"other")
    lab.fail_writes("n0")
    lab.heal()
    lab.run(1)
    assert "no space left" in lab.group("n0").disk_error
    lab.fail_writes("n0", failing=False)
    assert lab.run_until(lambda: not lab.group("n0").disk_error, 3)
    lab.run(1)
    assert lab.payloads("n0") == [b"other"]
    lab.crash("n0")
    lab.start("n0")
    assert lab.payloads("n0") == [b"other"]


def test_members_go_with_a_suffix_that_cannot_be_cut(guarded: Make) -> None:
    """The change was never committed. A replica that kept to it would count other majorities than everybody else."""
    lab = elected(guarded)
    lab.isolate("n0")
    lab.group("n0").remove_member(lab.member("n2"))
    assert lab.members("n0") == ["n0", "n1"]
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    lab.run(0.3)
    lab.fail_writes("n0")
    lab.heal()
    lab.run(1)
    assert "no space left" in lab.group("n0").disk_error
    assert lab.members("n0") == lab.names
    lab.fail_writes("n0", failing=False)
    assert lab.run_until(lambda: not lab.group("n0").disk_error, 3)
    assert lab.members("n0") == lab.names


def test_a_log_that_cannot_be_mended_loses_the_replica(guarded: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = elected(guarded)
    reasons: list[str] = []
    lab.group("n0").on_lost = reasons.append

    def unreadable() -> None:
        raise WalDamaged("n0/log/1.log", 17, "entry 3 is whole neither on disk nor in memory")

    monkeypatch.setattr(lab.group("n0").storage.log, "mend_work", lambda _tail: unreadable)
    lab.fail_writes("n0")
    with pytest.raises(OutcomeUnknown):
        lab.group("n0").propose(b"last")
    lab.run(3)
    assert len(reasons) == 1 and "entry 3 is whole neither" in reasons[0]
    assert "entry 3 is whole neither" in lab.group("n0").halted


def test_a_log_that_cannot_be_read_where_it_is_to_be_cut_loses_the_replica(
    guarded: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = elected(guarded)
    reasons: list[str] = []
    lab.group("n0").on_lost = reasons.append
    lab.isolate("n0")
    for number in range(5):
        lab.group("n0").propose(b"divergent %d" % number)
    assert lab.run_until(lambda: lab.leads("n1"), 5)

    def unreadable(_first_dropped: int) -> None:
        raise WalDamaged("n0/log/1.log", 17, "a record that is not whole")

    monkeypatch.setattr(lab.group("n0").storage.log, "truncate_suffix", unreadable)
    lab.heal()
    lab.run(1)
    assert len(reasons) == 1 and "a record that is not whole" in reasons[0] and lab.group("n0").halted


def test_the_log_of_a_leader_contradicts_what_is_committed_here(guarded: Make) -> None:
    """Whoever leads has forgotten entries that this replica has applied: this one's state is not the group's."""
    lab = elected(guarded)
    reasons: list[str] = []
    lab.propose("n0", b"committed")
    lab.run(0.3)
    lab.group("n2").on_lost = reasons.append
    index, term = lab.last_index("n2"), lab.term("n2")
    before = lab.state("n2")
    append = [GROUP, APPEND, 0, 0, term, index, index - 1, term - 1, 0, 0.0, 0, 0.0, 0, term, b""]
    lab.network.queue("n0", "n2").append(frame_of(append))
    lab.deliver("n0", "n2")
    lab.run(0.05)
    assert len(reasons) == 1 and lab.group("n2").halted and lab.state("n2") == before


# -- the loop goes on while a thread mends the log ---------------------------------------------------


def failed_alone(guarded: Make) -> GuardedLab:
    """n0 is cut off, and its disk did not take the last entry."""
    lab = elected(guarded)
    lab.isolate("n0")
    lab.fail_writes("n0")
    with pytest.raises(OutcomeUnknown):
        lab.group("n0").propose(b"unknown")
    lab.fail_writes("n0", failing=False)
    return lab


def once_it_is_written(payload: bytes, then: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop do `then` when a thread has just written the entry with this payload."""
    write = LabFile.write

    def interrupted(file: LabFile, data: bytes) -> None:
        write(file, data)
        if payload in data:
            monkeypatch.setattr(LabFile, "write", write)
            then()

    monkeypatch.setattr(LabFile, "write", interrupted)


def test_a_link_that_comes_up_leaves_the_log_alone(guarded: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = failed_alone(guarded)
    once_it_is_written(b"unknown", lambda: lab.nodes["n0"].host.link_up(lab.nodes["n1"].peer), monkeypatch)
    assert lab.run_until(lambda: not lab.group("n0").disk_error, 3)
    lab.crash("n0")
    lab.start("n0")
    assert lab.payloads("n0") == [b"unknown"]


def test_a_group_that_closes_leaves_the_log_alone(guarded: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = failed_alone(guarded)
    closed: list[bool] = []
    once_it_is_written(b"unknown", lambda: closed.append(lab.nodes["n0"].host.close_group(GROUP)), monkeypatch)
    assert lab.run_until(lambda: bool(closed), 3)
    assert closed == [False], "nobody can say yet whether the disk takes it"
    lab.crash("n0")
    lab.start("n0")
    assert lab.payloads("n0") == [b"unknown"]


def test_a_snapshot_that_has_arrived_leaves_the_log_alone(guarded: Make) -> None:
    """Its verification ends when the mending has begun, with a divergent tail that the snapshot would have replaced."""
    lab = elected(guarded, log_tail_bytes=1)
    lab.isolate("n0")
    for number in range(40):
        lab.group("n0").propose(b"divergent %d" % number)
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    lab.propose_all("n1", [b"other %d" % number for number in range(4)])
    lab.run(0.3)
    lab.compact("n1")
    lab.stall_offload("n0")
    lab.heal()
    lab.run(0.5)
    group = lab.group("n0")
    group.run(group.mending.failed, OSError("a write failed"))
    lab.run(1.1)
    assert group.mending.running
    lab.resume_offload("n0")
    assert lab.run_until(lambda: not group.disk_error, 3)
    assert lab.snapshots_installed("n0") == 0 and group.storage.log.last_index == lab.last_index("n0") > 40
    assert lab.run_until(lambda: lab.snapshots_installed("n0") == 1, 5), "it is sent again"
    lab.propose("n1", b"more")
    lab.run(0.5)
    lab.crash("n0")
    lab.start("n0")
    assert lab.payloads("n0") == [b"more"]


def test_a_snapshot_under_way_is_given_up(guarded: Make) -> None:
    """When it is done the log would be cut behind it."""
    lab = elected(guarded, log_tail_bytes=1)
    lab.propose_all("n0", [b"%d" % number for number in range(40)])
    lab.run(0.3)
    group, base = lab.group("n0"), lab.group("n0").storage.log.base_index
    lab.stall_offload("n0")
    assert group.take_snapshot()
    lab.fail_writes("n0")
    with pytest.raises(OutcomeUnknown):
        group.propose(b"unknown")
    assert not group.take_snapshot() and not group.compaction.running
    lab.fail_writes("n0", failing=False)
    lab.resume_offload("n0")
    assert lab.run_until(lambda: not group.disk_error, 3)
    assert group.storage.log.base_index == base and not group.compaction.taken
    lab.compact("n0")
    assert group.compaction.taken == 1 and group.storage.log.base_index > base
