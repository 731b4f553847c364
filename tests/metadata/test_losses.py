"""Who is gone for good, and when a shard's quorum is."""

from __future__ import annotations

import pytest
from metadata_world import a_cluster
from msgspec.structs import replace

from raftcache.consensus.api import MemberId
from raftcache.metadata.commands import DeclareLost, RetractLost, ShardStarted
from raftcache.metadata.decisions import Propose, RemoveMember, ReplicaFacts, decide
from raftcache.metadata.held import HeldReplicas
from raftcache.metadata.identities import is_gone, newest_identities
from raftcache.metadata.losses import is_lost, survivors_of
from raftcache.metadata.reports import GroupReport, NodeReport, ReplicaReport, closed_replica
from raftcache.metadata.state import Shard, Source, Survivor
from raftcache.testing.virtual import VirtualRuntime

SHARD_ID = "7c1f"
N0, N1, N2, N3, N4 = (MemberId(f"n{number}", "a") for number in range(5))
THREE = (N0, N1, N2)
SHARD = Shard(SHARD_ID, ((0, 8191),), THREE, THREE, "n0")


def number(member: MemberId, replica: int) -> MemberId:
    return member._replace(replica=replica)


def holds(member: MemberId, *members: MemberId, term: int = 2, index: int = 10) -> ReplicaReport:
    return ReplicaReport(SHARD_ID, member, members or THREE, term, index, False)


def empty(member: MemberId) -> ReplicaReport:
    return ReplicaReport(SHARD_ID, member, (), 0, 0, True)


def newest(*claims: MemberId, **incarnations: str) -> dict[str, MemberId]:
    return newest_identities(incarnations, (*THREE, N3, N4, *claims))


# -- identities ------------------------------------------------------------------------------------


def test_the_highest_number_is_a_nodes_present_one_whatever_the_order_of_the_claims() -> None:
    for claims in ((number(N0, 2), number(N0, 1), N0), (N0, number(N0, 2)), (number(N0, 2), N0)):
        assert newest_identities({"n0": "a"}, claims) == {"n0": number(N0, 2)}


def test_a_new_incarnation_starts_again_at_number_0() -> None:
    found = newest_identities({"n0": "b"}, [number(N0, 7)])
    assert found == {"n0": MemberId("n0", "b")}
    assert is_gone(number(N0, 7), found) and not is_gone(MemberId("n0", "b"), found)


def test_a_member_of_which_nothing_is_known_is_not_gone() -> None:
    assert not is_gone(N0, {})


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "known", "lost"),
    [
        ([holds(N0)], newest(), False),
        ([holds(N0)], newest(n1="b"), False),
        ([holds(N0)], newest(n1="b", n2="b"), True),
        ([holds(N0), empty(number(N1, 1))], newest(number(N1, 1), n2="b"), True),
        ([holds(N0), empty(number(N1, 1))], newest(number(N1, 1)), False),
        ([], newest(n0="b", n1="b"), True),
        ([], newest(n0="b"), False),
        ([empty(MemberId("n0", "b")), empty(MemberId("n1", "b"))], newest(n0="b", n1="b"), True),
        # The older of two logs gets no vote from the newer, but the newer gets the older's.
        ([holds(N0, index=9), holds(N1, index=10)], newest(n2="b"), False),
        # The newer log has left the group, and the older one cannot win against it.
        ([holds(N0, N0, N1, index=9), holds(N1, N0, N2, index=10)], newest(n2="b"), True),
        # A replica that is not open may vote yet.
        ([holds(N0), closed_replica(SHARD_ID, N1, "refused", "why")], newest(n2="b"), False),
        ([closed_replica(SHARD_ID, N1, "opening", "")], newest(n0="b"), False),
    ],
)
def test_when_a_quorum_is_gone_for_good(held: list[ReplicaReport], known: dict[str, MemberId], lost: bool) -> None:
    assert is_lost(SHARD, held, known) is lost


def test_who_is_silent_may_know_of_newer_members() -> None:
    """n0 was removed long ago and does not know it; n3 and n4, who are the group by now, are merely down."""
    moved = replace(SHARD, replicas=(N0, N3, N4))
    known = newest(n1="b", n2="b")
    assert not is_lost(moved, [holds(N0)], known)
    assert is_lost(moved, [holds(N0), holds(N3), holds(N4)], known), "all of them know no others"


def test_a_shard_that_is_still_to_start_from_a_survivor_goes_by_its_first_member() -> None:
    starting = replace(SHARD, initial=(N1,), source=Source("02ab", N1))
    waiting = [empty(N0), empty(N2)]
    assert not is_lost(starting, waiting, newest())
    assert is_lost(starting, [*waiting, empty(number(N1, 1))], newest(number(N1, 1)))


def test_survivors_are_listed_with_the_newest_log_first() -> None:
    older, newer, other = holds(N0, term=2, index=90), holds(N1, term=3, index=10), holds(N2, term=3, index=9)
    gone = holds(MemberId("n3", "z"))
    assert survivors_of([older, other, newer, gone, empty(N4)], newest()) == [newer, other, older]


# -- decisions -------------------------------------------------------------------------------------


def lost_facts(*held: ReplicaReport) -> ReplicaFacts:
    return ReplicaFacts({SHARD_ID: held}, {}, {SHARD_ID})


def a_state(**changes: object):
    state = a_cluster()
    nodes = tuple(replace(each, incarnation="b") if each.id != "n0" else each for each in state.nodes)
    shards = tuple(replace(each, **changes) if each.id == SHARD_ID else each for each in state.shards)
    return replace(state, nodes=nodes, shards=shards)


def of_shard(actions: list) -> list:
    return [action for action in actions if getattr(action, "group", "") == SHARD_ID]


def test_a_loss_is_declared_with_what_is_left() -> None:
    said = of_shard(decide(a_state(), {}, {"n0", "n1", "n2"}, lost_facts(holds(N0))))
    assert said == [Propose(SHARD_ID, DeclareLost(SHARD_ID, (Survivor(N0, 2, 10, -1),)))]


def test_a_shard_that_has_had_a_leader_a_moment_ago_is_not_declared_lost() -> None:
    facts = lost_facts(holds(N0))._replace(leaderless=())
    assert of_shard(decide(a_state(), {}, {"n0"}, facts)) == []


def test_a_lost_shard_is_declared_again_only_where_more_survivors_turn_up() -> None:
    known = a_state(state="lost", survivors=(Survivor(N0, 2, 10),))
    assert of_shard(decide(known, {}, {"n0"}, lost_facts(holds(N0)))) == []
    assert of_shard(decide(known, {}, {"n0"}, lost_facts())) == [], "one that is silent now is not forgotten"
    nobody = a_state(state="lost", survivors=())
    assert len(of_shard(decide(nobody, {}, {"n0"}, lost_facts(holds(N0))))) == 1


def test_a_lost_shard_that_is_led_after_all_is_taken_back_and_a_source_forgotten() -> None:
    report = {SHARD_ID: GroupReport(SHARD_ID, 3, "n0", (N0,), (N0,))}
    lost = a_state(state="lost", survivors=(Survivor(N0, 2, 10),))
    assert of_shard(decide(lost, report, {"n0"})) == [Propose(SHARD_ID, RetractLost(SHARD_ID))]
    started = a_state(source=Source("ffff", N0))
    assert of_shard(decide(started, report, {"n0"})) == [Propose(SHARD_ID, ShardStarted(SHARD_ID))]


# -- what nodes say --------------------------------------------------------------------------------


def table() -> tuple[VirtualRuntime, HeldReplicas]:
    runtime = VirtualRuntime()
    return runtime, HeldReplicas(runtime, 3.0)


def test_a_report_is_fresh_for_a_while_and_an_identity_for_ever() -> None:
    runtime, held = table()
    held.take(NodeReport("n0", (), (holds(number(N0, 1)),)), a_cluster())
    assert [each.member for each in held.fresh()[SHARD_ID]] == [number(N0, 1)]
    runtime.advance(3.1)
    assert held.fresh()[SHARD_ID] == []
    assert held.identities()[SHARD_ID] == [number(N0, 1)]


def test_an_older_number_that_arrives_late_does_not_bring_the_dead_back() -> None:
    _, held = table()
    held.take(NodeReport("n0", (), (holds(number(N0, 2)),)), a_cluster())
    held.take(NodeReport("n0", (), (holds(number(N0, 1)),)), a_cluster())
    assert held.identities()[SHARD_ID] == [number(N0, 2)]
    assert held.is_gone(SHARD_ID, N0) and held.is_gone(SHARD_ID, number(N0, 1))
    assert not held.is_gone(SHARD_ID, number(N0, 2)) and not held.is_gone("02ab", N0)


def test_a_node_heard_from_under_another_incarnation_is_gone_under_the_old_one() -> None:
    _, held = table()
    assert not held.is_gone(SHARD_ID, N0)
    held.note_incarnation("n0", "b", a_cluster())
    assert held.is_gone(SHARD_ID, N0) and not held.is_gone(SHARD_ID, MemberId("n0", "b"))


def test_what_nodes_say_of_others_and_of_strange_groups_is_left_out() -> None:
    _, held = table()
    held.take(NodeReport("n1", (), (holds(N0),)), a_cluster())
    strange = ReplicaReport("ffff", N1, (), 0, 0, True)
    held.take(NodeReport("n1", (), (strange,)), a_cluster())
    held.note_incarnation("n9", "b", a_cluster())
    assert held.fresh() == {} and not held.is_gone(SHARD_ID, MemberId("n9", "a"))


def test_groups_that_are_replaced_are_forgotten() -> None:
    _, held = table()
    held.take(NodeReport("n0", (), (holds(N0),)), a_cluster())
    state = a_cluster()
    held.take(NodeReport("n0", (), ()), replace(state, shards=state.shards[1:]))
    assert held.fresh() == {} and held.identities() == {}


# -- members that only look healthy ----------------------------------------------------------------


def test_a_members_dead_self_counts_for_nothing_though_its_leader_takes_it_for_healthy() -> None:
    """The link to a node is up whatever the number of its replica: two have been renewed, and n0 is alone."""
    report = {SHARD_ID: GroupReport(SHARD_ID, 3, "n0", THREE, THREE)}
    renewed = replace(a_cluster().shards[0], replicas=(N0, number(N1, 1), number(N2, 1)))
    state = a_cluster()
    state = replace(state, shards=tuple(renewed if each.id == SHARD_ID else each for each in state.shards))
    assert of_shard(decide(state, report, {"n0", "n1", "n2"})) == [], "to remove either leaves no quorum"
    one = replace(renewed, replicas=(N0, number(N1, 1), N2))
    state = replace(state, shards=tuple(one if each.id == SHARD_ID else each for each in state.shards))
    assert of_shard(decide(state, report, {"n0", "n1", "n2"})) == [RemoveMember(SHARD_ID, "n0", N1)]
