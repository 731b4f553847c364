"""Scenarios that repeat one fault: load, the fault, waiting until all is well again; and the check at the end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from jepsen_like.client import Client, cluster_body
from jepsen_like.cluster import DriverError, RealCluster
from jepsen_like.ledger import Found
from jepsen_like.load import NAMESPACE, POLICY_FIELD, Load, Target, policy_targets, shard_targets
from jepsen_like.verdict import Result, Round
from jepsen_like.waiting import WAIT_S, Progress, eventually, ms

NODES, SHARDS = 3, 4
SETTLE_S = 1.0
"""Quiet load between the end of one round and the next fault."""
PAUSE_S = 2.0
LUCKLESS = 3
"""At most so many times the rounds asked for are run until every node was killed often enough."""

META = "meta"


@dataclass(slots=True)
class Drill:
    """One scenario on its way."""

    cluster: RealCluster
    load: Load
    rounds: list[Round] = field(default_factory=list)

    @property
    def kills(self) -> Counter[str]:
        """How often each node was killed."""
        return Counter(node for each in self.rounds for node in each.nodes if each.kills)

    def wants_more(self, scenario: Repeated, rounds: int) -> bool:
        """Whether rounds are missing, or kills of a node that luck spared: elections choose the metadata's leader."""
        if len(self.rounds) < rounds:
            return True
        spared = any(self.kills[node] < kills_each(rounds) for node in self.cluster.http())
        return scenario.kills_all and spared and len(self.rounds) < LUCKLESS * rounds

    async def next_victim(self) -> tuple[str, str]:
        """The node killed least so far, and a shard that it leads. Raises DriverError where it leads none in time."""
        kills = self.kills
        victim = min(self.cluster.http(), key=lambda node: kills[node])

        async def led() -> str | None:
            known = await asyncio.to_thread(self.cluster.leaders)
            return next((group for group, node in known.items() if node == victim and group != META), None)

        group = await eventually(led)
        if group is None:
            raise DriverError(f"{victim} leads no shard {WAIT_S:.0f} s after it was back")
        return victim, group

    async def kill_leader(self, group: str) -> Round:
        """Kill the leader of `group`, and measure until service and the node are back."""
        before = await asyncio.to_thread(self.cluster.pids)
        fault = await asyncio.to_thread(self.cluster.fault, "kill-leader", group)
        node = str(fault.done[0]["node"])

        async def acknowledged() -> float | None:
            return self.load.first_ack_after(group, fault.at)

        async def full_voter() -> float | None:
            pid = (self.cluster.ready() or {}).get(node)
            return None if pid is None or pid == before[node] else time.monotonic()

        service, voter = await asyncio.gather(eventually(acknowledged), eventually(full_voter))
        return Round((node,), group, ms(fault.at, service), ms(fault.at, voter))

    async def pause_all(self) -> Round:
        """Pause every node for `PAUSE_S`, and measure from the end of the pause until every group is in service."""
        await asyncio.to_thread(self.cluster.fault, "pause", "--all")
        await asyncio.sleep(PAUSE_S)
        fault = await asyncio.to_thread(self.cluster.fault, "resume", "--all")

        async def acknowledged() -> float | None:
            times = [self.load.first_ack_after(group, fault.at) for group in self.load.groups]
            arrived = [at for at in times if at is not None]
            return max(arrived) if len(arrived) == len(times) else None

        nodes = tuple(str(each["node"]) for each in fault.done)
        return Round(nodes, "all", ms(fault.at, await eventually(acknowledged)), kills=False)


async def shard_round(drill: Drill) -> Round:
    """Kill a leader of a shard, the nodes in turn."""
    _, group = await drill.next_victim()
    return await drill.kill_leader(group)


async def metadata_round(drill: Drill) -> Round:
    """Kill the leader of the metadata group, whoever that is."""
    return await drill.kill_leader(META)


async def pause_round(drill: Drill) -> Round:
    """Pause the whole cluster."""
    return await drill.pause_all()


@dataclass(frozen=True, slots=True)
class Repeated:
    """What is done round by round and under which load. `kills_all`: every node has to be killed its share."""

    name: str
    act: Callable[[Drill], Awaitable[Round]]
    kills_all: bool = True
    policies: bool = False
    frontend: bool = False


REPEATED = (
    Repeated("shard", shard_round),
    Repeated("metadata", metadata_round, policies=True),
    Repeated("frontend", shard_round, frontend=True),
    Repeated("pause", pause_round, kills_all=False),
)


def kills_each(rounds: int) -> int:
    """How often each node must be killed in so many rounds: three times in ten."""
    return rounds // NODES


async def repeat(cluster: RealCluster, scenario: Repeated, rounds: int, progress: Progress) -> Result:
    """Run one scenario on a cluster that is ready. Raises DriverError, ReadFailed."""
    nodes = list(cluster.http().values())
    addresses = [await asyncio.to_thread(cluster.start_frontend)] if scenario.frontend else nodes
    async with Load(await _targets(scenario, nodes), addresses) as load:
        drill = Drill(cluster, load)
        while drill.wants_more(scenario, rounds):
            await asyncio.sleep(SETTLE_S)
            drill.rounds.append(await scenario.act(drill))
            progress(f"{scenario.name} {len(drill.rounds)}", load)
        await asyncio.sleep(SETTLE_S)
    await asyncio.to_thread(cluster.wait_ready)
    result = Result(scenario.name, drill.rounds, load.ledger.counts(), dict(load.refusals))
    result.defects = [f"{count} writes were answered {code}" for code, count in load.unexpected.items()]
    result.violations = load.ledger.check(await _read_everywhere(cluster, scenario, load, addresses))
    if scenario.kills_all:
        result.node_ids, result.kills_each = tuple(cluster.http()), kills_each(rounds)
    return result


async def _targets(scenario: Repeated, nodes: list[str]) -> list[Target]:
    if scenario.policies:
        return policy_targets()
    return shard_targets(await cluster_body(nodes))


async def _read_everywhere(
    cluster: RealCluster, scenario: Repeated, load: Load, addresses: list[str]
) -> dict[str, dict[str, Found]]:
    """The final state as every node shows it, and the front end where there is one."""
    readers = {**cluster.http(), **({"front end": addresses[0]} if scenario.frontend else {})}
    if scenario.policies:
        await _same_epoch(list(readers.values()))
    reads = {}
    for name, address in readers.items():
        client = Client([address])
        try:
            reads[name] = await (client.policies(POLICY_FIELD) if scenario.policies else _all_keys(client, load))
        finally:
            client.close()
    return reads


async def _all_keys(client: Client, load: Load) -> dict[str, Found]:
    return await client.read(NAMESPACE, load.ledger.keys)


async def _same_epoch(addresses: list[str]) -> None:
    """Wait until every node has followed the metadata group to one epoch: policies are read from a node's own view."""
    clients = [Client([address]) for address in addresses]

    async def level() -> bool | None:
        bodies = [await client.cluster() for client in clients]
        return True if len({body["epoch"] for body in bodies}) == 1 else None

    try:
        await eventually(level)
    finally:
        for client in clients:
            client.close()
