"""What a leader tells of its keys, and when."""

from __future__ import annotations

from msgspec.structs import replace
from shard_harness import Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.types import SCAN_PAGES, Delete, Failure, Get, ReadLevel, Scan, Scanned, Set


def reading_at(bench: Bench, level: ReadLevel) -> Bench:
    """All namespaces of the harness but for `default` are gone, which reads at `level`."""
    default = replace(bench.policies.by_name["default"], read_level=level)
    bench.follow(Namespaces(bench.policies.epoch + 1, (default,)))
    bench.settle()
    return bench


def test_where_all_read_the_latest_it_is_told_at_once() -> None:
    bench = reading_at(Bench().lead(), ReadLevel.LATEST)
    bench.send(Set(b"a", b"1"))
    assert bench.send(Scan(0, 0, 9)) == [Scanned((b"a",), None, 1)]


def test_where_one_reads_what_is_committed_it_waits_for_the_newest_change() -> None:
    bench = reading_at(Bench().lead(), ReadLevel.COMMITTED)
    bench.ask(Set(b"a", b"1"))
    assert len(bench.send(Scan(0, 0, 9))) == 1, "all is committed"
    bench.send(Delete(b"a"))
    replies = bench.send(Scan(0, 0, 9))
    assert replies == [], "it would show that the key is gone"
    bench.settle()
    assert replies == [Scanned((), None, 0)]


def test_what_is_lost_is_never_told() -> None:
    bench = reading_at(Bench().lead(), ReadLevel.COMMITTED)
    bench.send(Set(b"a", b"1"))
    bench.runtime.turn()
    replies = bench.send(Scan(0, 0, 9))
    bench.group.lose()
    assert isinstance(replies[0], Failure)


def test_without_a_lease_a_linearizable_namespace_asks_for_a_proof() -> None:
    bench = reading_at(Bench().lead(), ReadLevel.LINEARIZABLE)
    before, replies = len(bench.group.log), bench.send(Scan(0, 0, 9))
    assert replies == []
    bench.settle()
    assert len(replies) == 1 and len(bench.group.log) == before + 1


def test_what_has_expired_or_was_dropped_is_not_told_of_and_looking_removes_nothing() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"a", b"1", ttl_ms=1000))
    bench.ask(Set(b"b", b"1"))
    bench.runtime.now_s += 2
    writes = bench.replica.pipeline.writes
    assert bench.ask(Scan(0, 0, 9)).keys == (b"b",)
    assert bench.replica.pipeline.writes == writes and bench.ask(Get(b"a")).value is None


def test_pages_are_told_of_as_a_whole_and_in_order() -> None:
    bench = Bench().lead()
    keys = {b"k%d" % n for n in range(200)}
    for key in keys:
        bench.send(Set(key, b"v"))
    bench.settle()
    found, page = list[bytes](), 0
    while True:
        told = bench.ask(Scan(0, page, 7))
        assert told.size == 200
        found += told.keys
        if told.next_page is None:
            break
        assert len(told.keys) >= 7 and told.next_page > page
        page = told.next_page
    assert sorted(found) == sorted(keys)


def test_bounds() -> None:
    bench = Bench().lead()
    for command in (Scan(0, SCAN_PAGES), Scan(0, -1), Scan(0, 0, 1001), Scan(16_384)):
        reply = bench.ask(command)
        assert isinstance(reply, Failure) and reply.code == "bad_request"
