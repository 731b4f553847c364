"""The log's batches on the wire, and what applying them does."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest

from raftcache.store.effects import (
    EFFECT_OVERHEAD_BYTES,
    LEADER_STARTED,
    PUT,
    REMOVE,
    REPLY,
    Batch,
    UnknownEffect,
    apply_batch,
    decode_batch,
    encode_batch,
)
from raftcache.store.entry import Entry
from raftcache.store.keyspace import Keyspace
from raftcache.store.memory import MemoryBudget
from raftcache.store.replies import Replies


class TwoTables(NamedTuple):
    keyspace: Keyspace
    replies: Replies


def tables_of() -> TwoTables:
    return TwoTables(Keyspace(MemoryBudget()), Replies(MemoryBudget()))


EFFECTS = [(LEADER_STARTED, "n0"), (PUT, b"k", b"v", 1, 99, 7), (PUT, b"l", b"", 0, 0, 7), (REMOVE, b"l")]


def test_a_batch_on_the_wire_is_the_documented_array() -> None:
    payload = encode_batch(Batch(3, 1, 5000, EFFECTS))
    assert msgspec.msgpack.decode(payload) == [3, 1, 5000, [list(effect) for effect in EFFECTS]]
    decoded = decode_batch(payload)
    assert (decoded.term, decoded.first_seq, decoded.time_ms) == (3, 1, 5000)
    assert [tuple(effect) for effect in decoded.effects] == EFFECTS


def test_applying_gives_each_put_its_own_seq() -> None:
    tables = tables_of()
    keyspace = tables.keyspace
    apply_batch(tables, Batch(3, 10, 0, EFFECTS))
    assert keyspace.all_keys() == [b"k"]
    assert keyspace.get(b"k") == Entry(b"v", 1, 99, 7, 3, 11)


def test_a_reply_record_is_written_and_forgotten() -> None:
    tables = tables_of()
    apply_batch(tables, Batch(3, 10, 0, [(PUT, b"k", b"v", 1, 0, 7), (REPLY, b"7:id", b"record", 99, 7)]))
    assert tables.replies.get(b"7:id") == Entry(b"record", 0, 99, 7, 3, 11)
    assert tables.keyspace.all_keys() == [b"k"] and tables.replies.count(7) == 1
    apply_batch(tables, Batch(3, 12, 0, [(REPLY, b"7:id"), (REPLY, b"7:never")]))
    assert tables.replies.get(b"7:id") is None and tables.replies.count(7) == 0
    assert tables.keyspace.all_keys() == [b"k"]


def test_a_remove_of_a_missing_key_applies() -> None:
    tables = tables_of()
    keyspace = tables.keyspace
    apply_batch(tables, Batch(3, 1, 0, [(REMOVE, b"k")]))
    assert len(keyspace) == 0


def test_an_effect_of_another_version_is_refused_before_it_is_proposed() -> None:
    with pytest.raises(UnknownEffect, match=r"codes \[77\]"):
        encode_batch(Batch(1, 1, 0, [(PUT, b"k", b"v", 0, 0, 1), (77, b"k")]))


def test_an_effect_of_another_version_in_the_log_is_not_passed_over() -> None:
    with pytest.raises(UnknownEffect):
        decode_batch(msgspec.msgpack.encode([1, 1, 0, [[77, b"k"]]]))


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode("x"), b"\x94\1\1\1\x91\x90"]
)
def test_bytes_that_make_no_batch_are_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not a batch"):
        decode_batch(payload)


def test_the_overhead_bound_holds_for_the_longest_integers() -> None:
    key, value = b"k" * 1024, b"v" * 70000
    effect = (PUT, key, value, 1, 1 << 62, 1 << 62)
    assert len(msgspec.msgpack.encode(effect)) <= len(key) + len(value) + EFFECT_OVERHEAD_BYTES
