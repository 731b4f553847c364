"""Reply records: what the first of several identical writes was answered.

A write that carries an idempotency key leaves a record under (namespace id, idempotency key): a fingerprint of the
command, the reply, and the key that was written, so that a record can move with its slot. The records are a table of
the same kind as the keys: they stand in pages, are read out by cuts, indexed by expiry, undone one by one and charged
to the same budget. A row is an `Entry` whose value is the encoded record, and whose `(term, seq)` name the effect that
wrote it. Beside the table only the number of records per namespace is kept, which is what the cap is about.

Nothing is ever dropped to make room, since a write whose record is gone would be executed again by its retry. Records
leave when they have expired or their namespace is gone, by an effect of the leader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from raftcache.store.entry import Entry
from raftcache.store.keyspace import Cut, Keyspace, Row, UndoRecord
from raftcache.store.memory import MemoryBudget
from raftcache.store.trash import Parts, drop_at_once

REPLIES_PER_NAMESPACE = 100_000
"""Records that a shard keeps of one namespace, at most; keyed writes beyond are refused."""

REPLY_TTL_MS = 15 * 60 * 1000
"""How long a record is kept. With the bound above, a shard takes 111 keyed writes a second of a namespace for ever."""

FINGERPRINT_BYTES = 16


class Record(NamedTuple):
    """What a record says: the key written, the command's fingerprint, the reply as `commands.types` encodes it."""

    key: bytes
    fingerprint: bytes
    reply: bytes


encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(Record).decode


def record_id(namespace_id: int, idempotency: bytes) -> bytes:
    """Under what a record stands in the table."""
    return b"%d:%s" % (namespace_id, idempotency)


class Replies:
    """The reply records of one shard. `let_go(parts)` takes what is not needed any more: see `trash`."""

    def __init__(self, budget: MemoryBudget, let_go: Callable[[Parts], None] = drop_at_once) -> None:
        self._rows = Keyspace(budget, let_go)
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def used_bytes(self) -> int:
        """What the records are charged with."""
        return self._rows.used_bytes

    def count(self, namespace_id: int) -> int:
        """How many records there are of one namespace, those that have expired and were not yet removed included."""
        return self._counts.get(namespace_id, 0)

    def get(self, id_: bytes) -> Entry | None:
        """The row of a record."""
        return self._rows.get(id_)

    def put(self, id_: bytes, row: Entry) -> Entry | None:
        """Write a record; returns what stood there."""
        old = self._rows.put(id_, row)
        if old is None:
            self._counts[row.namespace_id] = self._counts.get(row.namespace_id, 0) + 1
        return old

    def remove(self, id_: bytes) -> Entry | None:
        """Forget a record; returns what stood there, or None where nothing did."""
        old = self._rows.remove(id_)
        if old is not None:
            self._counts[old.namespace_id] -= 1
            if not self._counts[old.namespace_id]:
                del self._counts[old.namespace_id]
        return old

    def restore(self, id_: bytes, old: Entry | None) -> None:
        """Undo one change: put back what stood there before it."""
        if old is None:
            self.remove(id_)
        else:
            self.put(id_, old)

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """At most `limit` ids of records that have expired; ask again for the next ones once these are removed."""
        return self._rows.expiries.due(now_ms, limit)

    def ids_of_page(self, number: int) -> list[bytes]:
        """The ids in page `number`, 0 to `keyspace.PAGES` - 1."""
        return self._rows.keys_of_page(number)

    def load(self, rows: list[Row]) -> None:
        """Put many records of which none is here yet. Raises KeyError where one is."""
        self._rows.load(rows)
        for _, row in rows:
            self._counts[row.namespace_id] = self._counts.get(row.namespace_id, 0) + 1

    def adopt(self, other: Replies) -> None:
        """Take over the content of `other`, which must not be used any more."""
        self._rows.adopt(other._rows)
        self._counts = other._counts

    def parts(self) -> list[Parts]:
        """All that it is made of, to be let go of in steps."""
        return self._rows.parts()

    def clear(self) -> None:
        """Let go of everything, off the loop. The table must not be used any more."""
        self._rows.clear()

    def cut(self, undo: Iterable[UndoRecord] = ()) -> Cut:
        """The table as of now, less the changes that `undo` (oldest first) tells how to take back."""
        return self._rows.cut(undo)
