"""The controller: what is comes to what should be, one change at a time, and never through a lost quorum."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from metadata_world import OneMemberGroup, a_cluster, init_cluster, member

from raftcache.consensus.api import GroupStatus, MemberId, PeerStatus
from raftcache.metadata import controller as controller_module
from raftcache.metadata.applying import apply
from raftcache.metadata.commands import PutNode, SetShard
from raftcache.metadata.controller import Controller
from raftcache.metadata.decisions import (
    AddMember,
    Propose,
    RemoveMember,
    TransferLeadership,
    decide,
)
from raftcache.metadata.replica import MetadataReplica
from raftcache.metadata.reports import (
    GroupReport,
    NodeReport,
    ReplicaReport,
    decode_report,
    encode_report,
    report_of,
)
from raftcache.metadata.state import MetadataState, Node
from raftcache.testing.virtual import VirtualRuntime

GROUPS = ("meta", "7c1f", "02ab")
A = {name: member(name) for name in ("n0", "n1", "n2", "n3")}


class Fleet:
    """Groups as their members and leader, and nodes as up or down: what carrying out an action does to them."""

    def __init__(self, state: MetadataState) -> None:
        self.state = state
        self.up = {node.id: node.incarnation for node in state.nodes}
        self.members = {group: list(state.wanted(group)) for group in GROUPS}
        self.leader: dict[str, str | None] = dict.fromkeys(GROUPS, "n0")
        self.behind: set[MemberId] = set()
        self.changes: list = []

    def healthy(self, group: str) -> tuple[MemberId, ...]:
        return tuple(
            each
            for each in self.members[group]
            if self.up.get(each.node) == each.incarnation and each not in self.behind
        )

    def has_quorum(self, group: str) -> bool:
        return len(self.healthy(group)) >= len(self.members[group]) // 2 + 1

    def elect(self) -> None:
        for group in GROUPS:
            live = [each.node for each in self.healthy(group)]
            if not self.has_quorum(group):
                self.leader[group] = None
            elif self.leader[group] not in live:
                self.leader[group] = live[-1]

    def reports(self) -> dict[str, GroupReport]:
        self.elect()
        return {
            group: GroupReport(group, 1, leader, tuple(self.members[group]), self.healthy(group))
            for group, leader in self.leader.items()
            if leader is not None
        }

    def carry_out(self, action) -> None:
        self.changes.append(action)
        if isinstance(action, Propose):
            self.state, result = apply(self.state, action.command)
            assert result.changed
        elif isinstance(action, TransferLeadership):
            assert self.leader[action.shard] == action.from_node
            assert action.to_node in {each.node for each in self.healthy(action.shard)}
            self.leader[action.shard] = action.to_node
        else:
            self._change_members(action)

    def _change_members(self, action) -> None:
        assert self.leader[action.group] == action.leader
        if isinstance(action, AddMember):
            assert action.member.node not in {each.node for each in self.members[action.group]}
            self.members[action.group].append(action.member)
            self.behind.add(action.member)
            if len(self.members[action.group]) > 2:
                assert self.has_quorum(action.group), "a newcomer who has nothing yet must not cost the quorum"
        else:
            assert action.member.node != action.leader
            self.members[action.group].remove(action.member)
            assert self.has_quorum(action.group)

    def settle(self, rounds: int = 60) -> None:
        for _ in range(rounds):
            actions = decide(self.state, self.reports(), set(self.up))
            if not actions:
                return
            groups = [action.shard if isinstance(action, TransferLeadership) else action.group for action in actions]
            assert len(set(groups)) == len(groups), "one change a group at a time"
            for action in actions:
                self.carry_out(action)
            if self.changes and not any(isinstance(action, AddMember) for action in actions):
                self.behind.clear()
        raise AssertionError(f"still at it after {rounds} looks: {actions}")

    def catch_up_and_settle(self) -> None:
        while self.behind or decide(self.state, self.reports(), set(self.up)):
            self.behind.clear()
            self.settle()

    def renew(self, name: str, incarnation: str) -> None:
        node = self.state.node(name)
        self.up[name] = incarnation
        self.state, _ = apply(self.state, PutNode(name, incarnation, node.addresses))


def test_nothing_to_do_where_all_is_as_wanted():
    fleet = Fleet(a_cluster())
    fleet.leader["02ab"] = "n1"
    assert decide(fleet.state, fleet.reports(), set(fleet.up)) == []


def test_leadership_goes_to_the_preferred_node_once_that_has_caught_up():
    fleet = Fleet(a_cluster())
    fleet.behind = {A["n1"]}
    assert decide(fleet.state, fleet.reports(), set(fleet.up)) == []
    fleet.behind = set()
    assert decide(fleet.state, fleet.reports(), set(fleet.up)) == [TransferLeadership("02ab", "n0", "n1")]


def test_a_new_incarnation_is_wanted_then_the_dead_one_goes_then_the_new_one_joins():
    fleet = Fleet(a_cluster())
    fleet.leader = dict.fromkeys(GROUPS, "n1")
    fleet.renew("n0", "b")
    fleet.settle()
    new = member("n0", "b")
    of_shard = [action for action in fleet.changes if getattr(action, "group", "") == "7c1f"]
    assert of_shard == [
        Propose("7c1f", SetShard("7c1f", (new, A["n1"], A["n2"]))),
        RemoveMember("7c1f", "n1", A["n0"]),
        AddMember("7c1f", "n1", new),
    ]
    fleet.catch_up_and_settle()
    assert all(set(fleet.members[group]) == {new, A["n1"], A["n2"]} for group in GROUPS)
    assert fleet.leader["7c1f"] == "n0", "caught up, it leads again"


def test_a_move_to_another_node_adds_first_and_hands_leadership_over_before_the_old_leader_goes():
    fleet = Fleet(a_cluster())
    fleet.up["n3"] = "a"
    fleet.state, _ = apply(fleet.state, PutNode("n3", "a", fleet.state.nodes[0].addresses))
    wanted = (A["n3"], A["n1"], A["n2"])
    fleet.state, _ = apply(fleet.state, SetShard("7c1f", wanted, "n3"))
    fleet.leader["02ab"] = "n1"
    fleet.catch_up_and_settle()
    assert fleet.changes == [
        AddMember("7c1f", "n0", A["n3"]),
        TransferLeadership("7c1f", "n0", "n3"),
        RemoveMember("7c1f", "n3", A["n0"]),
    ]


def test_no_member_is_added_that_is_not_there_or_that_would_cost_the_quorum():
    fleet = Fleet(a_cluster())
    fleet.members["7c1f"] = [A["n0"], A["n1"]]
    fleet.leader["02ab"] = "n1"
    assert decide(fleet.state, fleet.reports(), {"n0", "n1"}) == []
    assert decide(fleet.state, fleet.reports(), {"n0", "n1", "n2"}) == [AddMember("7c1f", "n0", A["n2"])]
    weak = GroupReport("7c1f", 1, "n0", (A["n0"], A["n1"]), (A["n0"],))
    assert decide(fleet.state, {"7c1f": weak}, {"n0", "n1", "n2"}) == [AddMember("7c1f", "n0", A["n2"])]
    weaker = GroupReport("7c1f", 1, "n0", (A["n0"], A["n1"], A["n3"]), (A["n0"],))
    assert decide(fleet.state, {"7c1f": weaker}, {"n0", "n1", "n2"}) == []


def test_a_dead_incarnation_goes_even_where_its_node_is_not_wanted_any_more():
    """Otherwise it weakens the quorum for ever: the members that are wanted instead could not be added."""
    fleet = Fleet(a_cluster())
    fleet.state, _ = apply(fleet.state, PutNode("n3", "a", fleet.state.nodes[0].addresses))
    fleet.renew("n0", "b")
    fleet.state, _ = apply(fleet.state, SetShard("7c1f", (A["n3"], A["n1"], A["n2"]), "n1"))
    report = GroupReport("7c1f", 1, "n2", (A["n0"], A["n1"], A["n2"]), (A["n1"], A["n2"]))
    removal = RemoveMember("7c1f", "n2", A["n0"])
    assert removal in decide(fleet.state, {"7c1f": report}, {"n0", "n1", "n2", "n3"})


def test_no_member_goes_whose_going_would_cost_the_quorum():
    fleet = Fleet(a_cluster())
    fleet.renew("n2", "b")
    fleet.state, _ = apply(fleet.state, SetShard("7c1f", (A["n0"], A["n1"], member("n2", "b"))))
    weak = GroupReport("7c1f", 1, "n0", (A["n0"], A["n1"], A["n2"]), (A["n0"],))
    actions = decide(fleet.state, {"7c1f": weak}, {"n0", "n1", "n2"})
    assert not any(isinstance(action, RemoveMember) for action in actions)


def test_a_dead_incarnation_goes_before_anybody_joins():
    fleet = Fleet(a_cluster())
    for name in ("n3", "n4"):
        fleet.state, _ = apply(fleet.state, PutNode(name, "a", fleet.state.nodes[0].addresses))
    fleet.renew("n0", "b")
    fleet.state, _ = apply(fleet.state, SetShard("7c1f", (member("n0", "b"), A["n1"], A["n2"])))
    alive = (A["n1"], A["n3"], member("n4"))
    report = GroupReport("7c1f", 1, "n1", (A["n0"], *alive), alive)
    actions = decide(fleet.state, {"7c1f": report}, {"n0", "n1", "n2", "n3", "n4"})
    assert RemoveMember("7c1f", "n1", A["n0"]) in actions


def test_a_group_without_a_leader_is_left_alone():
    fleet = Fleet(a_cluster())
    assert decide(fleet.state, {}, set(fleet.up)) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["n0", "n1", "n2"]), st.booleans()), max_size=6))
def test_whatever_restarts_empty_one_by_one_the_fleet_comes_back_as_wanted(restarts):
    fleet = Fleet(a_cluster())
    for number, (name, settle_fully) in enumerate(restarts):
        fleet.renew(name, f"i{number}")
        if settle_fully:
            fleet.catch_up_and_settle()
        else:
            fleet.settle()
            fleet.behind.clear()
    fleet.catch_up_and_settle()
    for group in GROUPS:
        assert {each.node: each.incarnation for each in fleet.members[group]} == fleet.up
        assert len(fleet.members[group]) == 3 and fleet.has_quorum(group)
    assert (fleet.leader["7c1f"], fleet.leader["02ab"]) == ("n0", "n1")


def test_a_report_counts_as_healthy_who_is_connected_and_near():
    def peer(name: str, lag: int = 0, ms: float = 0.0, connected: bool = True, sending: bool = False) -> PeerStatus:
        return PeerStatus(MemberId(name, "a"), 5, lag, ms, connected, sending)

    peers = [
        peer("n1"),
        peer("n2", lag=10_000),
        peer("n3", ms=9_999.0),
        peer("n4", connected=False),
        peer("n5", sending=True),
    ]
    status = GroupStatus("7c1f", A["n0"], (A["n0"], A["n1"]), True, "n0", 3, 5, 5, 5, 1, 0, 0, peers=peers)
    assert report_of(status) == GroupReport("7c1f", 3, "n0", (A["n0"], A["n1"]), (A["n0"], A["n1"]))


def _shell() -> tuple[VirtualRuntime, MetadataReplica, OneMemberGroup, Controller, list]:
    runtime = VirtualRuntime()
    replica = MetadataReplica("n0", runtime)
    group = OneMemberGroup(replica)
    replica.attach(group)
    done: list = []
    controller = Controller(replica, runtime, done.append)
    group.gain()
    group.commit()
    replica.submit(init_cluster(), lambda result: None)
    group.commit()
    return runtime, replica, group, controller, done


def _say(controller: Controller, leader: str = "n0", shard: str = "02ab", term: int = 2) -> None:
    members = (A["n0"], A["n1"], A["n2"])
    report = NodeReport(leader, (GroupReport(shard, term, leader, members, members),))
    controller.report(decode_report(encode_report(report)))


def test_the_shell_acts_once_on_a_report_and_waits_longer_each_time_that_it_did_not_help():
    runtime, _, _, controller, done = _shell()
    controller.start()
    times = []
    for _ in range(400):
        _say(controller)
        before = len(done)
        runtime.advance(0.25)
        times += [runtime.now()] * (len(done) - before)
    assert set(done) == {TransferLeadership("02ab", "n0", "n1")}
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] >= 4.0 and all(later >= 1.8 * earlier for earlier, later in itertools.pairwise(gaps))
    assert len(done) == 5


def test_the_pause_is_short_again_once_the_preferred_node_has_led():
    runtime, _, _, controller, done = _shell()
    controller.start()
    for second in range(40):
        led_by_preferred = second % 10 >= 3
        _say(controller, "n1" if led_by_preferred else "n0", term=second)
        runtime.advance(1.0)
    assert len(done) == 4


def test_old_reports_and_older_terms_count_for_nothing():
    runtime, _, _, controller, done = _shell()
    _say(controller, "n1", term=5)
    _say(controller, "n0", term=4)
    controller.look()
    assert done == []
    _say(controller, "n0", term=6)
    runtime.advance(controller_module.REPORT_AGE_SECONDS)
    controller.look()
    assert done == [] and controller.up() == frozenset({"n0", "n1"})
    runtime.advance(0.1)
    assert controller.up() == frozenset()


def test_the_next_action_needs_a_report_from_after_the_last():
    runtime, _, _, controller, done = _shell()
    controller.start()
    two = (A["n0"], A["n1"])
    report = NodeReport("n0", (GroupReport("7c1f", 2, "n0", two, two),))
    controller.report(NodeReport("n2", ()))
    controller.report(report)
    runtime.advance(2.5)
    assert done == [AddMember("7c1f", "n0", A["n2"])]
    controller.report(report)
    runtime.advance(0.5)
    assert done == [AddMember("7c1f", "n0", A["n2"])] * 2


def test_only_the_leader_acts_and_strangers_are_not_heard():
    _runtime, _, group, controller, done = _shell()
    controller.report(NodeReport("n9", ()))
    assert controller.up() == frozenset()
    _say(controller)
    group.lose("n1")
    controller.look()
    assert done == []


def test_transfers_at_once_are_bounded(monkeypatch):
    monkeypatch.setattr(controller_module, "TRANSFERS_AT_ONCE", 1)
    _runtime, _, _, controller, done = _shell()
    _say(controller, "n2", "02ab")
    _say(controller, "n2", "7c1f")
    controller.look()
    assert len(done) == 1


def test_the_shell_renews_what_is_wanted_through_its_own_group():
    runtime, replica, group, controller, done = _shell()
    controller.start()
    node: Node = replica.state.nodes[2]
    replica.submit(PutNode("n2", "b", node.addresses), lambda result: None)
    group.commit()
    runtime.turn()
    assert not any(member("n2", "b") in replica.state.wanted(each) for each in GROUPS), "nobody has led them lately"
    for each in GROUPS:
        _say(controller, "n0", each)
    controller.look()
    group.commit()
    assert all(member("n2", "b") in replica.state.wanted(each) for each in GROUPS) and done == []
    controller.stop()
    epoch = replica.state.epoch
    runtime.advance(10.0)
    group.commit()
    assert replica.state.epoch == epoch


# -- a quorum that is gone for good ----------------------------------------------------------------


def _two_are_gone(replica: MetadataReplica, group: OneMemberGroup) -> None:
    for name in ("n1", "n2"):
        replica.submit(PutNode(name, "b", replica.state.node(name).addresses), lambda result: None)
    group.commit()


def _survive(controller: Controller) -> None:
    left = ReplicaReport("7c1f", A["n0"], (A["n0"], A["n1"], A["n2"]), 2, 9, False)
    controller.report(decode_report(encode_report(NodeReport("n0", (), (left,)))))


def _wait(runtime: VirtualRuntime, group: OneMemberGroup, controller: Controller, seconds: float) -> None:
    end = runtime.now() + seconds
    while runtime.now() < end:
        _survive(controller)
        runtime.advance(0.25)
        group.commit()


def test_a_loss_is_declared_only_after_a_long_silence_of_its_leader():
    runtime, replica, group, controller, _ = _shell()
    controller.start()
    _wait(runtime, group, controller, 5.0)
    _say(controller, "n0", "7c1f")
    _wait(runtime, group, controller, 4.0)
    _two_are_gone(replica, group)
    _wait(runtime, group, controller, 5.5)
    assert replica.state.shard("7c1f").state == "active"
    _wait(runtime, group, controller, 2.0)
    assert replica.state.shard("7c1f").state == "lost"
    assert [each.member for each in replica.state.shard("7c1f").survivors] == [A["n0"]]


def test_a_new_metadata_leader_begins_to_wait_anew():
    """It has not heard of any leader yet, and cannot know who did."""
    runtime, replica, group, controller, _ = _shell()
    _two_are_gone(replica, group)
    controller.start()
    _wait(runtime, group, controller, 8.0)
    group.lose()
    runtime.advance(60.0)
    group.gain()
    group.commit()
    _wait(runtime, group, controller, 9.0)
    assert replica.state.shard("7c1f").state == "active"
    _wait(runtime, group, controller, 3.0)
    assert replica.state.shard("7c1f").state == "lost"
