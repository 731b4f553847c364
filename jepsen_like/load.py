"""The load: many writers, each alone with its keys, each at its own steady pace.

A writer sends one write at a time. Every second one goes to its register, the next number in line; the others go to a
new key each. A writer that is late does not hurry afterwards: the load stays modest, so that on a small machine the
cluster is measured and not the clients. Each writer belongs to one group, a shard or the metadata group, so that a
group that is out of service takes the writers of no other group along. (`mixed` has writers that do more.)
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from jepsen_like.client import CONFLICT, Answer, Client
from jepsen_like.ledger import Ledger, Outcome
from raftcache.cli.api import key_path
from raftcache.commands.namespaces import full_key
from raftcache.routing.slots import slot_of

NAMESPACE = "safe"
POLICY_FIELD = "maxItemBytes"
WRITERS_PER_GROUP = 8
SHARD_PERIOD_S = 0.1
POLICY_PERIOD_S = 0.2
NEW_POLICY_EVERY = 10
"""Every tenth policy goes to a new namespace; all others to the writer's own."""
REMEMBERED_ACKS = 20_000


class Write(NamedTuple):
    """One write: the ledger's key, and the request.

    `removes` and `counts` as in `Ledger.begin`. `durability` is the level that an acknowledgement must name, "" for
    none.
    """

    key: str
    path: str
    document: dict[str, Any]
    method: bytes = b"PUT"
    removes: bool = False
    counts: bool = False
    durability: str = ""


class Writes(Protocol):
    """What sends writes: a `Client`."""

    async def write(self, method: bytes, path: str, document: Any) -> Answer:
        """Send one write, once."""


class Target(Protocol):
    """What a writer writes to. `group` is the shard id, or `meta`."""

    group: str
    period_s: float

    def write(self, value: int) -> Write:
        """The write that carries `value`."""


class ShardTarget:
    """Keys of one shard: a hash tag holds them in it."""

    def __init__(self, shard: dict[str, Any], number: int) -> None:
        self.group, self.period_s = str(shard["id"]), SHARD_PERIOD_S
        self._tag = tag_in(NAMESPACE, shard["slots"], number)

    def write(self, value: int) -> Write:
        """Even values go to the register."""
        key = f"{{{self._tag}}}register" if value % 2 == 0 else f"{{{self._tag}}}{value}"
        return Write(key, key_path(NAMESPACE, key.encode()), {"value": value})


def tag_in(namespace: str, ranges: Sequence[Sequence[int]], number: int) -> str:
    """A hash tag, unique by `number`, whose slot lies in the ranges."""
    for attempt in range(1_000_000):
        tag = f"w{number}-{attempt}"
        slot = slot_of(full_key(namespace, f"{{{tag}}}".encode()))
        if any(first <= slot <= last for first, last in ranges):
            return tag
    raise ValueError(f"no key falls into {ranges}")


class PolicyTarget:
    """Policies of namespaces: the value stands in a field of the policy."""

    def __init__(self, number: int) -> None:
        self.group, self.period_s = "meta", POLICY_PERIOD_S
        self._name = f"policy-{number}"

    def write(self, value: int) -> Write:
        """Every `NEW_POLICY_EVERY`-th value makes a new namespace."""
        name = self._name if value % NEW_POLICY_EVERY else f"{self._name}-{value}"
        return Write(name, f"/v1/namespaces/{name}", {"ack": "quorum", POLICY_FIELD: value})


def shard_targets(body: dict[str, Any]) -> list[Target]:
    """Writers for every shard of a `/v1/cluster` body."""
    shards = body["shards"]
    return [ShardTarget(shard, i * len(shards) + n) for i in range(WRITERS_PER_GROUP) for n, shard in enumerate(shards)]


def policy_targets() -> list[Target]:
    """Writers for the metadata group."""
    return [PolicyTarget(number) for number in range(WRITERS_PER_GROUP)]


class Load:
    """All writers. `async with load`: they write inside, and have all been answered afterwards.

    It can be entered again: every writer goes on with its next number.
    """

    def __init__(self, targets: Sequence[Target], addresses: Sequence[str], ledger: Ledger | None = None) -> None:
        self.ledger = Ledger() if ledger is None else ledger
        self.refusals: Counter[str] = Counter()
        self.unexpected: Counter[str] = Counter()
        self._targets, self._addresses = targets, addresses
        self._values = [0] * len(targets)
        self._acks: dict[str, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=REMEMBERED_ACKS))
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def groups(self) -> list[str]:
        """The groups that are written to."""
        return list(dict.fromkeys(target.group for target in self._targets))

    async def __aenter__(self) -> Load:
        self._stopping.clear()
        self._tasks = [asyncio.create_task(self._write(n, target)) for n, target in enumerate(self._targets)]
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._stopping.set()
        if error is not None:
            for task in self._tasks:
                task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and error is None:
                raise result

    async def _write(self, number: int, target: Target) -> None:
        client = Client(self._addresses, number)
        due_at = time.monotonic() + target.period_s * number / len(self._targets)
        try:
            while not await self._stopped_before(due_at):
                self._values[number] += 1
                await self.attempt(client, target, self._values[number])
                due_at = max(due_at + target.period_s, time.monotonic())
        finally:
            client.close()

    async def _stopped_before(self, due_at: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), max(0.0, due_at - time.monotonic()))
        except TimeoutError:
            return False
        return True

    async def attempt(self, client: Writes, target: Target, value: int) -> None:
        """Let the target write `value` once, and enter into the ledger what the client is told of it."""
        write = target.write(value)
        self.ledger.begin(write.key, value, removes=write.removes, counts=write.counts)
        sent_at = time.monotonic()
        answer = await client.write(write.method, write.path, write.document)
        if answer.outcome is Outcome.ACKNOWLEDGED:
            self._note_acknowledged(write, value, answer)
            self._acks[target.group].append((sent_at, time.monotonic()))
        else:
            self._note(write.key, value, answer)

    def _note_acknowledged(self, write: Write, value: int, answer: Answer) -> None:
        missed = write.removes and not answer.existed  # It wrote nothing then, so its version is an earlier write's.
        version = None if missed else answer.version
        self.ledger.acknowledged(write.key, value, version, answer.counted if write.counts else None)
        if missed:
            self.ledger.missed(write.key)
        if write.durability and answer.durability != write.durability:
            self.unexpected[f"at level {answer.durability!r} where {write.durability!r} was asked for"] += 1

    def _note(self, key: str, value: int, answer: Answer) -> None:
        if answer.code == CONFLICT:
            self.ledger.conflicted(key, value, answer.version)
        elif answer.outcome is Outcome.REFUSED:
            self.ledger.refused(key, value)
        (self.refusals if answer.expected else self.unexpected)[answer.code] += 1

    def first_ack_after(self, group: str, at: float) -> float | None:
        """When the first write that was sent after `at` was acknowledged by the group; None if none was yet."""
        first = None
        for sent_at, acked_at in reversed(self._acks[group]):
            if acked_at < at:
                break
            if sent_at >= at:
                first = acked_at
        return first

    def back_after(self, at: float) -> float | None:
        """When the last group acknowledged a first write that was sent after `at`; None while one has not."""
        times = [acked_at for group in self.groups if (acked_at := self.first_ack_after(group, at)) is not None]
        return max(times) if len(times) == len(self.groups) else None
