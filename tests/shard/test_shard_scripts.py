"""Scripts at a shard, with an interpreter that is a Python function: one batch, what the reply waits for, failovers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from shard_harness import Bench

from raftcache.commands.policy import OnExceeded
from raftcache.commands.types import (
    AckLevel,
    Append,
    Command,
    Counted,
    Failure,
    Get,
    Incr,
    Many,
    Minted,
    MultiGet,
    MultiSet,
    Reply,
    Script,
    Scripted,
    Set,
    Transaction,
    Unmet,
    Value,
    Written,
    decode_command,
    decode_reply,
    encode_command,
    encode_reply,
)
from raftcache.shard import pipeline as pipeline_module
from raftcache.store.effects import decode_batch

Call = Callable[[Command], Reply]
QUORUM, PRIMARY = AckLevel.QUORUM, AckLevel.PRIMARY


def scripted(play: Callable[[Call, tuple[bytes, ...]], Any]) -> Bench:
    """A leader for which every script is `play(call, args)`."""
    return Bench(interpreter=lambda: lambda command, call: play(call, command.args)).lead()


def commands(*given: Command) -> Bench:
    """A leader for which every script is these commands, and its result how they were answered."""
    return scripted(lambda call, _args: [type(call(command)).__name__ for command in given])


def failed(reply: Any, code: str) -> bool:
    return isinstance(reply, Failure) and reply.code == code


def test_commands_are_executed_at_once_and_the_result_leaves_at_primary() -> None:
    bench = commands(Set(b"a", b"1"), Incr(b"a"), Get(b"a"))
    (reply,) = bench.send(Script(b"", (b"a",)))
    assert reply == Scripted(["Written", "Counted", "Value"], bench.replica._executor.newest(), PRIMARY)
    assert bench.ask(Get(b"a")).value == b"2"


def test_a_script_that_writes_nothing_has_no_version() -> None:
    assert commands(Get(b"a")).ask(Script(b"")) == Scripted(["Value"], None, PRIMARY)


def test_it_and_its_answer_come_over_the_wire() -> None:
    script = Script(b"return 1", (b"a",), (b"\xff", b""), True)
    assert decode_command(encode_command(script)) == script
    answer = Scripted([1, b"\xff", None, {"ok": b"OK"}, [{"err": b"ERR no"}], -(1 << 63)], None, QUORUM)
    assert decode_reply(encode_reply(answer)) == answer


def test_all_of_it_stands_in_one_batch_however_full_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_BATCH_EFFECTS", 2)
    bench = commands(*[Set(b"k%d" % n, b"x") for n in range(9)])
    for command in (Set(b"before", b"1"), Script(b""), Set(b"after", b"1")):
        bench.send(command)
    bench.settle()
    batches = [[effect[1] for effect in decode_batch(entry[-1]).effects] for entry in bench.group.log[1:]]
    (whole,) = [keys for keys in batches if b"k0" in keys]
    assert {b"k%d" % n for n in range(9)} <= set(whole) and b"after" not in whole


def test_many_keys_and_conditions_are_executed_within_it() -> None:
    seen: list[Reply] = []
    absent = Transaction((Set(b"n", b"1"),), ((b"n", None),))
    given = (MultiSet((Set(b"a", b"1"), Set(b"b", b"2"))), MultiGet((Get(b"a"), Get(b"b"))), absent, absent)
    bench = scripted(lambda call, _args: seen.extend(map(call, given)))
    assert bench.ask(Script(b"")).result is None
    assert isinstance(seen[1], Many) and [item.value for item in seen[1].items] == [b"1", b"2"]  # type: ignore[union-attr]
    assert isinstance(seen[2], Many) and seen[3] == Unmet(b"n")


@pytest.mark.parametrize(
    "command", [Get(b"shown:w"), Set(b"shown:w", b"2", if_absent=True), Get(b"strict:w"), Set(b"a", b"", ack=QUORUM)]
)
def test_the_reply_waits_for_what_its_commands_wait_for(command: Command) -> None:
    """At `committed` a result may be made of whatever was read, so it may not leave before that is committed."""
    bench = scripted(lambda call, _args: [call(Set(b"shown:w", b"1")) and call(command) and 1])
    replies = bench.send(Script(b"", (b"shown:w",)))
    assert replies == []
    bench.settle()
    assert isinstance(replies[0], Scripted) and replies[0].ack == QUORUM


def test_an_earlier_write_that_it_showed_is_waited_for_where_reads_are_committed() -> None:
    bench = commands(Get(b"shown:w"))
    bench.send(Set(b"shown:w", b"1"))
    replies = bench.send(Script(b""))
    assert replies == []
    bench.group.lose()
    assert failed(replies[0], "not_leader"), "it wrote nothing, so nothing of it can take effect"


def test_a_lost_leadership_leaves_the_outcome_of_a_write_open() -> None:
    bench = commands(Set(b"a", b"1", ack=QUORUM), Get(b"a"))
    replies = bench.send(Script(b""))
    bench.runtime.turn()
    bench.group.lose()
    assert failed(replies[0], "outcome_unknown")


def test_what_was_executed_before_it_failed_remains_and_a_defect_is_told() -> None:
    def play(call: Call, _args: tuple[bytes, ...]) -> Any:
        call(Set(b"a", b"1"))
        raise RuntimeError("a defect of the interpreter")

    bench = scripted(play)
    assert failed(bench.ask(Script(b"")), "internal") and bench.ask(Get(b"a")).value == b"1"
    assert not bench.replica.pipeline.undivided


def test_what_is_looked_at_before_it_runs() -> None:
    bench = commands(Set(b"a", b"1"))
    bench.foreign_keys = {b"far"}
    assert failed(bench.ask(Script(b"", (b"a", b"far"))), "wrong_shard")
    assert failed(Bench().lead().ask(Script(b"")), "bad_request")
    assert bench.ask(Get(b"a")).value is None


def test_a_command_for_another_shards_key_fails_alone() -> None:
    bench = commands(Set(b"far", b"1"), Set(b"a", b"1"))
    bench.foreign_keys = {b"far"}
    assert bench.ask(Script(b"")).result == ["Failure", "Written"]


def test_what_becomes_of_its_commands_is_bounded() -> None:
    bench = scripted(lambda call, _args: [type(call(Append(b"k%d" % n, b"."))).__name__ for n in range(9)])
    for n in range(9):
        bench.ask(Set(b"k%d" % n, b"x" * ((1 << 20) - 9)))
    assert bench.ask(Script(b"")).result == ["Counted"] * 5 + ["Failure"] * 4
    assert bench.ask(Set(b"next", b"1")).written


@pytest.mark.parametrize("then", [OnExceeded.QUORUM, OnExceeded.WAIT])
def test_a_window_without_room_makes_it_wait_for_its_commit(then: OnExceeded) -> None:
    bench = windowed(then, lambda call, _args: [call(Set(b"k%d" % n, b"x")) for n in range(5)] and None)
    replies = bench.send(Script(b"", (b"k0",)))
    assert replies == [] and not bench.replica.held.count
    bench.settle()
    assert isinstance(replies[0], Scripted) and replies[0].ack == QUORUM


def test_it_is_held_as_a_whole_behind_what_is_held_or_fails_where_it_had_not_said_so() -> None:
    seen: list[Reply] = []
    bench = windowed(OnExceeded.WAIT, lambda call, _args: seen.append(call(Set(b"k2", b"y"))))
    for n in range(3):
        bench.send(Set(b"k%d" % n, b"x"))
    assert bench.replica.held.count == 1
    replies = bench.send(Script(b"", (b"k2",)), bench.runtime.now_s + 5)
    assert bench.replica.held.count == 2 and not replies
    bench.send(Script(b"", ()), bench.runtime.now_s + 5)
    assert [failed(each, "overloaded") for each in seen] == [True]
    bench.settle()
    bench.runtime.advance(0.1)
    bench.settle()
    assert isinstance(replies[0], Scripted) and bench.ask(Get(b"k2")).value == b"y"


def windowed(then: OnExceeded, play: Callable[[Call, tuple[bytes, ...]], Any]) -> Bench:
    """A leader whose window has room for two writes."""
    bench = scripted(play)
    window = replace(bench.policies.by_name["default"].loss_window, writes=2)
    default = replace(bench.policies.by_name["default"], loss_window=window, on_exceeded=then)
    others = [each for each in bench.policies.by_name.values() if each.name != "default"]
    bench.follow(type(bench.policies)(bench.policies.epoch + 1, (default, *others)))
    bench.settle()
    return bench


def test_in_a_transaction_it_runs_where_it_stands_and_all_is_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_BATCH_EFFECTS", 2)
    bench = commands(Incr(b"n"), Set(b"s1", b"x"), Set(b"s2", b"x"), Set(b"s3", b"x"))
    run = Script(b"", (b"n",))
    bench.send(Set(b"before", b"1"))
    (reply,) = bench.send(Transaction((Set(b"n", b"5"), run, Get(b"n"), run, Incr(b"n"))))
    bench.send(Set(b"after", b"1"))
    assert isinstance(reply, Many), "at primary it leaves at once"
    first, ran, read, _, last = reply.items
    assert isinstance(ran, Scripted) and ran.ack == PRIMARY and ran.wrote is not None
    assert isinstance(first, Written) and ran.wrote.seq == first.version.seq + 4
    assert isinstance(read, Value) and read.value == b"6" and isinstance(last, Counted) and last.value == 8
    bench.settle()
    batches = [[effect[1] for effect in decode_batch(entry[-1]).effects] for entry in bench.group.log[1:]]
    (whole,) = [keys for keys in batches if b"s1" in keys]
    assert whole[-10:] == [b"n", b"n", b"s1", b"s2", b"s3", b"n", b"s1", b"s2", b"s3", b"n"] and b"after" not in whole


def test_a_transaction_with_scripts_and_its_answer_come_over_the_wire() -> None:
    command = Transaction((Script(b"return 1", (b"a",), (b"\xff",)), Get(b"a")), ((b"b", None),))
    assert decode_command(encode_command(command)) == command
    answer = Many((Scripted({"err": b"ERR no"}, None, QUORUM), Scripted([1, None], None, PRIMARY)))
    assert decode_reply(encode_reply(answer)) == answer


def test_a_transaction_waits_for_what_its_scripts_wait_for() -> None:
    bench = commands(Set(b"safe:k", b"1"))
    replies = bench.send(Transaction((Set(b"a", b"1"), Script(b"", (b"a",)), Script(b"", (b"a",)))))
    assert replies == []
    bench.settle()
    assert [item.ack for item in replies[0].items] == [QUORUM] * 3  # type: ignore[union-attr]


def test_a_script_that_waits_for_nothing_reaches_what_the_others_wait_for() -> None:
    replies = (bench := commands(Set(b"k", b"1"))).send(Transaction((Script(b"", (b"k",)), Set(b"safe:k", b"1"))))
    assert replies == []
    bench.settle()
    assert [item.ack for item in replies[0].items] == [QUORUM] * 2  # type: ignore[union-attr]


def test_in_a_transaction_it_fails_alone() -> None:
    plain = Bench().lead()
    reply = plain.ask(Transaction((Set(b"a", b"1"), Script(b"", (b"a",)), Incr(b"a"))))
    assert failed(reply.items[1], "bad_request") and reply.items[2].value == 2, "here is no interpreter"
    bench = commands(Set(b"far", b"1"), Set(b"a", b"1"))
    bench.foreign_keys = {b"far"}
    assert bench.ask(Transaction((Script(b"", (b"a",)), Get(b"a")))).items[0].result == ["Failure", "Written"]


def test_the_keys_of_its_scripts_are_looked_at_before_a_transaction_runs() -> None:
    bench = commands(Set(b"b", b"1"))
    bench.foreign_keys = {b"far", Script(b"").key}
    assert failed(bench.ask(Transaction((Set(b"a", b"1"), Script(b"", (b"far",))))), "wrong_shard")
    assert bench.ask(Get(b"a")).value is None
    assert isinstance(bench.ask(Transaction((Set(b"a", b"1"), Script(b"")))), Many), "one without keys runs anywhere"
    assert bench.ask(Get(b"b")).value == b"1"


def test_one_interpreter_runs_all_scripts_of_a_transaction_and_no_others() -> None:
    """It bounds what they take together."""
    begun: list[int] = []

    def interpreter() -> Callable[..., Any]:
        begun.append(0)

        def run(_command: Script, _call: Call) -> int:
            begun[-1] += 1
            return begun[-1]

        return run

    bench = Bench(interpreter=interpreter).lead()
    bench.ask(Transaction((Script(b""), Get(b"a"), Script(b""))))
    bench.ask(Script(b""))
    assert begun == [2, 1]


@pytest.mark.parametrize("then", [OnExceeded.QUORUM, OnExceeded.WAIT])
def test_a_window_without_room_makes_a_transaction_with_scripts_wait(then: OnExceeded) -> None:
    bench = windowed(then, lambda call, _args: [call(Set(b"k%d" % n, b"x")) for n in range(2)] and None)
    replies = bench.send(Transaction((Set(b"k9", b"x"), Script(b"", (b"k0",)))))
    assert replies == [] and not bench.replica.held.count
    bench.settle()
    assert [item.ack for item in replies[0].items] == [QUORUM] * 2  # type: ignore[union-attr]


def test_a_transaction_is_held_as_a_whole_behind_what_its_script_has_to_wait_for() -> None:
    bench = windowed(OnExceeded.WAIT, lambda call, _args: call(Set(b"k2", b"y")) and None)
    for n in range(3):
        bench.send(Set(b"k%d" % n, b"x"))
    replies = bench.send(Transaction((Script(b"", (b"k2",)),)), bench.runtime.now_s + 5)
    assert bench.replica.held.count == 2 and not replies
    bench.settle()
    bench.runtime.advance(0.1)
    bench.settle()
    assert isinstance(replies[0], Many) and bench.ask(Get(b"k2")).value == b"y"


def test_nothing_of_it_is_executed_where_another_version_stands() -> None:
    bench = commands(Set(b"a", b"1"))
    bench.ask(Set(b"w", b"1"))
    assert bench.ask(Transaction((Script(b"", (b"a",)),), ((b"w", None),))) == Unmet(b"w")
    assert bench.ask(Get(b"a")).value is None


def test_a_repeat_of_a_transaction_runs_its_scripts_once() -> None:
    bench = commands(Incr(b"n"))
    envelope = Minted(Transaction((Script(b"", (b"n",)), Get(b"n"))), b"session", 0, (1,))
    first = bench.ask(envelope)
    assert bench.ask(replace(envelope, repeat=True)) == first and isinstance(first, Many)
    assert bench.ask(Get(b"n")).value == b"1"


def test_a_lost_leadership_leaves_the_outcome_of_a_transaction_open_in_which_only_a_script_wrote() -> None:
    bench = commands(Set(b"a", b"1", ack=QUORUM))
    replies = bench.send(Transaction((Get(b"a"), Script(b"", (b"a",)))))
    bench.runtime.turn()
    bench.group.lose()
    assert failed(replies[0], "outcome_unknown")


def test_transfers_keep_the_sum_through_any_failover() -> None:
    """Random transfers by script between two keys, commits, failovers: whoever leads, the sum is what it was."""

    def transfer(call: Call, args: tuple[bytes, ...]) -> None:
        amount = int(args[0])
        call(Incr(b"left", amount))
        call(Get(b"left"))
        call(Incr(b"right", -amount))

    rnd, bench = random.Random(7), scripted(transfer)
    bench.ask(Set(b"left", b"500"))
    bench.ask(Set(b"right", b"500"))
    failovers = 0
    for number in range(1500):
        amount = rnd.randrange(-9, 10)
        whole = Script(b"", (b"left", b"right"), (b"%d" % amount,))
        # Every other time within a transaction that moves as much again.
        bench.send(Transaction((whole, Incr(b"left", amount), Incr(b"right", -amount))) if number % 2 else whole)
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
