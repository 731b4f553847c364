"""Who is a member of a group, and how that changes: one at a time, learners first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hazards.guarded import GuardedLab

from raftcache.consensus import MemberId
from raftcache.consensus.settings import CAUGHT_UP_ENTRIES
from raftcache.errors import BadRequest, ChangeInProgress, NotLeader

Make = Callable[..., GuardedLab]


def elected(guarded: Make, **settings: Any) -> GuardedLab:
    """A cluster that n0 leads."""
    lab = guarded(**settings)
    lab.elect("n0")
    return lab


def test_a_newcomer_is_a_learner_until_it_has_caught_up(guarded: Make) -> None:
    lab = elected(guarded, size=4, initial=3)
    lab.propose_all("n0", [b"%d" % number for number in range(CAUGHT_UP_ENTRIES + 10)])
    lab.run(0.3)
    lab.start("n3")
    lab.hold("n0", "n3")
    lab.group("n0").add_member(lab.member("n3"))
    lab.group("n0").add_member(lab.member("n3"))
    lab.run(0.5)
    assert lab.members("n0") == ["n0", "n1", "n2"]
    with pytest.raises(ChangeInProgress):
        lab.group("n0").remove_member(lab.member("n2"))
    lab.release("n0", "n3")
    assert lab.run_until(lambda: "n3" in lab.members("n0"), 2)
    assert len(lab.state("n3")) >= 10, "it has what the others have, but for the last few"
    lab.run(0.3)
    assert [lab.members(name) for name in lab.names] == [["n0", "n1", "n2", "n3"]] * 4


def test_a_learner_that_is_removed_again_is_fed_no_more(guarded: Make) -> None:
    lab = elected(guarded, size=4, initial=3)
    lab.start("n3")
    lab.hold("n3", "n0")
    lab.group("n0").add_member(lab.member("n3"))
    lab.group("n0").remove_member(lab.member("n3"))
    lab.heal()
    lab.run(1)
    assert lab.members("n0") == ["n0", "n1", "n2"]
    lab.group("n0").remove_member(lab.member("n2"))
    assert lab.members("n0") == ["n0", "n1"], "and another change may follow"


def test_changes_are_refused_where_they_cannot_be(guarded: Make) -> None:
    lab = elected(guarded, size=4, initial=3)
    stranger = MemberId("n3", "a0")
    with pytest.raises(NotLeader) as refused:
        lab.group("n1").add_member(stranger)
    assert refused.value.details["leader"] == "n0"
    with pytest.raises(NotLeader):
        lab.group("n1").remove_member(lab.member("n2"))
    with pytest.raises(BadRequest, match="transfer its leadership first"):
        lab.group("n0").remove_member(lab.member("n0"))
    last = lab.last_index("n0")
    lab.group("n0").remove_member(stranger)
    lab.group("n0").add_member(lab.member("n1"))
    assert lab.last_index("n0") == last, "what is so already needs no entry"


def test_a_group_in_memory_takes_a_node_back_as_a_new_incarnation(guarded: Make) -> None:
    """n1 lost everything with its process. What it is now is somebody else: the old self goes, the new one joins."""
    lab = elected(guarded)
    lab.propose("n0", b"kept")
    lab.run(0.3)
    old = lab.member("n1")
    lab.crash("n1")
    lab.start("n1")
    new = lab.member("n1")
    assert (old.incarnation, new.incarnation) == ("a0", "a1")
    lab.run(2)
    assert lab.state("n1") == [], "it is not the member that the others know"
    assert lab.group("n0").members == tuple(sorted((old, lab.member("n0"), lab.member("n2"))))
    lab.group("n0").remove_member(old)
    lab.run(0.3)
    lab.group("n0").add_member(new)
    assert lab.run_until(lambda: new in lab.group("n1").members, 3)
    assert set(lab.group("n0").members) == {new, lab.member("n0"), lab.member("n2")}
    lab.crash("n2")
    lab.propose("n0", b"n0 and the new n1 are a quorum")
    lab.run(0.3)
    assert lab.state("n1") == [b"kept", b"n0 and the new n1 are a quorum"]


def test_nothing_behind_a_change_is_acknowledged_before_a_majority_has_synced_the_change(guarded: Make) -> None:
    """Who loses power and the change counts another majority than those who acknowledged what follows it (`gate`)."""
    lab = elected(guarded, journal="file", fsync="never")
    for name in ("n0", "n1"):
        lab.stall_offload(name)
    lab.group("n0").remove_member(lab.member("n2"))
    change = lab.last_index("n0")
    lab.propose("n0", b"behind it")
    lab.run(0.3)
    assert lab.commit_index("n0") < change, "neither of the two that are left has the change on its disk"
    lab.resume_offload("n0")
    lab.run(0.3)
    assert lab.last_index("n1") > change > lab.commit_index("n0"), "n1 has it and has not synced it"
    lab.resume_offload("n1")
    lab.run(0.3)
    assert b"behind it" in lab.acked
