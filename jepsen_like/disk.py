"""What the drills on disks have in common: `empty_disk`, `damage`, `disk_full`.

Each begins with a stock of keys, goes on under load, and ends when the node that was hit is a full voter of every
group again, by itself. Then everything is read back through every node.

A refilled replica that only looks healthy would be found out when it leads. So it is made to, in every group: while
one other node is dead, something is written to each group, which only the refilled node and the third can hold. Then
the third is killed, the first comes back, and the third is stopped before it can join. The first lacks those writes,
so nobody but the refilled node can be elected; and what it shows is judged.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jepsen_like.client import Client, cluster_body, read_all
from jepsen_like.cluster import DriverError, RealCluster
from jepsen_like.ledger import Ledger, Outcome
from jepsen_like.load import NAMESPACE, Load
from jepsen_like.members import groups_of, is_full_voter, metadata_state
from jepsen_like.mixed import mixed_targets
from jepsen_like.stock import fill, number_of
from jepsen_like.surgery import hold, kill_for_good, unsupervised
from jepsen_like.verdict import Limits, Result, Round
from jepsen_like.waiting import eventually, ms
from raftcache.consensus.api import MemberId
from raftcache.metadata.state import MetadataState
from raftcache.supervisor.views import leaders

WRITERS = 4
"""For each shard."""
ACK = "quorum"
REFILL_LIMIT_MS = 30_000.0
PATIENCE_S = 60.0
"""How long a refill is watched, over its limit, so that a late one is told from one that never comes."""
LOOK_S = 0.1
ROUNDS_ON_DISKS = 2
"""In each of these drills two nodes are hit, one after the other."""

MemberOf = Callable[[str], MemberId]


@dataclass(slots=True)
class Disk:
    """One drill on its way. Stock and writers share a ledger. `led` counts the nodes that were made to lead."""

    cluster: RealCluster
    load: Load
    keys: int
    started_at: float
    defects: list[str]
    rounds: list[Round] = field(default_factory=list)
    led: int = 0
    policies: int = 0

    def others(self, node: str) -> list[str]:
        """All nodes but one."""
        return [each for each in self.cluster.http() if each != node]

    async def leaders(self) -> dict[str, str | None]:
        """Who leads which group just now, as far as anybody says."""
        return await asyncio.to_thread(self.cluster.leaders)

    async def leader_of(self, group: str) -> str:
        """Raises DriverError where nobody leads the group for long."""

        async def known() -> str | None:
            return (await self.leaders()).get(group)

        node = await eventually(known)
        if node is None:
            raise DriverError(f"group {group} has no leader")
        return node

    async def state(self, node: str) -> MetadataState:
        """The metadata state as a node has it. Raises DriverError where it does not say."""
        state = await metadata_state(self.cluster, node)
        if state is None:
            raise DriverError(f"{node} does not hand out the metadata state")
        return state

    async def members(self, node: str) -> dict[str, MemberId]:
        """Under which name the node is wanted in each group, as another node has it. Raises DriverError."""
        state = await self.state(self.others(node)[0])
        return {group: _member(state, group, node) for group in groups_of(state)}

    def kill_and(self, node: str, then: Callable[[], None]) -> float:
        """Kill the node, do `then` to its files, let it be started again; returns the moment of its end."""
        with unsupervised(self.cluster):
            at = kill_for_good(self.cluster, node)
            then()
            return at

    # -- watching ----------------------------------------------------------------------------------

    async def watch(self, node: str, what: str, at: float, member_of: Callable[[], MemberOf | None]) -> None:
        """One round: measure from `at` on until the node is a full voter again; `member_of()` is None until then."""
        service, voter = await asyncio.gather(self.in_service(at), self.full_voter(node, member_of))
        self.rounds.append(Round((node,), what, ms(at, service), ms(at, voter)))

    async def in_service(self, at: float) -> float | None:
        """When every shard acknowledged a write that was sent after `at`."""

        async def back() -> float | None:
            return self.load.back_after(at)

        return await eventually(back)

    async def full_voter(self, node: str, member_of: Callable[[], MemberOf | None]) -> float | None:
        """When another node says that this one is a voter in every group, under the names of `member_of()`."""
        observer = self.others(node)[0]
        address = self.cluster.http()[observer]

        async def voter() -> float | None:
            members, state = member_of(), await metadata_state(self.cluster, observer)
            if members is None or state is None:
                return None
            return time.monotonic() if is_full_voter(state, await cluster_body([address]), members) else None

        return await eventually(voter, PATIENCE_S, LOOK_S)

    async def write_metadata(self, through: list[str]) -> bool:
        """Whether the metadata group acknowledges a write to one of these nodes, repeated while it does not."""
        client = Client([self.cluster.http()[each] for each in through])
        self.policies += 1

        async def wrote() -> bool | None:
            answer = await client.put(f"/v1/namespaces/drill-{self.policies}", {"ack": ACK})
            return True if answer.outcome is Outcome.ACKNOWLEDGED else None

        try:
            return await eventually(wrote, pause_s=LOOK_S) is not None
        finally:
            client.close()

    # -- afterwards --------------------------------------------------------------------------------

    async def judge(self, nodes: list[str]) -> None:
        """Read everything through these nodes, at rest; violations stay in the ledger."""
        addresses, ledger = self.cluster.http(), self.load.ledger
        reads = {node: await read_all(addresses[node], NAMESPACE, ledger.keys, number_of) for node in nodes}
        ledger.check(reads)

    async def make_lead(self, node: str) -> None:
        """Let the node lead every group, and judge what it shows. Raises DriverError where it is not elected."""
        returns, stays_away = self.others(node)
        with unsupervised(self.cluster):
            await asyncio.to_thread(kill_for_good, self.cluster, returns)
            await self._write_everywhere([node, stays_away])
            dead = self.cluster.pids()[stays_away]
            assert dead is not None
            await asyncio.to_thread(kill_for_good, self.cluster, stays_away)
        held = await asyncio.to_thread(hold, self.cluster, stays_away, dead)
        try:
            await self._wait_until_it_leads(node)
            await self.judge([node])
        finally:
            os.kill(held, signal.SIGCONT)
        await asyncio.to_thread(self.cluster.wait_ready)

    async def _write_everywhere(self, alive: list[str]) -> None:
        """Something acknowledged in every group, from now on."""
        at = time.monotonic()
        async with self.load:
            if await self.in_service(at) is None:
                raise DriverError(f"with {' and '.join(alive)} alone, not every shard acknowledges writes")
        if not await self.write_metadata(alive):
            raise DriverError(f"with {' and '.join(alive)} alone, no policy is acknowledged")
        self.led += 1

    async def _wait_until_it_leads(self, node: str) -> None:
        seen: dict[str, str | None] = {}
        address = self.cluster.http()[node]

        async def led_all() -> bool | None:
            known = leaders([await cluster_body([address])])
            seen.update({group: leader for group, leader in known.items() if leader == node or group not in seen})
            return True if set(seen.values()) == {node} else None

        if await eventually(led_all) is None:
            raise DriverError(f"{node} does not lead every group, and nobody else can: {seen}")


def _member(state: MetadataState, group: str, node: str) -> MemberId:
    return next(member for member in state.wanted(group) if member.node == node)


async def stocked(cluster: RealCluster, keys: int) -> Disk:
    """A drill on a cluster that holds `keys` keys. Raises ReadFailed."""
    ledger, addresses = Ledger(), list(cluster.http().values())
    unexpected = await fill(addresses, keys, ledger)
    targets = mixed_targets(ledger, NAMESPACE, ACK, await cluster_body(addresses), WRITERS)
    defects = [f"the stock was answered {code}" for code in unexpected]
    if ledger.counts()["acknowledged"] < keys:
        defects.append(f"of {keys} keys of the stock, {ledger.counts()['acknowledged']} were acknowledged")
    return Disk(cluster, Load(targets, addresses, ledger), keys, time.monotonic(), defects)


async def judged(name: str, drill: Disk) -> Result:
    """The end of every drill: read everywhere, then once more from each node that was hit as the leader of all."""
    load, ledger = drill.load, drill.load.ledger
    victims = [node for each in drill.rounds for node in each.nodes]
    refilled = all(each.full_voter_ms is not None for each in drill.rounds)
    if refilled:
        await asyncio.to_thread(drill.cluster.wait_ready)
    await drill.judge(list(drill.cluster.http()) if refilled else drill.others(victims[-1]))
    for node in dict.fromkeys(victims):
        if refilled and not ledger.violations:
            await drill.make_lead(node)
    result = Result(name, drill.rounds, ledger.counts(), dict(load.refusals), ledger.violations, drill.defects)
    result.defects += [f"{count} writes were answered {code}" for code, count in load.unexpected.items()]
    result.limits = Limits(None, None, REFILL_LIMIT_MS)
    result.figures = {
        "keys of the stock": drill.keys,
        "seconds until a full voter again": [_seconds(each.full_voter_ms) for each in drill.rounds],
        "lost": sum(violation.kind == "lost" for violation in ledger.violations),
        "nodes that led every group afterwards": drill.led,
        "seconds": round(time.monotonic() - drill.started_at),
    }
    return result


def _seconds(time_ms: float | None) -> float | None:
    return None if time_ms is None else round(time_ms / 1000, 1)
