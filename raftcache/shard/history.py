"""How far a shard's log has been applied, and where each earlier term ended.

A `leader_started` batch of term T is applied after everything of earlier terms that will ever be applied. From it
every replica learns the last committed `seq` of the term before, and that any term between those two committed
nothing. One row a term is kept for ever: it is what tells a receipt `(shard, term, seq)` of a closed term
`committed` from `lost`.

Along the way every batch is held to the order that consensus promises. A violation is a defect of the consensus
layer after which no replica can be trusted, hence an assertion and no error that anybody could handle.
"""

from __future__ import annotations

from raftcache.store.effects import LEADER_STARTED, Batch


class History:
    """The newest committed position `(term, seq)`, the log's time, and the closed terms' last committed `seq`."""

    __slots__ = ("closed", "seq", "term", "time_ms")

    def __init__(self, term: int = 0, seq: int = 0, time_ms: int = 0, closed: dict[int, int] | None = None) -> None:
        self.term = term
        self.seq = seq
        self.time_ms = time_ms
        self.closed: dict[int, int] = closed if closed is not None else {}

    def advance(self, batch: Batch, entry_term: int) -> None:
        """Take in a committed batch, which the log holds under `entry_term`."""
        assert batch.term == entry_term, f"batch of term {batch.term} in the log under term {entry_term}"
        if batch.term != self.term:
            self._open_term(batch)
        assert batch.first_seq == self.seq + 1, f"seq {batch.first_seq} after {self.seq} in term {batch.term}"
        self.seq += len(batch.effects)
        self.time_ms = max(self.time_ms, batch.time_ms)

    def last_committed_seq(self, term: int) -> int:
        """The last committed `seq` of `term`: final for closed terms (0 where it committed nothing)."""
        return self.seq if term == self.term else self.closed.get(term, 0)

    def _open_term(self, batch: Batch) -> None:
        assert batch.term > self.term, f"batch of term {batch.term} after term {self.term}"
        assert batch.effects and batch.effects[0][0] == LEADER_STARTED, f"term {batch.term} lacks leader_started"
        if self.term:
            self.closed[self.term] = self.seq
        self.term, self.seq = batch.term, 0
