"""Transactions: all of one batch or nothing, versions that are expected, and what one command's failure means."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace
from shard_harness import Bench

from raftcache.commands.policy import OnExceeded
from raftcache.commands.types import (
    TRANSACTION_LIMIT_BYTES,
    AckLevel,
    Append,
    Counted,
    Delete,
    Failure,
    Get,
    Incr,
    Many,
    Script,
    Set,
    Transaction,
    Unmet,
    Value,
    Version,
    Written,
    decode_command,
    encode_command,
    encode_reply,
)
from raftcache.frontends.resp.scripts.sandbox import RESULTS_LIMIT_BYTES
from raftcache.shard import pipeline as pipeline_module
from raftcache.shard import transactions
from raftcache.store.effects import decode_batch
from raftcache.wire.rpc import BODY_LIMIT_BYTES

QUORUM = AckLevel.QUORUM


@pytest.fixture
def bench() -> Bench:
    return Bench().lead()


def failed(reply: Any, code: str) -> bool:
    return isinstance(reply, Failure) and reply.code == code


def test_regression_what_makes_room_for_a_transaction_does_not_divide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node over its memory mark let the leader's own writes seal the open batch, in the middle of a transaction."""
    bench = Bench().lead()
    pipeline = bench.replica.pipeline
    monkeypatch.setattr("raftcache.shard.pipeline.MAX_BATCH_EFFECTS", 2)
    before = len(bench.group.log)
    room_for = bench.replica._executor.room_for

    def evicting(namespace, key: bytes, size_bytes: int) -> None:
        assert pipeline.admit_background()
        room_for(namespace, key, size_bytes)

    bench.replica._executor.room_for = evicting
    bench.budget.mark_bytes = 0
    bench.send(Transaction(tuple(Set(b"k%d" % number, b"v") for number in range(6))))
    bench.settle()
    effects = [len(decode_batch(payload).effects) for _, payload in bench.group.log[before:]]
    assert 6 in effects, effects


def test_commands_are_executed_in_order_and_answered_together(bench: Bench) -> None:
    commands = (Set(b"a", b"1"), Incr(b"a"), Get(b"a"), Delete(b"a"), Get(b"a"))
    (reply,) = bench.send(Transaction(commands))
    assert isinstance(reply, Many), "at primary it leaves at once"
    written, counted, value, deleted, miss = reply.items
    assert (written.written, counted.value, value.value, deleted.existed, miss.value) == (True, 2, b"2", True, None)


def test_it_comes_over_the_wire(bench: Bench) -> None:
    command = Transaction((Set(b"a", b"1"), Get(b"a")), ((b"a", None), (b"b", Version("7c1f", 1, 1))))
    assert decode_command(encode_command(command)) == command


def test_what_has_no_scripts_is_the_same_on_the_wire_as_before_there_were_any_in_it() -> None:
    """Nodes of two builds understand each other for as long as no block has a script."""
    version = Version("7c1f", 1, 2)
    command = Transaction((Set(b"a", b"1", ack=QUORUM), Get(b"a")), ((b"b", version),))
    assert encode_command(command).hex() == (
        "93ab7472616e73616374696f6e929ea3736574c40161c4013100c0c0c202c000c0c2c2c297a3676574c40161c0c2c0c000"
        "9192c4016293a4376331660102"
    )
    items = (Written(True, version, None, QUORUM), Counted(3, version, None, AckLevel.PRIMARY), Failure("x", "y"))
    assert encode_reply(Many(items)).hex() == (
        "92a46d616e799398a77772697474656ec393a4376331660102c002c2c0c095a7636f756e7465640393a4376331660102c001"
        "94a76661696c757265a178a17980"
    )


def test_the_key_that_finds_its_shard_is_the_first_that_is_named() -> None:
    keyless = Script(b"return 1")
    assert Transaction((keyless, Script(b"", (b"a",)), Get(b"b"))).key == b"a"
    assert Transaction((keyless,), ((b"w", None),)).key == b"w"
    assert Transaction((keyless,)).key == keyless.key and Transaction(()).key == b""


def test_all_of_it_stands_in_one_batch_however_full_that_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_BATCH_EFFECTS", 2)
    bench.send(Set(b"before", b"1"))
    bench.send(Transaction(tuple(Set(b"k%d" % n, b"x") for n in range(9))))
    bench.send(Set(b"after", b"1"))
    bench.settle()
    batches = [[effect[1] for effect in decode_batch(entry[-1]).effects] for entry in bench.group.log[1:]]
    (whole,) = [keys for keys in batches if b"k0" in keys]
    assert {b"k%d" % n for n in range(9)} <= set(whole) and b"after" not in whole


def test_a_refused_command_leaves_the_others_alone(bench: Bench) -> None:
    reply = bench.ask(Transaction((Set(b"a", b"x"), Incr(b"a"), Set(b"b", b"y", if_absent=True))))
    first, refused, last = reply.items
    assert first.written and failed(refused, "not_an_integer") and last.written


@pytest.mark.parametrize("expected", [None, Version("7c1f", 1, 99)])
def test_nothing_is_executed_where_another_version_stands(bench: Bench, expected: Version | None) -> None:
    bench.ask(Set(b"w", b"1"))
    reply = bench.ask(Transaction((Set(b"a", b"1"),), ((b"w", expected),)))
    assert reply == Unmet(b"w") and bench.ask(Get(b"a")).value is None


def test_it_is_executed_where_what_is_expected_stands(bench: Bench) -> None:
    version = bench.ask(Set(b"w", b"1")).version
    expected = ((b"w", version), (b"none", None))
    assert isinstance(bench.ask(Transaction((Set(b"w", b"2"),), expected)), Many)
    assert bench.ask(Transaction((Set(b"w", b"3"),), expected)) == Unmet(b"w")
    assert isinstance(bench.ask(Transaction((), ((b"none", None),))), Many)


def test_a_key_that_expired_or_was_touched_is_another_version(bench: Bench) -> None:
    version = bench.ask(Set(b"w", b"1", ttl_ms=1000)).version
    bench.runtime.now_s += 2
    assert bench.ask(Transaction((Set(b"a", b"1"),), ((b"w", version),))) == Unmet(b"w")


def test_an_unmet_expectation_is_not_shown_before_it_is_committed_where_reads_are(bench: Bench) -> None:
    bench.send(Set(b"shown:w", b"1"))
    replies = bench.send(Transaction((Set(b"shown:a", b"1"),), ((b"shown:w", None),)))
    assert replies == []
    bench.settle()
    assert replies == [Unmet(b"shown:w")]


def test_it_waits_for_the_highest_level_of_its_commands(bench: Bench) -> None:
    replies = bench.send(Transaction((Set(b"a", b"1"), Set(b"b", b"1", ack=QUORUM))))
    assert replies == []
    bench.settle()
    assert isinstance(replies[0], Many) and replies[0].items[1].ack == QUORUM


def test_a_lost_leadership_leaves_the_outcome_open(bench: Bench) -> None:
    replies = bench.send(Transaction((Set(b"a", b"1", ack=QUORUM), Get(b"a"))))
    bench.runtime.turn()
    bench.group.lose()
    assert failed(replies[0], "outcome_unknown")


def test_a_lost_leadership_undoes_all_of_it(bench: Bench) -> None:
    bench.ask(Set(b"a", b"0"))
    bench.send(Transaction((Set(b"a", b"1"), Set(b"b", b"1"), Append(b"a", b"2"))))
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    bench.lead()
    assert (bench.ask(Get(b"a")).value, bench.ask(Get(b"b")).value) == (b"0", None)


def test_bounds_are_looked_at_before_anything_is_executed(bench: Bench) -> None:
    large = b"x" * (1 << 20)
    for command, code in (
        (Transaction(tuple(Set(b"k%d" % n, b"") for n in range(1001))), "too_many_keys"),
        (Transaction(tuple(Set(b"k%d" % n, large) for n in range(5))), "bad_request"),
        (Transaction(()), "bad_request"),
        (Transaction((Set(b"k0", b""), Set(b"k1", b"", idempotency=b"i"))), "bad_request"),
        (Transaction((Set(b"k0", b""), Set(b"gone:k", b"", named_at=1))), "unknown_namespace"),
    ):
        assert failed(bench.ask(command), code), code
    assert bench.ask(Get(b"k0")).value is None and 5 * len(large) > TRANSACTION_LIMIT_BYTES


def test_what_becomes_of_its_commands_is_bounded(bench: Bench) -> None:
    """An append of a byte writes a megabyte."""
    for n in range(9):
        bench.ask(Set(b"k%d" % n, b"x" * ((1 << 20) - 9)))
    reply = bench.ask(Transaction(tuple(Append(b"k%d" % n, b".") for n in range(9))))
    codes = [item.code if isinstance(item, Failure) else "" for item in reply.items]
    assert codes[:5] == [""] * 5 and codes[5:] == ["overloaded"] * 4
    assert not bench.replica.pipeline.undivided
    assert bench.ask(Set(b"next", b"1")).written


@pytest.mark.parametrize("then", [OnExceeded.QUORUM, OnExceeded.WAIT])
def test_a_window_without_room_makes_it_wait_for_its_commit_and_never_splits_it(then: OnExceeded) -> None:
    bench = windowed(then)
    replies = bench.send(Transaction(tuple(Set(b"k%d" % n, b"x") for n in range(5))))
    assert replies == [] and not bench.replica.held.count
    bench.settle()
    assert [item.ack for item in replies[0].items if isinstance(item, Written)] == [QUORUM] * 5
    assert not bench.replica.pipeline.windows.in_use()["default"].writes, "none of it was acknowledged before"


def test_a_window_that_is_full_refuses_every_write_of_it() -> None:
    bench = windowed(OnExceeded.REJECT)
    fits = bench.send(Transaction((Set(b"a", b"x"), Set(b"b", b"x"))))[0]
    assert [item.ack for item in fits.items] == [AckLevel.PRIMARY] * 2
    refused = bench.send(Transaction((Set(b"a", b"y"), Get(b"a"), Set(b"b", b"y"))))[0]
    assert failed(refused.items[0], "loss_window_full") and refused.items[1].value == b"x"
    assert failed(refused.items[2], "loss_window_full")


def test_what_is_lost_before_it_was_answered_was_not_acknowledged() -> None:
    """Its first write could have been answered at once, had it been alone."""
    bench = Bench().lead()
    replies = bench.send(Transaction((Set(b"a", b"1"), Set(b"b", b"1", ack=QUORUM))))
    bench.runtime.turn()
    batches = bench.replica.pipeline._batches()
    assert any(len(batch.effects) == 2 for batch in batches) and not any(batch.acked for batch in batches)
    bench.group.lose()
    assert failed(replies[0], "outcome_unknown")


def test_it_is_held_as_a_whole_behind_what_is_held() -> None:
    bench = windowed(OnExceeded.WAIT)
    for n in range(3):
        bench.send(Set(b"k%d" % n, b"x"))
    assert bench.replica.held.count == 1
    replies = bench.send(Transaction((Set(b"k2", b"y"), Get(b"k2"))), bench.runtime.now_s + 5)
    assert bench.replica.held.count == 2 and not replies
    bench.settle()
    bench.runtime.advance(0.1)
    bench.settle()
    assert isinstance(replies[0], Many) and replies[0].items[1].value == b"y"


def windowed(then: OnExceeded) -> Bench:
    """A leader whose window has room for two writes."""
    bench = Bench().lead()
    window = replace(bench.policies.by_name["default"].loss_window, writes=2)
    default = replace(bench.policies.by_name["default"], loss_window=window, on_exceeded=then)
    bench.follow(replace_default(bench, default))
    bench.settle()
    return bench


def replace_default(bench: Bench, default: Any) -> Any:
    others = [each for each in bench.policies.by_name.values() if each.name != "default"]
    return type(bench.policies)(bench.policies.epoch + 1, (default, *others))


def test_transfers_keep_the_sum_through_any_failover() -> None:
    """Random transfers between two keys, commits, failovers: whoever leads, the sum is what it was."""
    rnd, bench = random.Random(5), Bench().lead()
    bench.ask(Set(b"left", b"500"))
    bench.ask(Set(b"right", b"500"))
    failovers = 0
    for _ in range(1500):
        amount = rnd.randrange(-9, 10)
        bench.send(Transaction((Incr(b"left", amount), Incr(b"right", -amount))))
        pick = rnd.random()
        if pick < 0.4:
            bench.runtime.turn()
        elif pick < 0.6:
            bench.group.commit(min(len(bench.group.log), bench.group.applied + 1))
        elif pick < 0.65:
            bench.group.lose()
            bench.group.truncate(bench.group.applied)
            bench.lead()
            failovers += 1
        if pick > 0.9:
            values = [bench.send(Get(key))[0] for key in (b"left", b"right")]
            assert sum(int(each.value or 0) for each in values if isinstance(each, Value)) == 1000
    assert failovers > 30


def test_regression_replies_that_no_message_could_carry_are_refused_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand values of a megabyte were put together, and the reply failed on its way, as a bad request, though all
    had been executed."""
    monkeypatch.setattr(transactions, "REPLIES_LIMIT_BYTES", 250)
    bench = Bench().lead()
    bench.ask(Set(b"{t}a", bytes(100)))
    items = (Get(b"{t}a"), Set(b"{t}a", bytes(120), reveal=True), Set(b"{t}a", b"new", reveal=True), Get(b"{t}b"))
    answer = bench.ask(Transaction((*items, Set(b"{t}a", b"last"), Get(b"{t}a"))))
    assert [type(each) for each in answer.items] == [Value, Written, Failure, Value, Written, Value]
    assert failed(answer.items[2], "value_too_large")
    assert answer.items[5].value == b"last", "there is room for short ones"
    assert len(bench.replica.keyspace.get(b"{t}a").value) == 4


def test_the_longest_replies_fit_into_a_message() -> None:
    assert transactions.REPLIES_LIMIT_BYTES + RESULTS_LIMIT_BYTES < BODY_LIMIT_BYTES
