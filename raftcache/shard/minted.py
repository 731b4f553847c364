"""Writes under minted keys: what a front end may have to send again is executed once, however often it comes.

`store.sessions` says what a shard keeps of them; here is who is executed and who is answered from a record. As for the
keys of clients (`retries`), the record stands in the batch of the write, so whoever leads next has either both or
neither; a write that is refused leaves none; what is answered above `primary` waits for that batch also where nothing
was written. Other than theirs, a repeat comes from the same program and asks for the same: there is nothing to compare,
and it gets the very reply that the first attempt would have got.

**A long reply** is not kept: records are part of the log. Its repeat is not executed, and is `outcome_unknown`.

**Not executed** is a number at or below the floor: it was answered or given up, and its record is gone. Nor is the
repeat of a write of a session that may have been forgotten: either is `outcome_unknown`, for good (`forgotten`).

**At the front end's own node** a write needs no key as long as it is answered at once. One that waits gets its key when
it was executed already (`keep_if_wrote`): its record still goes into the same batch, for that is sealed only before
the next command. So the fast path knows nothing of all this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from raftcache.commands.table import check_minted
from raftcache.commands.types import (
    AckLevel,
    Counted,
    Many,
    Minted,
    MintedKey,
    Reply,
    Scripted,
    Value,
    Written,
    decode_reply,
    encode_reply,
)
from raftcache.errors import OutcomeUnknown, Overloaded
from raftcache.shard.executor import DURABLE, PRIMARY, QUORUM, Executed, Executor, WaitsFor
from raftcache.shard.pipeline import PendingBatch, ReplyTo, written_version
from raftcache.shard.undivided import Handlers
from raftcache.store.sessions import RETRY_SPAN_MS, SESSIONS_LIMIT

REPLY_LIMIT_BYTES: Final = 64 << 10
"""The longest reply that is kept: records stand in the log beside the writes, in batches that leave no more room."""

Room: TypeAlias = Callable[[bytes], bool]
"""Whether a shard keeps, or can keep, records of a session."""

Mint: TypeAlias = Callable[[int, Room], MintedKey | None]
"""Gives the key of a front end's write, of a multi-key one that of the item at a place; None where the front end has no
number for it yet and the shard has no room for its session. All items get keys, or none."""

Waits: TypeAlias = Callable[[], tuple[ReplyTo, Mint | None]]
"""Makes the receiver of an answer that is to come, and what mints the key of its command."""


def minted(handlers: Handlers) -> Callable[[Executor, Minted], Executed]:
    """The function that executes minted writes of those commands, but multi-key ones, that `handlers` execute."""

    def execute(ex: Executor, envelope: Minted) -> Executed:
        """Answer from the record, or execute and keep one. Raises OutcomeUnknown, Overloaded, BadRequest."""
        numbers = envelope.numbers
        if len(numbers) != 1 or not 0 <= envelope.floor < numbers[0]:
            check_minted(envelope)
        number = numbers[0]
        session = ex.sessions.get(envelope.session)
        if session is None:
            _require_new(ex, envelope)
        elif (reply := session.records.get(number)) is not None:
            return _replay(ex, envelope.session, number, reply)
        elif number <= session.hear(envelope.floor):
            raise _forgotten(f"number {number} is not above the floor of its session")
        command = envelope.command
        answer, waits_for = handlers[type(command)](ex, command)
        ex.keep_minted(envelope.session, number, envelope.floor, _record_of(answer))
        if type(answer) is Written or type(answer) is Counted:
            return answer, answer.ack
        return answer, _shown_at(ex, command, waits_for)

    return execute


def unfolded(envelope: Minted) -> list[Minted]:
    """The items of a multi-key command, each under its number."""
    command: Any = envelope.command
    session, floor, repeat = envelope.session, envelope.floor, envelope.repeat
    pairs = zip(command.items, envelope.numbers, strict=True)
    return [Minted(item, session, floor, (number,), repeat) for item, number in pairs]


def enveloped(command: Any, key: MintedKey) -> Minted:
    """A command that is executed later under a key, for the first time."""
    return Minted(command, key.session, key.floor, (key.number,))


def was_executed(ex: Executor, envelope: Minted) -> bool:
    """Whether a write was executed under the command's minted key, so that the command will not be."""
    session = ex.sessions.get(envelope.session)
    number = envelope.numbers[0]
    return session is not None and (number in session.records or number <= session.heard_floor)


def keep_if_wrote(ex: Executor, command: Any, answer: Reply, mint: Mint, place: int) -> None:
    """Mint a key for the command that was just executed without one, and waits, if its outcome may become unknown."""
    if written_version(answer) is None or command.idempotency is not None:
        return
    key = mint(place, room_for(ex))  # Who has a key must have a record: what is not kept must not be sent again.
    if key is not None:
        ex.keep_minted(*key, _record_of(answer))


def room_for(ex: Executor) -> Room:
    """Whether a session has its place here, or finds one."""
    return lambda session: len(ex.sessions) < SESSIONS_LIMIT or ex.sessions.get(session) is not None


def _record_of(answer: Reply) -> bytes:
    """What is kept of a reply: all of it, or nothing where it is long. A repeat of such a write is not executed either,
    and is told that it cannot be told more."""
    reply = encode_reply(answer)
    return reply if len(reply) <= REPLY_LIMIT_BYTES else b""


def _require_new(ex: Executor, envelope: Minted) -> None:
    """The key of a session that is not known makes sense, there is room, and it is not one forgotten just now."""
    check_minted(envelope)
    forgotten_ms = ex.sessions.forgotten_ms
    if envelope.repeat and forgotten_ms and ex.now_ms() - forgotten_ms < RETRY_SPAN_MS:
        raise _forgotten("its session is not known, and may be one that was forgotten just now")
    if len(ex.sessions) >= SESSIONS_LIMIT:
        ex.stats.overloaded["sessions"] += 1
        raise Overloaded(
            f"sessions of front ends in shard {ex.shard_id}: {len(ex.sessions)} reach the limit of {SESSIONS_LIMIT}"
        )


def _forgotten(why: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"whether this write was executed before is not known any more: {why}", forgotten=True)


def _shown_at(ex: Executor, command: Any, waits_for: WaitsFor) -> AckLevel:
    """What a reply waits for that is no plain write's: its record, if the namespace shows only what is committed."""
    if isinstance(waits_for, PendingBatch):
        return QUORUM
    return max(waits_for, ex.revealing(PRIMARY, ex.namespaces().resolve(command.key)))


def _replay(ex: Executor, session: bytes, number: int, reply: bytes) -> Executed:
    """The first reply, when it might have left. Raises Overloaded."""
    if not reply:
        raise _forgotten("it was executed before, and its reply was too long to be kept")
    ex.stats.replays += 1
    first: Any = decode_reply(reply)
    level = _level_of(first)
    if level != DURABLE and (level == PRIMARY or not ex.pipeline.is_speculative(session, number)):
        return first, PRIMARY
    ex.pipeline.admit()
    return first, level


def _level_of(first: Reply) -> AckLevel:
    """The level that a reply says, or, where it says none, one at which it shows nothing that can be lost."""
    if isinstance(first, Written | Counted | Scripted):
        return first.ack
    if not isinstance(first, Many) or any(isinstance(item, Value) for item in first.items):
        return QUORUM
    return max((_level_of(item) for item in first.items), default=QUORUM)
