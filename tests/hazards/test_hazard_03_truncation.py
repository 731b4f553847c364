"""Hazard 3: an append that overlaps the log takes back entries that match and were acknowledged.

PYSYNCOBJ 991-1006: a follower drops everything behind `prevLogIdx`, then adds what the append brings, also where
both are the same. 1079-1082: an answer of success moves `nextIndex` *back* to just behind what it acknowledges,
so batches in flight are sent again. Between the first of the repeated batches and the last the follower lacks
entries that it has acknowledged and that its leader has committed. One crash then loses acknowledged writes.

Raft (section 5.3): entries are dropped only where one of the same index has another term.
"""

from __future__ import annotations

from collections.abc import Callable

from .guarded import GuardedLab
from .laboratory import Laboratory
from .stock import StockLab

WRITES = [b"a%d-" % i + bytes(100) for i in range(1, 5)]

TWO_ENTRIES = 150
"""Bytes: an append carries entries until their sum reaches the limit, so two of `WRITES`."""


def appends_in_flight(lab: Laboratory) -> None:
    """n2 is cut off; n0 leads with four writes on their way to n1, each in an append of its own."""
    lab.elect("n0")
    lab.isolate("n2")
    lab.hold("n0", "n1")
    lab.hold("n1", "n0")
    lab.drop("n0", "n1")
    for payload in WRITES:
        lab.propose("n0", payload)
        lab.run(0.11)


def answer_of_the_first_append(lab: Laboratory) -> None:
    """n1 gets the first of the appends in flight, and n0, acting on its answer, sends on before the others
    arrive."""
    while WRITES[0] not in lab.payloads("n1"):
        lab.deliver("n0", "n1", 1)
    lab.deliver("n1", "n0")
    lab.run(0.11)


def test_stock_moves_next_index_back(stock: Callable[..., StockLab]) -> None:
    lab = stock(appendEntriesBatchSizeBytes=TWO_ENTRIES)
    appends_in_flight(lab)
    node = next(iter(n for n in lab.nodes["n0"].otherNodes if n.id == "n1"))
    sent_to = lab.nodes["n0"].private("raftNextIndex")[node]
    while WRITES[0] not in lab.payloads("n1"):
        lab.deliver("n0", "n1", 1)
    lab.deliver("n1", "n0")
    assert sent_to == lab.last_index("n0") + 1
    assert lab.nodes["n0"].private("raftNextIndex")[node] < sent_to


def acknowledged_then_overlapped(lab: Laboratory) -> None:
    """n1 gets the originals and acknowledges them, so n0 commits; then it gets one more message of the repeats.
    n0 dies for ever; n1 and n2 go on."""
    appends_in_flight(lab)
    answer_of_the_first_append(lab)
    while WRITES[-1] not in lab.payloads("n1"):
        lab.deliver("n0", "n1", 1)
    lab.deliver("n1", "n0")
    lab.run(0.05)
    lab.release("n1", "n0")
    assert set(WRITES) <= set(lab.acked), "committed by n0 and n1"
    for _ in range(3):
        lab.deliver("n0", "n1", 1)
        if WRITES[-1] not in lab.payloads("n1"):
            break
    lab.crash("n0")
    assert lab.settle()


def test_stock_loses_acknowledged_writes(stock: Callable[..., Laboratory]) -> None:
    lab = stock(appendEntriesBatchSizeBytes=TWO_ENTRIES)
    acknowledged_then_overlapped(lab)
    assert WRITES[-1] in lab.lost()


def test_guarded_keeps_what_matches(guarded: Callable[..., Laboratory]) -> None:
    lab = guarded(append_limit_bytes=TWO_ENTRIES)
    acknowledged_then_overlapped(lab)
    assert lab.lost() == []


def test_guarded_sends_nothing_in_flight_again(guarded: Callable[..., GuardedLab]) -> None:
    """The first answer leaves the place from which n0 sends on where it is: behind all that is in flight."""
    lab = guarded(append_limit_bytes=TWO_ENTRIES)
    sent: list[bytes] = []

    def watch(source: str, target: str, frame: bytes) -> None:
        if (source, target) == ("n0", "n1"):
            sent.extend(payload for payload in WRITES if payload in frame)

    lab.watch = watch
    appends_in_flight(lab)
    answer_of_the_first_append(lab)
    assert sent == WRITES


def test_guarded_keeps_members_in_a_tail_that_matches(guarded: Callable[..., GuardedLab]) -> None:
    """A membership entry behind the place of an overlapping append is in force and stays so: the stock engine
    would reverse it. n1 gets an append once more, which ends before the entry that makes n3 a member."""
    lab = guarded(size=4, initial=3)
    lab.elect("n0")
    lab.start("n3")
    repeats: list[bytes] = []
    lab.watch = lambda source, target, frame: (
        repeats.append(frame) if (source, target) == ("n0", "n1") and b"early" in frame else None
    )
    lab.propose("n0", b"early")
    lab.run(0.2)
    lab.group("n0").add_member(lab.member("n3"))
    assert lab.run_until(lambda: "n3" in lab.members("n1"), 5)
    end = lab.last_index("n1")
    assert repeats
    for frame in repeats:
        lab._receive("n0", "n1", frame)
        assert "n3" in lab.members("n1")
        assert lab.last_index("n1") >= end
