"""Reads at the level `replica`: any replica answers, from its committed state, and says how old that may be.

**At a follower** the keys are the committed state as far as it has come, and the read is one look. What it may miss is
told by `staleness_ms`, which consensus knows (`consensus.staleness`); a replica that does not know it yet answers
nobody.

**At the leader** the live keys are ahead of the committed ones. The undo records would tell what stood there before,
but the record that counts is the oldest of its key, and finding that one among all that is speculative is work in
proportion to what an isolated leader has piled up. So the read is executed like one at `committed`: at once, and
answered when the newest effect that it observed commits; at most keys there is none. It never writes, not even the
removal of an expired key. The age of what it shows counts from its execution, so what it waited is added.

**Time.** A follower has no clock of the shard's. Its time is what the leader said last, with each append, and what
passed since by its own clock: never ahead of the leader's by more than clocks drift, and behind by what the append was
under way. By that an expired key is a miss, whether or not its removal has come here. The times of the batches would
not do: those that a follower applies when it starts, or comes back, may be of long ago, and nothing may follow them.

**`min_version`** names an effect that the state must hold. The table of terms tells whether it does; whether it never
will, which is a definite error; or whether it may yet: then a follower lets the read wait for one heartbeat, after
which the dispatcher takes it to another replica. **`max_staleness_ms`** is held to when the reply leaves. The leader
proves that it still leads where its last proof is older than that: the read waits for the batch that it is put in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from raftcache.clock import Runtime
from raftcache.commands.policy import Namespace
from raftcache.commands.table import check_get
from raftcache.commands.types import RAW, Failure, Get, Reply, Value, Version
from raftcache.errors import BadRequest, RaftcacheError, TooStale, VersionLost
from raftcache.shard.executor import PRIMARY, QUORUM, REPLICA, Answer, Executor, WaitsFor
from raftcache.shard.history import History
from raftcache.shard.hotkeys import HotKeys
from raftcache.shard.pipeline import PendingBatch, ReplyTo, deliver
from raftcache.shard.timebase import ShardTime
from raftcache.store.entry import Entry, TaggedEntry

PATIENCE_S = 0.15
"""How long a follower lets a read wait for its `min_version`: a heartbeat, with which it learns what is committed."""
MAX_PARKED = 4096
"""Reads that wait so at one replica; one more goes to another replica at once."""


class _Parked(NamedTuple):
    until_s: float
    source: str
    command: Get
    reply_to: ReplyTo


class ReplicaReads:
    """The replica reads of one replica, in both roles. `resubmit` executes a read that waited, in whatever role, and
    is told by which front end it came."""

    def __init__(
        self,
        runtime: Runtime,
        executor: Executor,
        history: Callable[[], History],
        staleness_ms: Callable[[], int | None],
        longest_ms: Callable[[float], int],
        leader_hint: Callable[[], dict[str, str | int | None]],
        resubmit: Callable[[str, Get, ReplyTo], None],
        hotkeys: HotKeys,
    ) -> None:
        self._runtime, self._executor, self._stats = runtime, executor, executor.stats
        self._history, self._staleness_ms = history, staleness_ms
        self._longest_ms = longest_ms
        self._leader_hint, self._resubmit = leader_hint, resubmit
        self._hotkeys = hotkeys
        self._time = ShardTime(runtime)
        self._time.start(0)
        self._parked: deque[_Parked] = deque()
        self._look_due = self._timer_runs = False

    @property
    def parked(self) -> int:
        """Reads that wait for the version they ask for."""
        return len(self._parked)

    # -- follower --------------------------------------------------------------------------------

    def heard(self, time_ms: int) -> None:
        """The leader said that it is `time_ms`; 0 where it did not."""
        if time_ms:
            self._time.start(time_ms)

    def follow(self, time_ms: int) -> None:
        """The shard's time is at least `time_ms` now: a batch of that time was applied, or a leadership ended then."""
        self._time.start(max(time_ms, self._time.now_ms()))
        if self._parked and not self._look_due:
            self._look_due = True
            self._runtime.call_soon(self._look)

    def submit(self, command: Get, reply_to: ReplyTo) -> None:
        """Answer a replica read from this follower's state."""
        try:
            namespace = self._executor.resolve(command)
            check_get(command, namespace)
            if self._holds(command.min_version):
                answer = self._read(command, namespace)
                self._hotkeys.see(command, answer)
                deliver(reply_to, answer)
            else:
                self._park(command, reply_to)
        except RaftcacheError as error:
            deliver(reply_to, self._stats.refusal(error))

    def stop(self) -> None:
        """This replica answers no more."""
        parked, self._parked = self._parked, deque()
        for _, _, command, reply_to in parked:
            deliver(reply_to, self._stats.refusal(self._behind(command)))

    def _read(self, command: Get, namespace: Namespace) -> Value:
        """Raises TooStale."""
        staleness_ms = self._fresh_enough(command)
        now_ms = self._time.now_ms()
        entry = self._standing(command.key, namespace, now_ms)
        history = self._history()
        version = Version(self._executor.shard_id, history.term, history.seq)
        return self._value(namespace, entry, version, now_ms, staleness_ms)

    def _fresh_enough(self, command: Get) -> int:
        """How old the state is. Raises TooStale where that is not known, or more than the read takes."""
        staleness_ms, limit_ms = self._staleness_ms(), command.max_staleness_ms
        if staleness_ms is None:
            raise self._too_stale("how old the state of this replica is, is not known yet")
        if limit_ms is not None and staleness_ms > limit_ms:
            raise self._too_stale(_too_old(staleness_ms, limit_ms))
        return staleness_ms

    def _holds(self, version: Version | None) -> bool:
        """Whether `version` is in the committed state here; False where it may come. Raises VersionLost, BadRequest."""
        if version is None:
            return True
        self._require_own(version)
        history = self._history()
        if version.term > history.term:
            return False
        if version.seq <= history.last_committed_seq(version.term):
            return True
        if version.term == history.term:
            return False
        raise VersionLost(f"minVersion: {version} is lost, no state will ever hold it", version=str(version))

    def _require_own(self, version: Version) -> None:
        shard_id = self._executor.shard_id
        if version.shard != shard_id:
            raise BadRequest(f"minVersion: {version} is not of shard {shard_id}, to which the key belongs")

    def _park(self, command: Get, reply_to: ReplyTo) -> None:
        if len(self._parked) >= MAX_PARKED:
            self._stats.overloaded["parked replica reads"] += 1
            raise self._behind(command)
        self._parked.append(_Parked(self._runtime.now() + PATIENCE_S, self._hotkeys.source, command, reply_to))
        self._look_later()

    def _look_later(self) -> None:
        if self._parked and not self._timer_runs:
            self._timer_runs = True
            self._runtime.call_later(self._parked[0].until_s - self._runtime.now(), self._give_up)

    def _give_up(self) -> None:
        """Those whose patience has ended are to ask another replica."""
        self._timer_runs = False
        now = self._runtime.now()
        while self._parked and self._parked[0].until_s <= now:
            _, _, command, reply_to = self._parked.popleft()
            deliver(reply_to, self._stats.refusal(self._behind(command)))
        self._look_later()

    def _look(self) -> None:
        """Answer those whose version is decided by now."""
        self._look_due = False
        parked, self._parked = self._parked, deque()
        decided: list[_Parked] = []
        for each in parked:
            (decided if self._is_decided(each.command.min_version) else self._parked).append(each)
        for each in decided:
            self._resubmit(each.source, each.command, each.reply_to)

    def _is_decided(self, version: Version | None) -> bool:
        try:
            return self._holds(version)
        except RaftcacheError:
            return True

    # -- leader ----------------------------------------------------------------------------------

    def at_leader(self, command: Get, namespace: Namespace) -> Answer:
        """Execute a replica read at the leader. Raises VersionLost, BadRequest, TooStale, Overloaded."""
        ex, key = self._executor, command.key
        held_by = self._batch_of(command.min_version)
        staleness_ms, limit_ms = self._staleness_ms(), command.max_staleness_ms
        waits_for: WaitsFor
        if staleness_ms is None or (limit_ms is not None and staleness_ms > limit_ms):
            ex.pipeline.admit()
            staleness_ms, waits_for, version = 0, QUORUM, ex.newest()
        else:
            waits_for, version = ex.observed(key)
            waits_for = _later(waits_for, held_by)
            if waits_for is not PRIMARY:
                ex.pipeline.admit_waiter()
        now_ms = ex.now_ms()
        entry = self._standing(key, namespace, now_ms)
        return self._value(namespace, entry, version, now_ms, staleness_ms), waits_for

    def _batch_of(self, version: Version | None) -> PendingBatch | None:
        """The batch in which `version` still waits for its commit. Raises VersionLost, BadRequest, TooStale."""
        ex = self._executor
        if version is None or (self._is_own_term(version) and version.seq <= ex.pipeline.settled_seq):
            return None
        if not self._is_own_term(version):
            if not self._holds(version):
                raise self._too_stale(f"minVersion: {version} is of a later term than that of this leader")
            return None
        if version.seq > ex.seq:
            raise BadRequest(f"minVersion: there is no version {version} yet, the newest is {ex.newest()}")
        return ex.pipeline.batch_of(version.seq)

    def _is_own_term(self, version: Version) -> bool:
        self._require_own(version)
        return version.term == self._executor.term

    def ageing(self, command: Get, reply_to: ReplyTo) -> ReplyTo:
        """Where the answer of a read goes that waits from now on: it grows older meanwhile."""
        since_s = self._runtime.now()

        def release(answer: Reply) -> None:
            if isinstance(answer, Value):
                reply_to(self._aged(command, answer, self._longest_ms(self._runtime.now() - since_s)))
            else:
                reply_to(answer)

        return release

    def _aged(self, command: Get, answer: Value, waited_ms: int) -> Value | Failure:
        staleness_ms, limit_ms = (answer.staleness_ms or 0) + waited_ms, command.max_staleness_ms
        if limit_ms is not None and staleness_ms > limit_ms:
            return self._stats.refusal(self._too_stale(_too_old(staleness_ms, limit_ms)))
        return Value(answer.value, answer.flag, answer.version, answer.ttl_ms, answer.level, staleness_ms)

    # -- both ------------------------------------------------------------------------------------

    def _standing(self, key: bytes, namespace: Namespace, now_ms: int) -> Entry | None:
        """What stands at `key` for whoever reads at `now_ms`. Writes nothing."""
        entry = self._executor.keyspace.get(key)
        if entry is None or entry.namespace_id != namespace.id:
            return None
        if type(entry) is TaggedEntry and self._executor.dropped.drop_of(entry) is not None:
            return None
        return None if entry.expires_ms and entry.expires_ms <= now_ms else entry

    def _value(
        self, namespace: Namespace, entry: Entry | None, version: Version, now_ms: int, staleness_ms: int
    ) -> Value:
        self._stats.replica_reads += 1
        if entry is None:
            self._stats.misses[namespace.name] += 1
            return Value(None, RAW, version, None, REPLICA, staleness_ms)
        self._stats.hits[namespace.name] += 1
        ttl_ms = entry.expires_ms - now_ms if entry.expires_ms else None
        return Value(entry.value, entry.flag, self._executor.version_of(entry), ttl_ms, REPLICA, staleness_ms)

    def _behind(self, command: Get) -> TooStale:
        return self._too_stale(f"minVersion: {command.min_version} has not come to this replica yet")

    def _too_stale(self, message: str) -> TooStale:
        return TooStale(message, **self._leader_hint())


def _later(one: WaitsFor, other: PendingBatch | None) -> WaitsFor:
    """Which of two batches commits later; `one` may be none, too."""
    if other is None:
        return one
    return one if isinstance(one, PendingBatch) and one.first_seq >= other.first_seq else other


def _too_old(staleness_ms: int, limit_ms: int) -> str:
    return f"maxStalenessMs: the state may be {staleness_ms} ms old, more than the limit of {limit_ms} ms"
