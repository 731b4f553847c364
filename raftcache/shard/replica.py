"""One replica of a shard: the state machine behind a Raft group, and the executor where it leads.

**Gaining leadership.** The replica proposes `leader_started` as the first batch of its term. When that is applied, and
synced on a quorum, everything earlier is applied and all earlier terms are closed for good; only then does it serve.

**Applying.** A batch that this leadership executed is not applied again when it commits: its undo records are
forgotten and its waiters answered. Any other batch is applied from its bytes: on followers, on a new leader until
it serves, and on a deposed one, whose own batches may commit under its successor after it has undone them.

**Reads that any replica may answer** (`replica_reads`) are the one thing that is executed without leading.

**Policies** come with the log (`policies`); a leader brings in what its node knows (`following`), the first of it
before it serves.

**Losing leadership** by whatever cause first undoes everything speculative and then answers who waits; from there
on the replica is a follower with exactly the committed state. What was held and never executed is answered as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from random import Random
from typing import Any

from raftcache.clock import Runtime
from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import is_limited
from raftcache.commands.quotas import QuotaUse
from raftcache.commands.table import check_many, check_minted
from raftcache.commands.types import (
    MULTI_KEY_LIMIT,
    Asked,
    Failure,
    Get,
    Minted,
    Multi,
    MultiDelete,
    MultiGet,
    MultiSet,
    Receipts,
    Reply,
    Scan,
    Script,
    Transaction,
    Value,
    failure_of,
)
from raftcache.errors import InternalError, NotLeader, RaftcacheError, UnknownCommand
from raftcache.shard import snapshot
from raftcache.shard.eviction import Rooms
from raftcache.shard.executor import DURABLE, PRIMARY, Executed, Executor, Interpreter, WaitsFor, no_interpreter
from raftcache.shard.following import Confirmed, PolicyFollower
from raftcache.shard.group import ShardGroup
from raftcache.shard.handlers import HANDLERS
from raftcache.shard.held import HeldCommands, Hold
from raftcache.shard.history import History
from raftcache.shard.hotkeys import HotKeys
from raftcache.shard.invalidating import Dropped, TagDrops
from raftcache.shard.losses import Losses, loss_bound
from raftcache.shard.minted import Mint, Waits, enveloped, keep_if_wrote, room_for, unfolded, was_executed
from raftcache.shard.moment import ShardMoment
from raftcache.shard.multi import Gather
from raftcache.shard.pipeline import Keyed, PendingBatch, Pipeline, ReplyTo, deliver, release_waiters
from raftcache.shard.policies import Policies, has_point
from raftcache.shard.rates import NodeRates
from raftcache.shard.receipts import ReceiptDesk
from raftcache.shard.replica_reads import ReplicaReads
from raftcache.shard.retries import is_repeat
from raftcache.shard.scan import scan
from raftcache.shard.stats import ShardStats
from raftcache.shard.sweep import Sweeper
from raftcache.shard.timebase import ShardTime
from raftcache.shard.upkeep import Upkeep, all_of
from raftcache.shard.window import NOWHERE, Place
from raftcache.store.effects import LEADER_STARTED, Batch, apply_batch, decode_batch, encode_batch
from raftcache.store.keyspace import Cut, Keyspace
from raftcache.store.memory import MemoryBudget
from raftcache.store.replies import Replies
from raftcache.store.sessions import SessionRow, Sessions
from raftcache.store.tags import DroppedTags, TagRow
from raftcache.store.trash import Trash

logger = logging.getLogger(__name__)


class ShardReplica:
    """Implements `consensus.api.StateMachine`. `attach` its group before that starts.

    `namespaces` gives the policies as this node knows them, which a leader brings into the log, `owns` tells whether a
    key's slot is the shard's, and `on_serving(term)` is called whenever this replica begins to serve as the leader.
    `owns_slot` the same of a slot: one that never does keeps reads from being answered by `look`.
    `place` tells which shard of how many this one is, for its share of the loss windows; as long as nobody knows, its
    share of any bound is nothing. `losses` is the node's report of what its leaders acknowledged and lost, `rates` the
    node's buckets. `interpreter` runs scripts.
    """

    def __init__(
        self,
        shard_id: str,
        node_id: str,
        runtime: Runtime,
        budget: MemoryBudget,
        namespaces: Callable[[], Namespaces],
        owns: Callable[[bytes], bool],
        on_serving: Callable[[int], None],
        place: Callable[[], Place] = lambda: NOWHERE,
        losses: Losses | None = None,
        rates: NodeRates | None = None,
        interpreter: Interpreter = no_interpreter,
        pace_s: float = 0.0,
        owns_slot: Callable[[int], bool] = lambda _slot: False,
    ) -> None:
        self.shard_id, self.node_id = shard_id, node_id
        self.serving = False
        self.on_restored: snapshot.Progress = lambda _keys, _total: None
        """Told off the loop how far `prepare_restore` has come; may raise to break it off."""
        self.stats = ShardStats()
        # Dice of its own: what is looked at must not change what else a seed brings about.
        self.hotkeys = HotKeys(runtime, Random(f"{shard_id} {node_id}").random, node_id)
        self._now = runtime.now
        self.history = History()
        self._trash = Trash(runtime)
        self.keyspace = Keyspace(budget, self._trash.add, Random(f"{shard_id} {node_id} orders").random)
        self.replies = Replies(budget, self._trash.add)
        self.sessions = Sessions(budget)
        self.dropped = DroppedTags()
        self._budget = budget
        self._on_serving = on_serving
        self.policies = Policies()
        self._starting_term = self._started_index = 0
        self._group: ShardGroup | None = None
        self._leads_now: Callable[[], bool] = lambda: False
        self._time = ShardTime(runtime)
        now_ms = self._time.now_ms
        self.pipeline = Pipeline(
            runtime,
            self.keyspace,
            self.replies,
            self.sessions,
            self.dropped,
            budget,
            self.stats,
            now_ms,
            self._broken,
            place,
            pace_s,
        )
        self._executor = Executor(
            shard_id,
            self.keyspace,
            self.replies,
            self.sessions,
            self.dropped,
            budget,
            self.pipeline,
            self.stats,
            self.policies,
            owns,
            owns_slot,
            now_ms,
            self._on_disk,
            runtime.random.random,
        )
        self._follower = PolicyFollower(runtime, self.policies, namespaces, self._executor.follow)
        self._tag_drops = TagDrops(runtime, self._executor)
        self._upkeep = Upkeep(
            runtime, self.keyspace, budget, lambda: self.policies.in_force, place, self._trash.add
        )
        self._rooms = Rooms(self._executor, self._upkeep, place)
        self._executor.room_for, self._executor.followed = self._rooms.make, self._upkeep.look
        self._sweeper = Sweeper(runtime, self._executor, self._rooms)
        self.held = HeldCommands(
            runtime, budget, self.stats, self.pipeline.windows, self._execute_from, self._answer,
            self._is_repeat,
            lambda: self._leads_now(), lambda: failure_of(self._not_leader()),
        )  # fmt: skip
        self._executor.blocked = self.held.blocked
        self._place = place
        self._rates = rates if rates is not None else NodeRates(runtime.now, lambda: 1)
        self._looked_at: Namespaces | None = None
        self._limited = False
        self._losses = losses if losses is not None else Losses(runtime)
        self.desk = ReceiptDesk(shard_id, runtime, self.stats, lambda: self.history, lambda: self._executor.seq)
        self.replica_reads = ReplicaReads(
            runtime, self._executor, lambda: self.history, self._staleness_ms,
            lambda measured_s: self._require_group().longest_ms(measured_s), self._leader_hint, self.submit_from,
            self.hotkeys,
        )  # fmt: skip
        self._executor.replica_get = self.replica_reads.at_leader
        self._executor.interpreter, self._executor.spent = interpreter, self._spent

    def attach(self, group: ShardGroup) -> None:
        """Give the replica its group. Once, before anything else."""
        self._group = group
        self._leads_now, self._executor.leads_at = group.leads_now, group.leads_at
        self._executor.holds_lease = group.holds_lease
        self._upkeep.start()
        group.propose_rest = self.pipeline.propose_rest
        group.time_ms, group.on_time = lambda: self._time.now_ms() if self.serving else 0, self.replica_reads.heard

    def submit(self, command: Asked, reply: ReplyTo, deadline_s: float = inf, mint: Mint | None = None) -> None:
        """Execute a command. `reply` is called exactly once, now or later; errors are `Failure` replies.

        A write may be held before it is executed, and is not executed after `deadline_s`, on the runtime's clock.
        `mint` gives the key under which the caller will send a write again whose outcome is unknown; only for a write
        that waits is it called."""
        if not self.serving or not self._leads_now():
            self._submit_without_lead(command, reply)
            return
        kind: type[Any] = type(command)
        if isinstance(command, Minted):
            kind = type(command.command)
        if kind in HANDLERS:
            self._execute_or_hold(command, reply, deadline_s, mint)
        elif type(command) is Scan:
            self._scan(command, reply)
        else:
            self._submit_many(command, reply, deadline_s, mint)

    def submit_now(self, command: Asked, later: Waits, deadline_s: float = inf) -> Reply | None:
        """`submit` for one who can use an answer that is there at once: it is returned. Else the result is None, and
        `later` is called once for the `reply` and the `mint` of one that waits."""
        kind = type(command)
        plain = kind in HANDLERS and kind is not Minted
        known = self._looked_at is self.policies.in_force and not self._limited
        if not plain or not known or not self.serving or not self._leads_now():
            reply, mint = later()
            self.submit(command, reply, deadline_s, mint)
            return None
        try:
            answer, waits_for = self._execute(command)
        except Hold as hold:
            self._hold(hold, command, deadline_s, *later())
            return None
        if waits_for is PRIMARY:
            return answer
        self._answer_later(command, answer, waits_for, *later())
        return None

    def moment(self, now_s: float) -> ShardMoment | None:
        """For plain reads and writes that are executed at `now_s`, in this call; None where this replica does not lead.
        `now_s` was read from the clock since they were asked for: that it led then is enough, however late the answers
        leave."""
        if not self.serving or not self._executor.leads_at(now_s):
            return None
        return ShardMoment(self._executor, self.hotkeys, now_s)

    def submit_from(self, source: str, command: Asked, reply: ReplyTo, deadline_s: float = inf) -> None:
        """`submit` for a command that came in by another front end than this node's own: by that of this name."""
        self.hotkeys.source = source
        try:
            self.submit(command, reply, deadline_s)
        finally:
            self.hotkeys.source = self.node_id

    def receipts(self, asked: Receipts, reply: Callable[[Reply], None]) -> None:
        """Say what became of versions of this shard. `reply` is called exactly once, now or later.

        Errors are `Failure` replies: `not_leader` where the leader has to be asked; of single versions in their items.
        """
        if self.serving and self._leads_now():
            self.desk.ask(asked, reply)
        else:
            deliver(reply, self.desk.lost_only(asked) or failure_of(self._not_leader()))

    def policies_changed(self) -> None:
        """This node knows newer namespaces; a leader brings them into the log."""
        self._follower.look()

    @property
    def policy_waiters(self) -> int:
        """Changes of policy that wait for this leader to confirm them."""
        return self._follower.waiting

    def confirm_policies(self, epoch: int, deadline: float, reply: Confirmed) -> None:
        """Call `reply` once, when every write from then on obeys the policies of the metadata's `epoch` or newer ones;
        with NotLeader or Overloaded where this replica cannot tell. Who waits beyond `deadline` may be forgotten."""
        if self.serving:
            self._follower.confirm(epoch, deadline, reply)
        else:
            reply(self._not_leader())

    def drop_tag(self, namespace: str, tag: str, named_at: int, reply: Dropped) -> None:
        """Drop what carries `tag` in a namespace, which existed as of the epoch `named_at`. `reply` is called once:
        with None when no reader will see any of it, failovers included; else with why nobody can say so."""
        if self.serving and self._leads_now():
            self._tag_drops.drop(namespace, tag, named_at, reply)
        else:
            reply(self._not_leader())

    @property
    def drop_waiters(self) -> int:
        """Drops of tags that are committed and wait for older leaders to have fallen back."""
        return self._tag_drops.waiting

    @property
    def awaiting_reclaim(self) -> tuple[int, int]:
        """Dropped entries of which the memory has not come back yet, and their bytes, as far as they are counted."""
        return self._sweeper.awaiting

    def quota_uses(self) -> Iterator[QuotaUse]:
        """What each namespace with a quota has here: for its leader to report."""
        return self._rooms.quota_uses()

    def apply(self, index: int, term: int, payload: bytes) -> None:
        """Take in what was committed at `index`: its effects, or, if they are this leadership's own, that it was."""
        began_s = self._now()
        if self.serving and term == self.pipeline.term:
            self._commit_own(index, term)
        else:
            self._apply_foreign(index, term, payload)
        self.stats.applies.observe(self._now() - began_s)

    def _apply_foreign(self, index: int, term: int, payload: bytes) -> None:
        batch = decode_batch(payload)
        self.history.advance(batch, term)
        apply_batch(self, batch)
        if has_point(batch):
            self.policies.apply(batch)
            self._policies_moved()
        self._count(batch)
        self._losses.closed(self.shard_id, self.history)
        self.replica_reads.follow(self.history.time_ms)
        if term == self._starting_term:
            self._started_index = self._started_index or index
            self.synced(self._require_group().durable_index)

    def synced(self, index: int) -> None:
        """Everything up to `index` is committed and synced on a quorum: begin to serve, or answer who waits for it."""
        if self.serving:
            self.desk.synced(index)
            self.pipeline.synced(index)
        elif self._starting_term and 0 < self._started_index <= index:
            self._serve(self._starting_term)

    def leadership_gained(self, term: int) -> None:
        """Propose `leader_started`, with which this replica begins to serve once it is applied."""
        self._starting_term, self._started_index = term, 0
        group = self._require_group()
        time_ms = max(self.history.time_ms, group.median_wall_ms())
        try:
            group.propose(encode_batch(Batch(term, 1, time_ms, [(LEADER_STARTED, self.node_id)])), sync=True)
        except Exception as error:
            self._broken(term, f"leader_started of term {term} could not be proposed: {error!r}")

    def leadership_lost(self, term: int) -> None:
        """Undo what is speculative, newest first; then answer who waits for it."""
        self._starting_term = self._started_index = 0
        if not self.serving:
            return
        self.serving = False
        self._sweeper.stop()
        self._rooms.stop()
        self.replica_reads.follow(self._time.now_ms())
        namespaces = self.policies.in_force
        held = self.held.drain()
        batches, error = self.pipeline.abandon(), self._not_leader()
        self._follower.stop(error)
        self._tag_drops.stop(error)
        self._upkeep.look()
        self._losses.undone(self.shard_id, term, batches, namespaces)
        self.pipeline.dismiss(batches, failure_of(error))
        self.held.dismiss(held)
        self.desk.leave(failure_of(error))

    def snapshot_blocks(self) -> Iterator[bytes]:
        """The committed state as of the last `apply`: the cut is made now, the blocks as they are pulled."""
        dropped = self._dropped_rows()
        return snapshot.SnapshotBlocks(
            self.shard_id, self.history, *self._cuts(), self.policies.applied, dropped, self._session_rows()
        )

    def prepare_restore(self, blocks: Iterable[bytes]) -> snapshot.Prepared:
        """Build a state from snapshot blocks, off the loop. Raises ValueError."""
        return snapshot.prepare(self.shard_id, blocks, self.on_restored)

    def discard(self, prepared: Any) -> None:
        """Let go of what `prepare_restore` built and nobody installs."""
        for parts in (*prepared.keyspace.parts(), *prepared.replies.parts()):
            self._trash.add(parts)

    def install(self, prepared: Any, index: int, term: int) -> None:
        """Replace the state by what `prepare_restore` built."""
        assert not self.serving, "a snapshot for a leader"
        self.keyspace.adopt(prepared.keyspace)
        self.replies.adopt(prepared.replies)
        self.sessions.adopt(prepared.sessions)
        self.dropped.adopt(prepared.dropped)
        self.history = prepared.history
        self.keyspace.tenants.now_ms = prepared.history.time_ms
        self.policies.install(prepared.namespaces)
        self._upkeep.look()
        self._losses.closed(self.shard_id, self.history)
        self.replica_reads.follow(self.history.time_ms)

    def digest(self) -> str:
        """A fingerprint of the committed state, equal on replicas that applied the same. Slow: for tests."""
        keys, replies = self._cuts()
        try:
            applied, dropped = self.policies.applied, self._dropped_rows()
            sessions = self._session_rows()
            return snapshot.digest(self.history, keys.rows(), replies.rows(), applied, dropped, sessions)
        finally:
            keys.close()
            replies.close()

    def close(self) -> None:
        """Leave service and give the memory back. The group must be closed first."""
        self.leadership_lost(self.pipeline.term)
        self.replica_reads.stop()
        self._upkeep.stop()
        self.keyspace.adopt(Keyspace(MemoryBudget()))
        self.replies.adopt(Replies(MemoryBudget()))
        self.sessions.adopt(Sessions(MemoryBudget()))
        self.dropped.adopt(DroppedTags())

    def _cuts(self) -> tuple[Cut, Cut]:
        """The keys and the reply records as of the last `apply`."""
        keys = self.keyspace.cut(self.pipeline.undo_records())
        return keys, self.replies.cut(self.pipeline.undo_reply_records())

    def _dropped_rows(self) -> list[TagRow]:
        """The dropped tags as of the last `apply`."""
        return self.dropped.rows_before(self.pipeline.undo_tag_records())

    def _session_rows(self) -> tuple[int, list[SessionRow]]:
        """The sessions as of the last `apply`."""
        return self.sessions.rows_before(self.pipeline.undo_session_records())

    def _execute_or_hold(
        self, command: Any, reply: ReplyTo, deadline_s: float, mint: Mint | None = None, place: int = 0
    ) -> None:
        if self._looked_at is not self.policies.in_force:
            self._look_for_limits()
        if self._limited and (refusal := self._over_the_rate(command)) is not None:
            deliver(reply, refusal)
            return
        try:
            answer, waits_for = self._execute(command)
        except Hold as hold:
            self._hold(hold, command, deadline_s, reply, mint, place)
        else:
            if self._limited:
                self._charge_reply(command, answer)
            if waits_for is PRIMARY:
                deliver(reply, answer)
            else:
                self._answer_later(command, answer, waits_for, reply, mint, place)

    def _hold(
        self, hold: Hold, command: Any, deadline_s: float, reply: ReplyTo, mint: Mint | None, place: int = 0
    ) -> None:
        if mint is not None and command.idempotency is None and (key := mint(place, room_for(self._executor))):
            command = enveloped(command, key)
        self.held.add(hold, command, self._waiting(command, reply), deadline_s, self.hotkeys.source)

    def _answer_later(
        self, command: Any, answer: Reply, waits_for: WaitsFor, reply: ReplyTo, mint: Mint | None, place: int = 0
    ) -> None:
        if mint is not None:
            keep_if_wrote(self._executor, command, answer, mint, place)
        self._answer(self._waiting(command, reply), answer, waits_for)

    def _look_for_limits(self) -> None:
        self._looked_at = self.policies.in_force
        self._limited = any(map(is_limited, all_of(self._looked_at)))

    def _over_the_rate(self, command: Any) -> Failure | None:
        """Charge a command, those of a transaction, or a script once a key, to its namespace's rate; the refusal
        where there is no room."""
        for key, size_bytes in _charges(command):
            namespace = self.policies.in_force.resolve(key)
            if is_limited(namespace):
                try:
                    self._rates.take(namespace, size_bytes)
                except RaftcacheError as error:
                    return self.stats.refusal(error)
        return None

    def _charge_reply(self, command: Any, answer: Reply) -> None:
        if type(answer) is Value and answer.value:
            self._rates.spend(self.policies.in_force.resolve(command.key), len(answer.value))

    def _spent(self, key: bytes, size_bytes: int) -> None:
        namespace = self.policies.in_force.resolve(key)
        if size_bytes and is_limited(namespace):
            self._rates.spend(namespace, size_bytes)

    def _waiting(self, command: Any, reply: ReplyTo) -> ReplyTo:
        """Where the answer of a command goes that is not answered at once."""
        if type(command) is Get:
            return self.replica_reads.ageing(command, reply) if command.replica else reply
        return reply if type(command) is not Minted and command.idempotency is None else Keyed(reply)

    def _is_repeat(self, command: Any) -> bool:
        return (was_executed if type(command) is Minted else is_repeat)(self._executor, command)

    def _execute(self, command: Any) -> Executed:
        """Execute a single-key command, a transaction or a script. Raises Hold."""
        try:
            answered = HANDLERS[type(command)](self._executor, command)
            if next(self.hotkeys.skips, True):
                self.hotkeys.take(command.command if type(command) is Minted else command, answered[0])
            return answered
        except RaftcacheError as error:
            return self.stats.refusal(error), PRIMARY
        except Hold:
            raise
        except Exception:
            logger.exception("shard %s: executing a %s failed", self.shard_id, type(command).__name__)
            return self.stats.refusal(InternalError("the command could not be executed; the log says why")), PRIMARY

    def _execute_from(self, source: str, command: Any) -> Executed:
        """The same for one that was held, and came in by `source`."""
        self.hotkeys.source = source
        try:
            return self._execute(command)
        finally:
            self.hotkeys.source = self.node_id

    def _answer(self, reply: ReplyTo, answer: Reply, waits_for: WaitsFor) -> None:
        """Hand an answer out, when what it waits for has come."""
        if waits_for is PRIMARY:
            deliver(reply, answer)
        elif isinstance(waits_for, PendingBatch):
            self.pipeline.wait_for(waits_for, reply, answer)
        else:
            self.pipeline.wait(reply, answer, waits_for == DURABLE)

    def _scan(self, command: Scan, reply: ReplyTo) -> None:
        try:
            answer, waits_for = scan(self._executor, command)
        except RaftcacheError as error:
            deliver(reply, self.stats.refusal(error))
        else:
            self._answer(reply, answer, waits_for)

    def _submit_many(self, command: Any, reply: ReplyTo, deadline_s: float, mint: Mint | None) -> None:
        try:
            items = _items(command)
        except RaftcacheError as error:
            deliver(reply, self.stats.refusal(error))
            return
        gather = Gather(len(items), reply)
        for place, item in enumerate(items):
            self._execute_or_hold(item, gather.slot(place), deadline_s, mint, place)
        gather.all_executed()

    def _submit_without_lead(self, command: Any, reply: Callable[[Reply], None]) -> None:
        """A replica read is answered all the same; nothing else is."""
        items = command.items if type(command) is MultiGet else (command,)
        if len(items) > MULTI_KEY_LIMIT or not any(type(item) is Get and item.replica for item in items):
            deliver(reply, self.stats.refusal(self._not_leader()))
        elif type(command) is Get:
            self._read_replica(command, reply)
        else:
            gather = Gather(len(items), reply)
            for place, item in enumerate(items):
                if item.replica:
                    self._read_replica(item, gather.slot(place))
                else:
                    gather.fill(place, failure_of(self._not_leader()))
            gather.all_executed()

    def _read_replica(self, command: Get, reply: Callable[[Reply], None]) -> None:
        if not self.serving:
            if is_limited(self.policies.in_force.resolve(command.key)) and (refusal := self._over_the_rate(command)):
                deliver(reply, refusal)
            else:
                self.replica_reads.submit(command, reply)
            return
        self._execute_or_hold(command, reply, inf)

    def _commit_own(self, index: int, term: int) -> None:
        pending = self.pipeline.committed(index)
        self.stats.commits.observe(self._now() - pending.proposed_s)
        batch = Batch(term, pending.first_seq, pending.time_ms, pending.effects)
        self.history.advance(batch, term)
        self._count(batch)
        if has_point(batch):
            self.policies.committed()
            self._policies_moved()
            self._follower.look()
        release_waiters(pending)
        self.held.room_made()
        self.desk.committed(self.history.seq, index)

    def _policies_moved(self) -> None:
        """Other policies are committed."""
        self._upkeep.look()
        self.stats.keep_only(namespace.name for namespace in all_of(self.policies.in_force))

    def _count(self, batch: Batch) -> None:
        self.stats.batches_committed += 1
        self.stats.writes_committed += len(batch.effects)

    def _serve(self, term: int) -> None:
        self._starting_term = self._started_index = 0
        group = self._require_group()
        self._time.start(max(self.history.time_ms, group.median_wall_ms()))
        self.pipeline.start(group, term, self.history.seq + 1)
        self._executor.start(term, self.history.seq)
        self.desk.serve(group)
        bound = loss_bound(self.policies.applied, self._place())
        self._losses.bounds.changed(self.shard_id, max(self.history.closed, default=0), bound)
        self._follower.start(group)
        self._tag_drops.start(group)
        self.serving = True
        self._upkeep.look()
        self._rooms.start()
        self._sweeper.start()
        self._on_serving(term)

    def _broken(self, term: int, reason: str) -> None:
        """This leadership cannot go on: undo, then step down. Harmless where it has already ended."""
        logger.error("shard %s: %s", self.shard_id, reason)
        if term in (self._starting_term, self.pipeline.term):
            self.leadership_lost(term)
            self._require_group().step_down(reason)

    def _not_leader(self) -> NotLeader:
        return NotLeader(f"this replica does not lead shard {self.shard_id}", **self._leader_hint())

    def _leader_hint(self) -> dict[str, str | int | None]:
        """Who leads, as far as is known: never this replica, which is asked because it does not."""
        group = self._group
        leader = None if group is None or group.leader == self.node_id else group.leader
        return {"leader": leader, "term": 0 if group is None else group.term}

    def _staleness_ms(self) -> int | None:
        return None if self._group is None else self._group.staleness_ms()

    def _on_disk(self) -> bool:
        return self._require_group().on_disk

    def _require_group(self) -> ShardGroup:
        assert self._group is not None, "attach a group first"
        return self._group


def _charges(command: Any) -> list[tuple[bytes, int]]:
    """What a command is charged before it is executed: keys, and bytes to the namespace of each."""
    if type(command) is Minted:
        command = command.command
    if type(command) is Transaction:
        return [charge for item in command.items for charge in _charges(item)]
    if type(command) is Script:
        return [(key, len(key)) for key in command.keys or (command.key,)]
    return [(command.key, len(command.key) + len(getattr(command, "value", b"")))]


def _items(command: Any) -> Sequence[Any]:
    """The items of a multi-key command. Raises UnknownCommand, TooManyKeys, BadRequest."""
    if type(command) is Minted:
        check_minted(command)
        return unfolded(command)
    if type(command) not in (MultiGet, MultiSet, MultiDelete):
        raise UnknownCommand(f"command: {type(command).__name__} is not one that a shard executes")
    many: Multi = command
    check_many(many)
    return many.items
