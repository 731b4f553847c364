"""How old a replica takes its own state for, and what that must never understate."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from hazards.guarded import GuardedLab

from raftcache.consensus.staleness import NO_STAMP, Ladder, Staleness

Make = Callable[..., GuardedLab]


def stale_ms(lab: GuardedLab, name: str) -> int:
    known = lab.group(name).staleness_ms()
    assert known is not None
    return known


def test_at_rest_a_state_is_a_few_heartbeats_old(guarded: Make) -> None:
    lab = guarded()
    lab.elect("n0")
    for _ in range(50):
        lab.run(0.03)
        assert stale_ms(lab, "n0") <= 145
        assert max(stale_ms(lab, "n1"), stale_ms(lab, "n2")) <= 389


def test_without_a_leader_it_grows(guarded: Make) -> None:
    lab = guarded()
    lab.elect("n0")
    for peer in ("n0", "n1"):
        lab.disconnect("n2", peer)
    before = stale_ms(lab, "n2")
    lab.run(3)
    assert stale_ms(lab, "n2") >= before + 2990


def test_a_leader_that_nobody_answers_grows_old_itself(guarded: Make) -> None:
    lab = guarded()
    lab.elect("n0")
    for peer in ("n1", "n2"):
        lab.hold(peer, "n0")
    lab.run(0.8)
    assert lab.group("n0").is_leader and stale_ms(lab, "n0") >= 790


def test_what_a_deposed_leader_sent_long_ago_makes_nothing_fresh(guarded: Make) -> None:
    """n2 hears heartbeats that n0 sent before it was deposed, by a majority of which n2 was no part."""
    lab = guarded()
    lab.elect("n0")
    lab.hold("n0", "n2")
    lab.run(0.5)
    lab.disconnect("n1", "n2")
    lab.group("n0").transfer_leadership("n1")
    lab.elect("n1")
    lab.propose("n1", b"not at n2")
    assert lab.run_until(lambda: b"not at n2" in lab.acked, 5)
    written_at = lab.now
    lab.run(0.5)
    first = lab.network.queue("n0", "n2")
    assert first and lab.term("n2") < lab.term("n1"), "n2 has heard nothing of it"
    lab.deliver("n0", "n2", 3)
    lab.run(0.01)
    assert b"not at n2" not in lab.state("n2") and lab.term("n2") < lab.term("n1")
    assert stale_ms(lab, "n2") >= (lab.now - written_at) * 1000


def test_a_state_counts_as_new_only_when_it_is_applied(guarded: Make) -> None:
    lab = guarded()
    lab.elect("n0")
    group = lab.group("n1")
    before, applied = lab.now - stale_ms(lab, "n1") / 1000, group.applied_index
    group.staleness.echoed(applied + 5, lab.now)
    assert abs(lab.now - stale_ms(lab, "n1") / 1000 - before) < 0.002
    group.staleness.echoed(applied, lab.now)
    assert abs(lab.now - stale_ms(lab, "n1") / 1000 - before) < 0.002, "an older one waits still"


def test_a_replica_that_has_just_started_does_not_know(guarded: Make) -> None:
    lab = guarded(journal="file")
    lab.elect("n0")
    lab.crash("n1")
    lab.run(0.5)
    for peer in ("n0", "n2"):
        lab.apart.add(frozenset(("n1", peer)))
    lab.start("n1")
    lab.run(2)
    assert lab.group("n1").staleness_ms() is None
    lab.apart.clear()
    lab.connect_all()
    lab.run(1)
    assert stale_ms(lab, "n1") < 400


def test_a_stamp_of_an_earlier_start_is_not_looked_at(guarded: Make) -> None:
    lab = guarded()
    lab.elect("n0")
    lab.hold("n0", "n1")
    before, staleness = stale_ms(lab, "n1"), lab.group("n1").staleness
    for stamp in (lab.now + 5, lab.now - 500):
        staleness.echoed(0, stamp)
    assert stale_ms(lab, "n1") == before


class FakeLeader:
    """A group as the leader's half sees it."""

    def __init__(self) -> None:
        self.now, self.committed_own = 100.0, True
        self.runtime = SimpleNamespace(now=lambda: self.now)
        self.replication = SimpleNamespace(quorum_at=0.0)
        self.engine = SimpleNamespace(commit_index=lambda: 7, term=lambda: 3)
        self.journal = SimpleNamespace(holds=lambda index, term: self.committed_own and (index, term) == (7, 3))


def leading() -> tuple[FakeLeader, Staleness, Any]:
    group = FakeLeader()
    return group, Staleness(group), ("n1", "a", 0)  # type: ignore[arg-type]


def test_a_stamp_goes_back_once_a_quorum_confirmed_the_leader_after_it_came() -> None:
    group, staleness, member = leading()
    assert staleness.echo(member) == NO_STAMP
    staleness.stamped(member, 55.0)
    group.replication.quorum_at = 99.9
    assert staleness.echo(member) == NO_STAMP, "what they answered was sent before"
    group.replication.quorum_at = 100.0
    assert staleness.echo(member) == 55.0


def test_a_leader_that_has_not_committed_in_its_term_sends_none_back() -> None:
    group, staleness, member = leading()
    staleness.stamped(member, 55.0)
    group.replication.quorum_at, group.committed_own = 101.0, False
    assert staleness.echo(member) == NO_STAMP
    group.committed_own = True
    assert staleness.echo(member) == 55.0


def test_stamps_are_forgotten_with_the_term_the_run_and_the_membership() -> None:
    for forget in (
        lambda staleness, member: staleness.leadership_gained(),
        lambda staleness, member: staleness.forget(member),
        lambda staleness, member: staleness.retain(set()),
    ):
        group, staleness, member = leading()
        staleness.stamped(member, 55.0)
        group.replication.quorum_at = 101.0
        forget(staleness, member)
        assert staleness.echo(member) == NO_STAMP


def test_the_ladder_keeps_two_and_never_one_that_is_not_reached() -> None:
    rnd = random.Random(3)
    for _ in range(300):
        ladder, given, mark, stamp, reached = Ladder(), [(0.0, NO_STAMP)], 0.0, 0.0, 0.0
        for _ in range(60):
            if rnd.random() < 0.7:
                mark, stamp = mark + rnd.random(), stamp + rnd.random()
                ladder.add(mark, stamp)
                given.append((mark, stamp))
            else:
                reached = rnd.uniform(reached, mark)
                best = max(stamp for at, stamp in given if at <= reached)
                assert ladder.reach(reached) <= best
        assert ladder.reach(mark) == ladder.reach(mark) and ladder.good == stamp, "nothing is left behind at the end"
