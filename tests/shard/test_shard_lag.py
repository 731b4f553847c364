"""How many writes a replica is behind, told by the index up to which its log matches."""

from __future__ import annotations

from shard_harness import Bench

from raftcache.commands.types import Set


def test_writes_are_counted_from_the_end_of_the_matching_batch() -> None:
    bench = Bench()
    bench.group.gain()
    bench.group.commit()
    behind = bench.replica.pipeline.writes_behind
    assert behind(1) == 0
    for batch in range(2):
        for key in range(3):
            bench.send(Set(b"k%d-%d" % (batch, key), b"v"))
        bench.runtime.turn()
    assert [behind(index) for index in (1, 2, 3)] == [6, 3, 0]


def test_a_new_leadership_starts_to_count_anew() -> None:
    bench = Bench()
    bench.group.gain()
    bench.group.commit()
    bench.send(Set(b"k", b"v"))
    bench.runtime.turn()
    bench.group.lose()
    bench.group.gain()
    bench.group.commit()
    assert bench.replica.pipeline.writes_behind(0) == 0
