"""Replicas that may have forgotten what they acknowledged: whom they vote for, and until when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hazards.guarded import GROUP, GuardedLab, frame_of

from raftcache.consensus.messages import TIMEOUT_NOW

Make = Callable[..., GuardedLab]


def written(guarded: Make, **settings: Any) -> GuardedLab:
    """A cluster on files that n0 leads, with one acknowledged write."""
    lab = guarded(journal="file", **settings)
    lab.elect("n0")
    lab.propose("n0", b"kept")
    lab.run(0.3)
    return lab


def test_the_vote_of_a_suspect_elects_nobody(guarded: Make) -> None:
    """n2 has not got the last write. With the vote of n1, which forgot it, n2 would lead without it."""
    lab = written(guarded)
    lab.isolate("n2")
    lab.propose("n0", b"known to n0 and n1")
    lab.run(0.1)
    lab.crash("n0", "n1")
    lab.suspect("n1")
    lab.start("n1")
    lab.heal()
    lab.run(5)
    assert not lab.leaders()
    lab.start("n0")
    assert lab.run_until(lambda: lab.leads("n0"), 5), "the one that has it and is not suspect"
    lab.run(0.5)
    assert not lab.lost()


def test_a_suspect_that_campaigns_needs_all_that_are_trusted(guarded: Make) -> None:
    lab = written(guarded)
    lab.crash("n0", "n1")
    lab.suspect("n0")
    lab.start("n0")
    lab.run(5)
    assert not lab.leaders(), "n0 and n2: one of the two is trusted, and it takes two"
    lab.start("n1")
    assert lab.run_until(lambda: bool(lab.leaders()), 5)


def test_it_is_trusted_again_when_it_holds_what_its_leader_committed(guarded: Make) -> None:
    lab = written(guarded)
    lab.crash("n2")
    lab.propose("n0", b"missed")
    lab.run(0.2)
    lab.suspect("n2")
    lab.start("n2")
    assert lab.group("n2").suspect
    assert lab.run_until(lambda: not lab.group("n2").suspect, 2)
    assert b"missed" in lab.payloads("n2")
    lab.crash("n2")
    lab.start("n2")
    assert not lab.group("n2").suspect, "the mark is gone from the disk as well"
    lab.crash("n0")
    assert lab.run_until(lambda: bool(lab.leaders()), 5), "and its vote counts"


def test_the_commit_index_of_a_new_leader_does_not_clear_it(guarded: Make) -> None:
    """A leader that has not committed anything of its own term may not yet know what its predecessor acknowledged."""
    lab = written(guarded, size=5)
    for name in ("n3", "n4"):
        lab.isolate(name)
    lab.propose("n0", b"known to n0, n1, n2")
    lab.run(0.2)
    lab.crash("n0", "n2")
    lab.suspect("n2")
    for follower in ("n3", "n4"):
        lab.hold(follower, "n1")
    lab.start("n2")
    lab.heal()
    assert lab.run_until(lambda: lab.leads("n1"), 5)
    for follower in ("n3", "n4"):
        lab.hold(follower, "n1")
    lab.hold("n2", "n1")
    lab.network.queue("n2", "n1").clear()
    lab.run(0.05)
    group = lab.group("n2")
    assert group.journal.holds(lab.commit_index("n1"), lab.log("n1")[-2].term)
    assert lab.commit_index("n1") < lab.last_index("n1") and group.suspect
    lab.heal()
    assert lab.run_until(lambda: not group.suspect, 3)


def test_where_a_majority_is_suspect_it_elects_all_the_same(guarded: Make) -> None:
    lab = written(guarded)
    lab.crash(*lab.names)
    lab.suspect("n0", "n1")
    lab.start("n0", "n1")
    assert lab.run_until(lambda: bool(lab.leaders()), 5)
    lab.run(0.5)
    assert not lab.group("n0").suspect and not lab.group("n1").suspect


def test_one_that_is_gone_and_one_suspect_are_a_majority_of_three(guarded: Make) -> None:
    lab = written(guarded)
    lab.crash(*lab.names)
    lab.suspect("n0")
    lab.start("n0", "n1")
    lab.run(5)
    assert not lab.leaders(), "n2 may come back, and might have what n0 forgot"
    lab.empty_disk("n2")
    lab.start("n2")
    assert lab.run_until(lambda: bool(lab.leaders()), 5)


def test_of_two_members_one_trusted_is_enough_beside_the_suspect(guarded: Make) -> None:
    """Everything acknowledged is on both; without the suspect's vote, two members could never elect anybody."""
    lab = written(guarded, size=2)
    lab.crash("n0", "n1")
    lab.suspect("n0")
    lab.start("n0")
    lab.run(3)
    assert not lab.leaders()
    lab.start("n1")
    assert lab.run_until(lambda: bool(lab.leaders()), 5)
    lab.run(0.5)
    assert not lab.lost() and not lab.group("n0").suspect


def test_of_four_members_two_trusted_are_enough_beside_a_suspect(guarded: Make) -> None:
    lab = written(guarded, size=4)
    lab.crash("n0", "n1")
    lab.suspect("n1")
    lab.start("n1")
    assert lab.run_until(lambda: bool(lab.leaders()), 5)
    lab.run(0.5)
    assert not lab.lost()


def test_a_suspect_may_lead_where_enough_trusted_members_vote_for_it(guarded: Make) -> None:
    """Its log is the longest, so nobody else can: the entry behind is on nobody's disk but its own."""
    lab = written(guarded, size=2)
    lab.disconnect("n0", "n1")
    lab.propose("n0", b"on n0 alone")
    lab.run(0.1)
    lab.crash("n0", "n1")
    lab.suspect("n0")
    lab.heal()
    lab.start("n0", "n1")
    assert lab.run_until(lambda: lab.leads("n0"), 5)


def test_a_member_that_was_suspect_is_not_taken_for_one_for_ever(guarded: Make) -> None:
    """n1 was, and n2 knew it. Then n1 caught up and acknowledged a write with n0, which then lost it: n2 and n0 are no
    majority that may elect, for of the three only n0 has forgotten."""
    lab = written(guarded)
    lab.crash("n0", "n1")
    lab.suspect("n1")
    lab.start("n1")
    lab.run(2)
    assert not lab.leaders(), "n1 is suspect, n0 is down: they ask each other in vain"
    lab.start("n0")
    assert lab.run_until(lambda: not lab.group("n1").suspect, 5)
    lab.isolate("n2")
    lab.run(1)
    leader = lab.leader()
    lab.propose(leader, b"on n0 and n1")
    lab.run(0.3)
    assert b"on n0 and n1" in lab.acked
    lab.crash("n0", "n1")
    lab.suspect("n0")
    lab.start("n0")
    forgotten = lab.group("n0").journal
    forgotten._drop_suffix(len(forgotten) - 1)
    lab.heal()
    lab.run(5)
    assert not lab.leaders()
    lab.start("n1")
    assert lab.run_until(lambda: bool(lab.leaders()), 5)
    lab.run(0.5)
    assert not lab.lost()


def test_votes_of_suspects_are_counted_once_enough_trusted_ones_are_there(guarded: Make) -> None:
    """Five members, two of them suspect: their votes come first and alone elect nobody."""
    lab = written(guarded, size=5)
    lab.crash("n0", "n3", "n4")
    lab.suspect("n3", "n4")
    lab.start("n3", "n4")
    lab.run(3)
    assert not lab.leaders(), "n1 and n2 are trusted: two, and it takes three"
    lab.start("n0")
    assert lab.run_until(lambda: bool(lab.leaders()), 5)
    lab.run(0.5)
    assert not lab.lost()


def test_votes_are_counted_like_grants_where_no_pre_vote_was_asked_for(guarded: Make) -> None:
    """A leader hands over to n1 and is gone. n1 is suspect, n2 votes for it: one trusted vote of three."""
    lab = written(guarded)
    lab.nodes["n1"].storage.suspicion.active = True
    lab.hold("n0", "n2")
    lab.network.queue("n0", "n1").clear()
    lab.network.queue("n0", "n1").append(frame_of([GROUP, TIMEOUT_NOW, 0, 0, lab.term("n0")]))
    lab.deliver("n0", "n1")
    lab.isolate("n0")
    assert lab.run_until(lambda: lab.group("n2").storage.votes.load() == (2, str(lab.member("n1"))), 2)
    lab.run(0.2)
    assert not lab.leads("n1")
