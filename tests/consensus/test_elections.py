"""Elections and transfers of leadership that once got stuck."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hazards.guarded import GROUP, GuardedLab

from raftcache.consensus import MemberId
from raftcache.consensus.messages import PRE_VOTE_REPLY, TIMEOUT_NOW, Message, pack_frames, unpack_frame
from raftcache.wal.storage import memory_storage

from .conftest import DistantLab


@pytest.mark.parametrize("one_way_steps", [5, 10, 15])
def test_regression_a_leader_is_elected_however_long_an_answer_takes(
    distant: Callable[..., DistantLab], one_way_steps: int
) -> None:
    """A round of pre-votes lasted one heartbeat or two, and answers to an earlier round do not count: with a round
    trip of 300 ms every answer came too late, and there was never a leader."""
    lab = distant(one_way_steps)
    assert lab.run_until(lambda: lab.leads("n0"), 3), "n0 was not elected"
    lab.propose("n0", b"far")
    assert lab.run_until(lambda: lab.acked == [b"far"], 1)
    lab.run(5)
    assert lab.leaders_of_term == {lab.term("n0"): {"n0"}}, "and it stays"


def replies(lab: GuardedLab, source: str, target: str) -> Iterator[Message]:
    """The answers to pre-votes that are kept on a link."""
    for frame in lab.network.queue(source, target):
        yield from (message for message in unpack_frame(frame) if message[1] == PRE_VOTE_REPLY)


def test_regression_a_passed_pre_vote_is_of_its_term_only(guarded: Callable[..., GuardedLab]) -> None:
    """A majority would have voted for n1, which then heard of a higher term before its next tick. The permission
    stayed, and n1 campaigned in the new term, deposing whom it might, without having asked anybody."""
    lab = guarded()
    lab.elect("n0")
    lab.crash("n0")
    lab.hold("n2", "n1")
    assert lab.run_until(lambda: any(reply[5] for reply in replies(lab, "n2", "n1")), 5)
    granted = next(reply for reply in replies(lab, "n2", "n1") if reply[5])
    higher = lab.term("n1") + 3
    refused = [GROUP, PRE_VOTE_REPLY, 0, 0, higher, False, granted[6], 0, False]
    lab.pause("n2")
    for frame in pack_frames([granted, refused]):
        lab._receive("n2", "n1", b"".join(frame))
    lab.run(3)
    assert lab.term("n1") == higher


def transfer_unheard(lab: GuardedLab) -> None:
    """n0 asks n1 to take over while it feeds the learner n3; the link breaks and the request is lost with it.

    n3 hears nothing until the request is out, so that it catches up in the middle of the transfer."""
    lab.elect("n0")
    lab.start("n3")
    lab.hold("n0", "n3", "n1")
    lab.group("n0").add_member(lab.member("n3"))
    assert lab.group("n0").transfer_leadership("n1")
    lab.run(0.05)
    kinds = [message[1] for frame in lab.network.queue("n0", "n1") for message in unpack_frame(frame)]
    assert TIMEOUT_NOW in kinds
    lab.release("n0", "n3", "n1")
    lab.reconnect("n0", "n1")


def test_regression_a_transfer_that_is_never_acted_on_expires(guarded: Callable[..., GuardedLab]) -> None:
    """The learner caught up in the meantime; making it a voter was refused because of the transfer, as an exception
    out of the tick, in front of the very line that would have ended the transfer. The leader kept its followers
    quiet with heartbeats and served nothing, for ever."""
    lab = guarded(size=4, initial=3)
    transfer_unheard(lab)
    assert not lab.leads("n0"), "no commands while it is under way"
    assert lab.run_until(lambda: lab.leads("n0"), 0.5), "given up after one election timeout"
    lab.propose("n0", b"after")
    assert lab.run_until(lambda: b"after" in lab.acked, 1)
    assert lab.run_until(lambda: "n3" in lab.members("n0"), 1), "and the learner becomes a voter"
    assert lab.leaders_of_term == {lab.term("n0"): {"n0"}}


def test_regression_a_groups_defect_costs_other_groups_nothing(
    guarded: Callable[..., GuardedLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception out of one group's tick ended the round of the node's clock: groups behind it had no ticks."""
    lab = guarded()
    lab.elect("n0")
    node, applied = lab.nodes["n0"], list[bytes]()

    class Other(type(node.machine)):  # type: ignore[misc]
        def apply(self, index: int, term: int, payload: bytes) -> None:
            applied.append(payload)

    alone = (MemberId("n0", "a0"),)
    other = node.host.open_group("0ther", memory_storage("0ther"), Other(lab, "n0"), bootstrap=alone)

    def defect(*_: Any) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(lab.group("n0").membership, "poll", defect)
    assert lab.run_until(lambda: other.leads_now(), 5)
    other.propose(b"served")
    lab.run(0.1)
    assert applied == [b"served"]
    assert "a defect" in lab.group("n0").halted
    assert lab.run_until(lambda: lab.leads("n1"), 5), "and the broken replica's group goes on without it"
    lab.propose("n1", b"goes on")
    assert lab.run_until(lambda: b"goes on" in lab.acked, 1)
