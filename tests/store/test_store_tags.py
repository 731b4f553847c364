"""Tags: how many entries carry each, and which drops concern an entry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftcache.store.entry import Entry, TaggedEntry, entry_bytes
from raftcache.store.keyspace import Keyspace
from raftcache.store.memory import MemoryBudget
from raftcache.store.tags import DroppedTags, canonical


def tagged(seq: int, *tags: str, namespace_id: int = 2, term: int = 1) -> TaggedEntry:
    return TaggedEntry(b"x", 0, 0, namespace_id, term, seq, canonical(tags))


def test_a_tag_is_one_text_for_all_entries_and_named_once() -> None:
    one, other = canonical(["".join(["a", "bc"]), "abc", "d"]), canonical(["".join(["ab", "c"])])
    assert one == ("abc", "d") and one[0] is other[0]


def test_an_entry_is_dropped_by_a_drop_that_is_newer_in_its_own_namespace() -> None:
    dropped = DroppedTags([(2, "a", 3, 10)])
    assert dropped.drop_of(tagged(9, "a", term=3)) == (3, 10)
    assert dropped.drop_of(tagged(99, "a", term=2)) == (3, 10)
    assert dropped.drop_of(tagged(11, "a", term=3)) is None
    assert dropped.drop_of(tagged(9, "b", term=3)) is None
    assert dropped.drop_of(tagged(9, "a", namespace_id=4, term=3)) is None


def test_of_several_drops_the_oldest_that_concerns_an_entry_counts() -> None:
    dropped = DroppedTags([(2, "a", 3, 10), (2, "b", 3, 5), (2, "c", 3, 1)])
    assert dropped.drop_of(tagged(3, "a", "b", "c", term=3)) == (3, 5)


def test_rows_before_take_undone_drops_back() -> None:
    dropped = DroppedTags([(2, "a", 1, 1)])
    undo = [((2, "a"), dropped.put((2, "a"), (1, 5))), ((2, "b"), dropped.put((2, "b"), (1, 6)))]
    undo.append(((2, "a"), dropped.put((2, "a"), None)))
    assert dropped.rows_before(undo) == [(2, "a", 1, 1)]
    assert dropped.rows_before(()) == [(2, "b", 1, 6)]


TAGS = st.lists(st.sampled_from("abc"), max_size=3).map(canonical)
CHANGES = st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), TAGS), st.integers(1, 2)), max_size=40)


@given(CHANGES)
def test_families_and_charges_are_a_recount(changes: list[tuple[int, tuple[str, ...] | None, int]]) -> None:
    budget = MemoryBudget()
    keyspace = Keyspace(budget)
    seqs = iter(range(1, 1000))
    for number, tags, namespace_id in changes:
        key = b"%d" % number
        if tags is None:
            keyspace.remove(key)
        elif tags:
            keyspace.put(key, tagged(next(seqs), *tags, namespace_id=namespace_id))
        else:
            keyspace.put(key, Entry(b"x", 0, 0, namespace_id, 1, next(seqs)))
    rows = [row for page in range(1024) for row in keyspace.rows_of_page(page)]
    for namespace_id in (1, 2):
        for tag in "abc":
            mine = [entry for _, entry in rows if entry.namespace_id == namespace_id]
            carry = [entry for entry in mine if isinstance(entry, TaggedEntry) and tag in entry.tags]
            assert keyspace.families.count((namespace_id, tag)) == len(carry)
    assert keyspace.families.entries == sum(isinstance(entry, TaggedEntry) for _, entry in rows)
    fresh = Keyspace(MemoryBudget())
    fresh.load(rows)
    assert keyspace.used_bytes == budget.used_bytes == fresh.used_bytes >= sum(entry_bytes(*row) for row in rows)
    for key in keyspace.all_keys():
        keyspace.remove(key)
    assert keyspace.used_bytes == budget.used_bytes == 0 and not keyspace.families.parts()
    assert all(tenant.items == tenant.bytes == 0 for tenant in keyspace.tenants.by_id.values())
