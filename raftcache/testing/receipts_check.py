"""Receipts and the lost-write report, held against what the simulation itself has seen.

*What was acknowledged* is taken from the replies as shards hand them to whoever asked, process by process; *what was
committed* from the entries that replicas apply (`Oracle.ends`). Neither goes through the code under test. Then:

- a receipt that says `committed` is of something that some replica has applied by then, one that says `lost` of a term
  that is closed and ended before it, and `durable` of an entry that a quorum had synced;
- after healing, every version that anybody was given has a receipt that says which, and none is pending;
- what was committed becomes durable soon after somebody has asked for it;
- the report of every process that still runs lists exactly what that process acknowledged at `primary` and lost.

Groups of which a majority forgot something are left out, but for the promise that nothing stays pending. A run in which
nothing was lost shows little of this, so `lost` counts.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from raftcache.commands.table import TABLE
from raftcache.commands.types import (
    AckLevel,
    Command,
    Counted,
    Failure,
    Fate,
    Many,
    Receipt,
    Reply,
    Version,
    Written,
)
from raftcache.shard.losses import LOST_KEYS_LIMIT
from raftcache.testing.checks import Oracle, Violation
from raftcache.testing.cluster import SimCluster, SimProcess

ASK_EVERY_S = 0.2
ASKED_AT_ONCE = 3
RECENT = 40
"""While it runs, receipts are asked for some of so many versions given last: these are the ones not settled yet."""
WAIT_LIMIT_MS = 600
TIMEOUT_S = 3.0
CHUNK = 500

Given = tuple[bytes, Version]


class ReceiptsCheck:
    """Watches one run."""

    def __init__(self, cluster: SimCluster, oracle: Oracle) -> None:
        self._cluster, self._oracle = cluster, oracle
        self._random = random.Random(cluster.loop.seed * 104_729 + 7)
        self._given: dict[Version, bytes] = {}
        self._recent: list[Given] = []
        self._acked: dict[str, set[Version]] = defaultdict(set)
        self.stopped = False
        self.asked = self.lost = 0
        self.by_fate: dict[Fate, int] = dict.fromkeys(Fate, 0)
        cluster.on_reply.append(self._saw)

    def start(self) -> None:
        """Begin to ask."""
        self._cluster.loop.call_later(ASK_EVERY_S, self._ask_some)

    # -- what is seen ----------------------------------------------------------------------------

    def _saw(self, process: SimProcess, command: Command, reply: Reply) -> None:
        """A shard on `process` answers a command."""
        keys = TABLE[type(command)].keys(command)
        answers: Sequence[Reply] = reply.items if isinstance(reply, Many) else [reply]
        if len(keys) == len(answers):
            for key, answer in zip(keys, answers, strict=True):
                self._note(process, key, answer)

    def _note(self, process: SimProcess, key: bytes, reply: Reply) -> None:
        if not isinstance(reply, Written | Counted) or (isinstance(reply, Written) and not reply.written):
            return
        version = reply.version
        self._given[version] = key
        self._recent = [*self._recent[-RECENT + 1 :], (key, version)]
        if reply.ack == AckLevel.PRIMARY and self._oracle.leaders.get((version.shard, version.term)) == process.node_id:
            self._acked[process.name].add(version)

    # -- while it runs ---------------------------------------------------------------------------

    def _ask_some(self) -> None:
        if self.stopped:
            return
        running = self._cluster.running()
        if running and self._recent:
            chosen = self._random.sample(self._recent, min(ASKED_AT_ONCE, len(self._recent)))
            wait_ms = self._random.choice((0, self._random.randrange(WAIT_LIMIT_MS)))
            self._ask(self._random.choice(running), chosen, wait_ms, self._judge)
        self._cluster.loop.call_later(ASK_EVERY_S, self._ask_some)

    def _ask(self, process: SimProcess, asked: Sequence[Given], wait_ms: int, done: object) -> None:
        deadline = process.runtime.now() + TIMEOUT_S
        process.runtime.deliver(lambda: process.dispatcher.receipts(asked, wait_ms, deadline, done))  # type: ignore[arg-type]

    def _judge(self, items: list[Receipt | Failure]) -> None:
        for item in items:
            if isinstance(item, Receipt):
                self.asked += 1
                self.by_fate[item.fate] += 1
                if item.version.shard not in self._oracle.forgiven:
                    self._judge_one(item)
            elif item.code in ("unknown_version", "bad_request", "internal"):
                raise Violation(f"a receipt for a version that was given out is refused: {item}")

    def _judge_one(self, item: Receipt) -> None:
        version, committed = item.version, self._index_of(item.version) is not None
        if item.fate == Fate.COMMITTED and not committed:
            raise Violation(f"the receipt of {version} says committed, and nobody has applied it")
        if item.fate == Fate.LOST and (committed or not self._is_closed(version)):
            raise Violation(f"the receipt of {version} says lost, and it may be there")
        if item.durable and (self._index_of(version) or 1 << 62) > self._oracle.durable_indexes.get(version.shard, 0):
            raise Violation(f"the receipt of {version} says durable, and no quorum has synced it")

    def _index_of(self, version: Version) -> int | None:
        """The entry that committed it; None where none has."""
        ends = self._oracle.ends.get(version.shard, {}).get(version.term, [])
        place = bisect_left(ends, (version.seq, 0))
        return ends[place][1] if place < len(ends) else None

    def _is_closed(self, version: Version) -> bool:
        return any(term > version.term for term in self._oracle.ends.get(version.shard, {}))

    # -- at the end ------------------------------------------------------------------------------

    def finish(self) -> None:
        """When all is repaired and quiet: ask for everything, twice, and compare the reports. A write may still be
        executed after the first time; only what was asked for then has to be durable."""
        asked = self._ask_for_all(frozenset())
        self._cluster.loop.run_until(self._cluster.loop.time + 2.0)
        self._ask_for_all(asked)
        for _, process in sorted(self._cluster.processes.items()):
            self._check_report(process)

    def _ask_for_all(self, asked_before: frozenset[Version]) -> frozenset[Version]:
        """Returns the versions that it asked for."""
        given = [(key, version) for version, key in self._given.items()]
        for start in range(0, len(given), CHUNK):
            asked = given[start : start + CHUNK]
            told: list[list[Receipt | Failure]] = []
            self._ask(self._random.choice(self._cluster.running()), asked, 0, told.append)
            end = self._cluster.loop.time + TIMEOUT_S + 1.0
            while not told and self._cluster.loop.time < end:
                self._cluster.loop.run_until(self._cluster.loop.time + 0.05)
            if not told or len(told[0]) != len(asked):
                raise Violation(f"{len(asked)} receipts were asked for, long after healing: {told}")
            self._judge(told[0])
            for item in told[0]:
                self._require_settled(item, isinstance(item, Receipt) and item.version in asked_before)
        return frozenset(version for _, version in given)

    def _require_settled(self, item: Receipt | Failure, durable: bool) -> None:
        if not isinstance(item, Receipt) or item.fate == Fate.PENDING:
            raise Violation(f"long after healing a receipt is {item}")
        if item.version.shard in self._oracle.forgiven:
            return
        if (item.fate == Fate.COMMITTED) != (self._index_of(item.version) is not None):
            raise Violation(f"long after healing the receipt is {item}, and the entries applied say otherwise")
        if durable and item.fate == Fate.COMMITTED and not item.durable:
            raise Violation(f"{item.version} was asked for, and two seconds later it is not durable")

    def _check_report(self, process: SimProcess) -> None:
        losses, forgiven = process.core.losses, self._oracle.forgiven
        if losses.waiting and not forgiven:
            raise Violation(f"{process.node_id}: {losses.waiting} undone writes wait for the close of their term")
        expected = {
            version
            for version in self._acked[process.name]
            if version.shard not in forgiven and self._index_of(version) is None
        }
        rows, total = losses.report()
        told = {row.version for row in rows if row.version.shard not in forgiven}
        missing, unresolved = expected - told, losses.unresolved.total()
        if told - expected or (len(missing) > unresolved and total <= LOST_KEYS_LIMIT):
            raise Violation(
                f"{process.node_id} reports {sorted(told - expected)} as lost, which are not, and not {sorted(missing)}"
            )
        if not forgiven and not unresolved and total != len(expected):
            raise Violation(f"{process.node_id} reports {total} lost writes, and {len(expected)} were")
        if any(row.key != self._given[row.version] for row in rows if row.namespace == "default"):
            raise Violation(f"{process.node_id} reports lost writes under wrong keys")
        self.lost += len(expected)
