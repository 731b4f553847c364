"""Hazard 4: a member that comes back empty votes as if it had never promised anything.

PYSYNCOBJ journal.py 47-82: the journal in memory forgets log, term and vote with its process, and the member
rejoins under its old name. A write committed by n0 and n1 is on n0 alone once n1 has restarted, and n1, empty,
helps n2, which never had it, to a majority. (Its leader, besides, still counts what n1 acknowledged before.)

Expected: an empty disk is a new incarnation, so a new member: it neither votes nor campaigns before the leader
has swapped it in.
"""

from __future__ import annotations

from collections.abc import Callable

from .laboratory import Laboratory


def amnesiac_voter(lab: Laboratory) -> None:
    """n2 is cut off while `kept` is committed by n0 and n1. n1 loses its memory; then n0 is paused for 10 s."""
    lab.elect("n0")
    lab.isolate("n2")
    lab.propose("n0", b"kept")
    assert lab.run_until(lambda: b"kept" in lab.acked, 5)
    lab.crash("n1")
    lab.isolate("n0")
    lab.pause("n0")
    lab.apart.discard(frozenset(("n1", "n2")))
    lab.start("n1")
    lab.run(10)


def test_stock_loses_what_the_amnesiac_had_acknowledged(stock: Callable[..., Laboratory]) -> None:
    lab = stock()
    amnesiac_voter(lab)
    assert lab.leader() in ("n1", "n2"), "elected by a member that forgot"
    assert lab.settle()
    assert lab.lost() == [b"kept"]


def test_stock_counts_what_a_restarted_member_has_forgotten(stock: Callable[..., Laboratory]) -> None:
    """The leader's `matchIndex` survives the follower's restart: entries that n1 no longer has stay counted."""
    lab = stock()
    lab.elect("n0")
    lab.propose("n0", b"kept")
    assert lab.run_until(lambda: b"kept" in lab.acked, 5)
    lab.hold("n0", "n1")
    lab.crash("n1")
    lab.start("n1")
    lab.run(0.1)
    node = next(n for n in lab.nodes["n0"].otherNodes if n.id == "n1")
    assert lab.last_index("n1") == 1
    assert lab.nodes["n0"].private("raftMatchIndex")[node] == lab.last_index("n0")


def test_guarded_amnesiac_is_no_voter(guarded: Callable[..., Laboratory]) -> None:
    lab = guarded()
    amnesiac_voter(lab)
    assert not {"n1", "n2"} & set(lab.leaders()), "n2 alone is no majority of the members"
    assert lab.settle()
    assert lab.lost() == []
    assert set(lab.members("n0")) == {"n0", "n1", "n2"}


def test_guarded_swaps_the_new_incarnation_in(guarded: Callable[..., Laboratory]) -> None:
    """One member at a time, the old name out and the new one in; then it votes."""
    lab = guarded()
    lab.elect("n0")
    lab.propose("n0", b"kept")
    assert lab.run_until(lambda: b"kept" in lab.acked, 5)
    old = lab.member("n1")
    lab.crash("n1")
    lab.start("n1")
    lab.run(1)
    assert lab.payloads("n1") == [], "nobody feeds a stranger"
    lab.group("n0").remove_member(old)
    lab.run(1)
    lab.group("n0").add_member(lab.member("n1"))
    assert lab.run_until(lambda: lab.member("n1") in lab.group("n1").members, 5)
    lab.crash("n0")
    assert lab.settle()
    assert lab.lost() == []
