"""The workload of the table: nothing but inserts, of which each has a key of its own and is looked for in the end.

In a `primary` namespace the cluster is asked for its lost-write report as well. Receipts are left to other workloads:
of so many writes they would take longer than the faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from jepsen_like.asking import Request
from jepsen_like.workloads.acknowledged import lost_writes, reads_of_many
from jepsen_like.workloads.inserts import Inserts


class Writes(Inserts):
    """See the module."""

    name = "lost-per-acked"
    summary = "unique inserts, and final reads of all"
    namespace = "jl-lost"

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """An insert."""
        self._tried += 1
        return Request(name="write", key=self._key(self._tried), value=self._tried)

    def final(self) -> Iterator[list[Request]]:
        """Read all that was ever tried."""
        yield reads_of_many(self._key(number) for number in range(1, self._tried + 1))
        if self.ack == "primary":
            yield lost_writes([self.namespace])
