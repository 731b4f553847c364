"""Hazard 2: a divergent tail and a backlog of more than one batch: no progress for ever.

PYSYNCOBJ 1267 sends all batches of a backlog at once; 985-989 answers each with `reset`, whether it refers to
the end of the log or to a conflict; 1077 takes every `reset` at its word. A follower with a divergent tail
answers the first batch with "one step back" and all the others, which lie behind the end of its log, with "from
my end", and the last answer wins. The leader starts again at the end of the divergent tail, for ever.

Expected: one restart for each round of appends, and a follower that conflicts asks from its commit index on.
"""

from __future__ import annotations

from collections.abc import Callable

from .laboratory import Laboratory


def divergent_tail_and_backlog(lab: Laboratory) -> bool:
    """n0 leads with five writes that reach nobody, n1 takes over with a backlog of many batches, and the link
    between them breaks meanwhile. Whether n0 catches up within 30 s of its return."""
    lab.elect("n0")
    lab.hold("n0", "n1", "n2")
    lab.propose_all("n0", [b"minor-%d" % i for i in range(5)])
    lab.run(0.02)
    lab.drop("n0", "n1")
    lab.drop("n0", "n2")
    lab.pause("n0")
    lab.release("n0", "n1", "n2")
    lab.elect("n1")
    lab.propose_all("n1", [b"major-%d-" % i + bytes(100) for i in range(60)])
    lab.run(1)
    lab.reconnect("n1", "n0")
    lab.resume("n0")
    return lab.run_until(lambda: lab.state("n0") == lab.state("n1"), 30)


def test_stock_never_catches_up(stock: Callable[..., Laboratory]) -> None:
    lab = stock(appendEntriesBatchSizeBytes=300)
    assert not divergent_tail_and_backlog(lab)
    assert lab.payloads("n0") == [b"minor-%d" % i for i in range(5)]


def test_stock_catches_up_where_the_backlog_is_one_batch(stock: Callable[..., Laboratory]) -> None:
    """The control: the scenario itself leaves n0 every chance."""
    assert divergent_tail_and_backlog(stock(appendEntriesBatchSizeBytes=1 << 20))


def test_guarded_catches_up(guarded: Callable[..., Laboratory]) -> None:
    lab = guarded(append_limit_bytes=300)
    assert divergent_tail_and_backlog(lab)
    assert lab.lost() == []
