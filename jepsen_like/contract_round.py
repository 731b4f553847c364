"""One round of the contract's check: writers on one shard, a fault for its leader, and what became of every write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from jepsen_like.accounts import Account, Case
from jepsen_like.client import Answer, Client, ReadFailed, cluster_body
from jepsen_like.cluster import DriverError, RealCluster
from jepsen_like.ledger import Outcome
from jepsen_like.load import tag_in
from jepsen_like.waiting import eventually
from raftcache.cli.api import Api, key_path
from raftcache.cli.output import Failed
from raftcache.metadata.policy import parse_policy
from raftcache.shard.window import share_of

ACKS = ("primary", "quorum", "durable")
KILL, ISOLATE = "kill -9", "isolate"
FAULTS = (KILL, ISOLATE)

WRITERS = 12
PERIOD_S = 0.005
"""A writer's pace. All together they send some two thousand writes a second, of which a third goes through the leader's
own node and is acknowledged there even while that is cut off."""
BEFORE_S, ISOLATED_S, AFTER_S = 1.5, 3.0, 1.0
ASKED_AT_ONCE = 500
RECEIPT_WAIT_MS = 2_000
UPPER_BOUND = "raftcache_lost_writes_upper_bound"


class Writer:
    """Writes a new key each time, and keeps what was acknowledged: the key of each version."""

    def __init__(self, namespace: str, tag: str, number: int, addresses: Sequence[str]) -> None:
        self.acknowledged: dict[str, str] = {}
        self.newest_at = 0.0
        """When the newest write that was acknowledged had been sent."""
        self._namespace, self._tag, self._number = namespace, tag, number
        self._client = Client(addresses, number)

    async def run(self, stopping: asyncio.Event) -> None:
        """Write until told to stop. A writer that is late does not hurry afterwards."""
        count = 0
        try:
            while not stopping.is_set():
                count += 1
                due_at = time.monotonic() + PERIOD_S
                await self._write(f"{{{self._tag}}}{self._number}-{count}", count)
                await asyncio.sleep(max(0.0, due_at - time.monotonic()))
        finally:
            self._client.close()

    async def _write(self, key: str, value: int) -> None:
        sent_at = time.monotonic()
        answer: Answer = await self._client.put(key_path(self._namespace, key.encode()), {"value": value})
        if answer.outcome is Outcome.ACKNOWLEDGED:
            self.acknowledged[str(answer.version)] = key
            self.newest_at = sent_at


async def play(cluster: RealCluster, case: Case, namespace: str) -> Account:
    """One round in a new namespace. Raises DriverError, ReadFailed."""
    await asyncio.to_thread(cluster.wait_ready)
    addresses = list(cluster.http().values())
    api = Api(f"http://{addresses[0]}")
    name = namespace.replace(" ", "")
    await asyncio.to_thread(_create, api, name, case.ack)
    body = await cluster_body(addresses)
    shard = body["shards"][0]
    tag = tag_in(name, shard["slots"], 0)
    writers = [Writer(name, tag, number, addresses) for number in range(WRITERS)]
    await _under_load(cluster, case, str(shard["id"]), writers)
    keys = {version: key for writer in writers for version, key in writer.acknowledged.items()}
    account = Account(
        set(keys), bound_writes=_share(name, case, len(body["shards"])), memory_gone=case.fault == KILL
    )
    account.there = await _there(addresses, name, keys)
    account.receipts = await asyncio.to_thread(_receipts, api, name, keys)
    account.reported, account.reported_count = await asyncio.to_thread(_reported, api, name)
    account.upper_bound = await asyncio.to_thread(_upper_bound, addresses, name)
    return account


def _create(api: Api, name: str, ack: str) -> None:
    try:
        api.send("PUT", f"/v1/namespaces/{name}", {"ack": ack}, expect=(200, 201))
    except Failed as error:
        raise DriverError(f"namespace {name}: {error}") from error


def _share(name: str, case: Case, shards: int) -> int:
    """What the first of so many shards may lose of a `primary` namespace with the default window, in writes."""
    if case.ack != "primary":
        return 0
    writes = parse_policy(name, {"ack": case.ack}, 3).loss_window.writes
    assert writes is not None
    return round(share_of(writes, (0, shards)))


async def _under_load(cluster: RealCluster, case: Case, shard_id: str, writers: Sequence[Writer]) -> None:
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(writer.run(stopping)) for writer in writers]
    try:
        await asyncio.sleep(BEFORE_S)
        at = await _break(cluster, case.fault, shard_id)

        async def served() -> bool | None:
            return True if any(writer.newest_at > at for writer in writers) else None

        if await eventually(served) is None:
            raise DriverError(f"shard {shard_id} does not serve again after {case.fault}")
        await asyncio.sleep(AFTER_S)
    finally:
        stopping.set()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
    await asyncio.to_thread(cluster.wait_ready)


async def _break(cluster: RealCluster, fault: str, shard_id: str) -> float:
    """Do it to the leader; returns when it was done, or when it was over."""
    if fault == KILL:
        return (await asyncio.to_thread(cluster.fault, "kill-leader", shard_id)).at
    leader = (await asyncio.to_thread(cluster.leaders)).get(shard_id)
    if leader is None:
        raise DriverError(f"shard {shard_id} has no leader")
    await asyncio.to_thread(cluster.fault, "isolate", leader)
    await asyncio.sleep(ISOLATED_S)
    return (await asyncio.to_thread(cluster.fault, "heal", leader)).at


async def _there(addresses: Sequence[str], namespace: str, keys: dict[str, str]) -> set[str]:
    """The versions that a linearizable read finds."""
    client = Client(addresses)
    try:
        found = await client.read(namespace, list(keys.values()))
    finally:
        client.close()
    return {version for version, key in keys.items() if key in found and str(found[key].version) == version}


def _receipts(api: Api, namespace: str, keys: dict[str, str]) -> dict[str, str]:
    states: dict[str, str] = {}
    versions = list(keys)
    for first in range(0, len(versions), ASKED_AT_ONCE):
        asked = versions[first : first + ASKED_AT_ONCE]
        items = [{"key": keys[version], "version": version} for version in asked]
        body = {"namespace": namespace, "items": items, "waitMs": RECEIPT_WAIT_MS}
        answer = _send(api, "POST", "/v1/receipts/batch", body)
        states |= {version: each.get("state", "") for version, each in zip(asked, answer["results"], strict=True)}
    return states


def _reported(api: Api, namespace: str) -> tuple[set[str], int]:
    """The newest versions in the lost-write reports of all nodes, and how many there are in all. Raises ReadFailed
    where a node does not answer."""
    answer = _send(api, "GET", f"/v1/lost-writes?namespace={namespace}", None)
    if answer["unreachable"]:
        raise ReadFailed(f"no lost-write report of {', '.join(answer['unreachable'])}")
    return {each["version"] for each in answer["lost"]}, answer["total"]


def _send(api: Api, method: str, path: str, document: Any) -> Any:
    try:
        return api.send(method, path, document)
    except Failed as error:
        raise ReadFailed(f"{method} {path}: {error}") from error


def _upper_bound(addresses: Sequence[str], namespace: str) -> float:
    """What all nodes publish of leaders that are gone."""
    lines = [line for address in addresses for line in _metrics(address) if line.startswith(UPPER_BOUND)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if f'namespace="{namespace}"' in line)


def _metrics(address: str) -> list[str]:
    try:
        return Api(f"http://{address}").call("GET", "/metrics").body.decode().splitlines()
    except Failed as error:
        raise ReadFailed(f"/metrics: {error}") from error
