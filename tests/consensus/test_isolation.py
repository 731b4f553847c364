"""What one bad message, one defect or one odd moment may cost: itself, and no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hazards.guarded import GROUP, GuardedLab, frame_of

from raftcache.consensus.messages import ACK, APPEND, FILLER, SNAPSHOT_ACK, STALE_TERM, Message, pack_frames


def notes_of(lab: GuardedLab, name: str) -> list[bytes]:
    """What the node is told beside its groups, from now on."""
    heard: list[bytes] = []
    lab.nodes[name].host.on_note = lambda _node, payload: heard.append(payload)
    return heard


def receive(lab: GuardedLab, source: str, target: str, *messages: Message) -> None:
    """One frame with all the messages."""
    for frame in pack_frames(list(messages)):
        lab._receive(source, target, b"".join(frame))


def test_regression_a_handlers_exception_stops_that_replica_alone(guarded: Callable[..., GuardedLab]) -> None:
    """An append that would take back an applied entry (another node lost power) raised out of the frame: what came
    behind it in the frame was lost, and the replica went on in a state that nobody had thought of."""
    lab = guarded()
    lab.elect("n0")
    notes, term = notes_of(lab, "n1"), lab.term("n0")
    conflict = [GROUP, APPEND, 0, 0, term, 0, 0, 0, 0, 0.0, 0, 0.0, 0, term + 1, b"\x00in place of an applied entry"]
    assert lab.group("n1").applied_index > 0
    receive(lab, "n0", "n1", conflict, ["", b"behind it"])
    assert notes == [b"behind it"]
    assert "would be taken back" in lab.group("n1").halted
    lab.propose("n0", b"without n1")
    assert lab.run_until(lambda: b"without n1" in lab.acked, 1)
    assert b"without n1" not in lab.state("n1")


@pytest.mark.parametrize(
    "malformed",
    [
        [GROUP],
        [GROUP, APPEND],
        [GROUP, APPEND, 0, 0, 1, 0, 0],
        [GROUP, FILLER, 0, 0, 1],
        [GROUP, STALE_TERM, 0, 0, 1, 2],
        [GROUP, 0, 0, 0],
        [GROUP, 99, 0, 0, 1],
        [GROUP, "append", 0, 0, 1],
        ["", b"a note", b"and more"],
        [GROUP, [1], 0, 0],
        [["x"], FILLER, 0, 0, 1, 2.0],
    ],
    ids=str,
)
def test_regression_a_malformed_message_costs_itself_only(
    guarded: Callable[..., GuardedLab], malformed: Message
) -> None:
    """It once raised out of the handler, or as far as the link; now it is counted and the rest is read."""
    lab = guarded()
    lab.elect("n0")
    notes = notes_of(lab, "n1")
    receive(lab, "n0", "n1", malformed, ["", b"behind it"])
    assert notes == [b"behind it"]
    assert lab.nodes["n1"].host.bad_frames == 1
    assert lab.group("n1").halted == ""
    lab.propose("n0", b"as ever")
    lab.run(0.3)
    assert b"as ever" in lab.state("n1")


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x01", b"\x91\x01", b"\x91\x90", b"\x80", b"\x92\x91"])
def test_a_garbage_frame_is_counted_and_dropped(guarded: Callable[..., GuardedLab], frame: bytes) -> None:
    lab = guarded()
    lab._receive("n0", "n1", frame)
    assert lab.nodes["n1"].host.bad_frames == 1
    lab.elect("n0")


def test_a_note_that_raises_costs_itself_only(guarded: Callable[..., GuardedLab]) -> None:
    lab = guarded()
    lab.elect("n0")

    def refuse(_node: str, _payload: bytes) -> None:
        raise ValueError("not a note")

    lab.nodes["n1"].host.on_note = refuse
    term = lab.term("n1") + 1
    receive(lab, "n0", "n1", ["", b"bad"], [GROUP, STALE_TERM, 0, 0, term])
    assert lab.nodes["n1"].host.bad_frames == 1
    assert lab.term("n1") == term, "what came behind it was handled"


def test_what_comes_from_a_node_without_a_link_is_dropped(guarded: Callable[..., GuardedLab]) -> None:
    lab = guarded()
    lab.elect("n0")
    lab.disconnect("n0", "n1")
    term = lab.term("n1")
    receive(lab, "n0", "n1", [GROUP, STALE_TERM, 0, 0, term + 1])
    assert lab.term("n1") == term


def test_what_is_for_another_replica_number_is_dropped(guarded: Callable[..., GuardedLab]) -> None:
    """The group's files were wiped once: the replica is a new member, and the old one's messages are not its."""
    lab = guarded()
    lab.elect("n0")
    term = lab.term("n1")
    receive(lab, "n0", "n1", [GROUP, STALE_TERM, 7, 0, term + 1])
    assert lab.term("n1") == term


def test_regression_propose_appends_whatever_the_clock_does(guarded: Callable[..., GuardedLab]) -> None:
    """The engine empties its queue of commands against the clock. A process that was stopped between two of its
    readings left the entry in the queue: `propose` returned the index of an older entry, and this one surfaced
    later, in whatever term the replica led next."""
    lab = guarded()
    lab.elect("n0")
    group, runtime = lab.group("n0"), lab.nodes["n0"].runtime
    last, shown = group.last_index, [runtime.now()]

    def stopped_before_every_reading() -> float:
        shown[0] += 0.15
        return shown[0]

    runtime.now = stopped_before_every_reading  # type: ignore[method-assign]
    index = group.propose(b"late")
    del runtime.now
    assert index == last + 1
    assert lab.log("n0")[-1].payload == b"late"
    lab.run(0.3)
    assert lab.state("n1") == [b"late"]


@pytest.mark.parametrize("kind", [ACK, SNAPSHOT_ACK])
def test_regression_the_ack_of_a_removed_member_is_ignored(guarded: Callable[..., GuardedLab], kind: int) -> None:
    """n2 was removed while its answer was under way. The engine looked it up among its peers: a KeyError."""
    lab = guarded()
    lab.elect("n0")
    lab.group("n0").remove_member(lab.member("n2"))
    lab.run(0.3)
    term, index = lab.term("n0"), lab.last_index("n0")
    fields = {ACK: [term, index + 1, False, True, 0, lab.now, 0, 400], SNAPSHOT_ACK: [term, index, 10, True]}[kind]
    lab._receive("n2", "n0", frame_of([GROUP, kind, 0, 0, *fields]))
    assert lab.group("n0").halted == ""
    lab.propose("n0", b"goes on")
    assert lab.run_until(lambda: b"goes on" in lab.acked, 1)


def test_an_ack_under_way_while_its_sender_is_removed(guarded: Callable[..., GuardedLab]) -> None:
    """The same with a real answer, which waits on the link."""
    lab = guarded()
    lab.elect("n0")
    lab.hold("n2", "n0")
    lab.propose("n0", b"answered late")
    lab.run(0.1)
    lab.group("n0").remove_member(lab.member("n2"))
    lab.run(0.3)
    assert lab.network.queue("n2", "n0")
    lab.release("n2", "n0")
    lab.run(0.1)
    assert (lab.group("n0").halted, lab.leaders()) == ("", ["n0"])
