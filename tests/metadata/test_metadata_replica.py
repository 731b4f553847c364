"""The replica: answers at commit, serves only behind its barrier, never says "failed" of what may commit."""

from __future__ import annotations

import pytest
from metadata_world import OneMemberGroup, init_cluster

from raftcache.commands.policy import Namespace
from raftcache.errors import BadRequest, InternalError, NotLeader, OutcomeUnknown, Overloaded
from raftcache.metadata import replica as module
from raftcache.metadata.commands import Applied, PutNamespace
from raftcache.metadata.replica import MetadataReplica
from raftcache.testing.virtual import VirtualRuntime


def _replica(name: str = "n0") -> tuple[MetadataReplica, OneMemberGroup]:
    replica = MetadataReplica(name, VirtualRuntime())
    group = OneMemberGroup(replica)
    replica.attach(group)
    return replica, group


def _leader() -> tuple[MetadataReplica, OneMemberGroup, list]:
    replica, group = _replica()
    group.gain()
    group.commit()
    return replica, group, []


def test_a_new_leader_serves_only_once_its_barrier_is_applied():
    replica, group = _replica()
    answers: list = []
    group.gain()
    replica.submit(init_cluster(), answers.append)
    assert type(answers.pop()) is NotLeader and not replica.serving
    group.commit()
    assert replica.serving
    replica.submit(init_cluster(), answers.append)
    assert answers == []
    group.commit()
    assert answers == [Applied(1, True)]


def test_a_barrier_that_cannot_be_proposed_makes_the_leader_step_down():
    replica, group = _replica()
    group.refuse = Overloaded("full")
    group.gain()
    assert not replica.serving and "full" in group.steps_down[0]


def test_a_follower_names_the_leader():
    replica, group = _replica()
    group.leader, group.term = "n2", 7
    answers: list = []
    replica.submit(init_cluster(), answers.append)
    assert (answers[0].code, answers[0].details) == ("not_leader", {"leader": "n2", "term": 7})


def test_a_command_is_answered_at_commit_and_a_refused_one_with_its_error():
    replica, group, answers = _leader()
    replica.submit(init_cluster(), answers.append)
    replica.submit(PutNamespace(Namespace("a/b", 0)), answers.append)
    assert answers == [] and replica.waiting == 2
    group.commit()
    assert answers[0] == Applied(1, True) and isinstance(answers[1], BadRequest)
    assert replica.waiting == 0


def test_leadership_lost_leaves_the_outcome_unknown_and_a_late_commit_answers_nobody_twice():
    replica, group, answers = _leader()
    replica.submit(init_cluster(), answers.append)
    group.lose("n1")
    assert [type(answer) for answer in answers] == [OutcomeUnknown] and not replica.serving
    group.commit()
    assert len(answers) == 1 and replica.state.epoch == 1


def test_a_proposal_refused_at_once_is_a_definite_failure():
    replica, group, answers = _leader()
    group.refuse = Overloaded("full")
    replica.submit(init_cluster(), answers.append)
    assert type(answers[0]) is Overloaded and replica.waiting == 0


def test_commands_waiting_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "WAITING_LIMIT", 2)
    replica, group, answers = _leader()
    for _ in range(3):
        replica.submit(init_cluster(), answers.append)
    assert [type(answer) for answer in answers] == [Overloaded] and "2" in answers[0].message
    group.commit()
    assert len(answers) == 3


def test_two_replicas_never_answer_each_others_commands():
    replica, group, answers = _leader()
    follower, _ = _replica("n1")
    replica.submit(init_cluster(), answers.append)
    for index, (term, payload) in enumerate(group.log, 1):
        follower.apply(index, term, payload)
    assert answers == []
    group.commit()
    assert follower.digest() == replica.digest() and follower.state == replica.state


def test_reads():
    replica, group, answers = _leader()
    replica.read(False, answers.append)
    assert answers.pop() is replica.state
    replica.read(True, answers.append)
    assert answers == []
    group.barriers.pop()(True)
    assert answers.pop() is replica.state
    replica.read(True, answers.append)
    group.barriers.pop()(False)
    assert type(answers.pop()) is NotLeader
    group.lose()
    replica.read(True, answers.append)
    assert type(answers.pop()) is NotLeader


def test_subscribers_hear_of_every_epoch_and_of_nothing_else():
    replica, _, _ = _leader()
    epochs: list = []
    replica.subscribe(lambda state: epochs.append((state.epoch, replica.namespaces.epoch)))
    for command in (init_cluster(), init_cluster(), PutNamespace(Namespace("x", 0))):
        replica.submit(command, lambda result: None)
    replica._group.commit()
    assert epochs == [(1, 1), (2, 2)]


def test_an_entry_that_cannot_be_read_changes_nothing_and_stops_nothing():
    replica, _group, answers = _leader()
    replica.apply(90, 1, b"\xc1 nonsense")
    replica.submit(init_cluster(), answers.append)
    request_id = next(iter(replica._waiting))
    replica.apply(91, 1, module._encode_pair((request_id, ["no_such_command", 1])))
    assert type(answers.pop()) is InternalError and replica.state.epoch == 0


def test_a_snapshot_is_restored_whole_and_pinned_to_its_cut(monkeypatch):
    monkeypatch.setattr(module, "SNAPSHOT_BLOCK_BYTES", 64)
    replica, group, _ = _leader()
    replica.submit(init_cluster(), lambda result: None)
    group.commit()
    digest = replica.digest()
    blocks = replica.snapshot_blocks()
    replica.submit(PutNamespace(Namespace("later", 0)), lambda result: None)
    group.commit()
    cut = list(blocks)
    assert len(cut) > 3 and max(map(len, cut)) <= 64
    other, _ = _replica("n1")
    epochs: list = []
    other.subscribe(lambda state: epochs.append(state.epoch))
    other.install(other.prepare_restore(cut), 9, 1)
    assert other.digest() == digest != replica.digest() and epochs == [1]
    assert other.namespaces.by_name["safe"].id == 2


@pytest.mark.parametrize("spoil", [lambda b: [], lambda b: b[1:], lambda b: b[:-1], lambda b: [*b, b"x"]])
def test_a_snapshot_that_makes_no_sense_is_refused(spoil):
    replica, group, _ = _leader()
    replica.submit(init_cluster(), lambda result: None)
    group.commit()
    with pytest.raises(ValueError, match="metadata"):
        replica.prepare_restore(spoil(list(replica.snapshot_blocks())))
