"""What a `Group` promises to the rest of raftcache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hazards.guarded import GuardedLab

from raftcache.consensus import group as group_module
from raftcache.consensus.settings import ENTRY_LIMIT_BYTES
from raftcache.errors import NotLeader, OutcomeUnknown, Overloaded

Make = Callable[..., GuardedLab]


def elected(guarded: Make, **settings: Any) -> GuardedLab:
    """A cluster that n0 leads."""
    lab = guarded(**settings)
    lab.elect("n0")
    return lab


# -- proposing -------------------------------------------------------------------------------------


def test_a_proposal_is_applied_everywhere_in_order(guarded: Make) -> None:
    lab = elected(guarded)
    first = lab.group("n0").last_index + 1
    assert [lab.group("n0").propose(payload) for payload in (b"a", b"b", b"c")] == [first, first + 1, first + 2]
    lab.run(0.3)
    assert [lab.state(name) for name in lab.names] == [[b"a", b"b", b"c"]] * 3


def test_who_does_not_lead_names_who_does(guarded: Make) -> None:
    lab = elected(guarded)
    last = lab.last_index("n1")
    with pytest.raises(NotLeader) as refused:
        lab.group("n1").propose(b"misdirected")
    assert refused.value.details == {"leader": "n0", "term": lab.term("n0")}
    assert lab.last_index("n1") == last


def test_who_knows_no_leader_says_so(guarded: Make) -> None:
    lab = guarded()
    with pytest.raises(NotLeader) as refused:
        lab.group("n1").propose(b"early")
    assert refused.value.details == {"leader": None, "term": 0}


def test_an_entry_over_the_limit_is_not_appended(guarded: Make) -> None:
    lab = elected(guarded)
    last = lab.last_index("n0")
    with pytest.raises(Overloaded, match=str(ENTRY_LIMIT_BYTES)):
        lab.group("n0").propose(bytes(ENTRY_LIMIT_BYTES + 1))
    assert lab.last_index("n0") == last
    assert lab.group("n0").propose(bytes(ENTRY_LIMIT_BYTES)) == last + 1


def test_a_log_that_cannot_be_written_makes_the_outcome_unknown(guarded: Make) -> None:
    lab = elected(guarded, journal="file")
    lab.fail_writes("n0")
    with pytest.raises(OutcomeUnknown, match="no space left"):
        lab.group("n0").propose(b"half")
    assert not lab.leads("n0")
    assert "no space left" in lab.group("n0").disk_error and not lab.group("n0").halted
    with pytest.raises(NotLeader):
        lab.group("n0").propose(b"again")
    assert lab.run_until(lambda: lab.leads("n1"), 5)


# -- barriers --------------------------------------------------------------------------------------


def test_a_barrier_is_true_once_all_before_it_is_applied(guarded: Make) -> None:
    lab = elected(guarded)
    seen: list[tuple[bool, list[bytes]]] = []
    lab.propose("n0", b"before")
    lab.group("n0").barrier(lambda held: seen.append((held, lab.state("n0"))))
    assert seen == [], "nothing is committed yet"
    lab.run(0.1)
    assert seen == [(True, [b"before"])]


def test_a_barrier_at_a_follower_is_false_at_once(guarded: Make) -> None:
    lab = elected(guarded)
    seen: list[bool] = []
    lab.group("n1").barrier(seen.append)
    assert seen == [False]


def test_a_barrier_is_false_when_leadership_is_lost_before(guarded: Make) -> None:
    lab = elected(guarded)
    seen: list[bool] = []
    lab.isolate("n0")
    lab.group("n0").barrier(seen.append)
    lab.run(0.5)
    assert seen == []
    lab.run(1)
    assert seen == [False]
    lab.heal()
    lab.run(2)
    assert seen == [False], "and is called once"


def test_barriers_are_bounded(guarded: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = elected(guarded)
    monkeypatch.setattr(group_module, "BARRIER_LIMIT", 3)
    seen: list[bool] = []
    for _ in range(4):
        lab.group("n0").barrier(seen.append)
    assert seen == [False]
    lab.run(0.1)
    assert seen == [False, True, True, True]


# -- leading ---------------------------------------------------------------------------------------


def test_a_leader_that_was_paused_does_not_lead_now(guarded: Make) -> None:
    """The question alone finds it out: the replica has not ticked, and believes in itself still."""
    lab = elected(guarded, fallback_ms=700)
    assert lab.group("n0").leads_now()
    lab.now += 0.7
    assert lab.group("n0").is_leader
    assert not lab.group("n0").leads_now()


def test_a_step_down_is_told_and_followed_by_an_election(guarded: Make) -> None:
    lab = elected(guarded)
    term = lab.term("n0")
    lab.group("n1").step_down("it does not lead")
    assert lab.events["n1"] == []
    lab.group("n0").step_down("a test")
    assert lab.events["n0"] == [f"gained {term}", f"lost {term}"]
    assert not lab.leads("n0")
    assert lab.run_until(lambda: bool(lab.leaders()), 5)
    assert lab.term(lab.leader()) > term


def test_leadership_is_handed_to_a_named_node_or_to_the_furthest(guarded: Make) -> None:
    lab = elected(guarded)
    assert not lab.group("n1").transfer_leadership("n2"), "not by a follower"
    assert not lab.group("n0").transfer_leadership("n9"), "not to a stranger"
    assert lab.group("n0").transfer_leadership("n1")
    assert not lab.group("n0").transfer_leadership("n2"), "one at a time"
    lab.elect("n1")
    lab.pause("n0")
    lab.propose("n1", b"n0 lacks this")
    lab.run(0.1)
    assert lab.group("n1").transfer_leadership()
    assert lab.run_until(lambda: lab.leads("n2"), 1)
    lab.group("n2").transfer_leadership("n1")
    lab.disconnect("n1", "n2")
    assert not lab.group("n2").transfer_leadership("n1"), "nor to who is out of reach"


def test_the_median_of_the_voters_wall_clocks(guarded: Make) -> None:
    lab = elected(guarded)
    for name, offset_ms in (("n0", 90_000), ("n1", -5_000), ("n2", 3_000)):
        runtime = lab.nodes[name].runtime
        runtime.wall_ms = lambda offset_ms=offset_ms: int(lab.now * 1000) + offset_ms  # type: ignore[method-assign]
    lab.run(1)
    assert lab.group("n0").median_wall_ms() == pytest.approx(lab.now * 1000 + 3_000, abs=50), "n0's is far ahead"
    lab.group("n0").remove_member(lab.member("n2"))
    assert lab.group("n0").median_wall_ms() == pytest.approx(lab.now * 1000 - 5_000, abs=50), "of two, the lower"


# -- status ----------------------------------------------------------------------------------------


def test_a_leader_says_how_far_its_peers_lag(guarded: Make) -> None:
    lab = elected(guarded)
    lab.pause("n2")
    for number in range(5):
        lab.propose("n0", b"%d" % number)
        lab.run(0.1)
    status = lab.group("n0").status()
    n1, n2 = status.peers
    assert (n1.member.node, n1.lag_entries, n1.lag_ms, n1.connected) == ("n1", 0, 0.0, True)
    assert (n2.member.node, n2.lag_entries, n2.match_index) == ("n2", 5, status.last_index - 5)
    assert 400 <= n2.lag_ms <= 600, "since the first of the five was proposed"
    assert (status.commit_index, status.applied_index) == (status.last_index, status.last_index)
    lab.isolate("n2")
    assert not lab.group("n0").status().peers[1].connected


def test_a_follower_says_who_leads(guarded: Make) -> None:
    lab = elected(guarded)
    status = lab.group("n1").status()
    assert (status.is_leader, status.leader, status.term, status.peers) == (False, "n0", lab.term("n0"), [])
    assert [member.node for member in status.members] == ["n0", "n1", "n2"]
    assert status.member == lab.member("n1")


# -- snapshots -------------------------------------------------------------------------------------


def test_a_snapshot_is_taken_once_at_a_time_and_of_something_new(guarded: Make) -> None:
    lab = elected(guarded, log_tail_bytes=1)
    lab.propose_all("n0", [b"a", b"b"])
    lab.run(0.3)
    group = lab.group("n0")
    assert group.take_snapshot()
    assert not group.take_snapshot(), "one is under way"
    lab.run(0.2)
    assert group.status().snapshot_index == group.applied_index == lab.snapshot("n0").index
    assert lab.snapshot_state("n0") == [b"a", b"b"]
    assert not group.take_snapshot(), "nothing is new"
    lab.propose("n0", b"c")
    lab.run(0.1)
    assert group.take_snapshot()
    assert not lab.group("n1").status().snapshot_index, "each replica takes its own"


def test_a_snapshot_that_cannot_be_written_costs_nothing_else(guarded: Make) -> None:
    lab = elected(guarded, journal="file")
    lab.propose("n0", b"a")
    lab.run(0.3)
    lab.fail_writes("n0")
    assert not lab.group("n0").take_snapshot()
    lab.files["n0"].failing = False
    assert (lab.group("n0").halted, lab.leads("n0")) == ("", True)
    assert lab.group("n0").take_snapshot()


def test_a_machine_that_cannot_be_cut_costs_its_snapshot(guarded: Make) -> None:
    lab = elected(guarded)
    lab.propose("n0", b"a")
    lab.run(0.3)

    def broken() -> Any:
        yield b"\x90"
        raise RuntimeError("a defect of the machine")

    lab.nodes["n0"].machine.snapshot_blocks = broken  # type: ignore[method-assign]
    lab.group("n0").take_snapshot()
    lab.run(0.2)
    assert not lab.group("n0").compaction.running
    assert lab.snapshot("n0").index == 0
    assert (lab.group("n0").halted, lab.leads("n0")) == ("", True)
