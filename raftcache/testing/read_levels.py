"""Nobody ever reads what is lost: clients of the namespace `shown`, which acknowledges at `primary` and reads at
`committed`, and of replica reads in it.

They note all that replies reveal: versions, values, absences, what failed conditions found, counters. What is true is
known at the end, from the entries that were committed (`CommittedKeys`): each key's changes in the order of the log,
and when each was committed. Then every observation is judged:

- each version shown is committed, and each value is what that version wrote;
- what a reply says to be absent, or to stand there, is so in the state that its version names;
- a replica read holds its `min_version`, and what it does not show yet was committed later than `staleness_ms` before
  it was asked for: by the true time, which no clock of the cluster shows;
- a version that was called lost is lost.

Where a majority lost power, the shard may have gone back, and is not judged.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from raftcache.commands.types import (
    AckLevel,
    Command,
    Counted,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    Reply,
    Set,
    Value,
    Version,
    Written,
)
from raftcache.metadata.state import METADATA_GROUP
from raftcache.store.effects import PUT, REMOVE, decode_batch
from raftcache.testing.checks import Oracle, Violation
from raftcache.testing.cluster import SimCluster, SimProcess

NAMESPACE = b"shown"
KEYS = 4
READERS = 3
TIMEOUT_S = 2.0

Position = tuple[int, int]
"""`(term, seq)`, which within one shard is the order of the log."""


class Change(NamedTuple):
    """One committed change of a key; `value` None for a removal. `at_s` is when it was first applied."""

    at: Position
    value: bytes | None
    at_s: float


class CommittedKeys:
    """What the shards' logs say of every key."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._changes: dict[tuple[str, bytes], list[Change]] = {}
        self._ends: dict[str, dict[int, int]] = {}

    def committed(self, group_id: str, payload: bytes) -> None:
        """An entry was applied for the first time."""
        if group_id == METADATA_GROUP:
            return
        batch = decode_batch(payload)
        for seq, effect in enumerate(batch.effects, batch.first_seq):
            if effect[0] in (PUT, REMOVE):
                change = Change((batch.term, seq), effect[2] if effect[0] == PUT else None, self._now())
                self._changes.setdefault((group_id, effect[1]), []).append(change)
            self._ends.setdefault(group_id, {})[batch.term] = seq

    def is_committed(self, version: Version) -> bool:
        """Whether the effect was committed."""
        return version.seq <= self._ends.get(version.shard, {}).get(version.term, 0)

    def at(self, shard: str, key: bytes, position: Position) -> Change | None:
        """The newest change of `key` that the state at `position` holds."""
        return next((change for change in reversed(self.of(shard, key)) if change.at <= position), None)

    def of(self, shard: str, key: bytes) -> list[Change]:
        """All changes of a key, in order."""
        return self._changes.get((shard, key), [])


class Seen(NamedTuple):
    """A request and its reply."""

    command: Command
    reply: Reply
    asked_at: float


class ReadLevelClient:
    """Writes, and reads at once what may be lost. Sends without waiting, at a node chosen anew each time."""

    def __init__(self, number: int, cluster: SimCluster, seen: list[Seen]) -> None:
        self.cluster, self._seen = cluster, seen
        self._random = random.Random(cluster.loop.seed * 6151 + number)
        self._number, self._requests = number, 0
        self._newest: dict[str, Version] = {}
        self.stopped = False

    def start(self) -> None:
        """Begin."""
        self.cluster.loop.call_later(self._random.uniform(0.02, 0.2), self._next)

    def _next(self) -> None:
        running = self.cluster.running()
        if self.stopped:
            return
        if running:
            process = self._random.choice(running)
            key = b"%s:r%d" % (NAMESPACE, self._random.randrange(KEYS))
            for command in self._commands(process, key):
                self._send(process, command)
        self.start()

    def _commands(self, process: SimProcess, key: bytes) -> list[Command]:
        """A write and reads that come right behind it, or reads alone."""
        reads = [self._read(process, key) for _ in range(self._random.randrange(1, 4))]
        return [self._write(key), *reads] if self._random.random() < 0.6 else reads

    def _write(self, key: bytes) -> Command:
        self._requests += 1
        value = b"%d-%d" % (self._number, self._requests)
        mortal = key.replace(b":r", b":t")
        choices: list[Command] = [
            Set(key, value),
            Set(key, value),
            Delete(key, ack=AckLevel.PRIMARY),
            Set(key, value, if_absent=True),
            Set(mortal, value, ttl_ms=self._random.randrange(20, 2000)),
            Expire(mortal, self._random.randrange(20, 2000)),
            Incr(b"%s:n%d" % (NAMESPACE, self._random.randrange(2))),
        ]
        return self._random.choice(choices)

    def _read(self, process: SimProcess, key: bytes) -> Command:
        if self._random.random() < 0.2:
            key = key.replace(b":r", b":t")
        kind = self._random.random()
        if kind < 0.45:
            return Get(key)
        if kind < 0.6:
            return Set(key, b"never", if_version=Version("none", 1, 1))
        shard = process.dispatcher.map.shard_of(key) or ""
        least = self._newest.get(shard) if self._random.random() < 0.5 else None
        return Get(key, None, True, least, self._random.choice((None, None, 150, 400, 1500)))

    def _send(self, process: SimProcess, command: Command) -> None:
        asked_at = self.cluster.loop.time

        def answered(reply: Reply) -> None:
            self.cluster.loop.trace("seen", self._number, reply)
            self._seen.append(Seen(command, reply, asked_at))
            if isinstance(reply, Value | Written | Counted):
                self._newest[reply.version.shard] = reply.version

        deadline = process.runtime.now() + TIMEOUT_S
        process.runtime.deliver(partial(process.dispatcher.execute, command, deadline, answered))


class ReadLevels:
    """The clients of one run, what they saw, and its judgement."""

    def __init__(self, cluster: SimCluster, oracle: Oracle) -> None:
        self._oracle = oracle
        self._seen: list[Seen] = []
        self._keys = CommittedKeys(lambda: cluster.loop.time)
        self.clients = [ReadLevelClient(number, cluster, self._seen) for number in range(READERS)]
        self.shown = self.replica_reads = self.lost = 0
        """Replies judged, those of replicas among them, and writes acknowledged at `primary` that are lost."""
        oracle.on_commit = self._keys.committed

    def start(self) -> None:
        """Begin to write and read."""
        for client in self.clients:
            client.start()

    def stop(self) -> None:
        """Ask nothing more."""
        for client in self.clients:
            client.stopped = True

    def judge(self) -> None:
        """At the end, when nothing can change any more. Raises Violation."""
        for seen in self._seen:
            if isinstance(seen.reply, Failure):
                self._judge_failure(seen, seen.reply)
            elif isinstance(seen.reply, Value | Written | Counted) and self._is_judged(seen.reply.version):
                self._judge(seen)

    def _is_judged(self, version: Version) -> bool:
        return version.shard not in self._oracle.forgiven

    def _judge(self, seen: Seen) -> None:
        reply, command = seen.reply, seen.command
        if isinstance(reply, Written) and reply.ack == AckLevel.PRIMARY:
            self.lost += not self._keys.is_committed(reply.version)
            return
        self.shown += 1
        self._must_be_committed(seen, reply.version)  # type: ignore[union-attr]
        if isinstance(reply, Counted):
            self._must_stand(seen, reply.version, reply.version, b"%d" % reply.value)
        elif isinstance(reply, Written) and not reply.written:
            self._judge_unchanged(seen, reply)
        elif isinstance(reply, Value) and reply.value is not None:
            self._must_stand(seen, reply.version, reply.version, reply.value)
        elif isinstance(reply, Value) and b":r" in _key(command):
            self._must_stand(seen, reply.version, None, None)
        if isinstance(reply, Value) and reply.staleness_ms is not None:
            self.replica_reads += 1
            self._judge_replica_read(seen, reply, reply.staleness_ms)

    def _judge_unchanged(self, seen: Seen, reply: Written) -> None:
        if reply.current is not None:
            self._must_be_committed(seen, reply.current)
        if b":r" in _key(seen.command):
            self._must_stand(seen, reply.version, reply.current, None)

    def _must_be_committed(self, seen: Seen, version: Version) -> None:
        if not self._keys.is_committed(version):
            raise Violation(f"{version} was shown and is lost: {seen}")

    def _must_stand(self, seen: Seen, at: Version, version: Version | None, value: bytes | None) -> None:
        """In the state that `at` names, `version` stands at the key, with `value` unless None; or nothing does."""
        change = self._keys.at(at.shard, _key(seen.command), (at.term, at.seq))
        if version is None:
            wrong = change is not None and change.value is not None
        else:
            wrong = change is None or change.at != (version.term, version.seq) or value not in (None, change.value)
        if wrong:
            raise Violation(f"{seen}: at {at} the key was at {change}")

    def _judge_replica_read(self, seen: Seen, reply: Value, staleness_ms: int) -> None:
        key, shard, least = _key(seen.command), reply.version.shard, seen.command.min_version  # type: ignore[union-attr]
        shown = (reply.version.term, reply.version.seq)
        if least is not None:
            due = self._keys.at(shard, key, (least.term, least.seq))
            if due is not None and due.at > shown:
                raise Violation(f"{seen}: {due} is not in a state that holds {least}")
        before_s = seen.asked_at - staleness_ms / 1000
        missed = [change for change in self._keys.of(shard, key) if change.at > shown and change.at_s < before_s]
        if missed:
            raise Violation(f"{seen}: does not show {missed[0]}, of before {before_s:.3f} s")

    def _judge_failure(self, seen: Seen, failure: Failure) -> None:
        least = seen.command.min_version if isinstance(seen.command, Get) else None
        if failure.code == "version_lost" and least is not None and self._is_judged(least):
            if self._keys.is_committed(least):
                raise Violation(f"{least} was called lost and is committed: {seen}")
        elif failure.code in ("bad_request", "internal"):
            raise Violation(f"{seen} was refused")


def _key(command: Command) -> bytes:
    return command.key  # type: ignore[union-attr]
