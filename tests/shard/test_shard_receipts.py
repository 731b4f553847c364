"""What a shard says of versions: committed, lost or pending; durable or not; now, or after a wait."""

from __future__ import annotations

import gc
import weakref

import pytest
from shard_harness import Bench, follower_of

from raftcache.commands.types import Failure, Fate, Receipt, ReceiptList, Receipts, Reply, Set, Version, Written
from raftcache.shard import receipts as receipts_module
from raftcache.shard.replica import ShardReplica
from raftcache.shard.snapshot import prepare
from raftcache.store.effects import LEADER_STARTED, Batch, encode_batch

PENDING, COMMITTED, LOST = Fate.PENDING, Fate.COMMITTED, Fate.LOST


def at(term: int, seq: int) -> Version:
    return Version("7c1f", term, seq)


class Collector:
    """Who asks, and what it is told."""

    def __init__(self, replies: list[Reply]) -> None:
        self.replies = replies

    def __call__(self, reply: Reply) -> None:
        self.replies.append(reply)


def write(bench: Bench, key: bytes = b"k") -> Version:
    [reply] = bench.send(Set(key, b"v"))
    assert isinstance(reply, Written)
    return reply.version


def ask(replica: ShardReplica, *versions: Version, wait_ms: int = 0) -> list[Reply]:
    replies: list[Reply] = []
    replica.receipts(Receipts(versions, wait_ms), replies.append)
    return replies


def told(replica: ShardReplica, *versions: Version) -> list[tuple[Fate, bool] | str]:
    """Fate and durability of each, or the code of its error, or that of the whole."""
    [reply] = ask(replica, *versions)
    if isinstance(reply, Failure):
        return [reply.code]
    assert isinstance(reply, ReceiptList)
    assert all(item.version == v for item, v in zip(reply.items, versions, strict=True) if isinstance(item, Receipt))
    return [(item.fate, item.durable) if isinstance(item, Receipt) else item.code for item in reply.items]


def depose(bench: Bench, kept: int, node_id: str = "n1") -> None:
    """Another leader, whose log keeps the first `kept` entries, has committed its `leader_started`."""
    bench.group.lose(node_id)
    bench.group.truncate(kept)
    term = bench.group.term + 1
    bench.group.append_foreign(term, encode_batch(Batch(term, 1, 0, [(LEADER_STARTED, node_id)])))
    bench.group.commit()


def test_a_write_is_pending_until_it_is_committed() -> None:
    bench = Bench().lead()
    version = write(bench)
    assert told(bench.replica, version) == [(PENDING, False)]
    bench.runtime.turn()
    assert told(bench.replica, version) == [(PENDING, False)], "proposed is not committed"
    bench.group.commit()
    assert told(bench.replica, version)[0][0] == COMMITTED


def test_what_nobody_gave_out_is_an_error_and_never_committed() -> None:
    bench = Bench().lead()
    newest = write(bench)
    beyond = at(newest.term, newest.seq + 1)
    assert told(bench.replica, beyond, at(0, 1), at(1, 0), Version("0b0b", 1, 1)) == ["unknown_version"] * 4
    assert told(bench.replica, at(newest.term + 1, 1)) == [(PENDING, False)], "it may be a successor's"


def test_versions_of_a_closed_term_are_committed_or_lost_for_good() -> None:
    bench = Bench().lead()
    kept = write(bench)
    bench.settle()
    lost = write(bench)
    bench.runtime.turn()
    depose(bench, bench.group.applied)
    bench.group.gain()
    bench.group.commit()
    assert told(bench.replica, kept, lost, at(1, 9)) == [(COMMITTED, True), (LOST, False), (LOST, False)]
    assert told(bench.replica, at(2, 1), at(2, 2)) == [(COMMITTED, True), (LOST, False)]


def test_a_replica_that_does_not_lead_says_only_what_is_lost() -> None:
    bench = Bench().lead()
    kept, follower = write(bench), None
    bench.settle()
    lost = write(bench)
    bench.runtime.turn()
    depose(bench, bench.group.applied)
    follower = follower_of(bench)
    for replica in (bench.replica, follower.replica):
        assert told(replica, lost) == [(LOST, False)]
        assert told(replica, kept) == told(replica, lost, kept) == told(replica, at(9, 9)) == ["not_leader"]


def test_a_leader_that_no_quorum_has_answered_says_nothing_of_its_own_term() -> None:
    bench = Bench().lead()
    version = write(bench)
    bench.group.confirmed = False
    assert told(bench.replica, version) == ["not_leader"]


def test_receipts_outlive_a_snapshot() -> None:
    bench = Bench().lead()
    kept = write(bench)
    bench.settle()
    lost = write(bench)
    bench.runtime.turn()
    depose(bench, bench.group.applied)
    other = Bench(node_id="n2")
    other.replica.install(prepare("7c1f", bench.replica.snapshot_blocks()), 0, 0)
    other.group.term = bench.group.term
    other.lead()
    assert told(other.replica, kept, lost) == [(COMMITTED, True), (LOST, False)]


# -- durable ---------------------------------------------------------------------------------------


def test_the_question_has_a_committed_version_synced() -> None:
    bench = Bench().lead()
    bench.group.slow_disk = True
    first, second = write(bench), None
    bench.settle()
    second = write(bench)
    bench.settle()
    assert told(bench.replica, first) == [(COMMITTED, False)]
    assert bench.group.wanted == [2], "what was asked for, and not what came later"
    bench.group.sync()
    assert told(bench.replica, first, second) == [(COMMITTED, True), (COMMITTED, True)]


def test_what_is_synced_only_up_to_an_earlier_batch_is_not_durable() -> None:
    bench = Bench().lead()
    bench.group.slow_disk = True
    versions = []
    for _ in range(3):
        versions.append(write(bench))
        bench.settle()
    bench.replica.synced(3)
    assert told(bench.replica, *versions) == [(COMMITTED, True), (COMMITTED, True), (COMMITTED, False)]


def test_pending_versions_are_not_synced_on_purpose() -> None:
    bench = Bench().lead()
    version = write(bench)
    bench.runtime.turn()
    assert told(bench.replica, version) == [(PENDING, False)] and bench.group.wanted == []


def test_nothing_is_ever_durable_in_memory() -> None:
    bench = Bench()
    bench.group.on_disk = False
    bench.lead()
    version = write(bench)
    bench.settle()
    bench.replica.synced(9)
    assert told(bench.replica, at(1, 1), version) == [(COMMITTED, False)] * 2 and bench.group.wanted == []
    depose(bench, bench.group.applied)
    bench.group.gain()
    bench.group.commit()
    assert told(bench.replica, version, at(3, 1)) == [(COMMITTED, False)] * 2


def test_a_new_leader_does_not_take_its_marks_from_the_last_time() -> None:
    bench = Bench().lead()
    assert told(bench.replica, at(1, 1)) == [(COMMITTED, True)], "it serves, so leader_started is durable"
    bench.group.slow_disk = True
    for _ in range(3):
        write(bench)
        bench.settle()
    bench.replica.synced(3)
    depose(bench, bench.group.applied)
    bench.group.gain()
    bench.group.commit()
    bench.group.sync()
    version = write(bench)
    bench.settle()
    assert told(bench.replica, version) == [(COMMITTED, False)]


def test_marks_are_bounded_and_err_towards_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_module, "MAX_DURABLE_MARKS", 2)
    bench = Bench().lead()
    bench.group.slow_disk = True
    versions = []
    for _ in range(5):
        versions.append(write(bench))
        bench.settle()
    assert told(bench.replica, versions[2]) == [(COMMITTED, False)] and bench.group.wanted == [6]
    bench.replica.synced(4)
    assert [durable for _, durable in told(bench.replica, *versions)] == [True, False, False, False, False]
    bench.replica.synced(6)
    assert all(durable for _, durable in told(bench.replica, *versions))


# -- waiting ---------------------------------------------------------------------------------------


def fates(replies: list[Reply]) -> list[Fate]:
    [reply] = replies
    assert isinstance(reply, ReceiptList)
    return [item.fate for item in reply.items if isinstance(item, Receipt)]


def test_a_wait_ends_with_the_commit_of_all_that_was_pending() -> None:
    bench = Bench().lead()
    first = write(bench)
    bench.runtime.turn()
    second = write(bench)
    bench.runtime.turn()
    one, both = ask(bench.replica, first, wait_ms=1000), ask(bench.replica, first, second, wait_ms=1000)
    bench.group.commit(2)
    assert fates(one) == [COMMITTED] and both == [] and bench.replica.desk.waiting == 1
    bench.group.commit(3)
    assert fates(both) == [COMMITTED, COMMITTED] and bench.replica.desk.waiting == 0
    bench.runtime.advance(5.0)
    assert len(one) == len(both) == 1


def test_a_wait_that_is_over_is_answered_with_pending() -> None:
    bench = Bench().lead()
    replies = ask(bench.replica, write(bench), at(9, 1), wait_ms=1000)
    bench.runtime.advance(0.999)
    assert replies == []
    bench.runtime.advance(0.002)
    assert fates(replies) == [PENDING, PENDING] and bench.replica.desk.waiting == 0


def test_a_wait_ends_with_the_leadership() -> None:
    bench = Bench().lead()
    replies = ask(bench.replica, write(bench), wait_ms=1000)
    bench.group.lose("n1")
    [reply] = replies
    assert isinstance(reply, Failure) and reply.code == "not_leader" and bench.replica.desk.waiting == 0


def test_waiters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_module, "MAX_RECEIPT_WAITERS", 2)
    bench = Bench().lead()
    version = write(bench)
    held = [ask(bench.replica, version, wait_ms=1000) for _ in range(2)]
    [refused] = ask(bench.replica, version, wait_ms=1000)
    assert isinstance(refused, Failure) and refused.code == "overloaded"
    assert told(bench.replica, version) == [(PENDING, False)], "who does not wait is answered"
    assert bench.replica.stats.overloaded == {"receipt waiters": 1} and held == [[], []]


def test_what_waiters_ask_about_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_module, "MAX_HELD_VERSIONS", 5)
    bench = Bench().lead()
    version = write(bench)
    held = [ask(bench.replica, *[version] * 2, wait_ms=10) for _ in range(2)]
    [refused] = ask(bench.replica, version, version, wait_ms=10)
    assert (
        isinstance(refused, Failure) and refused.code == "overloaded" and "4 come to the limit of 5" in refused.message
    )
    assert ask(bench.replica, version, wait_ms=10) == [] and held == [[], []]
    bench.runtime.advance(0.02)
    assert bench.replica.desk.held_versions == bench.replica.desk.waiting == 0
    assert ask(bench.replica, *[version] * 5, wait_ms=10) == []


def test_a_wait_that_is_over_keeps_nothing_of_its_question_alive() -> None:
    """It is in the heap until its version is settled, which one of a later term is not under this leader."""
    bench = Bench().lead()
    replies: list[Reply] = []
    told_to = Collector(replies)
    alive = weakref.ref(told_to)
    bench.replica.receipts(Receipts((at(9, 1),), 1), told_to)
    del told_to
    bench.runtime.advance(0.002)
    gc.collect()
    assert len(replies) == 1 == len(bench.replica.desk._heap)
    assert alive() is None


def test_waits_that_are_over_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_module, "MAX_RECEIPT_WAITERS", 2)
    bench = Bench().lead()
    for _ in range(50):
        ask(bench.replica, at(9, 1), wait_ms=1)
        bench.runtime.advance(0.002)
    assert len(bench.replica.desk._heap) <= 4
