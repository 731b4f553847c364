"""Writes under minted keys at a shard: executed once, answered as often as they are sent, undone as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from shard_harness import Bench, follower_of

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import LossWindow, Namespace, OnExceeded
from raftcache.commands.types import (
    AckLevel,
    Append,
    Command,
    Counted,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    Minted,
    MintedKey,
    MultiDelete,
    MultiSet,
    Persist,
    ReadLevel,
    Reply,
    Set,
    Transaction,
    Version,
    Written,
)
from raftcache.node.rpc_methods import _decode_execute, encode_execute
from raftcache.shard import minted as minted_module
from raftcache.shard.minted import REPLY_LIMIT_BYTES, Room
from raftcache.shard.salvage import salvage
from raftcache.shard.snapshot import FORMAT, SESSIONS, count_rows, header_block, prepare
from raftcache.shard.sweep import SESSIONS_INTERVAL_S
from raftcache.store import sessions as sessions_module
from raftcache.store.effects import FORGET_SESSION, SESSION, decode_batch
from raftcache.store.sessions import RETRY_SPAN_MS, SESSION_TTL_MS

PRIMARY, QUORUM, DURABLE = AckLevel.PRIMARY, AckLevel.QUORUM, AckLevel.DURABLE
S1, S2 = b"session1", b"session2"


def minted(command: Any, *numbers: int, session: bytes = S1, floor: int = 0, repeat: bool = False) -> Any:
    return Minted(command, session, floor, numbers or (1,), repeat)


def succeed(bench: Bench) -> Bench:
    """The same replica under a new leadership, with everything that its group has committed."""
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    return bench.lead()


def effects_of(bench: Bench, code: int) -> list[list[Any]]:
    return [effect for _, payload in bench.group.log for effect in decode_batch(payload).effects if effect[0] == code]


def records_of(bench: Bench, session: bytes = S1) -> set[int]:
    found = bench.replica.sessions.get(session)
    return set() if found is None else set(found.records)


class Keys:
    """Mints as a front end does, and remembers for which places."""

    def __init__(self) -> None:
        self.places: list[int] = []

    def __call__(self, place: int, has_room: Room) -> MintedKey | None:
        if not self.places and not has_room(S1):
            return None
        self.places.append(place)
        return MintedKey(S1, 100 + place, 0)


# -- the first reply -----------------------------------------------------------------------------


COMMANDS: list[Command] = [
    Set(b"k", b"v", ttl_ms=5000),
    Set(b"there", b"v", if_absent=True),
    Set(b"there", b"new", reveal=True),
    Set(b"safe:k", b"v"),
    Delete(b"there", reveal=True),
    Delete(b"missing"),
    Incr(b"n", 3, 5000),
    Incr(b"strict:n"),
    Incr(b"there"),
    Append(b"there", b"more"),
    Expire(b"there", 5000),
    Persist(b"there"),
    Transaction((Incr(b"n"), Get(b"n"), Incr(b"there"), Set(b"safe:k", b"v"))),
    Transaction((Set(b"k", b"v"),), expected=((b"there", None),)),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_repeat_gets_the_first_reply_and_changes_nothing(command: Command) -> None:
    bench = Bench().lead()
    bench.ask(Set(b"there", b"word"))
    first = bench.ask(minted(command))
    assert first == answer_without_key(bench, command)
    log, digest = len(bench.group.log), bench.replica.digest()
    bench.ask(Set(b"other", b"v"))
    assert bench.ask(minted(command, repeat=True)) == first
    assert bench.replica.stats.replays == 1 and len(bench.group.log) == log + 1
    assert records_of(bench) == {1} and digest != bench.replica.digest()
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def answer_without_key(bench: Bench, command: Command) -> Any:
    """What the command is answered without a key, by a shard with the same content; versions aside."""
    other = Bench().lead()
    other.ask(Set(b"there", b"word"))
    return other.ask(command)


@pytest.mark.parametrize(("key", "level"), [(b"k", PRIMARY), (b"safe:k", QUORUM)])
def test_another_number_or_session_is_another_write(key: bytes, level: AckLevel) -> None:
    bench = Bench().lead()
    values = [bench.ask(minted(Incr(key), number, session=of)).value for of in (S1, S2) for number in (1, 2)]
    assert values == [1, 2, 3, 4] and bench.ask(minted(Incr(key), 2, session=S2)).ack == level


def test_what_was_refused_leaves_no_record() -> None:
    bench = Bench().lead()
    assert bench.ask(minted(Set(b"brief:k", b"x" * 101))).code == "value_too_large"
    assert records_of(bench) == set() and len(bench.replica.sessions) == 0
    assert bench.ask(minted(Incr(b"k"), repeat=True)).value == 1


def test_writes_of_a_session_share_an_effect_in_their_batch() -> None:
    bench = Bench().lead()
    replies = [bench.send(minted(Incr(b"n"), number, floor=number - 1)) for number in (1, 2, 3)]
    bench.send(minted(Incr(b"n"), 1, session=S2))
    bench.settle()
    first, second = effects_of(bench, SESSION)
    assert (first[1], first[2], first[4][::2]) == (S1, 0, [1, 2, 3]) and second[1] == S2
    assert [reply[0].value for reply in replies] == [1, 2, 3] and records_of(bench) == {1, 2, 3}
    bench.ask(minted(Incr(b"n"), 4, floor=3))
    assert records_of(bench) == {4}
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_items_of_a_multi_key_write_have_their_own_numbers() -> None:
    bench = Bench().lead()
    command = MultiSet((Set(b"a", b"1"), Set(b"safe:b", b"2"), Set(b"brief:c", b"x" * 101)))
    first = bench.ask(minted(command, 5, 6, 7, floor=4))
    assert [type(item) for item in first.items] == [Written, Written, Failure] and records_of(bench) == {5, 6}
    again = bench.ask(minted(MultiSet(command.items[1:]), 6, 7, floor=4, repeat=True))
    assert again.items[0] == first.items[1] and again.items[1].code == "value_too_large"
    deleted = bench.ask(minted(MultiDelete((Delete(b"a"), Delete(b"none"))), 8, 9, floor=7))
    assert [item.written for item in deleted.items] == [True, False] and records_of(bench) == {8, 9}


# -- the floor -----------------------------------------------------------------------------------


def test_a_number_that_is_not_above_the_floor_is_not_executed() -> None:
    bench = Bench().lead()
    bench.ask(minted(Incr(b"n"), 8, floor=5))
    for number, repeat in ((5, False), (5, True), (1, True)):
        reply = bench.ask(minted(Incr(b"n"), number, repeat=repeat))
        assert (reply.code, reply.details) == ("outcome_unknown", {"forgotten": True})
    assert bench.ask(minted(Incr(b"n"), 6)).value == 2 and bench.ask(minted(Incr(b"n"), 7, repeat=True)).value == 3


def test_too_many_records_are_counted_and_the_oldest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "RECORDS_PER_SESSION", 8)
    bench = Bench().lead()
    for number in range(1, 10):
        bench.ask(minted(Incr(b"n"), number))
    assert records_of(bench) == set(range(4, 10))
    assert bench.replica.stats.overloaded["records of a session"] == 1
    assert bench.ask(minted(Incr(b"n"), 3, repeat=True)).code == "outcome_unknown"
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_more_sessions_than_there_is_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minted_module, "SESSIONS_LIMIT", 1)
    bench = Bench().lead()
    assert bench.ask(minted(Incr(b"n"))).value == 1
    assert bench.ask(minted(Incr(b"n"), session=S2)).code == "overloaded"
    assert bench.replica.stats.overloaded["sessions"] == 1
    assert bench.ask(minted(Incr(b"n"), 2)).value == 2


def test_regression_all_items_of_a_write_that_waits_have_records_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first item took the last place for a session, with numbers for all; the second saw no place, and kept no
    record. It would have been executed again."""
    for limit, kept in ((2, {100, 101}), (1, set())):
        monkeypatch.setattr(minted_module, "SESSIONS_LIMIT", limit)
        bench, keys = Bench().lead(), Keys()
        bench.ask(minted(Incr(b"n"), session=S2))
        bench.replica.submit(MultiSet((Set(b"safe:a", b"1"), Set(b"safe:b", b"2"))), lambda _reply: None, mint=keys)
        bench.settle()
        assert records_of(bench) == kept and bool(keys.places) == bool(kept)


def test_a_held_write_without_room_for_its_session_is_executed_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minted_module, "SESSIONS_LIMIT", 0)
    one = Namespace("default", 1, loss_window=LossWindow(None, 1, None), on_exceeded=OnExceeded.WAIT)
    bench = Bench(policies=Namespaces(1, (one,))).lead()
    bench.send(Set(b"a", b"1"))
    replies: list[Reply] = []
    bench.replica.submit(Set(b"b", b"2"), replies.append, mint=Keys())
    assert not replies
    bench.settle()
    assert [type(reply) for reply in replies] == [Written] and records_of(bench) == set()


def test_regression_a_long_reply_is_not_kept_and_its_write_not_repeated() -> None:
    """A transaction that read eight large values had a record of eight megabytes, which no entry of the log has room
    for: the leadership ended, and what it had acknowledged was undone."""
    bench = Bench().lead()
    bench.ask(Set(b"large", b"x" * REPLY_LIMIT_BYTES))
    command = Transaction((Get(b"large"), Incr(b"n")))
    first = bench.ask(minted(command))
    assert first.items[1].value == 1
    again = bench.ask(minted(command, repeat=True))
    assert (again.code, again.details["forgotten"]) == ("outcome_unknown", True)
    assert bench.ask(Get(b"n")).value == b"1" and bench.replica.serving
    assert max(len(payload) for _, payload in bench.group.log) < 2 * REPLY_LIMIT_BYTES


def test_regression_a_delayed_write_below_a_floor_that_was_said_within_its_batch_is_not_executed() -> None:
    """Only the first write of a session in a batch was listened to."""
    bench = Bench().lead()
    bench.send(minted(Set(b"k", b"7"), 7, floor=4))
    bench.send(minted(Set(b"k", b"9"), 9, floor=8))
    late = bench.send(minted(Set(b"k", b"5"), 5, floor=4))
    assert late[0].code == "outcome_unknown"
    bench.settle()
    assert bench.ask(Get(b"k")).value == b"9"


BAD = [
    minted(Incr(b"n"), 1, 2),
    minted(Incr(b"n"), 3, floor=3),
    minted(Incr(b"n"), 3, floor=-1),
    minted(Incr(b"n"), 0),
    minted(MultiSet((Set(b"a", b""), Set(b"b", b""))), 1),
    minted(MultiSet((Set(b"a", b"", idempotency=b"i"),)), 1),
    minted(Incr(b"n"), session=b""),
    minted(Incr(b"n"), session=b"x" * 17),
]


@pytest.mark.parametrize("envelope", BAD)
def test_a_key_that_makes_no_sense_is_refused(envelope: Any) -> None:
    bench = Bench().lead()
    assert bench.ask(envelope).code == "bad_request" and len(bench.replica.keyspace) == 0


@pytest.mark.parametrize("command", [*COMMANDS, MultiSet((Set(b"a", b"1"),))], ids=lambda each: type(each).__name__)
def test_the_envelope_survives_the_wire(command: Command) -> None:
    envelope = minted(command, 77, floor=70, repeat=True)
    assert _decode_execute(encode_execute("7c1f", 3, envelope)) == ("7c1f", 3, envelope)


# -- leaders that come and go --------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"n", b"safe:n", b"strict:n"])
def test_a_new_leader_has_the_write_and_its_record_or_neither(key: bytes) -> None:
    for committed in (False, True):
        bench = Bench().lead()
        bench.ask(minted(Incr(key), 1))
        bench.send(minted(Incr(key), 2))
        bench.runtime.turn()
        if committed:
            bench.group.commit()
        succeed(bench)
        assert records_of(bench) == ({1, 2} if committed else {1})
        again = bench.ask(minted(Incr(key), 2, repeat=True))
        assert (again.value, again.version.term) == (2, 1 if committed else 2)
        assert bench.ask(Get(key)).value == b"2"


def test_a_lost_leadership_restores_floors_records_and_sessions() -> None:
    bench = Bench().lead()
    for number in (1, 2):
        bench.ask(minted(Incr(b"n"), number))
    before, used = bench.replica.digest(), bench.budget.used_bytes
    bench.send(minted(Incr(b"n"), 3, floor=2))
    bench.runtime.turn()
    bench.send(minted(Incr(b"n"), 4, floor=3))
    bench.send(minted(Incr(b"n"), 1, session=S2))
    assert records_of(bench) == {4} and records_of(bench, S2) == {1} and bench.replica.digest() == before
    bench.group.lose()
    assert bench.replica.digest() == before and bench.budget.used_bytes == used
    assert records_of(bench) == {1, 2} and bench.replica.sessions.get(S2) is None


def test_a_write_that_waits_is_unknown_when_its_leader_is_none_any_more_also_where_it_is_a_repeat() -> None:
    bench = Bench().lead()
    replies = [bench.send(minted(command)) for command in (Delete(b"safe:none"), Delete(b"safe:none"))]
    bench.group.lose()
    assert [reply[0].code for reply in replies] == ["outcome_unknown"] * 2


def test_a_repeat_is_answered_when_the_first_reply_might_have_left() -> None:
    bench = Bench().lead()
    primary, quorum = minted(Incr(b"n"), 1), minted(Incr(b"safe:n"), 2)
    assert len(bench.send(primary)) == len(bench.send(primary)) == 1
    first, second = bench.send(quorum), bench.send(quorum)
    assert first == second == []
    bench.settle()
    assert first == second and isinstance(first[0], Counted)
    assert len(bench.send(quorum)) == 1, "committed: at once"


def test_a_durable_repeat_waits_for_the_disk() -> None:
    bench = Bench().lead()
    command = minted(Set(b"k", b"v", ack=DURABLE))
    first = bench.ask(command)
    bench.group.slow_disk = True
    again = bench.send(command)
    bench.settle()
    assert again == []
    bench.group.sync()
    assert again == [first] and first.ack == DURABLE


# -- at the node of the front end ----------------------------------------------------------------


def ask_here(bench: Bench, command: Command, keys: Keys) -> list[Reply]:
    replies: list[Reply] = []
    bench.replica.submit(command, replies.append, 1e9, keys)
    return replies


@pytest.mark.parametrize("command", [Set(b"k", b"v"), Delete(b"safe:none"), Get(b"strict:k"), Incr(b"brief:n")])
def test_what_is_answered_at_once_or_writes_nothing_gets_no_key(command: Command) -> None:
    bench, keys = Bench().lead(), Keys()
    ask_here(bench, command, keys)
    bench.settle()
    assert keys.places == [] and len(bench.replica.sessions) == 0


@pytest.mark.parametrize(
    "command",
    [Set(b"safe:k", b"v"), Incr(b"strict:n"), Set(b"k", b"v", ack=DURABLE), Transaction((Set(b"safe:k", b"v"),))],
)
def test_what_waits_gets_one_and_its_record_is_in_its_batch(command: Command) -> None:
    bench, keys = Bench().lead(), Keys()
    replies = ask_here(bench, command, keys)
    assert keys.places == [0] and replies == []
    bench.settle()
    codes = [[effect[0] for effect in decode_batch(payload).effects] for _, payload in bench.group.log]
    assert codes[-1][-1] == SESSION and len(codes[-1]) == 2
    succeed(bench)
    assert bench.ask(minted(command, 100, repeat=True)) == replies[0]


def test_each_item_of_a_multi_key_write_that_waits_gets_its_own() -> None:
    bench, keys = Bench().lead(), Keys()
    ask_here(bench, MultiSet((Set(b"a", b"1"), Set(b"safe:b", b"2"), Set(b"safe:c", b"3"))), keys)
    assert keys.places == [1, 2] and records_of(bench) == {101, 102}


def test_a_write_with_a_clients_key_gets_none() -> None:
    bench, keys = Bench().lead(), Keys()
    ask_here(bench, Set(b"safe:k", b"v", idempotency=b"i"), keys)
    assert keys.places == []


# -- held for room in a loss window ------------------------------------------------------------------


def narrow() -> Bench:
    """A leader that acknowledges one write and holds the next."""
    window = Namespace("default", 1, loss_window=LossWindow(writes=1), on_exceeded=OnExceeded.WAIT)
    bench = Bench(policies=Namespaces(1, (window,))).lead()
    assert len(bench.send(Set(b"first", b"v"))) == 1
    return bench


def test_of_two_attempts_that_are_held_one_is_executed() -> None:
    bench = narrow()
    replies = [bench.send(minted(Incr(b"n"), repeat=repeat)) for repeat in (False, True)]
    assert replies == [[], []] and bench.replica.held.count == 2
    bench.settle()
    assert replies[0] == replies[1] and replies[0][0].value == 1 and bench.replica.stats.replays == 1


def test_a_write_of_this_node_that_is_held_gets_its_key_at_once() -> None:
    bench, keys = narrow(), Keys()
    replies = ask_here(bench, Incr(b"n"), keys)
    assert keys.places == [0] and replies == [] and len(bench.replica.sessions) == 0
    bench.settle()
    assert records_of(bench) == {100} and bench.ask(minted(Incr(b"n"), 100, repeat=True)) == replies[0]


def test_what_is_held_when_its_leader_is_none_any_more_was_not_executed_unless_it_is_a_repeat() -> None:
    bench = narrow()
    waiting, fresh = bench.send(minted(Incr(b"n"), 1)), bench.send(minted(Incr(b"n"), 2))
    bench.group.lose()
    assert [waiting[0].code, fresh[0].code] == ["not_leader", "not_leader"]
    bench = narrow()
    bench.settle()
    bench.ask(minted(Incr(b"n"), 1))
    bench.send(Set(b"first", b"v"))
    held = bench.send(minted(Incr(b"n"), 2))
    bench.replica._executor.keep_minted(S1, 2, 0, b"")
    bench.group.lose()
    assert held[0].code == "outcome_unknown"


# -- snapshots, and what is forgotten -------------------------------------------------------------


def test_snapshots_hold_the_committed_sessions_and_are_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.shard.snapshot.BLOCK_BYTES", 600)
    bench = Bench().lead()
    for number in range(1, 11):
        bench.ask(minted(Incr(b"n"), number))
    bench.ask(minted(Incr(b"n"), 1, session=S2))
    digest = bench.replica.digest()
    bench.send(minted(Incr(b"n"), 11, floor=9))
    blocks = list(bench.replica.snapshot_blocks())
    assert sum(block[1] == SESSIONS for block in blocks) > 2 and count_rows("7c1f", blocks).keys == 1
    other = Bench()
    other.replica.install(other.replica.prepare_restore(blocks), bench.group.applied, 1)
    assert other.replica.digest() == digest and records_of(other) == set(range(1, 11))


def test_a_snapshot_from_before_sessions_is_read() -> None:
    bench = Bench().lead()
    bench.ask(Set(b"k", b"v"))
    blocks = list(bench.replica.snapshot_blocks())
    assert blocks[0] == header_block("7c1f", bench.replica.history, 1) and blocks[0][2] == FORMAT
    blocks[0] = blocks[0][:2] + bytes([4]) + blocks[0][3:]
    prepared = prepare("7c1f", blocks)
    assert len(prepared.keyspace) == 1 and len(prepared.sessions) == 0


def test_a_survivor_gives_its_sessions_to_the_shard_that_takes_the_place() -> None:
    bench = Bench().lead()
    first = bench.ask(minted(Incr(b"n"), 7))
    blocks = list(bench.replica.snapshot_blocks())
    second = bench.ask(minted(Incr(b"n"), 8))
    batches = [(term, payload) for term, payload in bench.group.log[-1:]]
    prepared = prepare("new", salvage("7c1f", "new", blocks, batches))
    session = prepared.sessions.get(S1)
    assert session is not None and set(session.records) == {7, 8} and (first.value, second.value) == (1, 2)


def test_a_session_that_is_not_used_is_forgotten_and_no_other() -> None:
    bench = Bench().lead()
    bench.ask(minted(Incr(b"n"), 1))
    bench.runtime.advance(SESSION_TTL_MS / 2000)
    bench.ask(minted(Incr(b"n"), 1, session=S2))
    bench.runtime.advance(SESSION_TTL_MS / 2000 + SESSIONS_INTERVAL_S + 1)
    bench.settle()
    assert bench.replica.sessions.get(S1) is None and records_of(bench, S2) == {1}
    assert [effect[1] for effect in effects_of(bench, FORGET_SESSION)] == [S1]
    assert follower_of(bench).replica.digest() == bench.replica.digest()


def test_a_repeat_of_a_session_that_may_have_been_forgotten_is_not_executed() -> None:
    bench = Bench().lead()
    bench.ask(minted(Incr(b"n"), 1))
    bench.runtime.advance(SESSION_TTL_MS / 1000 + SESSIONS_INTERVAL_S + 1)
    bench.settle()
    late = bench.ask(minted(Incr(b"n"), 1, repeat=True))
    assert (late.code, late.details) == ("outcome_unknown", {"forgotten": True})
    assert bench.ask(minted(Incr(b"n"), 1, session=S2)).value == 2, "a first attempt is new"
    bench.runtime.advance(RETRY_SPAN_MS / 1000 + 1)
    assert bench.ask(minted(Incr(b"n"), 1, session=b"another", repeat=True)).value == 3


def test_a_new_leader_forgets_nothing_at_first_for_its_clock_may_be_another() -> None:
    bench = Bench().lead()
    bench.ask(minted(Incr(b"n"), 1))
    bench.runtime.wall_base_ms += 10 * SESSION_TTL_MS
    succeed(bench)
    bench.runtime.advance(RETRY_SPAN_MS / 1000 - 1)
    bench.settle()
    assert bench.ask(minted(Incr(b"n"), 1, repeat=True)).value == 1
    bench.runtime.advance(SESSIONS_INTERVAL_S + 2)
    bench.settle()
    assert len(bench.replica.sessions) == 0


def test_forgetting_is_undone_with_its_leadership() -> None:
    bench = Bench().lead()
    bench.ask(minted(Incr(b"n"), 1))
    digest = bench.replica.digest()
    bench.replica._executor.forget_session(S1)
    assert bench.replica.digest() == digest and len(bench.replica.sessions) == 0
    bench.ask(minted(Incr(b"n"), 2, floor=1))
    bench.send(minted(Incr(b"n"), 3))
    bench.replica._executor.forget_session(S1)
    assert bench.send(minted(Incr(b"n"), 4, floor=3))[0].value == 4 and records_of(bench) == {4}
    bench.group.lose()
    assert records_of(bench) == {2} and bench.replica.sessions.forgotten_ms > 0


def test_reads_that_must_not_show_what_can_be_lost_do_not_by_a_replay() -> None:
    bench = Bench().lead()
    command = minted(Transaction((Get(b"shown:k"), Set(b"k", b"v"))))
    bench.send(Set(b"shown:k", b"v"))
    first, again = bench.send(command), bench.send(replace(command, repeat=True))
    assert first == again == []
    bench.settle()
    assert first == again and first[0].items[0].level == ReadLevel.COMMITTED
    assert first[0].items[1].version == Version("7c1f", 1, 3)
