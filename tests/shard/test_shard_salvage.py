"""What a lost shard's survivor holds, as the first snapshot of the shard that replaces it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from shard_harness import Bench

from raftcache.commands.types import Delete, Get, Set, Value
from raftcache.shard.salvage import salvage
from raftcache.shard.snapshot import prepare


def a_survivor() -> Bench:
    """It has led two terms, with writes, overwrites, removes and expiries."""
    bench = Bench(founded=False).lead()
    for number in range(30):
        bench.send(Set(b"k%d" % number, b"x" * number, ttl_ms=100_000 * number or None))
        if number % 10 == 9:
            bench.settle()
    bench.group.lose()
    bench.lead()
    bench.send(Set(b"k1", b"second term"))
    bench.send(Delete(b"k2"))
    bench.settle()
    return bench


Entries = list[tuple[int, bytes]]


def entries_of(bench: Bench) -> Entries:
    return list(bench.group.log)


def restored(blocks: Iterable[bytes]) -> Bench:
    bench = Bench(founded=False)
    bench.replica.shard_id = "0b0b"
    bench.replica.install(prepare("0b0b", blocks), 1, 1)
    return bench


def test_a_log_alone_gives_the_survivors_state_under_another_id() -> None:
    bench = a_survivor()
    other = restored(salvage("7c1f", "0b0b", None, entries_of(bench)))
    assert other.replica.digest() == bench.replica.digest()
    assert other.replica.history.closed == bench.replica.history.closed == {1: 32}
    assert other.replica.keyspace.expiries.size == bench.replica.keyspace.expiries.size


@pytest.mark.parametrize("cut", [1, 2])
def test_a_snapshot_and_the_log_after_it_give_the_same(cut: int) -> None:
    bench = a_survivor()
    early = Bench(node_id="n1", founded=False)
    early.group.log = entries_of(bench)
    early.group.commit(cut)
    blocks = list(early.replica.snapshot_blocks())
    other = restored(salvage("7c1f", "0b0b", blocks, entries_of(bench)[cut:]))
    assert other.replica.digest() == bench.replica.digest()


def test_what_was_in_the_log_and_not_committed_counts_too() -> None:
    """Nobody is left who could say that it was not acknowledged."""
    bench = a_survivor()
    bench.send(Set(b"uncommitted", b"kept"))
    bench.runtime.turn()
    assert bench.group.applied < len(bench.group.log)
    other = restored(salvage("7c1f", "0b0b", None, entries_of(bench)))
    other.group.term = bench.group.term
    found = other.lead().ask(Get(b"uncommitted"))
    assert isinstance(found, Value) and found.value == b"kept"


def test_terms_go_on_above_those_of_the_survivor() -> None:
    bench = a_survivor()
    other = restored(salvage("7c1f", "0b0b", None, entries_of(bench)))
    other.group.term = bench.group.term
    other.lead()
    assert other.replica.history.closed.keys() == {1, 2} and other.replica.history.term == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entries: [entries[0], *entries[2:]],
        lambda entries: [*entries[:-1], (entries[-1][0] + 1, entries[-1][1])],
        lambda entries: [*entries, (2, b"\xff\xff")],
        lambda entries: entries[1:],
    ],
    ids=["a hole", "another term", "no batch", "no beginning"],
)
def test_what_does_not_fit_together_is_refused(spoil: Callable[[Entries], Entries]) -> None:
    with pytest.raises(ValueError, match=r"7c1f|batch"):
        salvage("7c1f", "0b0b", None, spoil(entries_of(a_survivor())))


def test_a_snapshot_of_another_shard_is_refused() -> None:
    blocks = list(a_survivor().replica.snapshot_blocks())
    with pytest.raises(ValueError, match="not a snapshot of shard ffff"):
        salvage("ffff", "0b0b", blocks, [])
