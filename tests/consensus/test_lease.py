"""The leader's lease: it holds while it may, and never once somebody else can have been elected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hazards.fakes import LoadedDice
from hazards.guarded import GuardedLab

from raftcache.consensus.lease import ROUNDING_S, lease_s, quorum_end
from raftcache.consensus.messages import ACK, REQUEST_VOTE, TIMEOUT_NOW, unpack_frame

Make = Callable[..., GuardedLab]

LEASE_S = lease_s(400, 0.1)
LONG = {"heartbeat_ms": 300, "election_min_ms": 1000, "election_max_ms": 1200, "fallback_ms": 1500}
"""With clocks that are off by ten percent these leave a gap of 0.2 s between a lease with a margin and one without."""


class Watch:
    """Notes in `late` who has a lease when somebody is elected after it, or goes by one afterwards."""

    def __init__(self, lab: GuardedLab) -> None:
        self._lab, self._newest = lab, 0
        self.late: list[tuple[str, int]] = []
        for node in lab.nodes.values():
            node.host.observer = self

    def led(self, _group_id: str, _node_id: str, term: int) -> None:
        self._newest = max(self._newest, term)
        self.late += [holder for holder in holders(self._lab) if holder[1] < term]

    def leased(self, _group_id: str, node_id: str, term: int) -> None:
        if term < self._newest:
            self.late.append((node_id, term))

    def applied(self, *_: Any) -> None:
        pass

    def durable(self, *_: Any) -> None:
        pass


def holders(lab: GuardedLab) -> list[tuple[str, int]]:
    """Who would go by a lease now, paused ones too, and in which term."""
    up = {name: node.group for name, node in lab.nodes.items() if name not in lab.down}
    return [(name, group.term) for name, group in up.items() if group.is_leader and not group.lease.why_not()]


def elected(lab: GuardedLab, name: str) -> Watch:
    """Elect a leader that has a lease."""
    lab.elect(name)
    assert lab.group(name).holds_lease()
    return Watch(lab)


def be_eager(lab: GuardedLab, name: str) -> None:
    """From now on the node draws the shortest timeouts."""
    dice = lab.nodes[name].runtime.random
    assert isinstance(dice, LoadedDice)
    dice.shown = 0.0


# -- arithmetic ----------------------------------------------------------------------------------


@pytest.mark.parametrize("drift", [0.0, 0.001, 0.1, 0.25])
def test_a_lease_ends_before_any_promise_does(drift: float) -> None:
    """Both clocks as wrong as they may be, in opposite directions."""
    true_lease_s, true_promise_s = lease_s(400, drift) / (1 - drift), 0.4 / (1 + drift)
    assert true_promise_s - 2 * ROUNDING_S < true_lease_s < true_promise_s


@pytest.mark.parametrize(
    ("ends", "end"), [([9.0], 9.0), ([9.0, 3.0], 3.0), ([9.0, 3.0, 7.0], 7.0), ([9.0, 1.0, 8.0, 2.0, 7.0], 7.0),
                      ([9.0, 1.0, 8.0, 2.0], 2.0)]
)  # fmt: skip
def test_a_majority_has_to_keep_its_promise(ends: list[float], end: float) -> None:
    assert quorum_end(ends) == end


# -- while it holds ------------------------------------------------------------------------------


def test_it_is_kept_up_by_heartbeats_and_ends_without_answers(guarded: Make) -> None:
    lab = guarded()
    elected(lab, "n0")
    for _ in range(100):
        lab.run(0.02)
        assert lab.group("n0").holds_lease()
    lab.isolate("n0")
    lab.run(LEASE_S + 0.01)
    assert not lab.group("n0").holds_lease()
    assert lab.leads("n0"), "it takes the fallback time longer until it steps down"
    assert lab.group("n0").lease.refusals["expired"] >= 1


def test_followers_hold_none(guarded: Make) -> None:
    lab = guarded()
    elected(lab, "n0")
    assert [name for name in lab.names if lab.group(name).holds_lease()] == ["n0"]
    lab.group("n0").step_down("for the test")
    assert not lab.group("n0").holds_lease()


def test_it_can_be_switched_off(guarded: Make) -> None:
    lab = guarded(linearizable_reads="barrier")
    lab.elect("n0")
    assert not lab.group("n0").holds_lease()
    assert lab.group("n0").lease.refusals == {"off": 1}


def test_a_group_of_one_needs_nobody(guarded: Make) -> None:
    lab = guarded(size=1)
    elected(lab, "n0")
    lab.pause("n0")
    lab.run(5)
    assert lab.group("n0").holds_lease()


def test_a_minority_keeps_none_up(guarded: Make) -> None:
    lab = guarded(size=5)
    elected(lab, "n0")
    for name in ("n2", "n3", "n4"):
        lab.disconnect("n0", name)
    lab.run(LEASE_S + 0.01)
    assert not lab.group("n0").holds_lease()


def test_votes_give_none(guarded: Make) -> None:
    """A voter promises nothing: it may vote for the next candidate at once. And before an entry of its own term is
    committed a leader does not know what its predecessors committed."""
    lab = guarded()
    assert lab.run_until(lambda: lab.leads("n0"), 5)
    lab.hold("n1", "n0")
    lab.hold("n2", "n0")
    assert not lab.group("n0").holds_lease()
    lab.run(0.1)
    assert lab.group("n0").lease.why_not() == "starting"


def test_acks_alone_give_none_before_an_entry_of_the_term_is_committed(guarded: Make) -> None:
    lab = guarded()
    elected(lab, "n0")
    lab.group("n0").lease.leadership_gained()
    lab.group("n0").lease.renew([lab.now + 9] * 3)
    lab.group("n0").engine._SyncObj__raftCommitIndex = 0
    assert lab.group("n0").lease.why_not() == "starting"


def test_a_learner_keeps_none_up(guarded: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = guarded(size=3, initial=2)
    elected(lab, "n0")
    lab.start("n2")
    monkeypatch.setattr(lab.group("n0").membership, "poll", lambda: None)  # It stays one.
    lab.group("n0").add_member(lab.member("n2"))
    lab.run(0.3)
    assert lab.state("n2") == lab.state("n0") and lab.group("n0").holds_lease()
    lab.disconnect("n0", "n1")
    lab.run(LEASE_S + 0.01)
    assert not lab.group("n0").holds_lease()


def test_it_goes_by_what_followers_promise(guarded: Make) -> None:
    """Theirs is another configuration than the leader's."""
    lab = guarded()
    elected(lab, "n0")
    for name in ("n1", "n2"):
        lab.group(name).settings = replace(lab.settings, election_min_ms=200)
    lab.run(0.3)
    lab.isolate("n0")
    lab.run(lease_s(200, 0.1) + 0.01)
    assert not lab.group("n0").holds_lease()


# -- when somebody else is elected ---------------------------------------------------------------


def test_it_ends_before_another_is_elected_whatever_the_clocks_do(guarded: Make) -> None:
    """The leader's clock is as slow as it may be, the others' are as fast, and those campaign as soon as they may."""
    lab = guarded(rates={"n0": 0.9, "n1": 1.1, "n2": 1.1}, **LONG)
    assert lab.run_until(lambda: bool(lab.leaders()), 3)
    lab.run(0.5)
    assert lab.group(lab.leader()).transfer_leadership("n0")
    watch = elected(lab, "n0")
    be_eager(lab, "n1")
    lab.run(0.5)
    lab.isolate("n0")
    assert lab.run_until(lambda: lab.leads("n1") or lab.leads("n2"), 3)
    assert watch.late == []


def test_late_answers_prolong_nothing(guarded: Make) -> None:
    """They wait on the link until another leads; n0 has not heard of that when it reads them."""
    lab = guarded()
    elected(lab, "n0")
    lab.one_by_one = True
    lab.hold("n1", "n0")
    lab.hold("n2", "n0")
    lab.run(0.15)
    lab.hold("n0", "n1", "n2")
    assert lab.run_until(lambda: lab.leads("n1"), 0.9)
    answers = [unpack_frame(frame)[0][1] for frame in lab.network.queue("n1", "n0")]
    assert answers[0] == ACK
    lab.deliver("n1", "n0", 1)
    assert lab.group("n0").is_leader, "it knows no better"
    assert not lab.group("n0").holds_lease()


def test_who_restarts_keeps_the_promise_of_its_last_run(guarded: Make) -> None:
    """n2 hears nothing from n0 and wants to lead; n1, whose answers n0's lease rests on, restarts at once."""
    lab = guarded(journal="file")
    watch = elected(lab, "n0")
    be_eager(lab, "n2")
    lab.disconnect("n0", "n2")
    lab.run(1.5)
    assert lab.group("n0").holds_lease(), "n1 sticks to it"
    lab.crash("n1")
    lab.hold("n0", "n1")
    lab.start("n1")
    lab.nodes["n1"].host.observer = watch
    assert lab.group("n0").holds_lease()
    assert lab.run_until(lambda: lab.leads("n1") or lab.leads("n2"), 3)
    assert watch.late == []


def test_a_transfer_forfeits_it_for_the_rest_of_the_term(guarded: Make) -> None:
    """n1 is told to campaign and does not hear of it until n0 has given up and serves again, with n2's answers."""
    lab = guarded()
    watch = elected(lab, "n0")
    lab.one_by_one = True
    lab.hold("n0", "n1")
    assert lab.group("n0").transfer_leadership("n1")
    assert lab.run_until(lambda: lab.leads("n0"), 0.6), "given up after one election timeout"
    assert TIMEOUT_NOW in [unpack_frame(frame)[0][1] for frame in lab.network.queue("n0", "n1")]
    lab.run(0.5)
    assert lab.leads("n0")
    lab.hold("n1", "n0")
    lab.release("n0", "n1")
    before = lab.group("n0").lease.why_not()
    assert lab.run_until(lambda: lab.leads("n1"), 0.2), "n2 votes for it in spite of n0"
    assert (watch.late, before) == ([], "forfeited")


def test_who_promised_does_not_vote_for_itself_either(guarded: Make) -> None:
    """n0 tells n1 to campaign, gives up, and tells n2. n1 finds both in its sockets at once, n0's word and n2's request
    for its vote, and votes for n2. The engine goes on thinking that it is to campaign, and lets no heartbeat put that
    off; n0 would vote for it, for it does not hear n2."""
    lab = guarded()
    elected(lab, "n0")
    lab.hold("n0", "n1")
    lab.hold("n2", "n1")
    for target in ("n1", "n2"):
        assert lab.group("n0").transfer_leadership(target)
        assert lab.run_until(lambda: not lab.group("n0").transfer.active, 0.5)
    frames = [(source, frame) for source in ("n0", "n2") for frame in lab.network.queue(source, "n1")]
    kinds = {message[1] for _, frame in frames for message in unpack_frame(frame)}
    assert {TIMEOUT_NOW, REQUEST_VOTE} <= kinds
    n1 = lab.nodes["n1"]
    for source, frame in frames:
        lab.network.queue(source, "n1").popleft()
        n1.links.receiver.frame_received(source, frame)
    n1.runtime.end_turn()
    for source in ("n0", "n2"):
        lab.release(source, "n1")
    lab.run(0.3)
    assert lab.group("n2").holds_lease()
    watch = Watch(lab)
    lab.disconnect("n0", "n2")
    for _ in range(100):
        lab.run(0.02)
        assert lab.group("n2").holds_lease()
    assert watch.late == []


def test_a_new_term_begins_with_a_new_chance(guarded: Make) -> None:
    lab = guarded()
    elected(lab, "n0")
    assert lab.group("n0").transfer_leadership("n1")
    assert lab.run_until(lambda: lab.leads("n1"), 1)
    lab.run(0.5)
    assert lab.group("n1").holds_lease()
    assert lab.group("n1").transfer_leadership("n0")
    assert lab.run_until(lambda: lab.leads("n0"), 1)
    lab.run(0.5)
    assert lab.group("n0").holds_lease()
