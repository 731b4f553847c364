"""Byte accounting, undo by restore, and consistent cuts, against recounts and copies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.store.entry import Entry, entry_bytes
from raftcache.store.expire import BUCKET_MS, STALE_BUCKETS_LIMIT, WHEELS, ExpiryIndex
from raftcache.store.keyspace import PAGES, Keyspace
from raftcache.store.memory import MemoryBudget
from raftcache.store.packing import PACKED_LIMIT_BYTES


def entry(value: bytes = b"v", expires_ms: int = 0, seq: int = 1) -> Entry:
    return Entry(value, 0, expires_ms, 1, 1, seq)


def live(keyspace: Keyspace) -> dict[bytes, Entry | None]:
    return {key: keyspace.get(key) for key in keyspace.all_keys()}


def recount(keyspace: Keyspace) -> int:
    return sum(entry_bytes(key, found) for key, found in live(keyspace).items() if found is not None)


KEYS = st.sampled_from([b"a", b"b", b"c", b"dd", b"eee"])
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=5), st.sampled_from([0, 5, 5000])), max_size=30)


def change(keyspace: Keyspace, key: bytes, value: bytes | None, expires_ms: int) -> Entry | None:
    return keyspace.remove(key) if value is None else keyspace.put(key, entry(value, expires_ms))


@settings(deadline=None, max_examples=150)
@given(before=CHANGES, after=CHANGES)
def test_bytes_and_expiry_index_equal_a_recount(before: list[Any], after: list[Any]) -> None:
    budget = MemoryBudget()
    shards = [Keyspace(budget), Keyspace(budget)]
    for keyspace, changes in zip(shards, (before, after), strict=True):
        for step in changes:
            change(keyspace, *step)
        assert keyspace.used_bytes == recount(keyspace)
        with_ttl = [key for key, found in live(keyspace).items() if found is not None and found.expires_ms]
        assert keyspace.expiries.size == len(with_ttl)
        assert sum(tenant.expiring for tenant in keyspace.tenants.by_id.values()) == len(with_ttl)
    assert budget.used_bytes == sum(keyspace.used_bytes for keyspace in shards)


@settings(deadline=None, max_examples=150)
@given(committed=CHANGES, speculative=CHANGES, after=CHANGES, stop=st.integers(0, 10))
def test_a_cut_is_the_committed_state_however_it_changes_later(
    committed: list[Any], speculative: list[Any], after: list[Any], stop: int
) -> None:
    budget = MemoryBudget()
    keyspace = Keyspace(budget)
    for step in committed:
        change(keyspace, *step)
    expected = live(keyspace)
    undo = [(step[0], change(keyspace, *step)) for step in speculative]
    cut = keyspace.cut(undo)
    rows = cut.rows()
    seen = [row for _, row in zip(range(stop), rows, strict=False)]
    for step in after:
        change(keyspace, *step)
    seen += list(rows)
    assert dict(seen) == expected
    assert cut.count == len(expected) == len(seen)
    cut.close()
    cut.close()
    assert budget.used_bytes == keyspace.used_bytes == recount(keyspace)


@settings(deadline=None, max_examples=100)
@given(before=CHANGES, changes=CHANGES)
def test_restoring_newest_first_takes_all_changes_back(before: list[Any], changes: list[Any]) -> None:
    keyspace = Keyspace(MemoryBudget())
    for step in before:
        change(keyspace, *step)
    expected = live(keyspace)
    undo = [(step[0], change(keyspace, *step)) for step in changes]
    for key, old in reversed(undo):
        keyspace.restore(key, old)
    assert live(keyspace) == expected
    assert keyspace.used_bytes == recount(keyspace)


def test_a_pinned_preimage_counts_as_memory_until_the_cut_is_closed() -> None:
    budget = MemoryBudget()
    keyspace = Keyspace(budget)
    keyspace.put(b"k", entry(b"x" * 1000))
    cut = keyspace.cut()
    keyspace.put(b"k", entry(b"y"))
    assert budget.used_bytes == keyspace.used_bytes + entry_bytes(b"k", entry(b"x" * 1000))
    cut.close()
    assert budget.used_bytes == keyspace.used_bytes


def test_a_page_that_was_read_pins_nothing_any_more() -> None:
    budget = MemoryBudget()
    keyspace = Keyspace(budget)
    for number in range(100):
        keyspace.put(b"%d" % number, entry(b"x" * 1000))
    cut = keyspace.cut()
    for number in range(100):
        keyspace.put(b"%d" % number, entry(b"y"))
    pinned = [cut.pinned_bytes]
    while cut.read_page() is not None:
        pinned.append(cut.pinned_bytes)
    assert pinned == sorted(pinned, reverse=True) and pinned[-1] == 0
    for number in range(100):
        keyspace.put(b"%d" % number, entry(b"z"))
    assert cut.pinned_bytes == 0 and budget.used_bytes == keyspace.used_bytes


def test_no_page_holds_much_more_than_its_share() -> None:
    """What a step looks at is a page: consecutive keys, keys of one namespace and of one slot must spread."""
    for form in (b"%d", b"sessions:%08d", b"{user1}:%d"):
        keyspace = Keyspace(MemoryBudget())
        keyspace.load([(form % number, entry()) for number in range(20 * PAGES)])
        assert max(len(keyspace.keys_of_page(number)) for number in range(PAGES)) < 3 * 20


def test_loading_equals_putting_one_by_one_and_refuses_a_key_twice() -> None:
    rows = [(b"%d" % number, entry(b"x" * number, expires_ms=number * 700)) for number in range(50)]
    one_by_one, loaded = Keyspace(MemoryBudget()), Keyspace(MemoryBudget())
    for row in rows:
        one_by_one.put(*row)
    loaded.load(rows[:20])
    loaded.load(rows[20:])
    assert live(loaded) == live(one_by_one) and len(loaded) == 50
    assert loaded.used_bytes == one_by_one.used_bytes
    assert loaded.expiries.size == one_by_one.expiries.size == 49
    assert loaded.tenants.get(1).expiring == one_by_one.tenants.get(1).expiring == 49
    with pytest.raises(KeyError, match="occurs twice"):
        loaded.load([(b"7", entry())])


def test_what_is_let_go_of_is_handed_over_in_parts_of_a_page() -> None:
    parts: list[Any] = []
    keyspace, other = Keyspace(MemoryBudget(), parts.append), Keyspace(MemoryBudget())
    keyspace.load([(b"%d" % number, entry(expires_ms=number)) for number in range(1000)])
    keyspace.adopt(other)
    pages, *buckets = parts
    assert sum(map(len, pages)) == 1000 and max(map(len, pages)) < 20
    assert sum(len(bucket) for wheel in buckets for bucket in wheel.values()) == 999


def test_adopt_swaps_the_content_and_leaves_open_cuts_the_old_one() -> None:
    budget = MemoryBudget()
    keyspace, other = Keyspace(budget), Keyspace(MemoryBudget())
    keyspace.put(b"old", entry(b"1"))
    other.put(b"new", entry(b"22", expires_ms=9))
    cut = keyspace.cut()
    keyspace.adopt(other)
    keyspace.put(b"newer", entry(b"3"))
    assert keyspace.all_keys() == [b"new", b"newer"] and keyspace.get(b"old") is None
    assert dict(cut.rows()) == {b"old": entry(b"1")}
    cut.close()
    assert budget.used_bytes == keyspace.used_bytes == recount(keyspace)


def test_due_gives_only_keys_of_buckets_that_are_wholly_past_oldest_first() -> None:
    index = ExpiryIndex()
    index.add(b"late", 5 * BUCKET_MS)
    index.add(b"early", 1)
    index.add(b"early2", 2)
    assert index.due(BUCKET_MS - 1, 10) == []
    assert index.due(10 * BUCKET_MS, 1) == [b"early"]
    assert index.due(10 * BUCKET_MS, 10) == [b"early", b"early2"]
    index.discard(b"early", 1)
    index.discard(b"early2", 2)
    assert index.due(10 * BUCKET_MS, 10) == [b"late"]
    index.discard(b"late", 5 * BUCKET_MS)
    assert index.due(10 * BUCKET_MS, 10) == []


def test_the_expiry_heap_stays_small_when_one_key_is_rewritten_for_ever() -> None:
    index = ExpiryIndex()
    for step in range(5000):
        index.add(b"k", step * BUCKET_MS)
        index.discard(b"k", step * BUCKET_MS)
    assert index.heap_size() <= WHEELS * (STALE_BUCKETS_LIMIT + 1)
    index.add(b"k", 7)
    assert index.due(2 * BUCKET_MS, 5) == [b"k"]


@settings(deadline=None, max_examples=100)
@given(times=st.dictionaries(KEYS, st.integers(1, 20 * BUCKET_MS)), now_ms=st.integers(0, 21 * BUCKET_MS))
def test_repeated_due_finds_every_key_of_a_past_bucket_and_no_other(times: dict[bytes, int], now_ms: int) -> None:
    index = ExpiryIndex()
    for key, expires_ms in times.items():
        index.add(key, expires_ms)
    found: list[bytes] = []
    while keys := index.due(now_ms, 2):
        found += keys
        for key in keys:
            index.discard(key, times[key])
    assert set(found) == {key for key, at in times.items() if (at // BUCKET_MS + 1) * BUCKET_MS <= now_ms}
    assert index.size == len(times) - len(found)


def test_room_is_up_to_the_limit_and_no_further() -> None:
    budget = MemoryBudget(100)
    budget.used_bytes = 60
    assert budget.has_room(40) and not budget.has_room(41)


def test_removing_nothing_changes_nothing() -> None:
    keyspace = Keyspace(MemoryBudget())
    assert keyspace.remove(b"k") is None
    assert keyspace.used_bytes == 0
    with pytest.raises(KeyError):
        keyspace.expiries.discard(b"k", 1)


def test_a_bucket_that_is_full_goes_on_as_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.store.expire.BUCKET_KEYS", 3)
    index, keys = ExpiryIndex(), [b"k%d" % n for n in range(10)]
    for key in keys:
        index.add(key, 5)
    assert max(map(len, index.parts()[0])) <= 3 and index.size == 10
    index.discard(keys[4], 5)
    index.discard(keys[9], 5)
    left: list[bytes] = []
    while due := index.due(10 * BUCKET_MS, 2):
        left += due
        for key in due:
            index.discard(key, 5)
    assert sorted(left) == sorted({*keys} - {keys[4], keys[9]}) and index.size == 0 and not index.parts()


def test_entries_are_the_same_packed_or_not() -> None:
    keyspace = Keyspace(MemoryBudget())
    sizes = (0, PACKED_LIMIT_BYTES, PACKED_LIMIT_BYTES + 1)
    kept = [Entry(b"x" * size, 1, 1 << 41, 1 << 31, 1 << 20, 1 << 50) for size in sizes]
    for number, one in enumerate(kept):
        keyspace.put(b"%d" % number, one)
    assert [keyspace.get(b"%d" % number) for number in range(3)] == kept
    assert {entry.value: entry for _, entry in keyspace.cut().rows()} == {entry.value: entry for entry in kept}
