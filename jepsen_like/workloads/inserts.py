"""A set: elements that are inserted once each, and looked for in the end.

An element is a key with its own number as the value. While things break, elements that were acknowledged are read now
and then, each of which must be found. In the end all are read that were ever tried: what was acknowledged and is not
there is lost, and what was of unknown outcome may be there or not.

`durable` is the same with durable acks: what was acknowledged is to survive when every machine loses its power. There
an element that was *not* acknowledged may be seen and be lost again, so only those that were are ever read.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import Acknowledged, lost_writes, reads_of_many
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

RECENT = 200
"""Elements are read that are among so many acknowledged last."""


class Inserts:
    """The workload `set`."""

    name = "set"
    summary = "unique inserts, reads of what was acknowledged, and final reads of all"
    pace, workers_per_process = Pace.CLOSED, 1
    namespace = "jl-set"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tried = 0
        self._acked = Acknowledged()

    @property
    def ack(self) -> str:
        """The level of its writes."""
        return self._options.ack

    def namespaces(self) -> Policies:
        """One."""
        return {self.namespace: policy(self.ack, self._options.window)}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """An insert, every fourth time a read."""
        recent = self._acked.recent(RECENT) if random.random() < 0.25 else []
        if recent:
            return Request(name="read", key=random.choice(recent)[0])
        self._tried += 1
        return Request(name="write", key=self._key(self._tried), value=self._tried)

    def _key(self, number: int) -> str:
        return f"{self.namespace}:e{number}"

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Note what was acknowledged."""
        self._acked.note(request, told)

    def settle(self) -> list[Request]:
        """Nothing."""
        return []

    def final(self) -> Iterator[list[Request]]:
        """Read all that was ever tried; ask of what was acknowledged, where the answers say more than the reads."""
        yield reads_of_many(self._key(number) for number in range(1, self._tried + 1))
        if self.ack != "quorum":
            yield self._acked.receipts()
        if self.ack == "primary":
            yield lost_writes([self.namespace])

    def checkers(self) -> tuple[str, ...]:
        """With `primary` acks a lost element is no broken promise, too many are."""
        more = {"primary": ("loss-window", "receipts"), "durable": ("receipts",)}.get(self.ack, ())
        return ("set", *more, *ALWAYS)


class Durable(Inserts):
    """The workload `durable`."""

    name = "durable"
    summary = "unique inserts at durable acks, for loss of power"
    namespace = "jl-durable"

    @property
    def ack(self) -> str:
        """Whatever the options say."""
        return "durable"
