"""Writes with idempotency keys: executed once, answered as often as they are sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from shard_harness import Bench, follower_of

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.commands.types import (
    AckLevel,
    Command,
    Counted,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    MultiDelete,
    MultiSet,
    Persist,
    ReadLevel,
    Set,
    Version,
    Written,
)
from raftcache.shard import pipeline as pipeline_module
from raftcache.shard import retries
from raftcache.shard.retries import fingerprint
from raftcache.shard.salvage import salvage
from raftcache.shard.snapshot import POLICIES, REPLIES, prepare
from raftcache.store.effects import REPLY, decode_batch
from raftcache.store.replies import REPLY_TTL_MS

PRIMARY, QUORUM, DURABLE = AckLevel.PRIMARY, AckLevel.QUORUM, AckLevel.DURABLE


def incr(key: bytes = b"safe:n", idempotency: bytes = b"i1", **fields: Any) -> Incr:
    return Incr(key, idempotency=idempotency, **fields)


def succeed(bench: Bench) -> Bench:
    """The same replica under a new leadership, with everything that its group has committed."""
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    return bench.lead()


def effects_of(bench: Bench) -> list[list[list[Any]]]:
    """The effects of every batch in the log."""
    return [list(map(list, decode_batch(payload).effects)) for _, payload in bench.group.log]


# -- the first reply -----------------------------------------------------------------------------


def test_a_retry_answers_the_first_reply_and_changes_nothing() -> None:
    bench = Bench().lead()
    first = bench.ask(incr())
    log = len(bench.group.log)
    assert bench.ask(incr()) == first == Counted(1, Version("7c1f", 1, 2), None, QUORUM)
    assert len(bench.group.log) == log
    assert bench.ask(incr(idempotency=b"i2")).value == 2
    assert bench.ask(incr()) == first
    assert bench.replica.stats.replays == 2


@pytest.mark.parametrize(
    "command",
    [
        Set(b"k", b"v", ttl_ms=5000, idempotency=b"i"),
        Set(b"there", b"v", if_absent=True, idempotency=b"i"),
        Set(b"there", b"v", if_version=Version("7c1f", 9, 9), idempotency=b"i"),
        Delete(b"there", idempotency=b"i"),
        Delete(b"missing", idempotency=b"i"),
        Incr(b"n", 3, 5000, idempotency=b"i"),
        Incr(b"there", idempotency=b"i"),
        Expire(b"there", 5000, idempotency=b"i"),
        Expire(b"missing", 5000, idempotency=b"i"),
        Persist(b"there", idempotency=b"i"),
    ],
    ids=lambda command: f"{type(command).__name__.lower()} {command.key.decode()}",
)
def test_every_write_keeps_its_reply_over_a_change_of_leaders(command: Any) -> None:
    bench = Bench().lead()
    bench.ask(Set(b"there", b"old"))
    first = bench.ask(command)
    for change in (Set(b"there", b"7"), Delete(b"missing"), Set(b"k", b"other"), Set(b"n", b"40")):
        bench.ask(change)
    before = {key: bench.replica.keyspace.get(key) for key in bench.replica.keyspace.all_keys()}
    again = succeed(bench).ask(command)
    expected = first if isinstance(first, Failure) else msgspec.structs.replace(first, ack=QUORUM)
    assert again == expected
    assert {key: bench.replica.keyspace.get(key) for key in bench.replica.keyspace.all_keys()} == before


def test_times_in_a_replayed_reply_are_as_they_were() -> None:
    bench = Bench().lead()
    first = bench.ask(Set(b"k", b"v", ttl_ms=60_000, idempotency=b"i"))
    bench.runtime.advance(10)
    assert bench.ask(Set(b"k", b"v", ttl_ms=60_000, idempotency=b"i")).expires_at_ms == first.expires_at_ms is not None


def test_another_body_under_the_same_key_is_refused() -> None:
    bench = Bench().lead()
    bench.ask(incr())
    for other in (incr(delta=2), incr(ttl_ms=50), incr(b"safe:m"), Delete(b"safe:n", idempotency=b"i1")):
        answer = bench.ask(other)
        assert isinstance(answer, Failure) and answer.code == "idempotency_mismatch" and "b'i1'" in answer.message
    assert bench.replica.stats.rejected["idempotency_mismatch"] == 4
    assert bench.ask(Get(b"safe:n")).value == b"1"


def test_the_level_is_no_part_of_the_body() -> None:
    bench = Bench().lead()
    assert bench.ask(incr(b"n")).ack == PRIMARY
    assert bench.ask(incr(b"n", ack=QUORUM)) == Counted(1, Version("7c1f", 1, 2), None, QUORUM)


@pytest.mark.parametrize("key", [b"shown:k", b"strict:k", b"safe:k"])
def test_a_refusal_that_shows_a_record_which_can_be_lost_waits_for_it(key: bytes) -> None:
    bench = Bench().lead()
    bench.send(Set(key, b"1", idempotency=b"i"))
    refused = bench.send(Set(key, b"2", idempotency=b"i"))
    assert refused == []
    bench.group.lose()
    assert refused[0].code == "outcome_unknown"  # type: ignore[union-attr]
    bench.group.truncate(bench.group.applied)
    bench.lead()
    assert bench.ask(Set(key, b"2", idempotency=b"i")).written, "the record is lost, and with it the refusal"
    (refused_at_once,) = bench.send(Set(key, b"3", idempotency=b"i"))
    assert refused_at_once.code == "idempotency_mismatch"  # type: ignore[union-attr]
    assert bench.replica.stats.rejected["idempotency_mismatch"] == 2


def test_a_replay_is_not_refused_by_a_limit_that_came_after_its_write() -> None:
    bench = Bench().lead()
    command = Set(b"k", b"x" * 100, idempotency=b"i")
    first = bench.ask(command)
    bench.follow(Namespaces(2, (Namespace("default", 1, ack=QUORUM, max_item_bytes=50),)))
    bench.settle()
    assert bench.ask(command) == msgspec.structs.replace(first, ack=QUORUM)
    assert bench.ask(Set(b"k", b"x" * 100, idempotency=b"j")).code == "value_too_large"
    less = bench.ask(msgspec.structs.replace(command, ack=PRIMARY))
    assert less.code == "level_too_low", "what is asked for now is held against the policy of now"


def test_keys_belong_to_their_namespace() -> None:
    bench = Bench().lead()
    assert bench.ask(incr(b"safe:n")).value == bench.ask(incr(b"strict:n")).value == bench.ask(incr(b"n")).value == 1
    assert [bench.replica.replies.count(id_) for id_ in (1, 2, 3)] == [1, 1, 1]


def test_what_was_refused_leaves_no_record_and_may_be_tried_again() -> None:
    bench = Bench().lead()
    too_large = Set(b"brief:k", b"x" * 101, idempotency=b"i")
    assert bench.ask(too_large).code == "value_too_large"
    assert bench.ask(Set(b"brief:k", b"x", idempotency=b"i")).written
    assert len(bench.replica.replies) == 1


@pytest.mark.parametrize("key", [b"", b"x" * 129, b"\x1f", b"a\x7f", b"caf\xc3\xa9", b"a\n"])
def test_a_key_that_is_none_is_refused_with_the_limit(key: bytes) -> None:
    answer = Bench().lead().ask(incr(idempotency=key))
    assert isinstance(answer, Failure) and answer.code == "bad_request"
    assert "idempotency key" in answer.message and "1 to 128 printable" in answer.message
    assert f"{len(key)} bytes" in answer.message


def test_items_of_multi_key_commands_take_none() -> None:
    bench = Bench().lead()
    many: tuple[Command, ...] = (
        MultiSet((Set(b"a", b"v"), Set(b"b", b"v", idempotency=b"i"))),
        MultiDelete((Delete(b"a", idempotency=b"i"),)),
    )
    for command in many:
        answer = bench.ask(command)
        assert isinstance(answer, Failure) and answer.code == "bad_request" and "b'i'" in answer.message
    assert len(bench.replica.keyspace) == 0


def test_fingerprints_tell_every_field_apart_and_heed_neither_key_nor_level() -> None:
    commands: list[Any] = [
        Set(b"k", b"v"),
        Set(b"k", b"w"),
        Set(b"l", b"v"),
        Set(b"k", b"v", flag=1),
        Set(b"k", b"v", ttl_ms=1),
        Set(b"k", b"v", if_absent=True),
        Set(b"k", b"v", if_version=Version("s", 1, 1)),
        Delete(b"k"),
        Delete(b"k", if_version=Version("s", 1, 1)),
        Incr(b"k"),
        Incr(b"k", 0),
        Expire(b"k", 1),
        Persist(b"k"),
    ]
    prints = {fingerprint(command) for command in commands}
    assert len(prints) == len(commands)
    for command in commands:
        assert fingerprint(msgspec.structs.replace(command, ack=DURABLE, idempotency=b"i")) in prints


# -- in the log ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [incr(), Set(b"safe:k", b"v", if_version=Version("s", 1, 1), idempotency=b"i1")])
def test_effects_and_record_share_a_batch_however_full_it_is(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_BATCH_EFFECTS", 3)
    for before in range(5):
        bench = Bench().lead()
        for number in range(before):
            bench.send(Set(b"k%d" % number, b"v"))
        bench.send(command)
        bench.send(Set(b"after", b"v"))
        bench.settle()
        holding = [batch for batch in effects_of(bench) if any(effect[0] == REPLY for effect in batch)]
        assert len(holding) == 1
        place = [effect[0] for effect in holding[0]].index(REPLY)
        if isinstance(command, Incr):
            assert holding[0][place - 1][:2] == [1, b"safe:n"]


def test_followers_have_the_records() -> None:
    bench = Bench().lead()
    bench.ask(incr())
    follower = follower_of(bench)
    assert follower.replica.digest() == bench.replica.digest()
    assert len(follower.replica.replies) == 1
    before = follower.replica.digest()
    follower.replica.replies.remove(b"2:i1")
    assert follower.replica.digest() != before


# -- levels --------------------------------------------------------------------------------------


def test_a_replay_of_a_speculative_write_waits_for_the_level_asked_for_now() -> None:
    bench = Bench().lead()
    bench.send(Set(b"k", b"v", idempotency=b"i"))
    quorum = bench.send(Set(b"k", b"v", ack=QUORUM, idempotency=b"i"))
    durable = bench.send(Set(b"k", b"v", ack=DURABLE, idempotency=b"i"))
    at_once = bench.send(Set(b"k", b"v", idempotency=b"i"))
    assert quorum == durable == [] and at_once == [Written(True, Version("7c1f", 1, 2), None, PRIMARY)]
    bench.group.slow_disk = True
    bench.settle()
    assert quorum == [Written(True, Version("7c1f", 1, 2), None, QUORUM)] and durable == []
    bench.group.sync()
    assert durable == [Written(True, Version("7c1f", 1, 2), None, DURABLE)]


def test_a_replay_never_acknowledges_what_its_first_one_did_not() -> None:
    """The first one waits for its quorum; a retry at the policy's `primary` must not call the write acknowledged."""
    bench = Bench().lead()
    first = bench.send(Set(b"k", b"v", ack=QUORUM, idempotency=b"i"))
    again = bench.send(Set(b"k", b"v", idempotency=b"i"))
    assert first == again == []
    bench.settle()
    assert first == again == [Written(True, Version("7c1f", 1, 2), None, QUORUM)]


def test_a_replay_reveals_nothing_speculative_where_reads_may_not() -> None:
    bench = Bench().lead()
    bench.send(Set(b"strict:k", b"v", if_absent=True, idempotency=b"i"))
    again = bench.send(Set(b"strict:k", b"v", if_absent=True, idempotency=b"i"))
    assert again == []
    bench.settle()
    assert again[0].ack == QUORUM


def test_a_replay_obeys_a_policy_that_was_tightened_meanwhile() -> None:
    bench = Bench().lead()
    command = Set(b"k", b"v", if_absent=True, idempotency=b"i")
    assert bench.send(command)[0].ack == PRIMARY
    bench.follow(Namespaces(2, (Namespace("default", 1, read_level=ReadLevel.LINEARIZABLE),)))
    again = bench.send(command)
    assert again == []
    bench.settle()
    assert again[0].ack == QUORUM


def test_a_replay_of_what_is_committed_leaves_at_once_with_the_level_reached() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"v", idempotency=b"i"))
    assert bench.send(Set(b"k", b"v", idempotency=b"i")) == [Written(True, Version("7c1f", 1, 2), None, QUORUM)]


def test_a_durable_replay_of_what_is_committed_waits_for_a_sync() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"v", idempotency=b"i"))
    bench.group.slow_disk = True
    durable = bench.send(Set(b"k", b"v", ack=DURABLE, idempotency=b"i"))
    bench.settle()
    assert durable == []
    bench.group.sync()
    assert durable == [Written(True, Version("7c1f", 1, 2), None, DURABLE)]


# -- losing leadership ---------------------------------------------------------------------------


def test_a_lost_leadership_undoes_the_record_with_its_write() -> None:
    bench = Bench().lead()
    bench.ask(incr(idempotency=b"kept"))
    before = bench.replica.digest()
    bench.send(incr(idempotency=b"undone"))
    bench.send(incr(idempotency=b"kept"))
    bench.runtime.turn()
    assert len(bench.replica.replies) == 2
    succeed(bench)
    assert len(bench.replica.replies) == 1 == bench.replica.replies.count(2)
    assert bench.replica.pipeline.held_bytes == 0
    assert bench.budget.used_bytes == bench.replica.keyspace.used_bytes + bench.replica.replies.used_bytes
    assert before != bench.replica.digest()  # leader_started, and nothing else:
    assert bench.ask(incr(idempotency=b"undone")).value == 2
    assert bench.ask(incr(idempotency=b"kept")).value == 1


def test_a_record_replaced_within_one_batch_comes_back_when_that_is_undone() -> None:
    bench = Bench().lead()
    bench.ask(incr())
    row = bench.replica.replies.get(b"2:i1")
    bench.replica._sweeper.stop()
    bench.runtime.advance(REPLY_TTL_MS / 1000 + 1)
    bench.replica._executor.forget_reply(b"2:i1")
    bench.send(incr())
    bench.group.lose()
    assert bench.replica.replies.get(b"2:i1") == row


@pytest.mark.parametrize("proposed", [False, True])
@pytest.mark.parametrize("command", [incr(), Delete(b"safe:missing", idempotency=b"i1")], ids=["wrote", "did not"])
def test_a_waiting_keyed_write_is_never_told_that_nothing_was_done(command: Any, proposed: bool) -> None:
    bench = Bench().lead()
    first = bench.send(command)
    again = bench.send(command)
    if proposed:
        bench.runtime.turn()
    bench.group.lose()
    for replies in (first, again):
        assert [reply.code for reply in replies] == ["outcome_unknown"]
        wrote = isinstance(command, Incr)
        assert replies[0].details == ({"version": "v7c1f.1.2"} if wrote else {})


def test_a_durable_replay_that_loses_its_leader_is_unknown_though_the_write_is_committed() -> None:
    bench = Bench().lead()
    bench.ask(incr())
    again = bench.send(incr(ack=DURABLE))
    bench.group.lose()
    assert [reply.code for reply in again] == ["outcome_unknown"]


def test_a_write_whose_fate_was_unknown_is_executed_at_most_once() -> None:
    """The successor has its batch, or has not."""
    for has_batch in (False, True):
        bench = Bench().lead()
        bench.send(incr())
        bench.runtime.turn()
        bench.group.lose()
        if not has_batch:
            bench.group.truncate(bench.group.applied)
        bench.lead()
        assert bench.ask(incr()).value == 1
        assert bench.ask(Get(b"safe:n")).value == b"1"


# -- bounds --------------------------------------------------------------------------------------


def test_a_full_table_refuses_keyed_writes_and_drops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "REPLIES_PER_NAMESPACE", 2)
    bench = Bench().lead()
    bench.ask(incr(idempotency=b"i1"))
    bench.ask(incr(idempotency=b"i2"))
    refused = bench.ask(incr(idempotency=b"i3"))
    assert isinstance(refused, Failure) and refused.code == "replies_full"
    assert "'safe'" in refused.message and "limit of 2" in refused.message
    assert bench.replica.stats.overloaded["reply records"] == 1
    assert [bench.ask(incr(idempotency=b"i%d" % number)).value for number in (1, 2)] == [1, 2]
    assert bench.ask(Incr(b"safe:n")).value == 3
    assert bench.ask(incr(b"n", idempotency=b"i3")).value == 1


def test_records_expire_by_effects_and_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "REPLIES_PER_NAMESPACE", 1)
    bench = Bench().lead()
    bench.ask(incr())
    bench.runtime.advance(REPLY_TTL_MS / 1000 - 1)
    assert bench.ask(incr()).value == 1 and bench.ask(incr(idempotency=b"i2")).code == "replies_full"
    bench.runtime.advance(10)
    bench.settle()
    assert len(bench.replica.replies) == 0 and effects_of(bench)[-1] == [[REPLY, b"2:i1"]]
    assert bench.budget.used_bytes == bench.replica.keyspace.used_bytes
    assert follower_of(bench).replica.digest() == bench.replica.digest()
    assert bench.ask(incr(idempotency=b"i2")).value == 2


def test_a_record_that_has_expired_and_was_not_swept_counts_no_more() -> None:
    bench = Bench().lead()
    bench.ask(incr())
    bench.replica._sweeper.stop()
    bench.runtime.advance(REPLY_TTL_MS / 1000 + 1)
    assert bench.ask(incr(delta=5)).value == 6
    assert bench.ask(incr(delta=5)).value == 6 and len(bench.replica.replies) == 1


def test_records_of_a_namespace_that_is_gone_are_reclaimed() -> None:
    bench = Bench().lead()
    bench.ask(incr())
    bench.ask(incr(b"n"))
    bench.follow(Namespaces(2, (Namespace("default", 1), Namespace("safe", 9, ack=QUORUM)))).settle()
    assert bench.ask(incr()).value == 1
    bench.runtime.advance(1)
    bench.settle()
    assert [bench.replica.replies.count(id_) for id_ in (1, 2, 9)] == [1, 0, 1]
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_records_are_charged_and_refused_where_memory_is_full() -> None:
    bench = Bench().lead()
    bench.ask(incr())
    assert bench.budget.used_bytes == bench.replica.keyspace.used_bytes + bench.replica.replies.used_bytes
    assert bench.replica.replies.used_bytes > 250
    bench.budget.limit_bytes = bench.budget.used_bytes + 1100
    assert bench.ask(incr(idempotency=b"i2")).code == "memory_full"
    assert bench.ask(Incr(b"safe:n")).value == 2


# -- snapshots -----------------------------------------------------------------------------------


def with_records(founded: bool = True) -> Bench:
    bench = Bench(founded=founded).lead()
    for number in range(40):
        bench.send(incr(idempotency=b"i%d" % number))
    bench.ask(incr(b"n"))
    return bench


def test_snapshots_carry_the_committed_records() -> None:
    bench = with_records()
    bench.send(incr(idempotency=b"speculative"))
    blocks = list(bench.replica.snapshot_blocks())
    assert [msgspec.msgpack.decode(block)[0] for block in blocks] == [0, POLICIES, 1, REPLIES, 2]
    other = Bench(node_id="n1")
    other.replica.install(other.replica.prepare_restore(blocks), 1, 1)
    assert other.replica.digest() == bench.replica.digest()
    assert other.replica.replies.count(2) == 40 and other.replica.replies.count(1) == 1
    assert other.budget.used_bytes == other.replica.keyspace.used_bytes + other.replica.replies.used_bytes
    other.group.term = 1
    other.lead()
    assert other.ask(incr(idempotency=b"i7")).value == 8
    other.runtime.advance(REPLY_TTL_MS / 1000 + 10)
    other.settle()
    assert len(other.replica.replies) == 0


def test_a_snapshot_that_lacks_records_is_refused() -> None:
    header, policies, entries, replies, end = with_records().replica.snapshot_blocks()
    for blocks in ([header, policies, entries, end], [header, policies, entries, replies, replies, end]):
        with pytest.raises(ValueError, match="damaged snapshot of shard 7c1f"):
            Bench().replica.prepare_restore(blocks)


def test_an_abandoned_snapshot_lets_go_of_the_records() -> None:
    bench = with_records()
    blocks = bench.replica.snapshot_blocks()
    next(blocks)
    bench.runtime.advance(REPLY_TTL_MS / 1000 + 10)
    bench.settle()
    assert bench.budget.used_bytes > bench.replica.keyspace.used_bytes
    blocks.close()
    assert bench.budget.used_bytes == bench.replica.keyspace.used_bytes


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_salvaged_shard_knows_what_was_answered(cut: int) -> None:
    bench = with_records(founded=False)
    bench.ask(incr(idempotency=b"late"))
    early = Bench(node_id="n1", founded=False)
    early.group.log = list(bench.group.log)
    early.group.commit(cut)
    blocks = list(early.replica.snapshot_blocks()) if cut else None
    salvaged = prepare("0b0b", salvage("7c1f", "0b0b", blocks, bench.group.log[cut:]))
    other = Bench(node_id="n1")
    other.replica.install(salvaged, 1, 1)
    assert other.replica.digest() == bench.replica.digest() and len(other.replica.replies) == 42
