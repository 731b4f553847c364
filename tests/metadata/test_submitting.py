"""Finding the metadata leader: hints, retries after definite failures alone, the deadline."""

from __future__ import annotations

from metadata_world import OneMemberGroup, init_cluster

from raftcache.errors import BadRequest, InternalError, NoLeader, NotLeader, OutcomeUnknown, Unavailable
from raftcache.metadata.commands import Applied
from raftcache.metadata.replica import MetadataReplica
from raftcache.metadata.submitting import MetadataSubmitter, serve_metadata
from raftcache.testing.virtual import VirtualRuntime


class _Nodes:
    """Three replicas of which `n2` leads, called over a network with a millisecond's delay."""

    def __init__(self) -> None:
        self.runtime = VirtualRuntime()
        self.replicas = {name: MetadataReplica(name, self.runtime) for name in ("n0", "n1", "n2")}
        self.groups = {name: OneMemberGroup(replica) for name, replica in self.replicas.items()}
        for name, replica in self.replicas.items():
            replica.attach(self.groups[name])
        self.groups["n2"].gain()
        self.groups["n2"].commit()
        self.asked: list[str] = []
        self.script: dict[str, list] = {}
        self.answers: list = []
        self.submitter = MetadataSubmitter(self.runtime, self.call, lambda: ["n0", "n1", "n2"])

    def call(self, node, method, body, deadline, done) -> None:
        self.asked.append(node)
        steps = self.script.get(node, [])
        if steps:
            step = steps.pop(0)
            self.runtime.call_later(0.001, lambda: done(step))
        else:
            self.runtime.call_later(0.001, lambda: serve_metadata(self.replicas[node], body, done))
            self.runtime.call_later(0.002, self.groups[node].commit)

    def submit(self, seconds: float = 1.0) -> object:
        before = len(self.answers)
        self.submitter.submit(init_cluster(), self.runtime.now() + seconds, self.answers.append)
        self.runtime.advance(seconds + 0.1)
        assert len(self.answers) == before + 1
        return self.answers[-1]


def test_every_node_is_tried_and_the_leader_remembered():
    nodes = _Nodes()
    assert nodes.submit() == Applied(1, True)
    assert nodes.submit() == Applied(1, False)
    assert nodes.asked == ["n0", "n1", "n2", "n2"]


def test_a_hint_is_followed_and_a_dead_node_passed_over():
    nodes = _Nodes()
    nodes.groups["n0"].leader = "n2"
    assert nodes.submit() == Applied(1, True) and nodes.asked == ["n0", "n2"]
    nodes.asked.clear()
    nodes.script["n2"] = [Unavailable("n2 is down")]
    nodes.groups["n0"].leader = None
    assert nodes.submit() == Applied(1, False)
    assert nodes.asked == ["n2", "n0", "n1", "n0", "n1", "n2"]


def test_an_unknown_outcome_is_reported_and_not_sent_again():
    nodes = _Nodes()
    nodes.script["n0"] = [OutcomeUnknown("gone")]
    assert type(nodes.submit()) is OutcomeUnknown and nodes.asked == ["n0"]


def test_a_node_that_left_a_command_without_an_answer_is_asked_last_until_it_gives_one():
    """Found by policy changes with seed 9: a leader that heard everything and reached nobody was asked by every command
    of a node, each of which waited for it until its own deadline, while another had led for ten seconds."""
    nodes = _Nodes()
    nodes.script["n0"] = [OutcomeUnknown("no answer within the deadline"), NotLeader("no")]
    nodes.submit()
    nodes.asked.clear()
    assert nodes.submit() == Applied(1, True) and nodes.asked == ["n1", "n2"]
    nodes.script["n2"] = [NotLeader("not any more")]
    nodes.submit()
    assert nodes.asked == ["n1", "n2", "n2", "n1", "n0", "n0", "n1", "n2"] and nodes.submitter.silent is None


def test_without_a_leader_the_deadline_ends_it():
    nodes = _Nodes()
    nodes.script = {name: [NotLeader("no", leader="n1")] * 500 for name in ("n0", "n1", "n2")}
    assert type(nodes.submit(3.0)) is NoLeader
    assert 12 < len(nodes.asked) < 80


def test_bodies_that_cannot_be_read():
    nodes = _Nodes()
    answers: list = []
    serve_metadata(nodes.replicas["n2"], b"\xc1", answers.append)
    serve_metadata(nodes.replicas["n2"], b"\x91\xa4nope", answers.append)
    assert [type(answer) for answer in answers] == [BadRequest, BadRequest]
    nodes.script["n0"] = [b"\xc1"]
    assert type(nodes.submit()) is InternalError
