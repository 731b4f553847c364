"""Gaining, serving and losing leadership: what is applied, undone, and told to whoever waits."""

from __future__ import annotations

import pytest
from shard_harness import Bench, follower_of

from raftcache.commands.types import (
    AckLevel,
    Counted,
    Delete,
    Failure,
    Get,
    Incr,
    Many,
    MultiSet,
    ReadLevel,
    Reply,
    Set,
    Value,
    Version,
    Written,
)
from raftcache.errors import NotLeader, Overloaded
from raftcache.shard import pipeline as pipeline_module
from raftcache.shard.pipeline import MAX_IN_FLIGHT
from raftcache.store.effects import LEADER_STARTED, PUT, Batch, decode_batch, encode_batch

Q, LIN = AckLevel.QUORUM, ReadLevel.LINEARIZABLE


def only(replies: list[Reply]) -> Failure:
    (answer,) = replies
    assert isinstance(answer, Failure)
    return answer


def value_of(bench: Bench, key: bytes) -> bytes | None:
    entry = bench.replica.keyspace.get(key)
    return None if entry is None else entry.value


def foreign(bench: Bench, term: int, *effects: tuple[object, ...], first_seq: int = 1) -> None:
    bench.group.append_foreign(term, encode_batch(Batch(term, first_seq, 0, effects)))


def test_it_serves_only_once_leader_started_is_applied() -> None:
    bench = Bench()
    bench.group.gain()
    assert only(bench.send(Get(b"k"))).code == "not_leader" and not bench.replica.serving
    bench.group.commit()
    assert bench.replica.serving and bench.served == [1]
    assert decode_batch(bench.group.log[0][1]).effects == [[LEADER_STARTED, "n0"]]
    assert bench.send(Get(b"k")) == [Value(None, 0, Version("7c1f", 1, 1), None, ReadLevel.LATEST)]


def test_a_leader_started_that_commits_after_its_leadership_ended_serves_nobody() -> None:
    bench = Bench()
    bench.group.gain()
    bench.group.lose()
    bench.group.commit()
    assert not bench.replica.serving and bench.served == []
    assert bench.lead().served == [2] and bench.replica.history.closed == {1: 1}


def test_an_unattached_replica_answers_not_leader() -> None:
    bench = Bench()
    bench.replica._group = None
    assert only(bench.send(Get(b"k"))).details == {"leader": None, "term": 0}


def test_a_defect_in_a_command_is_an_internal_error_and_kills_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench().lead()
    monkeypatch.setattr(bench.replica._executor, "owns", lambda key: 1 // 0)
    assert only(bench.send(Get(b"k"))).code == "internal"
    monkeypatch.undo()
    assert isinstance(bench.send(Get(b"k"))[0], Value)


def test_a_group_of_one_commits_within_the_proposal() -> None:
    bench = Bench()
    bench.group.sync_commit = True
    bench.group.gain()
    assert bench.replica.serving
    replies = bench.send(Set(b"k", b"1", ack=Q))
    bench.runtime.turn()
    assert replies == [Written(True, Version("7c1f", 1, 2), None, Q)]
    assert bench.replica.pipeline.writes == 0


def test_a_leader_that_no_quorum_confirms_answers_not_leader_with_hints() -> None:
    bench = Bench().lead()
    bench.group.confirmed = False
    answer = only(bench.send(Set(b"k", b"1")))
    assert (answer.code, answer.details) == ("not_leader", {"leader": None, "term": 1})
    bench.group.lose(new_leader="n2")
    assert only(bench.send(Get(b"k"))).details == {"leader": "n2", "term": 1}


def test_a_follower_applies_what_the_leader_executed() -> None:
    bench = Bench().lead()
    for command in (Set(b"a", b"1", ttl_ms=50), Set(b"b", b"2"), Incr(b"n", 5), Delete(b"b")):
        bench.ask(command)
    follower = follower_of(bench)
    assert follower.replica.keyspace.all_keys() == [b"a", b"n"]
    assert follower.replica.keyspace.get(b"a") == bench.replica.keyspace.get(b"a")
    assert follower.replica.digest() == bench.replica.digest()


def test_own_effects_are_not_applied_twice() -> None:
    bench = Bench().lead()
    bench.send(Set(b"k", b"old"))
    bench.runtime.turn()
    bench.send(Set(b"k", b"new"))
    bench.group.commit()
    assert value_of(bench, b"k") == b"new"
    bench.settle()
    assert bench.replica.stats.writes_committed == 3


def test_undo_goes_from_the_newest_to_the_oldest() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"committed"))
    for value in (b"1", b"2", b"3"):
        bench.send(Set(b"k", value))
        bench.runtime.turn()
    bench.send(Delete(b"k"))
    bench.send(Set(b"new", b"x"))
    bench.group.lose()
    assert value_of(bench, b"k") == b"committed" and value_of(bench, b"new") is None
    assert bench.replica.stats.undone_writes == 5
    assert bench.budget.used_bytes == bench.replica.keyspace.used_bytes


def test_a_deposed_leader_applies_its_own_batches_when_its_successor_commits_them() -> None:
    bench = Bench().lead()
    bench.send(Set(b"a", b"1"))
    bench.runtime.turn()
    bench.send(Set(b"b", b"2"))
    bench.runtime.turn()
    bench.group.lose()
    assert len(bench.replica.keyspace) == 0
    bench.group.truncate(2)
    foreign(bench, 2, (LEADER_STARTED, "n1"), (PUT, b"c", b"3", 0, 0, 1))
    bench.group.commit()
    assert bench.replica.keyspace.all_keys() == [b"a", b"c"]
    entry = bench.replica.keyspace.get(b"a")
    assert entry is not None and (entry.term, entry.seq) == (1, 2)
    assert bench.replica.history.closed == {1: 2}
    assert bench.replica.digest() == follower_of(bench).replica.digest()


def test_waiting_writes_whose_batch_was_proposed_get_outcome_unknown_with_their_version() -> None:
    bench = Bench().lead()
    bench.send(Set(b"there", b"x"))
    write, count = bench.send(Set(b"k", b"1", ack=Q)), bench.send(Incr(b"n", ack=Q))
    removal = bench.send(Delete(b"there", ack=Q))
    bench.runtime.turn()
    bench.group.lose()
    answers = [only(replies) for replies in (write, count, removal)]
    assert [answer.code for answer in answers] == ["outcome_unknown"] * 3
    assert [answer.details["version"] for answer in answers] == ["v7c1f.1.3", "v7c1f.1.4", "v7c1f.1.5"]
    assert bench.replica.stats.outcomes_unknown == 3


def test_waiting_replies_that_wrote_nothing_get_the_definite_not_leader() -> None:
    bench = Bench().lead()
    sent = [
        bench.send(Get(b"k", LIN)),
        bench.send(Delete(b"k", ack=Q)),
        bench.send(Set(b"k", b"1", if_version=Version("7c1f", 1, 9), ack=Q)),
    ]
    bench.runtime.turn()
    bench.group.lose("n2")
    assert [only(replies).code for replies in sent] == ["not_leader"] * 3
    assert only(sent[0]).details == {"leader": "n2", "term": 1}


def test_a_waiting_write_that_was_never_proposed_gets_the_definite_not_leader() -> None:
    bench = Bench().lead()
    replies = bench.send(Set(b"k", b"1", ack=Q))
    bench.group.lose()
    bench.runtime.turn()
    assert only(replies).code == "not_leader"
    assert len(bench.group.log) == 1 and value_of(bench, b"k") is None


def test_a_batch_behind_those_in_flight_was_never_proposed() -> None:
    bench = Bench().lead()
    sent = []
    for number in range(MAX_IN_FLIGHT + 2):
        sent.append(bench.send(Set(b"k%d" % number, b"", ack=Q)))
        bench.runtime.turn()
    assert len(bench.group.log) == 1 + MAX_IN_FLIGHT
    bench.group.lose()
    codes = [only(replies).code for replies in sent]
    assert codes == ["outcome_unknown"] * MAX_IN_FLIGHT + ["not_leader"] * 2


def test_the_items_of_a_multi_command_are_told_apart() -> None:
    bench = Bench().lead()
    replies = bench.send(MultiSet((Set(b"a", b"1", ack=Q), Set(b"b", b"2"), Set(b"a", b"3", if_absent=True, ack=Q))))
    bench.runtime.turn()
    bench.group.lose()
    (answer,) = replies
    assert isinstance(answer, Many)
    unknown, written, definite = answer.items
    assert isinstance(unknown, Failure) and unknown.code == "outcome_unknown"
    assert isinstance(written, Written) and written.ack == AckLevel.PRIMARY
    assert isinstance(definite, Failure) and definite.code == "not_leader"


@pytest.mark.parametrize("refusal", [NotLeader("x"), Overloaded("x")])
def test_a_refused_proposal_ends_the_leadership_and_is_definite(refusal: Exception) -> None:
    bench = Bench().lead()
    first = bench.send(Set(b"a", b"1", ack=Q))
    bench.runtime.turn()
    second = bench.send(Set(b"b", b"2", ack=Q))
    bench.group.refusal = refusal
    bench.runtime.turn()
    assert only(first).code == "outcome_unknown" and only(second).code == "not_leader"
    assert len(bench.group.stepped_down) == 1 and not bench.replica.serving
    assert len(bench.replica.keyspace) == 0


def test_a_proposal_that_fails_for_no_known_reason_leaves_the_outcome_unknown() -> None:
    bench = Bench().lead()
    replies = bench.send(Set(b"a", b"1", ack=Q))
    bench.group.refusal = OSError("disk")
    bench.runtime.turn()
    assert only(replies).code == "outcome_unknown" and bench.group.stepped_down


def test_a_leadership_that_cannot_be_opened_is_given_up() -> None:
    bench = Bench()
    bench.group.refusal = Overloaded("x")
    bench.group.gain()
    assert len(bench.group.stepped_down) == 1 and not bench.replica.serving
    bench.group.refusal = None
    assert bench.lead().served == [2]


def test_an_effect_of_an_unknown_version_is_never_proposed() -> None:
    bench = Bench().lead()
    replies = bench.send(Set(b"k", b"1", ack=Q))
    bench.replica.pipeline._open.effects.append((99, b"k"))
    bench.runtime.turn()
    assert len(bench.group.log) == 1 and bench.group.stepped_down
    assert only(replies).code == "not_leader"


def test_a_primary_reply_does_not_wait_behind_a_quorum_one() -> None:
    bench = Bench().lead()
    waiting = bench.send(Set(b"k", b"1", ack=Q))
    assert bench.send(Set(b"k", b"2")) and not waiting
    bench.settle()
    assert waiting


def test_all_reads_of_a_turn_share_one_barrier() -> None:
    bench = Bench().lead()
    sent = [bench.send(Get(b"k", LIN)) for _ in range(20)]
    bench.settle()
    assert all(len(replies) == 1 for replies in sent)
    assert len(bench.group.log) == 2 and decode_batch(bench.group.log[1][1]).effects == []


def test_at_most_two_batches_are_in_flight_and_the_next_fills_meanwhile() -> None:
    bench = Bench().lead()
    for number in range(10):
        bench.send(Set(b"k%d" % number, b""))
        bench.runtime.turn()
    assert len(bench.group.log) == 1 + MAX_IN_FLIGHT
    bench.group.commit(2)
    bench.runtime.turn()
    assert [len(decode_batch(payload).effects) for _, payload in bench.group.log] == [1, 1, 1, 8]


def test_batches_are_bounded_by_effects_and_a_command_never_straddles_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_BATCH_EFFECTS", 3)
    bench = Bench().lead()
    bench.send(Set(b"e", b"1", ttl_ms=1000))
    bench.settle()
    bench.runtime.now_s += 1
    for number in range(2):
        bench.send(Set(b"k%d" % number, b""))
    bench.send(Incr(b"e"))
    bench.send(Set(b"last", b""))
    bench.settle()
    sizes = [len(decode_batch(payload).effects) for _, payload in bench.group.log[2:]]
    assert sizes == [4, 1]


def test_batches_are_bounded_by_bytes() -> None:
    bench = Bench().lead()
    value = b"x" * (1 << 20)
    for number in range(7):
        bench.send(Set(b"k%d" % number, value))
    bench.settle()
    limit = pipeline_module.MAX_BATCH_BYTES + len(value) + 4096
    assert max(len(payload) for _, payload in bench.group.log) <= limit < 8 << 20
    assert sum(len(decode_batch(payload).effects) for _, payload in bench.group.log) == 8
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_speculative_bytes_are_bounded_before_execution_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_SPECULATIVE_BYTES", 1000)
    bench = Bench().lead()
    bench.send(Set(b"k", b"x" * 1000))
    refused = only(bench.send(Set(b"l", b"y")))
    assert refused.code == "overloaded" and "limit of 1000" in refused.message
    assert value_of(bench, b"l") is None and bench.replica.stats.overloaded == {"speculative bytes": 1}
    assert isinstance(bench.send(Get(b"k"))[0], Value)
    bench.settle()
    assert isinstance(bench.send(Set(b"l", b"y"))[0], Written)


def test_waiters_are_bounded_before_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_WAITERS", 2)
    bench = Bench().lead()
    bench.send(Get(b"k", LIN))
    bench.send(Set(b"k", b"1", ack=Q))
    assert only(bench.send(Set(b"l", b"1", ack=Q))).code == "overloaded"
    assert only(bench.send(Get(b"l", LIN))).code == "overloaded"
    assert value_of(bench, b"l") is None
    bench.settle()
    assert bench.replica.pipeline.waiting == 0 and isinstance(bench.ask(Get(b"k", LIN)), Value)


def test_undo_images_count_as_memory_until_commit() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"x" * 1000))
    idle_bytes = bench.budget.used_bytes
    bench.send(Delete(b"k"))
    assert bench.budget.used_bytes > bench.replica.keyspace.used_bytes + 1000
    bench.settle()
    assert bench.budget.used_bytes == 0 == bench.replica.keyspace.used_bytes and idle_bytes > 1000


def test_a_full_node_refuses_writes_that_grow_and_allows_deletes() -> None:
    bench = Bench(limit_bytes=5000).lead()
    bench.ask(Set(b"k", b"x" * 1500))
    refused = only(bench.send(Set(b"l", b"x" * 2000)))
    assert refused.code == "memory_full" and "5000" in refused.message
    assert value_of(bench, b"l") is None and bench.replica.stats.rejected == {"memory_full": 1}
    bench.budget.used_bytes += 5000
    assert only(bench.send(Incr(b"n"))).code == "memory_full"
    assert isinstance(bench.send(Delete(b"k"))[0], Written)
    bench.settle()
    bench.budget.used_bytes -= 5000
    assert isinstance(bench.send(Set(b"l", b"x" * 2000))[0], Written)


def test_time_never_goes_back_over_a_failover() -> None:
    bench = Bench().lead()
    bench.runtime.now_s += 50
    bench.ask(Set(b"k", b"1", ttl_ms=60_000))
    log_ms = bench.replica.history.time_ms
    successor = follower_of(bench)
    successor.runtime.wall_base_ms -= 500_000
    successor.group.term = 1
    successor.lead()
    assert successor.replica.history.time_ms == log_ms
    (answer,) = successor.send(Get(b"k"))
    assert isinstance(answer, Value) and answer.ttl_ms == 60_000


def test_a_step_of_the_wall_clock_changes_nothing_within_a_leadership() -> None:
    bench = Bench().lead()
    bench.send(Set(b"k", b"1", ttl_ms=1000))
    bench.runtime.wall_base_ms += 10_000_000
    (answer,) = bench.send(Get(b"k"))
    assert isinstance(answer, Value) and answer.ttl_ms == 1000


def test_history_tells_how_far_each_closed_term_was_committed() -> None:
    bench = Bench()
    foreign(bench, 2, (LEADER_STARTED, "n1"), (PUT, b"a", b"", 0, 0, 1))
    foreign(bench, 2, (PUT, b"a", b"", 0, 0, 1), first_seq=3)
    foreign(bench, 5, (LEADER_STARTED, "n2"))
    bench.group.commit()
    history = bench.replica.history
    assert [history.last_committed_seq(term) for term in (1, 2, 3, 4, 5)] == [0, 3, 0, 0, 1]


@pytest.mark.parametrize(
    ("term", "first_seq", "effect", "words"),
    [
        (1, 3, (PUT, b"a", b"", 0, 0, 1), "seq 3 after 1"),
        (1, 1, (PUT, b"a", b"", 0, 0, 1), "seq 1 after 1"),
        (2, 1, (PUT, b"a", b"", 0, 0, 1), "lacks leader_started"),
    ],
)
def test_a_hole_or_a_repeat_in_the_log_is_an_assertion(
    term: int, first_seq: int, effect: tuple[object, ...], words: str
) -> None:
    bench = Bench()
    foreign(bench, 1, (LEADER_STARTED, "n1"))
    foreign(bench, term, effect, first_seq=first_seq)
    with pytest.raises(AssertionError, match=words):
        bench.group.commit()


def test_a_batch_in_the_log_under_another_term_is_an_assertion() -> None:
    bench = Bench()
    bench.group.append_foreign(4, encode_batch(Batch(3, 1, 0, [(LEADER_STARTED, "n1")])))
    with pytest.raises(AssertionError, match="under term 4"):
        bench.group.commit()


def test_a_receiver_that_raises_harms_nobody_else() -> None:
    bench = Bench().lead()

    def bad(_: Reply) -> None:
        raise RuntimeError("a defect of the receiver")

    bench.replica.submit(Set(b"a", b"1", ack=Q), bad)
    good = bench.send(Set(b"b", b"2", ack=Q))
    bench.replica.submit(Get(b"a"), bad)
    bench.settle()
    assert len(good) == 1


def test_a_reply_may_submit_again_at_once() -> None:
    bench = Bench().lead()
    seen: list[Reply] = []
    bench.replica.submit(Incr(b"n", ack=Q), lambda _: bench.replica.submit(Incr(b"n", ack=Q), seen.append))
    bench.settle()
    assert [answer.value for answer in seen if isinstance(answer, Counted)] == [2]


def test_closing_gives_the_memory_back() -> None:
    bench = Bench().lead()
    bench.send(Set(b"a", b"1"))
    bench.replica.close()
    assert bench.budget.used_bytes == 0 and not bench.replica.serving
