"""Hazards 14 and 15: who deposes a leader, and when a leader deposes itself.

14. PYSYNCOBJ 635: a node whose timeout has passed raises its term and campaigns, without asking whether anybody
    would follow. A node that was cut off comes back with a term of its own making and deposes a healthy leader;
    one that was paused does it before it has read its socket, which is full of heartbeats.
15. 679 and `leaderFallbackTimeout` (30 s): a leader cut off from all believes in itself that long. And an append
    of a lower term is ignored in silence, so a leader that can only send never learns that it is none.

Expected: a pre-vote before a campaign; no vote while a leader was heard of within the minimum timeout; a lower
term is answered; a leader serves no longer than the fallback time after the *sending* of what a quorum answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.consensus.messages import REQUEST_VOTE

from .guarded import GROUP, frame_of
from .laboratory import Laboratory


def cut_off_and_back(lab: Laboratory) -> int:
    """n2 loses its links for 5 s. The leader's term before that."""
    lab.elect("n0")
    term = lab.term("n0")
    lab.isolate("n2")
    lab.run(0.05)
    lab.apart.discard(frozenset(("n1", "n2")))
    lab.connect("n1", "n2")
    lab.run(5)
    lab.heal()
    lab.run(0.2)
    return term


def paused_and_back(lab: Laboratory) -> int:
    """n2 is stopped for 3 s, its links stay up. The leader's term before that."""
    lab.elect("n0")
    term = lab.term("n0")
    lab.pause("n2")
    lab.run(3)
    lab.resume("n2")
    lab.run(0.2)
    return term


def test_stock_14_a_node_that_sees_half_the_cluster_deposes_the_leader(
    stock: Callable[..., Laboratory],
) -> None:
    lab = stock()
    term = cut_off_and_back(lab)
    assert lab.term("n0") > term


def test_stock_14_a_paused_node_deposes_the_leader(stock: Callable[..., Laboratory]) -> None:
    lab = stock()
    term = paused_and_back(lab)
    assert lab.leaders_of_term.get(term) == {"n0"}
    assert lab.term("n0") > term
    assert lab.leaders() != ["n0"]


def test_guarded_14_a_node_that_sees_half_the_cluster_changes_nothing(
    guarded: Callable[..., Laboratory],
) -> None:
    lab = guarded()
    term = cut_off_and_back(lab)
    assert (lab.leaders(), lab.term("n0"), lab.term("n2")) == (["n0"], term, term)


def test_guarded_14_a_paused_node_changes_nothing(guarded: Callable[..., Laboratory]) -> None:
    lab = guarded()
    term = paused_and_back(lab)
    assert (lab.leaders(), lab.term("n0"), lab.term("n2")) == (["n0"], term, term)


def test_guarded_14_a_vote_is_refused_while_a_leader_is_heard(guarded: Callable[..., Any]) -> None:
    """A campaign that was not preceded by a pre-vote, of a candidate whose log is longer than any."""
    lab = guarded()
    lab.elect("n0")
    term, candidacy = lab.term("n0") + 1, [GROUP, REQUEST_VOTE, 0, 0, lab.term("n0") + 1, 1000, 1000]
    for voter in ("n0", "n1"):
        lab._receive("n2", voter, frame_of([*candidacy, False]))
        assert lab.term(voter) < term
    lab.run(1)
    assert lab.leaders() == ["n0"]
    lab._receive("n2", "n1", frame_of([*candidacy, True]))
    assert lab.term("n1") == term, "unless the leader itself asked for it"


def test_guarded_14_a_leadership_transfer_is_the_exception(guarded: Callable[..., Any]) -> None:
    lab = guarded()
    lab.elect("n0")
    assert lab.group("n0").transfer_leadership("n2")
    assert lab.run_until(lambda: lab.leads("n2"), 0.4), "within the minimum timeout, in which nobody else may"


def test_stock_15_two_leaders_serve_for_half_a_minute(stock: Callable[..., Laboratory]) -> None:
    lab = stock()
    lab.elect("n0")
    lab.isolate("n0")
    lab.run(25)
    assert lab.leaders() == ["n0", "n1"]


def only_sends(lab: Laboratory) -> None:
    """n0 can send and not hear: both directions towards it are stuck, and n1 has taken over."""
    lab.elect("n0")
    lab.pause("n0")
    lab.elect("n1")
    for name in ("n1", "n2"):
        lab.hold(name, "n0")
        lab.drop(name, "n0")
    lab.resume("n0")
    lab.run(0.3)


def test_stock_15_a_lower_term_is_ignored_in_silence(stock: Callable[..., Any]) -> None:
    """n2, a follower of n1, hears n0 and does not say a word."""
    lab = stock()
    only_sends(lab)
    assert lab.leads("n0")
    assert lab.queued("n2", "n0") == []


def test_guarded_15_a_lower_term_is_answered(guarded: Callable[..., Any]) -> None:
    """n0 wakes within its fallback time and reaches only n2, which follows n1 by now, and says so."""
    lab = guarded()
    lab.elect("n0")
    lab.pause("n0")
    assert lab.run_until(lambda: lab.leads("n1") and lab.term("n2") == lab.term("n1"), 0.9)
    lab.disconnect("n0", "n1")
    lab.drop("n2", "n0")
    lab.resume("n0")
    lab.group("n0").run(lab.group("n0").engine.send_appends)
    assert lab.group("n0").is_leader
    assert lab.run_until(lambda: not lab.group("n0").is_leader, 0.05)
    assert lab.term("n0") == lab.term("n1")


def test_guarded_15_a_leader_cut_off_stops_within_the_fallback_time(guarded: Callable[..., Any]) -> None:
    lab = guarded()
    lab.elect("n0")
    lab.isolate("n0")
    lab.run(1.0)
    assert not lab.leads("n0")
    lab.run(2)
    assert lab.leaders() == ["n1"]
    assert not lab.group("n0").is_leader


def test_guarded_15_a_leader_that_wakes_does_not_serve(guarded: Callable[..., Any]) -> None:
    """Asked before it has read or ticked: the question itself must find out."""
    lab = guarded()
    lab.elect("n0")
    lab.pause("n0")
    lab.run(1.0)
    assert not lab.group("n0").leads_now()


def test_guarded_15_old_answers_do_not_prolong_a_leadership(guarded: Callable[..., Any]) -> None:
    """Answers that waited 0.9 s on the link prove what was so when their question was *sent*."""
    lab = guarded()
    lab.elect("n0")
    for name in ("n1", "n2"):
        lab.hold(name, "n0")
    lab.run(0.15)
    for name in ("n1", "n2"):
        lab.pause(name)
    lab.run(0.75)
    for name in ("n1", "n2"):
        lab.deliver(name, "n0")
    assert lab.leads("n0")
    lab.run(0.3)
    assert not lab.leads("n0")
