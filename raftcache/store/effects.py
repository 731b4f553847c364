"""Effects: the physical changes that replicas apply, and the batches that carry them through the log.

A batch is one log entry, msgpack `[term, first_seq, time_ms, [effect, ...]]`; its effects have the sequence numbers
`first_seq`, `first_seq + 1`, ... of `term`. An effect is an array that starts with its code:

    PUT             [1, key, value, flag, expires_ms (0 = never), namespace_id]
    REMOVE          [2, key]
    REPLY           [3, record id, record, expires_ms, namespace_id], or [3, record id] to forget it: see `replies`
    TAG             [5, namespace_id, tag, true (dropped) or false (no entry needs to know any more)]: see `tags`
    POLICY_POINT    [7, epoch, [namespace, ...] (created or changed, as maps), [name, ...] (removed)]
    LEADER_STARTED  [8, node_id]
    EVICT           [10, key]: as REMOVE, and says why
    READS           [11, namespace_id, [key, ...], [how often, ...]]: changes no key: see `eviction.digest`
    SESSION         [12, session, floor, used_ms, [number, reply, number, reply, ...]]: see `sessions`
    FORGET_SESSION  [13, session, time_ms]
    PUT_TAGGED      [9, key, value, flag, expires_ms, namespace_id, [tag, ...]]

A put with tags has a code of its own, so that a version that does not know tags refuses it as a whole.

A policy point is the first effect of its batch, so nobody looks for one among a batch's writes.

Replicas decide nothing: an effect means the same whenever and wherever it is applied. The list of codes is closed
per version of the program. An effect that this version does not know is refused *before* it is proposed, since in
the log it would stop every replica that applies it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from raftcache.store.entry import Entry, TaggedEntry
from raftcache.store.keyspace import Keyspace
from raftcache.store.replies import Replies
from raftcache.store.sessions import Sessions
from raftcache.store.tags import DroppedTags, canonical

PUT: Final = 1
REMOVE: Final = 2
REPLY: Final = 3
TAG: Final = 5
POLICY_POINT: Final = 7
LEADER_STARTED: Final = 8
PUT_TAGGED: Final = 9
EVICT: Final = 10
READS: Final = 11
SESSION: Final = 12
FORGET_SESSION: Final = 13

Effect: TypeAlias = Sequence[Any]
"""An array `[code, ...]` as above: a tuple where it is made, a list where it was decoded."""

EFFECT_OVERHEAD_BYTES: Final = 40
"""An upper bound of what an effect takes on the wire beside its key and value."""


class UnknownEffect(ValueError):
    """An effect of another version of the program."""


class Tables(Protocol):
    """What effects change."""

    @property
    def keyspace(self) -> Keyspace:
        """The keys."""

    @property
    def replies(self) -> Replies:
        """The reply records."""

    @property
    def sessions(self) -> Sessions:
        """The sessions of front ends."""

    @property
    def dropped(self) -> DroppedTags:
        """The dropped tags."""


class Batch(NamedTuple):
    """A decoded log entry. `term` is the leadership that executed it, `time_ms` the shard's time then."""

    term: int
    first_seq: int
    time_ms: int
    effects: Sequence[Effect]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[int, int, int, list[list[Any]]]).decode


def encode_batch(batch: Batch) -> bytes:
    """The bytes of a log entry. Raises UnknownEffect."""
    require_known(batch.effects)
    return _encode(batch)


def decode_batch(payload: bytes) -> Batch:
    """The inverse of `encode_batch`. Raises UnknownEffect, and ValueError where the bytes make no batch."""
    try:
        batch = Batch(*_decode(payload))
        require_known(batch.effects)
    except (msgspec.MsgspecError, IndexError, TypeError) as error:
        raise ValueError(f"not a batch: {error}") from error
    return batch


def require_known(effects: Sequence[Effect]) -> None:
    """Raise UnknownEffect unless this version can apply all of `effects`."""
    unknown = {effect[0] for effect in effects} - _APPLY.keys()
    if unknown:
        raise UnknownEffect(f"effect codes {sorted(unknown)} are not known to this version: {sorted(_APPLY)}")


def effect_bytes(effect: Effect) -> int:
    """What an effect takes in its batch."""
    return len(_encode(effect))


def apply_batch(tables: Tables, batch: Batch) -> None:
    """Apply a committed batch to a replica's tables."""
    term = batch.term
    tables.keyspace.tenants.now_ms = batch.time_ms
    seq = batch.first_seq
    for effect in batch.effects:
        code = effect[0]
        if code == PUT:  # Most are, and compiled code finds this one without looking it up.
            _put(tables, effect, term, seq)
        else:
            _APPLY[code](tables, effect, term, seq)
        seq += 1


def _put(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    # By places: to unpack it costs compiled code twice as much.
    tables.keyspace.put(effect[1], Entry(effect[2], effect[3], effect[4], effect[5], term, seq))


def _put_tagged(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    _, key, value, flag, expires_ms, namespace_id, tags = effect
    tables.keyspace.put(key, TaggedEntry(value, flag, expires_ms, namespace_id, term, seq, canonical(tags)))


def _tag(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    _, namespace_id, tag, dropped = effect
    tables.dropped.put((namespace_id, tag), (term, seq) if dropped else None)


def _remove(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    tables.keyspace.remove(effect[1])


def _evict(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    tables.keyspace.remove(effect[1], evicted=True)


def _reads(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    _, namespace_id, keys, times = effect
    tenants = tables.keyspace.tenants
    tenants.get(namespace_id).heard(keys, times, tenants.now_ms)


def _reply(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    if len(effect) == 2:
        tables.replies.remove(effect[1])
        return
    _, id_, record, expires_ms, namespace_id = effect
    tables.replies.put(id_, Entry(record, 0, expires_ms, namespace_id, term, seq))


def _session(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    _, id_, floor, used_ms, kept = effect
    tables.sessions.take_in(id_, floor, used_ms, kept)


def _forget_session(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    tables.sessions.forget(list(effect))


def _policy_point(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    """Changes no key: `shard.policies` keeps the namespaces."""


def _leader_started(tables: Tables, effect: Effect, term: int, seq: int) -> None:
    """Changes no key: the history of terms is what it is for."""


_APPLY: dict[int, Callable[[Tables, Effect, int, int], None]] = {
    PUT: _put,
    REMOVE: _remove,
    REPLY: _reply,
    TAG: _tag,
    POLICY_POINT: _policy_point,
    LEADER_STARTED: _leader_started,
    PUT_TAGGED: _put_tagged,
    EVICT: _evict,
    READS: _reads,
    SESSION: _session,
    FORGET_SESSION: _forget_session,
}
