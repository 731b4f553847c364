"""The pace of batches: what nobody waits for is proposed with what comes next, soon, and never lost for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from shard_harness import Bench

from raftcache.commands.types import AckLevel, Get, ReadLevel, Set
from raftcache.shard.replica import ShardReplica

PACE_S = 0.001
Q = AckLevel.QUORUM


def paced() -> Bench:
    """A leader whose last batch was proposed just now."""
    bench = Bench(replica=partial(ShardReplica, pace_s=PACE_S)).lead()  # type: ignore[arg-type]
    bench.send(Set(b"first", b"0"))
    bench.runtime.turn()
    return bench


def test_the_first_write_after_a_while_is_proposed_at_the_end_of_its_turn() -> None:
    bench = paced()
    bench.group.commit()
    bench.runtime.advance(PACE_S)
    before = len(bench.group.log)
    bench.send(Set(b"a", b"1"))
    bench.runtime.turn()
    assert len(bench.group.log) == before + 1


def test_writes_that_nobody_waits_for_share_a_batch() -> None:
    bench = paced()
    before = len(bench.group.log)
    for number in range(5):
        assert bench.send(Set(b"%d" % number, b"1")), "acknowledged at once"
        bench.runtime.turn()
    assert len(bench.group.log) == before
    bench.runtime.advance(PACE_S)
    assert len(bench.group.log) == before + 1
    bench.runtime.advance(1.0)
    assert len(bench.group.log) == before + 1, "a pause is over once"


def whoever_waits_ends_the_pause(ask: Callable[[Bench], object]) -> None:
    bench = paced()
    before = len(bench.group.log)
    bench.send(Set(b"a", b"1"))
    bench.runtime.turn()
    assert len(bench.group.log) == before
    ask(bench)
    bench.runtime.turn()
    assert len(bench.group.log) == before + 1
    bench.runtime.advance(1.0)
    assert len(bench.group.log) == before + 1


def test_a_write_that_waits_for_a_quorum_ends_the_pause() -> None:
    whoever_waits_ends_the_pause(lambda bench: bench.send(Set(b"b", b"1", ack=Q)))


def test_a_read_that_must_not_show_what_can_be_lost_ends_the_pause() -> None:
    whoever_waits_ends_the_pause(lambda bench: bench.send(Get(b"a", ReadLevel.COMMITTED)))


def test_what_is_executed_is_proposed_before_leadership_is_handed_over() -> None:
    bench = paced()
    before = len(bench.group.log)
    bench.send(Set(b"a", b"1"))
    bench.group.propose_rest()
    assert len(bench.group.log) == before + 1
    bench.runtime.advance(1.0)
    assert len(bench.group.log) == before + 1


def test_a_pause_ends_with_its_leadership() -> None:
    bench = paced()
    bench.send(Set(b"a", b"1"))
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    bench.runtime.advance(1.0)
    assert bench.replica.stats.undone_writes == 2
    bench.group.gain()
    bench.runtime.turn()
    bench.group.commit()
    assert bench.send(Set(b"a", b"2"))
    bench.runtime.turn()
    assert len(bench.group.log) == bench.group.applied + 1
