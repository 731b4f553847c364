"""The table of sessions: floors, records, effects that grow, undo; and a leader's table against a replica's."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.store import sessions as module
from raftcache.store.effects import FORGET_SESSION, SESSION
from raftcache.store.memory import MemoryBudget
from raftcache.store.sessions import RECORD_OVERHEAD_BYTES, SESSION_OVERHEAD_BYTES, Change, Sessions

ONE, TWO = b"session1", b"session2"


def table() -> Sessions:
    return Sessions(MemoryBudget())


def begin(sessions: Sessions, id_: bytes = ONE, floor: int = 0, used_ms: int = 10) -> Change:
    return sessions.begin([SESSION, id_, floor, used_ms, []])[0]


def content(sessions: Sessions) -> tuple[int, dict[bytes, tuple[int, int, dict[int, bytes]]]]:
    forgotten_ms, rows = sessions.rows_before(())
    by_id = {id_: (floor, used_ms, dict(zip(kept[::2], kept[1::2], strict=True))) for id_, floor, used_ms, kept in rows}
    return forgotten_ms, by_id


def test_records_above_the_floor_are_kept_and_no_others() -> None:
    sessions = table()
    change = begin(sessions)
    for number in (2, 1, 3):
        sessions.keep(change, number, b"r%d" % number)
    assert content(sessions) == (0, {ONE: (0, 10, {1: b"r1", 2: b"r2", 3: b"r3"})})
    assert change.effect == [SESSION, ONE, 0, 10, [2, b"r2", 1, b"r1", 3, b"r3"]]
    change, dropped_bytes = sessions.begin([SESSION, ONE, 2, 11, []])
    sessions.keep(change, 5, b"r5")
    assert content(sessions) == (0, {ONE: (2, 11, {3: b"r3", 5: b"r5"})})
    assert dropped_bytes == 2 * (2 + RECORD_OVERHEAD_BYTES)
    assert begin(sessions, floor=1).effect[2] == 2, "a floor never falls"


def test_a_session_that_comes_back_after_long_is_not_walked_number_by_number() -> None:
    sessions = table()
    sessions.keep(begin(sessions), 1, b"r")
    sessions.keep(begin(sessions, floor=(1 << 60) - 1), 1 << 60, b"s")
    assert content(sessions)[1][ONE][2] == {1 << 60: b"s"}


@pytest.mark.parametrize(("bound", "value"), [("RECORDS_PER_SESSION", 8), ("RECORD_BYTES_PER_SESSION", 2200)])
def test_too_many_records_raise_the_floor_over_the_oldest(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(module, bound, value)
    sessions, replica = table(), table()
    change = begin(sessions)
    crowded = [sessions.keep(change, number, b"r" * 20) > 0 for number in range(1, 14)]
    assert crowded.count(True) == 2 and crowded.index(True) >= 8
    floor, _, records = content(sessions)[1][ONE]
    assert floor > 0 and min(records) == floor + 1
    replica.take_in(*change.effect[1:])
    assert content(replica) == content(sessions)
    sessions.undo(change)
    assert content(sessions) == (0, {}) and sessions.used_bytes == 0


def test_what_is_counted() -> None:
    budget = MemoryBudget()
    sessions = Sessions(budget)
    change = begin(sessions)
    sessions.keep(change, 1, b"reply")
    assert (len(sessions), sessions.records) == (1, 1)
    assert budget.used_bytes == sessions.used_bytes == SESSION_OVERHEAD_BYTES + RECORD_OVERHEAD_BYTES + 5
    sessions.forget([FORGET_SESSION, ONE, 99])
    assert (len(sessions), sessions.records, sessions.used_bytes, budget.used_bytes) == (0, 0, 0, 0)
    assert content(sessions) == (99, {})


def test_forgetting_is_undone_and_a_session_may_come_back_in_the_same_batch() -> None:
    sessions = table()
    sessions.keep(begin(sessions, floor=3), 4, b"r4")
    before = content(sessions)
    forget = sessions.forget([FORGET_SESSION, ONE, 50])
    again = begin(sessions, ONE, 8, 60)
    sessions.keep(again, 9, b"r9")
    assert content(sessions) == (50, {ONE: (8, 60, {9: b"r9"})})
    forgotten_ms, rows = sessions.rows_before([forget, again])
    assert (forgotten_ms, rows) == (0, [(ONE, 3, 10, [4, b"r4"])])
    sessions.undo(again)
    sessions.undo(forget)
    assert content(sessions) == before


def test_rows_load_back_in_parts() -> None:
    sessions, other = table(), table()
    change = begin(sessions, ONE, 2, 7)
    for number in (3, 5, 4):
        sessions.keep(change, number, b"r%d" % number)
    other.load(9, [(ONE, 2, 7, [3, b"r3", 5, b"r5"]), (ONE, 2, 7, [4, b"r4"])])
    assert content(other) == (9, content(sessions)[1]) and other.used_bytes == sessions.used_bytes
    budget = MemoryBudget()
    adopting = Sessions(budget)
    adopting.adopt(other)
    assert content(adopting) == (9, content(sessions)[1]) and budget.used_bytes == sessions.used_bytes
    assert sessions.idle_since(6) == [] and sessions.idle_since(7) == [ONE]


NUMBERS = st.tuples(st.sampled_from([ONE, TWO]), st.integers(1, 12), st.integers(0, 11))
BATCHES = st.lists(st.one_of(st.lists(NUMBERS, max_size=8), st.sampled_from([ONE, TWO])), max_size=8)


def execute(sessions: Sessions, batch: list | bytes, now_ms: int) -> list[Change]:
    """What a leader does in one batch: writes of sessions, or forgetting one."""
    if isinstance(batch, bytes):
        return [sessions.forget([FORGET_SESSION, batch, now_ms])] if sessions.get(batch) else []
    changes: dict[bytes, Change] = {}
    for id_, number, floor in batch:
        session = sessions.get(id_)
        if floor >= number or (session is not None and (number <= session.floor or number in session.records)):
            continue
        if id_ not in changes:
            changes[id_] = begin(sessions, id_, floor, now_ms)
        sessions.keep(changes[id_], number, b"%d at %d" % (number, now_ms))
    return list(changes.values())


@settings(max_examples=300, deadline=None)
@given(BATCHES, st.integers(0, 8))
def test_a_leader_a_replica_a_cut_and_an_undone_leader_agree(batches: list, committed: int) -> None:
    leader, replica, states, done = table(), table(), [], []
    for at, batch in enumerate(batches):
        states.append(copy.deepcopy(content(leader)))
        changes = execute(leader, batch, 100 + at)
        done.append(changes)
        for change in changes:
            if change.effect[0] == SESSION:
                replica.take_in(*change.effect[1:])
            else:
                replica.forget(change.effect)
        assert content(replica) == content(leader)
        assert (replica.used_bytes, replica.records) == (leader.used_bytes, leader.records)
    states.append(copy.deepcopy(content(leader)))
    kept = min(committed, len(done))
    speculative = [change for changes in done[kept:] for change in changes]
    cut = table()
    cut.load(*leader.rows_before(speculative))
    assert content(cut) == states[kept]
    for change in reversed(speculative):
        leader.undo(change)
    assert content(leader) == states[kept]
    assert leader.used_bytes == cut.used_bytes and leader.records == cut.records
