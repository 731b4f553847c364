"""What of a log is durable: who syncs, what counts, and what a report is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hazards.guarded import GROUP, GuardedLab, frame_of

from raftcache.consensus.messages import PRE_VOTE, REQUEST_VOTE, SYNCED, UNKNOWN_TERM, unpack_frame

Make = Callable[..., GuardedLab]


def elected(guarded: Make, **settings: Any) -> GuardedLab:
    """A cluster on files that n0 leads, in which nothing is synced that nobody waits for."""
    lab = guarded(journal="file", **{"fsync": "never", **settings})
    lab.elect("n0")
    return lab


def test_an_entry_is_durable_once_a_quorum_has_synced_it(guarded: Make) -> None:
    lab = elected(guarded)
    lab.stall_offload("n0")
    lab.stall_offload("n2")
    index = lab.propose_durable("n0", b"kept")
    lab.run(0.5)
    assert lab.group("n0").applied_index >= index, "committed, and synced on n1 alone"
    assert lab.told_durable("n0") < index and lab.group("n0").durable_index < index
    lab.resume_offload("n2")
    lab.run(0.3)
    assert lab.told_durable("n0") == lab.group("n0").durable_index == index
    assert lab.group("n0").journal.synced_index < index, "the leader's own disk need not be among them"


def test_what_is_synced_and_not_committed_is_not_durable(guarded: Make) -> None:
    lab = elected(guarded)
    for name in ("n1", "n2"):
        lab.hold(name, "n0")
    index = lab.propose_durable("n0", b"acknowledged by nobody")
    lab.run(0.3)
    assert lab.group("n0").journal.synced_index >= index
    for name in ("n1", "n2"):
        lab.drop(name, "n0")
        report(lab, name, lab.term("n0"), index, lab.term("n0"))
    assert lab.group("n0").syncing.synced_on_quorum() == index and lab.told_durable("n0") < index


def test_what_nobody_waits_for_is_not_synced(guarded: Make) -> None:
    lab = elected(guarded)
    before = {name: lab.log_syncs(name) for name in lab.names}
    lab.propose_all("n0", [b"%d" % number for number in range(20)])
    lab.run(2)
    assert {name: lab.log_syncs(name) for name in lab.names} == before


def test_the_interval_syncs_what_nobody_waits_for(guarded: Make) -> None:
    lab = elected(guarded, fsync="interval", fsync_interval_ms=500)
    lab.propose("n0", b"sooner or later")
    lab.run(1.1)
    assert all(lab.group(name).journal.synced_index == lab.last_index(name) for name in lab.names)


def test_one_sync_serves_all_that_wait(guarded: Make) -> None:
    lab = elected(guarded)
    for name in lab.names:
        lab.stall_offload(name)
    before = {name: lab.group(name).syncing.syncs for name in lab.names}
    indexes = []
    for number in range(50):
        indexes.append(lab.propose_durable("n0", b"%d" % number))
        lab.run(0.02)
    for name in lab.names:
        lab.resume_offload(name)
    lab.run(0.5)
    assert lab.told_durable("n0") == indexes[-1]
    assert all(lab.group(name).syncing.syncs - before[name] <= 2 for name in lab.names), "one runs, one follows"


def test_a_report_that_is_lost_is_made_good(guarded: Make) -> None:
    lab = elected(guarded)
    lab.hold("n1", "n0")
    lab.hold("n2", "n0")
    index = lab.propose_durable("n0", b"kept")
    lab.run(0.1)
    for name in ("n1", "n2"):
        queue = lab.network.queue(name, "n0")
        kept = [frame for frame in queue if all(message[1] != SYNCED for message in unpack_frame(frame))]
        assert len(kept) < len(queue), "nothing was reported yet"
        queue.clear()
        queue.extend(kept)
    lab.release("n1", "n0")
    lab.release("n2", "n0")
    lab.run(0.5)
    assert lab.told_durable("n0") == index


def report(lab: GuardedLab, source: str, term: int, index: int, entry_term: int) -> None:
    """Deliver a report of `source` to n0."""
    lab.network.queue(source, "n0").append(frame_of([GROUP, SYNCED, 0, 0, term, index, entry_term, True]))
    lab.deliver(source, "n0")


def stalled_after_durable(lab: GuardedLab) -> int:
    """The index of an entry that is committed and that nobody has synced."""
    for name in lab.names:
        lab.stall_offload(name)
    index = lab.propose_durable("n0", b"unsynced")
    lab.run(0.2)
    assert lab.group("n0").applied_index >= index > lab.group("n0").journal.synced_index
    return index


def test_a_report_counts_by_the_term_of_the_entry(guarded: Make) -> None:
    """A follower may have synced another entry of that index: the divergent tail that an earlier leader left."""
    lab = elected(guarded)
    index = stalled_after_durable(lab)
    term = lab.term("n0")
    report(lab, "n1", term, index, term - 1)
    report(lab, "n2", term, index, term - 1)
    assert lab.told_durable("n0") < index
    report(lab, "n1", term, index, term)
    report(lab, "n2", term, index, term)
    assert lab.told_durable("n0") == index


def test_a_report_made_to_an_earlier_leader_counts_for_nothing(guarded: Make) -> None:
    lab = elected(guarded)
    index = stalled_after_durable(lab)
    term = lab.term("n0")
    report(lab, "n1", term - 1, index, term)
    report(lab, "n2", term - 1, index, term)
    assert lab.told_durable("n0") < index


def test_one_follower_that_reports_twice_is_no_quorum(guarded: Make) -> None:
    lab = elected(guarded, size=5)
    index = stalled_after_durable(lab)
    for _ in range(3):
        report(lab, "n1", lab.term("n0"), index, lab.term("n0"))
    assert lab.told_durable("n0") < index


def diverged(guarded: Make) -> GuardedLab:
    """n0 is cut off with ten synced entries that were never committed; n1 leads with a log that ends otherwise."""
    lab = elected(guarded)
    lab.isolate("n0")
    for number in range(10):
        lab.propose_durable("n0", b"divergent %d" % number)
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    lab.propose_all("n1", [b"other %d" % number for number in range(3)])
    lab.run(0.3)
    lab.group("n1").step_down("to lead again, with a log whose end n0 does not match")
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    return lab


def test_a_divergent_tail_that_was_synced_counts_for_nothing(guarded: Make) -> None:
    """n0's tail was never committed; synced though it is, it says nothing about the log of n1, which leads next."""
    lab = diverged(guarded)
    synced = lab.group("n0").journal.synced_index
    assert synced == lab.last_index("n0")
    for name in ("n1", "n2"):
        lab.stall_offload(name)
    index = lab.propose_durable("n1", b"last")
    assert index <= synced, "n0 has synced another entry of that index"
    lab.heal()
    lab.run(0.5)
    assert lab.state("n0")[-1] == b"last"
    assert lab.told_durable("n1") < index, "n0 alone has synced it"
    lab.resume_offload("n1")
    lab.run(0.5)
    assert lab.told_durable("n1") == index < synced, "n0's report of less than it once told counts"


def test_a_divergent_tail_completes_no_quorum(guarded: Make) -> None:
    """n1 has synced an entry that n2 has only acknowledged, and n0 reports that it has synced one of that index."""
    lab = diverged(guarded)
    lab.run(0.3)
    lab.stall_offload("n2")
    index = lab.propose_durable("n1", b"last")
    lab.run(0.3)
    assert lab.group("n1").journal.synced_index >= index and lab.group("n1").applied_index >= index
    reports: list[int] = []
    lab.watch = lambda source, _target, frame: reports.extend(
        message[5] for message in unpack_frame(frame) if source == "n0" and message[1] == SYNCED
    )
    lab.hold("n1", "n0")
    lab.heal_keeping_holds()
    while not reports:
        lab.run(0.05)
        lab.deliver("n1", "n0", 1)
    lab.run(0.05)
    assert reports[0] > index and lab.told_durable("n1") < index
    lab.release("n1", "n0")
    lab.run(0.5)
    assert lab.told_durable("n1") == index, "now n0 has it"


def test_a_new_leader_counts_anew(guarded: Make) -> None:
    lab = elected(guarded)
    lab.propose_durable("n0", b"first")
    lab.run(0.3)
    lab.crash("n0")
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    lab.run(0.3)
    assert lab.group("n1").durable_index == 0, "nobody asked this leader yet"
    index = lab.propose_durable("n1", b"second")
    lab.run(0.3)
    assert lab.told_durable("n1") == index == lab.group("n1").durable_index


def test_in_memory_a_leader_serves_and_nothing_is_called_durable(guarded: Make) -> None:
    lab = guarded()
    lab.elect("n0")
    index = lab.propose_durable("n0", b"volatile")
    lab.run(0.3)
    assert lab.told_durable("n0") == index, "who waits for leader_started must not wait for ever"
    assert not lab.group("n0").on_disk


# -- fsync: always ---------------------------------------------------------------------------------


def test_synced_always_committed_means_durable(guarded: Make) -> None:
    lab = elected(guarded, fsync="always")
    lab.stall_offload("n1")
    lab.stall_offload("n2")
    index = lab.group("n0").propose(b"slow disks")
    lab.nodes["n0"].runtime.end_turn()
    lab.run(0.2)
    assert lab.last_index("n1") == lab.last_index("n2") == index, "both have it"
    assert lab.commit_index("n0") < index, "and neither has synced it"
    lab.resume_offload("n1")
    lab.run(0.2)
    assert lab.commit_index("n0") == index


def test_synced_always_a_leader_sends_only_what_it_has_synced(guarded: Make) -> None:
    lab = elected(guarded, fsync="always")
    lab.stall_offload("n0")
    index = lab.group("n0").propose(b"slow disk")
    lab.nodes["n0"].runtime.end_turn()
    lab.run(0.1)
    assert lab.last_index("n1") < index
    lab.resume_offload("n0")
    lab.run(0.2)
    assert lab.commit_index("n0") == index


def test_a_replica_reports_anew_behind_an_installed_snapshot(guarded: Make) -> None:
    """n0 has reported the end of a long divergent tail. Behind the snapshot its log is shorter, and what it syncs there
    is news to its leader all the same: with n1's disk stuck, nothing is durable without it."""
    lab = elected(guarded, fsync="interval", fsync_interval_ms=100, log_tail_bytes=20)
    lab.isolate("n0")
    for number in range(40):
        lab.group("n0").propose(b"divergent %d" % number)
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    lab.propose_all("n1", [b"other %d" % number for number in range(4)])
    lab.run(0.3)
    for name in ("n1", "n2"):
        lab.compact(name)
    lab.group("n1").transfer_leadership("n2")
    assert lab.run_until(lambda: lab.leads("n2"), 5)
    lab.run(0.3)
    lab.stall_offload("n1")
    index = lab.propose_durable("n2", b"kept")
    lab.run(0.3)
    assert lab.told_durable("n2") < index < lab.group("n0").journal.synced_index
    lab.heal()
    lab.run(1)
    assert lab.snapshots_installed("n0") == 1
    assert lab.told_durable("n2") == index


def test_a_disk_that_lags_behind_the_tail_of_the_log_counts_as_far_as_it_has_come(guarded: Make) -> None:
    """Under load each sync of n2 ends behind entries that neither log holds in memory any more. n1 is down."""
    lab = elected(guarded, log_tail_bytes=200)
    lab.crash("n1")
    told = []
    for step in range(60):
        for number in range(20):
            lab.propose_durable("n0", b"%d.%d" % (step, number))
        (lab.resume_offload if step % 6 == 5 else lab.stall_offload)("n2")
        lab.run(0.01)
        told.append(lab.told_durable("n0"))
    group = lab.group("n2")
    assert group.journal.synced_index < min(group.journal[0].index, lab.log("n0")[0].index)
    assert told[20] < told[40] < told[-1] <= group.journal.synced_index


def test_below_the_tail_of_the_log_a_report_counts_only_where_it_was_acknowledged(guarded: Make) -> None:
    lab = elected(guarded, log_tail_bytes=1)
    lab.isolate("n1")
    lab.stall_offload("n2")
    index = lab.propose_durable("n0", b"kept")
    for number in range(9):
        lab.propose("n0", b"%d" % number)
    lab.run(0.5)
    group = lab.group("n0")
    assert group.journal[0].index > index and group.applied_index > index
    lab.connect("n0", "n1")
    report(lab, "n1", group.term, index, group.term - 1)
    report(lab, "n1", group.term, index, UNKNOWN_TERM)
    assert lab.told_durable("n0") < index, "n1 may have synced another entry of that index"
    report(lab, "n2", group.term, index, UNKNOWN_TERM)
    assert lab.told_durable("n0") == index


# -- terms and votes -------------------------------------------------------------------------------


def test_no_vote_leaves_before_it_is_on_disk(guarded: Make) -> None:
    lab = guarded(journal="file", fsync="never")
    lab.stall_offload("n1")
    lab.stall_offload("n2")
    assert not lab.run_until(lambda: bool(lab.leaders()), 3), "n0 alone has its vote on disk"
    lab.resume_offload("n1")
    assert lab.run_until(lambda: bool(lab.leaders()), 3)


def test_no_candidate_speaks_of_a_term_that_is_not_on_disk(guarded: Make) -> None:
    lab = guarded(journal="file", fsync="never")
    sent: list[int] = []
    lab.watch = lambda source, _target, frame: sent.extend(
        message[1] for message in unpack_frame(frame) if source == "n0"
    )
    lab.stall_offload("n0")
    assert lab.run_until(lambda: lab.term("n0") == 1, 1), "it campaigns"
    lab.run(0.1)
    assert PRE_VOTE in sent and REQUEST_VOTE not in sent
    lab.resume_offload("n0")
    assert lab.run_until(lambda: REQUEST_VOTE in sent, 1)


def test_a_disk_that_takes_no_votes_keeps_the_node_silent_and_says_so(guarded: Make) -> None:
    lab = elected(guarded)
    lab.crash("n0")
    for name in ("n1", "n2"):
        lab.fail_writes(name)
    lab.run(3)
    assert not lab.leaders()
    assert any("no space left" in lab.nodes[name].host.votes_error for name in ("n1", "n2"))
    for name in ("n1", "n2"):
        lab.fail_writes(name, failing=False)
    assert lab.run_until(lambda: bool(lab.leaders()), 6), "it goes on by itself"
    assert not any(lab.nodes[name].host.votes_error for name in ("n1", "n2"))


def test_a_group_that_closes_while_votes_cannot_be_written_leaves_the_node_able_to_vote(guarded: Make) -> None:
    """The retry finds nothing to write, for the only group with a new vote is gone. The next vote is written again."""
    lab = elected(guarded)
    lab.fail_writes("n2")
    lab.crash("n0")
    node = lab.nodes["n2"]
    assert lab.run_until(lambda: bool(node.host.votes_error), 5)
    node.host.close_group(GROUP)
    lab.run(2)
    lab.fail_writes("n2", failing=False)
    node.storage = lab._storage("n2")
    node.group = node.host.open_group(GROUP, node.storage, node.machine)
    assert lab.run_until(lambda: bool(lab.leaders()), 5)
    assert not node.host.votes_error


def test_among_disks_a_replica_in_memory_makes_nothing_durable(guarded: Make) -> None:
    lab = elected(guarded)
    lab.nodes["n2"].storage.log.on_disk = False
    lab.stall_offload("n1")
    index = lab.propose_durable("n0", b"on one disk of three")
    lab.run(0.5)
    assert lab.group("n0").journal.synced_index >= index and lab.group("n2").journal.synced_index >= index
    assert lab.told_durable("n0") < index
    lab.resume_offload("n1")
    lab.run(0.3)
    assert lab.told_durable("n0") == index


def test_what_is_committed_may_be_wanted_durable_afterwards(guarded: Make) -> None:
    lab = elected(guarded)
    lab.propose("n0", b"first")
    lab.run(0.3)
    index = lab.last_index("n0")
    lab.propose("n0", b"second")
    lab.run(0.3)
    assert lab.told_durable("n0") < index
    lab.group("n0").want_synced(index)
    lab.run(0.05)
    assert lab.told_durable("n0") >= index, "before the next heartbeat"
    lab.group("n1").want_synced(index)
    assert lab.group("n1").syncing.wanted <= index, "nobody heeds the wish of a follower"


def test_what_a_quorum_has_synced_already_is_told_when_somebody_wants_it(guarded: Make) -> None:
    lab = elected(guarded, fsync="interval", fsync_interval_ms=200)
    lab.propose("n0", b"synced by the interval")
    lab.run(1.0)
    index = lab.last_index("n0")
    syncs = {name: lab.log_syncs(name) for name in lab.names}
    assert lab.told_durable("n0") < index
    lab.group("n0").want_synced(index)
    lab.run(0.15)
    assert lab.told_durable("n0") == index and {name: lab.log_syncs(name) for name in lab.names} == syncs


def test_a_group_of_one_tells_at_once_what_it_has_synced(guarded: Make) -> None:
    lab = elected(guarded, size=1, fsync="interval", fsync_interval_ms=200)
    lab.propose("n0", b"alone")
    lab.run(0.5)
    index = lab.last_index("n0")
    assert lab.told_durable("n0") < index
    lab.group("n0").want_synced(index)
    assert lab.told_durable("n0") == index
