"""Snapshots: whole, committed only, bounded blocks, refused when damaged."""

from __future__ import annotations

import msgspec
import pytest
from shard_harness import Bench

from raftcache.commands.types import Delete, Set
from raftcache.shard.snapshot import BLOCK_BYTES, END, ENTRIES, FORMAT, HEADER, KEYS_PER_STEP, POLICIES, SnapshotBlocks


def loaded() -> Bench:
    bench = Bench().lead()
    for number in range(50):
        bench.send(Set(b"k%d" % number, b"x" * number, ttl_ms=1000 * number or None))
    bench.settle()
    bench.group.lose()
    bench.group.gain()
    bench.group.commit()
    return bench


def restored(blocks: list[bytes], limit_bytes: int = 1 << 30) -> Bench:
    bench = Bench(limit_bytes)
    bench.send(Set(b"ignored", b""))
    bench.replica.install(bench.replica.prepare_restore(blocks), 1, 1)
    return bench


def test_a_restored_replica_equals_the_one_it_was_taken_from() -> None:
    bench = loaded()
    other = restored(list(bench.replica.snapshot_blocks()))
    assert other.replica.digest() == bench.replica.digest()
    assert other.replica.history.closed == {1: 51}
    assert other.budget.used_bytes == bench.budget.used_bytes == other.replica.keyspace.used_bytes
    assert other.replica.keyspace.expiries.size == 49


def test_what_is_speculative_is_left_out() -> None:
    bench = loaded()
    expected = list(bench.replica.snapshot_blocks())
    for command in (Set(b"k1", b"speculative"), Delete(b"k2"), Set(b"new", b"x"), Set(b"k1", b"more")):
        bench.send(command)
    assert restored(list(bench.replica.snapshot_blocks())).replica.digest() == restored(expected).replica.digest()
    assert bench.replica.digest() == restored(expected).replica.digest()


def test_blocks_come_in_order_and_are_bounded() -> None:
    bench = Bench().lead()
    for number in range(KEYS_PER_STEP + 500):
        bench.send(Set(b"k%d" % number, b"x" * 1000))
    bench.send(Set(b"big", b"x" * (1 << 20)))
    bench.settle()
    blocks = list(bench.replica.snapshot_blocks())
    kinds = [msgspec.msgpack.decode(block)[0] for block in blocks]
    assert kinds == [HEADER, POLICIES] + [ENTRIES] * (len(blocks) - 3) + [END]
    assert len([block for block in blocks if len(block) > BLOCK_BYTES + 4096]) == 1
    assert len(blocks) > 10


def test_a_step_looks_at_a_bounded_number_of_keys_even_where_none_is_left() -> None:
    bench = Bench().lead()
    for number in range(3 * KEYS_PER_STEP):
        bench.send(Set(b"k%d" % number, b""))
    entries = [block for block in bench.replica.snapshot_blocks() if msgspec.msgpack.decode(block)[0] == ENTRIES]
    assert [msgspec.msgpack.decode(block)[1] for block in entries] == [[]] * len(entries)
    assert len(entries) > 3


def test_an_abandoned_snapshot_lets_go_of_its_cut() -> None:
    bench = loaded()
    unstarted, started = bench.replica.snapshot_blocks(), bench.replica.snapshot_blocks()
    next(started)
    bench.ask(Set(b"k1", b"y" * 100))
    assert bench.budget.used_bytes > bench.replica.keyspace.used_bytes
    for blocks in (unstarted, started):
        assert isinstance(blocks, SnapshotBlocks)
        blocks.close()
    assert bench.budget.used_bytes == bench.replica.keyspace.used_bytes
    assert list(started) == []


def test_installing_replaces_what_was_there_and_adjusts_the_budget() -> None:
    bench = loaded()
    other = Bench().lead()
    other.ask(Set(b"stranger", b"x" * 5000))
    other.group.lose()
    other.replica.install(other.replica.prepare_restore(bench.replica.snapshot_blocks()), 9, 2)
    assert other.replica.keyspace.get(b"stranger") is None
    assert other.budget.used_bytes == bench.budget.used_bytes
    other.group.term = 2
    assert other.lead().replica.serving


def test_restoring_tells_how_far_it_has_come() -> None:
    bench = Bench().lead()
    for number in range(600):
        bench.send(Set(b"k%d" % number, b"x" * 1000))
    bench.settle()
    bench.send(Set(b"speculative", b"x"))
    told: list[tuple[int, int]] = []
    bench.replica.on_restored = lambda done, keys: told.append((done, keys))
    bench.replica.prepare_restore(bench.replica.snapshot_blocks())
    assert told[0] == (0, 600) and told[-1] == (600, 600) and len(told) > 3
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_nobody_installs_is_let_go_of_in_steps() -> None:
    bench = loaded()
    prepared = bench.replica.prepare_restore(bench.replica.snapshot_blocks())
    bench.replica.discard(prepared)
    assert len(prepared.keyspace.all_keys()) == 50
    bench.runtime.advance(1)
    assert bench.replica._trash.waiting == 0


def damaged(blocks: list[bytes]) -> dict[str, list[bytes]]:
    encode = msgspec.msgpack.encode
    return {
        "nothing": [],
        "no end": blocks[:-1],
        "no header": blocks[1:],
        "block lost": [blocks[0], blocks[-1]],
        "block twice": [blocks[0], blocks[1], blocks[1], blocks[-1]],
        "other count": [encode([HEADER, FORMAT, "7c1f", 1, 1, 0, [], 49]), *blocks[1:]],
        "more after the end": [*blocks, blocks[1]],
        "garbage": [blocks[0], b"\xc1"],
        "cut short": [blocks[0], blocks[1][:-1]],
        "unknown kind": [blocks[0], encode([9])],
        "empty array": [blocks[0], encode([])],
        "wrong types": [blocks[0], encode([ENTRIES, [["k", 1]]])],
        "other format": [encode([HEADER, 99, "7c1f", 1, 1, 0, [], 50]), *blocks[1:]],
        "other shard": [encode([HEADER, FORMAT, "beef", 1, 1, 0, [], 50]), *blocks[1:]],
    }


@pytest.mark.parametrize("how", list(damaged([b"a", b"b", b"c"])))
def test_blocks_that_make_no_sense_are_a_value_error(how: str) -> None:
    bench = loaded()
    blocks = damaged(list(bench.replica.snapshot_blocks()))[how]
    with pytest.raises(ValueError, match="snapshot of shard 7c1f"):
        Bench().replica.prepare_restore(blocks)


def test_digests_tell_states_apart() -> None:
    digests = set()
    for value, ttl_ms in ((b"a", None), (b"b", None), (b"a", 5)):
        bench = Bench().lead()
        bench.ask(Set(b"k", value, ttl_ms=ttl_ms))
        digests.add(bench.replica.digest())
    assert len(digests) == 3
