"""Hazards 5, 27 and 28: who is a member, and who believes it.

5. PYSYNCOBJ 1356-1372 means to refuse a membership change while another is under way, but `__changeClusterIDx`
   (186) is never set. A leader cut off with two new nodes accepts both at once: {n0, n3, n4} is a majority of
   the five it now counts, {n1, n2} of the three that the others still count. Both decide.
27. 1469 writes into a dump whoever is a member at that moment, changes that are not committed included. And a
   node that restarts counts its constructor's members until it has applied its log: two quorums.
28. 1391 drops a removed node's connection as soon as the entry is appended: the node never learns of it.

Expected: one change at a time, each only when the last is committed; the quorum is the snapshot's members plus
the membership entries in the log, from append on and again after a restart.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftcache.errors import ChangeInProgress

from .guarded import GuardedLab
from .stock import StockLab, StockNode


def two_changes_at_a_cut_off_leader(lab: StockLab) -> None:
    lab.elect("n0")
    lab.start("n3", "n4")
    lab.partition(["n0", "n3", "n4"], ["n1", "n2"])
    lab.nodes["n0"].addNodeToCluster(StockNode("n3"))
    lab.nodes["n0"].addNodeToCluster(StockNode("n4"))
    lab.run(0.5)


def test_stock_05_accepts_two_changes_at_once(stock: Callable[..., StockLab]) -> None:
    lab = stock(size=5, initial=3)
    two_changes_at_a_cut_off_leader(lab)
    assert lab.members("n0") == {"n0", "n1", "n2", "n3", "n4"}


def test_stock_05_two_disjoint_majorities_decide(stock: Callable[..., StockLab]) -> None:
    lab = stock(size=5, initial=3)
    two_changes_at_a_cut_off_leader(lab)
    lab.propose("n0", b"left")
    lab.run(3)
    assert lab.leads("n0")
    assert lab.leads("n1")
    lab.propose("n1", b"right")
    lab.run(1)
    assert lab.acked == [b"left", b"right"]
    assert b"left" not in lab.state("n1")
    assert b"right" not in lab.state("n0")


def test_guarded_05_refuses_the_second_change(guarded: Callable[..., GuardedLab]) -> None:
    lab = guarded(size=5, initial=3)
    lab.elect("n0")
    lab.start("n3", "n4")
    lab.partition(["n0", "n3", "n4"], ["n1", "n2"])
    lab.group("n0").add_member(lab.member("n3"))
    with pytest.raises(ChangeInProgress):
        lab.group("n0").add_member(lab.member("n4"))
    lab.propose("n0", b"left")
    lab.run(3)
    assert lab.acked == [], "n0 and n3 are no majority of four"
    assert lab.settle()
    assert set(lab.members("n0")) <= {"n0", "n1", "n2", "n3"}
    assert lab.lost() == []


def test_guarded_05_refuses_until_the_last_change_is_committed(guarded: Callable[..., GuardedLab]) -> None:
    """n3 has caught up and its entry is appended at n0, which then loses its followers."""
    lab = guarded(size=5, initial=3)
    lab.elect("n0")
    lab.start("n3", "n4")
    lab.hold("n1", "n0")
    lab.hold("n2", "n0")
    lab.group("n0").add_member(lab.member("n3"))
    assert lab.run_until(lambda: "n3" in lab.members("n0"), 0.8)
    with pytest.raises(ChangeInProgress):
        lab.group("n0").add_member(lab.member("n4"))
    with pytest.raises(ChangeInProgress):
        lab.group("n0").remove_member(lab.member("n1"))
    lab.heal()
    lab.run(3)
    lab.group(lab.leader()).add_member(lab.member("n4"))
    assert lab.run_until(lambda: len(lab.members("n0")) == 5, 5)


def test_guarded_05_refuses_before_an_entry_of_the_own_term_is_committed(
    guarded: Callable[..., GuardedLab],
) -> None:
    """The correction of 2015 to single-server changes: a new leader first commits in its own term."""
    lab = guarded(size=4, initial=3)
    lab.start("n3")
    for name in ("n1", "n2"):
        lab.hold("n0", name)
    assert not lab.run_until(lambda: lab.leads("n0"), 0.3)
    lab.release("n0", "n1", "n2")
    assert lab.run_until(lambda: lab.group("n0").is_leader, 10)
    with pytest.raises(ChangeInProgress):
        lab.group("n0").add_member(lab.member("n3"))


def test_stock_27_a_dump_names_members_that_were_never_agreed(stock: Callable[..., StockLab]) -> None:
    lab = stock(size=4, initial=3)
    lab.elect("n0")
    lab.propose_all("n0", [b"a", b"b", b"c"])
    lab.run(0.5)
    lab.isolate("n0")
    lab.nodes["n0"].addNodeToCluster(StockNode("n3"))
    lab.run(0.2)
    lab.compact("n0")
    dumped = lab.nodes["n0"].private("serializer").deserialize()[3]
    assert StockNode("n3") in dumped
    assert lab.commit_index("n0") < lab.last_index("n0"), "and that change is not committed"


def test_stock_27_a_restart_counts_the_constructors_members(stock: Callable[..., StockLab]) -> None:
    lab = stock(size=4, initial=3, journal="file")
    lab.elect("n0")
    lab.start("n3")
    lab.nodes["n0"].addNodeToCluster(StockNode("n3"))
    lab.run(3)
    assert len(lab.members("n1")) == 4
    lab.crash("n1")
    lab.isolate("n1")
    lab.start("n1")
    assert lab.members("n1") == {"n0", "n1", "n2"}, "though its journal says that n3 is a member"


def test_guarded_27_a_snapshot_names_the_members_as_of_its_index(guarded: Callable[..., GuardedLab]) -> None:
    lab = guarded(size=4, initial=3, log_tail_bytes=1)
    lab.elect("n0")
    lab.start("n3")
    lab.propose_all("n0", [b"a", b"b", b"c"])
    lab.run(0.5)
    before = tuple(str(lab.member(name)) for name in ("n0", "n1", "n2"))
    lab.hold("n1", "n0")
    lab.hold("n2", "n0")
    lab.group("n0").add_member(lab.member("n3"))
    assert lab.run_until(lambda: "n3" in lab.members("n0"), 0.8)
    lab.compact("n0")
    assert lab.snapshot("n0").members == before
    assert "n3" in lab.members("n0"), "the quorum counts the entry from append on"


def test_guarded_27_a_restart_counts_what_the_log_says(guarded: Callable[..., GuardedLab]) -> None:
    lab = guarded(size=4, initial=3, journal="file")
    lab.elect("n0")
    lab.start("n3")
    lab.group("n0").add_member(lab.member("n3"))
    assert lab.run_until(lambda: "n3" in lab.members("n1"), 5)
    lab.run(1)
    lab.crash("n1")
    lab.isolate("n1")
    lab.start("n1")
    assert set(lab.members("n1")) == {"n0", "n1", "n2", "n3"}


def test_stock_28_a_removed_node_never_learns_of_it(stock: Callable[..., StockLab]) -> None:
    lab = stock()
    lab.elect("n0")
    lab.nodes["n0"].removeNodeFromCluster(StockNode("n2"))
    lab.run(10)
    assert lab.members("n0") == {"n0", "n1"}
    assert lab.members("n2") == {"n0", "n1", "n2"}


def test_guarded_28_a_removed_node_disturbs_nobody(guarded: Callable[..., GuardedLab]) -> None:
    """That it learns of it is the metadata group's task: wiping it is a decision. Here it must only be harmless:
    it is not counted, and its wish to campaign changes nobody's term."""
    lab = guarded()
    lab.elect("n0")
    lab.propose("n0", b"kept")
    lab.run(0.5)
    term = lab.term("n0")
    lab.group("n0").remove_member(lab.member("n2"))
    lab.run(10)
    assert set(lab.members("n0")) == set(lab.members("n1")) == {"n0", "n1"}
    assert lab.leaders() == ["n0"]
    assert lab.term("n0") == term
    assert lab.settle()
