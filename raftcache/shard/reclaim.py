"""The memory of dropped entries comes back: a walk over all pages, in bounded steps.

Dropped are entries whose namespace id is not the one that their key resolves to, because a namespace was invalidated,
created or deleted; entries of which a tag was dropped after they were written; and reply records whose namespace is
gone. Whoever drops them does it at once, in one effect; this is what it costs, later, in the background.

**A walk** counts first what there is to reclaim, page by page, so that operators see how much memory is still to come
back. Then it removes that by effects like any other, and in the end forgets the dropped tags that were committed when
it began: no entry needs them any more. What is dropped meanwhile is for the next walk, so walks end however often
somebody drops something. One begins after an election, for the leader before may not have come to the end.

**Only what is certain.** A walk rests while a policy point may still be undone, and leaves alone what a drop made that
is not committed: with it, what looks dropped would stand again.
"""

from __future__ import annotations

from collections.abc import Iterator

from raftcache.commands.namespaces import Namespaces
from raftcache.shard.executor import Executor
from raftcache.store.entry import Entry, TaggedEntry, entry_bytes
from raftcache.store.keyspace import PAGES
from raftcache.store.tags import Family, Mark

SCANNED_PER_TICK = 10_000
"""Entries looked at: a millisecond or two. A page is looked at as a whole."""
RECLAIMED_PER_TICK = 1000
"""Entries removed: three or four milliseconds."""


class Reclaimer:
    """The walks of one leadership; `start` begins it, `step` is called every tick."""

    def __init__(self, executor: Executor) -> None:
        self._ex = executor
        self.entries = self.size_bytes = 0
        """What the present walk has counted and not reclaimed."""
        self.walks = 0
        self._seen: frozenset[tuple[str, int]] = frozenset()
        self._seen_epoch = -1
        self._new_namespaces = False
        self._ids: frozenset[int] = frozenset()
        self._identities: frozenset[int] = frozenset()
        self._walk: Iterator[bool] | None = None
        self._room = 0

    @property
    def walking(self) -> bool:
        """Whether a walk is under way."""
        return self._walk is not None

    def start(self) -> None:
        """Begin a leadership; namespaces are taken as changed."""
        self.stop()
        self._seen, self._seen_epoch = frozenset(), -1

    def stop(self) -> None:
        """End it."""
        self._walk, self.entries, self.size_bytes = None, 0, 0

    def step(self) -> bool:
        """Do a tick's work; returns whether there is more to do at once."""
        if self._ex.policies.pending:
            return False
        self._look()
        if self._walk is None:
            if not self._new_namespaces and not self._committed_drops():
                return False
            self._walk = self._pages()
        self._room = SCANNED_PER_TICK
        for admitted in self._walk:
            if not admitted or self._room <= 0:
                return admitted
        self._walk = None
        return True

    def _look(self) -> None:
        namespaces = self._ex.policies.applied
        if namespaces.epoch == self._seen_epoch:
            return
        self._seen_epoch = namespaces.epoch
        spaces = [*namespaces.by_name.values(), namespaces.default]
        seen = frozenset((space.name, space.id) for space in spaces)
        if seen != self._seen:
            self._seen, self._new_namespaces = seen, True
            self._ids = frozenset(space.id for space in spaces)
            self._identities = frozenset(space.identity for space in spaces)

    def _committed_drops(self) -> list[tuple[Family, Mark]]:
        committed = self._ex.pipeline.is_committed
        return [(family, mark) for family, mark in self._ex.dropped.rows() if committed(*mark)]

    def _pages(self) -> Iterator[bool]:
        """One walk. Yields after each piece of work: whether it was admitted."""
        of_namespaces, drops = self._new_namespaces, self._committed_drops()
        self._new_namespaces, self.entries, self.size_bytes = False, 0, 0
        self.walks += 1
        for number in range(PAGES):
            self._count(number)
            yield True
        for number in range(PAGES if self.entries else 0):
            yield from self._reclaim_page(number)
        self.entries = self.size_bytes = 0
        for number in range(PAGES if of_namespaces else 0):
            yield from self._forget_replies(number)
        for family, mark in drops:
            yield from self._admitted(1)
            if self._ex.dropped.get(family) == mark:
                self._ex.forget_tag(family)

    def _count(self, number: int) -> None:
        rows = self._ex.keyspace.rows_of_page(number)
        self._room -= 1 + len(rows)
        for key, entry in rows:
            if self._is_dropped(key, entry):
                self.entries += 1
                self.size_bytes += entry_bytes(key, entry)

    def _reclaim_page(self, number: int) -> Iterator[bool]:
        rows = self._ex.keyspace.rows_of_page(number)
        self._room -= 1 + len(rows)
        for key in [key for key, entry in rows if self._is_dropped(key, entry)]:
            yield from self._admitted(SCANNED_PER_TICK // RECLAIMED_PER_TICK)
            entry = self._ex.keyspace.get(key)  # Anybody may have written it since.
            if entry is not None and self._is_dropped(key, entry):
                self._ex.drop(key)
                self._ex.stats.reclaimed += 1
                self.entries = max(0, self.entries - 1)
                self.size_bytes = max(0, self.size_bytes - entry_bytes(key, entry))
        yield True

    def _forget_replies(self, number: int) -> Iterator[bool]:
        ids = self._ex.replies.ids_of_page(number)
        self._room -= 1 + len(ids)
        for id_ in ids:
            if self._is_strange(self._ex.replies.get(id_)):
                yield from self._admitted(SCANNED_PER_TICK // RECLAIMED_PER_TICK)
                if self._is_strange(self._ex.replies.get(id_)):
                    self._ex.forget_reply(id_)
        yield True

    def _admitted(self, cost: int) -> Iterator[bool]:
        """Wait until clients leave room in the pipeline, and this tick in its bounds."""
        if self._room <= 0:
            yield True
        while not self._ex.pipeline.admit_background():
            yield False
        self._room -= cost

    def _is_strange(self, record: Entry | None) -> bool:
        return record is not None and record.namespace_id not in self._identities

    def _is_dropped(self, key: bytes, entry: Entry) -> bool:
        """Whether it is certain that nobody will ever see the entry."""
        namespaces: Namespaces = self._ex.policies.applied
        id_ = entry.namespace_id
        if id_ not in self._ids or (id_ == namespaces.default.id and namespaces.resolve(key).id != id_):
            return True
        if type(entry) is not TaggedEntry:
            return False
        mark = self._ex.dropped.drop_of(entry)
        return mark is not None and self._ex.pipeline.is_committed(*mark)
