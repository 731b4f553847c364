"""The crash drill: kill -9 at random moments, of one node, of a leader, of two nodes, of all at once.

Clients write with promised acks (`quorum`, or `durable` where that is asked for) to one namespace and with `primary`
acks to another. Every `REST_EVERY` rounds the writers rest, everything is read back and judged: so a loss is noticed
near its cause, and the drill ends there. What was acknowledged at `primary` may be lost, and is only counted; but a
value that nobody wrote, or that was refused, is as wrong there as anywhere.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from jepsen_like.client import cluster_body, read_all
from jepsen_like.cluster import RealCluster
from jepsen_like.ledger import Ledger, Violation
from jepsen_like.load import NAMESPACE, Load
from jepsen_like.mixed import mixed_targets
from jepsen_like.schedule import Kind, Strike, schedule, victims
from jepsen_like.surgery import running, strike
from jepsen_like.verdict import Limits, Result, Round
from jepsen_like.waiting import Progress, eventually, ms
from raftcache.supervisor.views import METADATA

UNPROMISED = "default"
WRITERS, UNPROMISED_WRITERS = 6, 2
"""For each shard."""
REST_EVERY = 20
"""Rounds between two readings of everything."""
LOST = "lost"


@dataclass(slots=True)
class Crash:
    """One crash drill on its way."""

    cluster: RealCluster
    promised: Load
    unpromised: Load
    groups: list[str]
    rounds: list[Round] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    async def play(self, strikes: list[Strike], progress: Progress) -> None:
        """One round for each strike, under load; the last is waited for."""
        async with self.promised, self.unpromised:
            for number, each in enumerate(strikes):
                hurried = number + 1 < len(strikes) and strikes[number + 1].hurried
                await asyncio.sleep(each.delay_s)
                self.rounds.append(await self._round(each, awaited=not hurried))
                progress(f"crash {len(self.rounds)}", self.promised)

    async def _round(self, each: Strike, awaited: bool) -> Round:
        nodes, at = await self._strike(each)
        self.kinds[each.kind.value] += 1

        async def back() -> float | None:
            return self.promised.back_after(at)

        service_ms = ms(at, await eventually(back)) if awaited else None
        return Round(nodes, each.kind.value, service_ms, awaited=awaited)

    async def _strike(self, each: Strike) -> tuple[tuple[str, ...], float]:
        """Kill; where nothing runs just then, as soon as something does."""
        while True:
            leader = await self._leader(each)
            pids = running(self.cluster)
            nodes = victims(each, list(pids), leader)
            if nodes:
                return nodes, strike([pids[node] for node in nodes])
            await asyncio.sleep(0.01)

    async def _leader(self, each: Strike) -> str | None:
        if each.kind is not Kind.LEADER:
            return None
        return (await asyncio.to_thread(self.cluster.leaders)).get(self.groups[each.group])

    async def judge(self, nodes: list[str]) -> list[Violation]:
        """Read everything that was promised through these nodes, at rest. Returns what is wrong."""
        await asyncio.to_thread(self.cluster.wait_ready)
        addresses = self.cluster.http()
        reads = {node: await read_all(addresses[node], NAMESPACE, self.promised.ledger.keys) for node in nodes}
        return self.promised.ledger.check(reads)

    async def judge_unpromised(self, node: str) -> tuple[int, list[Violation]]:
        """How many keys lost what was acknowledged at `primary`, and what is wrong beyond that."""
        found = await read_all(self.cluster.http()[node], UNPROMISED, self.unpromised.ledger.keys)
        violations = self.unpromised.ledger.check({node: found})
        wrong = [violation for violation in violations if violation.kind != LOST]
        return len(violations) - len(wrong), wrong


async def crash(cluster: RealCluster, rounds: int, seed: int, ack: str, progress: Progress) -> Result:
    """`rounds` strikes from `seed`, with promised acks at level `ack`. Raises DriverError, ReadFailed."""
    drill = await _prepared(cluster, ack)
    nodes, started_at = list(cluster.http()), time.monotonic()
    strikes = schedule(seed, rounds, nodes, len(drill.groups), REST_EVERY)
    rests, violations = 0, []
    for first in range(0, rounds, REST_EVERY):
        await drill.play(strikes[first : first + REST_EVERY], progress)
        rests += 1
        last = first + REST_EVERY >= rounds
        violations = await drill.judge(nodes if last else [nodes[rests % len(nodes)]])
        if violations:
            break
    lost, wrong = await drill.judge_unpromised(nodes[0])
    figures: dict[str, Any] = {
        "seed": seed,
        "ack": ack,
        "kills": dict(drill.kinds),
        "processes killed": sum(len(each.nodes) for each in drill.rounds),
        "rounds not waited for": sum(not each.awaited for each in drill.rounds),
        "read back": rests,
        "keys": len(drill.promised.ledger.keys),
        "lost": sum(violation.kind == LOST for violation in violations),
        "primary writes": drill.unpromised.ledger.counts(),
        "primary keys that lost a write": lost,
        "seconds": round(time.monotonic() - started_at),
    }
    return result_of(drill, violations + wrong, figures)


async def _prepared(cluster: RealCluster, ack: str) -> Crash:
    addresses = list(cluster.http().values())
    body = await cluster_body(addresses)
    books = Ledger(), Ledger()
    promised = Load(mixed_targets(books[0], NAMESPACE, ack, body, WRITERS), addresses, books[0])
    unpromised = mixed_targets(books[1], UNPROMISED, "primary", body, UNPROMISED_WRITERS)
    groups = [str(shard["id"]) for shard in body["shards"]] + [METADATA]
    return Crash(cluster, promised, Load(unpromised, addresses, books[1]), groups)


def result_of(drill: Crash, violations: list[Violation], figures: dict[str, Any]) -> Result:
    """What a drill that is over comes to."""
    loads = (drill.promised, drill.unpromised)
    defects = [f"{count} writes were answered {code}" for load in loads for code, count in load.unexpected.items()]
    return Result(
        "crash",
        drill.rounds,
        drill.promised.ledger.counts(),
        dict(drill.promised.refusals),
        violations,
        defects,
        limits=Limits(None, None, None),
        figures=figures,
    )
