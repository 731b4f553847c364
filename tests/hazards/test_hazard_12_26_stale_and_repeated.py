"""Hazards 12 and 26: answers that count although they are old, or count twice.

12. PYSYNCOBJ 1098 and 1069-1085: the answer to an append names an index and no term. A leader that was deposed
    and elected again counts an answer to what it sent in its earlier term, for entries of another log.
26. 1064-1067: votes are added up without a look at who sent them. A vote that arrives twice is two votes, and
    two candidates of one term win.

Expected: answers carry the term and count in no other; one vote a member and term.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.consensus.messages import PRE_VOTE, REQUEST_VOTE, unpack_frame

from .laboratory import Laboratory
from .stock import StockLab


def answers_from_an_earlier_term(lab: Laboratory) -> None:
    """n0 leads five. n1 alone acknowledges six writes, on a link that is stuck towards n0. The others elect n4;
    n0 follows it, drops the six, and is elected again. Its new write is on n0 and n2 when n1's old answers
    arrive, which speak of a higher index. Then n0 and n2 die."""
    lab.elect("n0")
    lab.partition(["n0", "n1"], ["n2", "n3", "n4"])
    lab.hold("n1", "n0")
    lab.propose_all("n0", [b"old-%d" % i for i in range(6)])
    lab.run(0.3)
    assert len(lab.payloads("n1")) == 6
    lab.pause("n1")
    lab.elect("n4")
    for name in ("n2", "n3", "n4"):
        lab.reconnect("n0", name)
    assert lab.run_until(lambda: lab.payloads("n0") == [], 5), "n0 follows n4"
    lab.pause("n4")
    lab.elect("n0")
    lab.hold("n0", "n3")
    lab.propose("n0", b"kept")
    assert lab.run_until(lambda: b"kept" in lab.payloads("n2"), 1)
    lab.run(0.1)
    assert lab.acked == [], "two of five"
    lab.deliver("n1", "n0")
    lab.run(0.1)
    lab.crash("n0", "n2")
    assert lab.settle()


def test_stock_12_counts_answers_from_an_earlier_term(stock: Callable[..., Laboratory]) -> None:
    lab = stock(size=5)
    answers_from_an_earlier_term(lab)
    assert lab.acked[0] == b"kept"
    assert lab.lost() == [b"kept"]


def test_guarded_12_counts_answers_in_their_own_term_only(guarded: Callable[..., Laboratory]) -> None:
    lab = guarded(size=5)
    answers_from_an_earlier_term(lab)
    assert b"kept" not in lab.acked
    assert lab.lost() == []


def hold_everything(lab: Laboratory) -> None:
    for name in lab.names:
        lab.hold(name, *[other for other in lab.names if other != name])


def test_stock_26_two_leaders_from_a_repeated_vote(stock: Callable[..., StockLab]) -> None:
    """n0 gets one vote twice, n2 gets two votes; five members, so three are needed."""
    lab = stock(size=5)
    hold_everything(lab)
    lab.eagerness.update(n0=0.0, n2=0.0)
    lab.crash("n0", "n2")
    lab.start("n0", "n2")
    lab.run(0.45)
    assert lab.term("n0") == lab.term("n2") == 1, "both campaign in one term"
    lab.deliver("n0", "n1")
    lab.deliver("n2", "n3")
    lab.deliver("n2", "n4")
    vote = lab.network.queue("n1", "n0")
    vote.append(vote[0])
    lab.deliver("n1", "n0")
    lab.deliver("n3", "n2")
    lab.deliver("n4", "n2")
    assert lab.leaders_of_term[1] == {"n0", "n2"}


def test_guarded_26_a_repeated_vote_is_one_vote(guarded: Callable[..., Any]) -> None:
    """n0 passes its pre-vote with n1 and n3, campaigns, and gets n1's vote three times; then n3's, and leads."""
    lab = guarded(size=5)
    hold_everything(lab)

    def asked(kind: int, by: str, whom: str) -> bool:
        frames = lab.network.queue(by, whom)
        return any(message[1] == kind for frame in frames for message in unpack_frame(frame))

    assert lab.run_until(lambda: asked(PRE_VOTE, "n0", "n1"), 2)
    for name in ("n1", "n3"):
        lab.deliver("n0", name)
        lab.deliver(name, "n0")
    assert lab.run_until(lambda: asked(REQUEST_VOTE, "n0", "n1"), 1)
    lab.deliver("n0", "n1")
    votes = lab.network.queue("n1", "n0")
    assert len(votes) == 1
    votes.extend([votes[0], votes[0]])
    lab.deliver("n1", "n0")
    assert not lab.group("n0").is_leader
    lab.deliver("n0", "n3")
    lab.deliver("n3", "n0")
    assert lab.group("n0").is_leader


def test_guarded_26_a_repeated_pre_vote_is_one_pre_vote(guarded: Callable[..., Any]) -> None:
    lab = guarded(size=5)
    hold_everything(lab)
    assert lab.run_until(lambda: bool(lab.network.queue("n0", "n1")), 2)
    lab.deliver("n0", "n1")
    replies = lab.network.queue("n1", "n0")
    replies.extend([replies[0], replies[0]])
    lab.deliver("n1", "n0")
    lab.run(0.05)
    assert lab.term("n0") == 0, "it has not campaigned"
