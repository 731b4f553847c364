"""Sessions: what a shard remembers of writes to which front ends gave a key of their own, to repeat them if need be.

A front end is a *session*, eight random bytes, and numbers the writes that it may have to send again: 1, 2, 3… With
each it says its *floor* for this shard, the highest number up to which all that it sent here is answered. A shard keeps
the replies of the numbers above the floor, and nothing below: nobody asks for that again. So of a session that is busy
there are about as many records as it has writes under way, however many it ever sent.

    number     1 2 3 4 5 6 7 8 9
    state      a a a a . a a . .        a: answered, .: under way
    floor            4
    records              6 7 (5 and 8, where they were executed)

**A number at or below the floor** is answered or given up. If it comes all the same, it was delayed: whether it was
executed is not known any more, and it must not be executed now. A number above the floor without a record was never
executed, for no record above the floor is dropped: where there are too many, the floor is raised over the oldest.

**A batch changes a session by one effect**, however many of its writes it holds: the floor that the first of them said,
when the session was used, and the new numbers with their replies. The leader changes its table write by write and lets
the effect grow (`Change`); a replica takes the effect in as a whole, to the same end: what was and what is new, less
what is not above the floor.
To undo a batch is to put its dropped records back, take its new ones away, and set floor and time to what they were.

**Forgetting.** A session that was not used for SESSION_TTL_MS is forgotten, by an effect of the leader, and nothing
tells it from one that was never there. So no attempt of an executed write may be about any more. Within a leadership
the shard's time goes as a clock does, but the next may begin with another: a leader forgets nothing before it has led
for RETRY_SPAN_MS, during all of which the session was not used. That is more than the longest time for which anybody
repeats a write. Besides, while a session was forgotten within RETRY_SPAN_MS, a *repeat* of a session that is not known
is not executed: it might be that one's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from raftcache.store.memory import MemoryBudget

SESSIONS_LIMIT = 1024
"""Sessions that a shard knows at a time; the writes of one more are refused until one is forgotten."""
RECORDS_PER_SESSION = 16_384
"""More than a front end has requests under way. Where there are more, the oldest quarter is dropped."""
RECORD_BYTES_PER_SESSION = 16 << 20
"""The same of their bytes, for a reply may hold a value."""
SESSION_TTL_MS: Final = 15 * 60 * 1000
RETRY_SPAN_MS: Final = 2 * 60 * 1000
"""Twice the longest deadline that a request may have, for the drift of clocks and what is under way."""

SESSION_OVERHEAD_BYTES: Final = 512
RECORD_OVERHEAD_BYTES: Final = 160
"""What a number and its place in a table take up, beside the reply."""

SessionRow: TypeAlias = tuple[bytes, int, int, list[Any]]
"""A session, its floor, when it was used (ms), and `[number, reply, ...]`, all of that or a part."""


class Session:
    """What is kept of one session. `used_ms` is the shard's time at the first write of its newest batch. `heard_floor`
    is the highest floor that this replica heard of, by the log or as the leader; it only ever refuses."""

    __slots__ = ("floor", "heard_floor", "records", "size_bytes", "used_ms")

    def __init__(self, floor: int, used_ms: int) -> None:
        self.floor, self.used_ms = floor, used_ms
        self.heard_floor = floor
        self.records: dict[int, bytes] = {}
        self.size_bytes = SESSION_OVERHEAD_BYTES


    def hear(self, floor: int) -> int:
        """A write says its floor; returns the highest known."""
        self.heard_floor = max(self.heard_floor, self.floor, floor)
        return self.heard_floor


class Change:
    """What one batch does to one session. `effect` is `[code, session, floor, used_ms, kept]`, `kept` of which is
    `[number, reply, ...]`, or one that forgets the session; `old` its floor and time before, None where it was not
    known."""

    __slots__ = ("dropped", "effect", "forgotten_ms", "kept", "old", "session")

    def __init__(self, effect: list[Any], session: Session, old: tuple[int, int] | None, forgotten_ms: int) -> None:
        self.effect, self.session, self.old, self.forgotten_ms = effect, session, old, forgotten_ms
        self.kept: list[Any] = effect[4] if len(effect) > 4 else []
        self.dropped: dict[int, bytes] = {}


class Sessions:
    """The sessions of one shard. `forgotten_ms` is the shard's time when one was forgotten last, 0 for never."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._by_id: dict[bytes, Session] = {}
        self.records = self.used_bytes = 0
        self.forgotten_ms = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, id_: bytes) -> Session | None:
        """What is kept of a session."""
        return self._by_id.get(id_)

    def idle_since(self, used_ms: int) -> list[bytes]:
        """The sessions that were not used after `used_ms`."""
        return [id_ for id_, session in self._by_id.items() if session.used_ms <= used_ms]

    def begin(self, effect: list[Any]) -> tuple[Change, int]:
        """Begin a change of a session by a batch, with an effect that may grow. The session is known from here on, and
        has the effect's floor, if that is higher than its own. Returns the bytes of records dropped, too."""
        _, id_, floor, used_ms, _ = effect
        session = self._by_id.get(id_)
        if session is None:
            return Change(effect, self._add(id_, floor, used_ms), None, self.forgotten_ms), 0
        change = Change(effect, session, (session.floor, session.used_ms), self.forgotten_ms)
        session.used_ms = used_ms
        dropped_bytes = self._raise_floor(session, floor, change.dropped)
        effect[2] = session.floor
        return change, dropped_bytes

    def keep(self, change: Change, number: int, reply: bytes) -> int:
        """Keep the reply of a number that has none. Returns the bytes of records dropped for want of room."""
        session = change.session
        size_bytes = len(reply) + RECORD_OVERHEAD_BYTES
        session.records[number] = reply
        session.size_bytes += size_bytes
        self.records += 1
        self.used_bytes += size_bytes
        self._budget.used_bytes += size_bytes
        change.kept += (number, reply)
        if len(session.records) <= RECORDS_PER_SESSION and session.size_bytes <= RECORD_BYTES_PER_SESSION:
            return 0
        oldest = sorted(session.records)
        dropped_bytes = self._raise_floor(session, oldest[len(oldest) // 4], change.dropped)
        change.effect[2] = session.floor
        return dropped_bytes

    def take_in(self, id_: bytes, floor: int, used_ms: int, kept: list[Any]) -> None:
        """Apply the effect of a batch."""
        session = self._by_id.get(id_) or self._add(id_, floor, used_ms)
        session.used_ms = used_ms
        self._raise_floor(session, floor, {})
        for number, reply in _pairs(kept):
            if number > floor:
                self._put(session, number, reply)

    def forget(self, effect: list[Any]) -> Change:
        """Forget a session that is known: `[code, session, now_ms]`."""
        _, id_, now_ms = effect
        session = self._by_id.pop(id_)
        self._count(-len(session.records), -session.size_bytes)
        change = Change(effect, session, (session.floor, session.used_ms), self.forgotten_ms)
        change.dropped, self.forgotten_ms = session.records, now_ms
        return change

    def undo(self, change: Change) -> None:
        """Take the newest change that was not taken back yet, back."""
        id_ = change.effect[1]
        self.forgotten_ms = change.forgotten_ms
        if change.old is None:
            gone = self._by_id.pop(id_)
            return self._count(-len(gone.records), -gone.size_bytes)
        session = self._by_id.get(id_) or self._add(id_, *change.old)
        session.floor, session.used_ms = change.old
        for number, reply in change.dropped.items():
            self._put(session, number, reply)
        for number, _ in _pairs(change.kept):
            self._drop(session, number)
        return None

    def rows_before(self, changes: Iterable[Change]) -> tuple[int, list[SessionRow]]:
        """`forgotten_ms`, and all sessions, as they were before `changes`, oldest first. In no order."""
        undone = list(changes)
        before = self
        if undone:
            before = Sessions(MemoryBudget())
            before.load(self.forgotten_ms, list(self._rows()))
            for change in reversed(undone):
                before.undo(change)
        return before.forgotten_ms, list(before._rows())

    def load(self, forgotten_ms: int, rows: Iterable[SessionRow]) -> None:
        """Put rows; several may tell parts of one session."""
        self.forgotten_ms = forgotten_ms
        for id_, floor, used_ms, kept in rows:
            session = self._by_id.get(id_) or self._add(id_, floor, used_ms)
            for number, reply in _pairs(kept):
                self._put(session, number, reply)

    def adopt(self, other: Sessions) -> None:
        """Take over the content of `other`, which must not be used any more."""
        self._count(other.records - self.records, other.used_bytes - self.used_bytes)
        self._by_id, self.forgotten_ms = other._by_id, other.forgotten_ms

    def _rows(self) -> Iterator[SessionRow]:
        for id_, session in self._by_id.items():
            kept = [part for record in session.records.items() for part in record]
            yield id_, session.floor, session.used_ms, kept

    def _add(self, id_: bytes, floor: int, used_ms: int) -> Session:
        session = self._by_id[id_] = Session(floor, used_ms)
        self._count(0, SESSION_OVERHEAD_BYTES)
        return session

    def _put(self, session: Session, number: int, reply: bytes) -> None:
        session.records[number] = reply
        size_bytes = len(reply) + RECORD_OVERHEAD_BYTES
        session.size_bytes += size_bytes
        self.records += 1
        self.used_bytes += size_bytes
        self._budget.used_bytes += size_bytes

    def _drop(self, session: Session, number: int) -> None:
        reply = session.records.pop(number, None)
        if reply is not None:
            size_bytes = len(reply) + RECORD_OVERHEAD_BYTES
            session.size_bytes -= size_bytes
            self._count(-1, -size_bytes)

    def _raise_floor(self, session: Session, floor: int, dropped: dict[int, bytes]) -> int:
        """Drop the records up to `floor`, if that is higher, into `dropped`. Returns their bytes.

        Looks at the numbers between the floors or at all records, whichever are fewer: a session may have been away.
        """
        if floor <= session.floor:
            return 0
        records, size_bytes = session.records, 0
        before = len(records)
        if floor - session.floor <= before:
            numbers: Iterable[int] = range(session.floor + 1, floor + 1)
        else:
            numbers = [number for number in records if number <= floor]
        session.floor = floor
        for number in numbers:
            reply = records.pop(number, None)
            if reply is not None:
                dropped[number] = reply
                size_bytes += len(reply) + RECORD_OVERHEAD_BYTES
        session.size_bytes -= size_bytes
        self._count(len(records) - before, -size_bytes)
        return size_bytes

    def _count(self, records: int, size_bytes: int) -> None:
        self.records += records
        self.used_bytes += size_bytes
        self._budget.used_bytes += size_bytes


def _pairs(kept: list[Any]) -> Iterator[tuple[int, bytes]]:
    """`[number, reply, number, reply, ...]` by twos."""
    return zip(kept[::2], kept[1::2], strict=True)
