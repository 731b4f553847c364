"""What the functions that execute commands stand on: looking keys up, changing them, naming versions.

A command is executed at once, against the live keyspace, at the shard's leader. Each change goes through `put` or
`remove`, which together with the change make one effect and one undo record; there is no other way to change a
key. The result of a command is an answer and the level that it waits for, `primary` for none:

* a write asked for at `quorum` waits for its batch to be committed, one at `durable` for it to be synced as well;
* a reply that reveals state waits too where the namespace's reads may not show what can still be lost: a condition
  that held or failed, a counter's value, an absence, a time to live. One that wrote waits for its own batch. One that
  wrote nothing is a read, and needs what a read needs: at `committed` the newest batch that changed its key, or the
  policies that it was looked up under, or nothing where both are committed (`observed`); at `linearizable` that, too,
  while this replica holds its group's lease, and else the batch in which it was executed (`proved`);
* a write at `primary` for which its namespace's loss window has no room waits for its batch, is held before it is
  executed, or is refused (`fit`, `window`, `held`), and behind one that is held others are, too (`in_turn`);
* all other replies leave at once, never behind those that wait.

A reply states the level truly reached, which is why one that waited says `quorum` whatever was asked.

A reply that wrote nothing names the newest effect executed before it. At `committed` that would be one which can be
lost, and of other keys; there it names the newest that is committed when the reply leaves.

**Expiry.** A key whose time has come is a miss, and the leader that sees it makes a remove effect of it first. A
miss above `latest` is released when the batch with that effect commits, so no later leader can show the key again.

**Namespaces.** An entry that was stored under another namespace id than its key resolves to is a miss and matches
no `if_version`. It is not removed here but reclaimed in the background (`sweep`), and overwritten by a set. A key that
was addressed by the name of a namespace is refused where its prefix names none here (`resolve`): it would be executed
as a key of `default`, under another policy than its sender knows.

**Tags.** So is an entry of which a tag was dropped after it was written (`store.tags`). Its absence shows the drop, so
a reply that must not show what can be lost waits for that, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, TypeAlias

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import DEFAULT, Namespace, OnExceeded, granted_ttl_ms
from raftcache.commands.types import (
    AckLevel,
    Command,
    Counted,
    Failure,
    Get,
    Many,
    ReadLevel,
    Reply,
    Script,
    Scripted,
    Single,
    Unmet,
    Used,
    Value,
    Version,
    Written,
)
from raftcache.errors import (
    BadRequest,
    MemoryFull,
    NoDisk,
    NotFollowing,
    Overloaded,
    RaftcacheError,
    UnknownNamespace,
    WrongShard,
)
from raftcache.shard.held import Hold
from raftcache.shard.pipeline import PendingBatch, Pipeline
from raftcache.shard.policies import Point, Policies, effect_of
from raftcache.shard.stats import ShardStats
from raftcache.store.effects import (
    EFFECT_OVERHEAD_BYTES,
    EVICT,
    FORGET_SESSION,
    PUT,
    PUT_TAGGED,
    REMOVE,
    REPLY,
    SESSION,
    TAG,
    Effect,
    effect_bytes,
)
from raftcache.store.entry import ENTRY_OVERHEAD_BYTES, TTL_OVERHEAD_BYTES, Entry, TaggedEntry
from raftcache.store.keyspace import Keyspace
from raftcache.store.memory import MemoryBudget
from raftcache.store.replies import Replies
from raftcache.store.sessions import Sessions
from raftcache.store.tags import MAX_DROPPED_TAGS, DroppedTags, Family, canonical, tags_bytes
from raftcache.store.tenants import Tenant

PRIMARY: Final = AckLevel.PRIMARY
QUORUM: Final = AckLevel.QUORUM
LATEST: Final = ReadLevel.LATEST
COMMITTED: Final = ReadLevel.COMMITTED
LINEARIZABLE: Final = ReadLevel.LINEARIZABLE
REPLICA: Final = ReadLevel.REPLICA

DURABLE: Final = AckLevel.DURABLE

WaitsFor: TypeAlias = AckLevel | PendingBatch
"""What must be before a reply leaves: this commits, or the open batch reaches this level, PRIMARY for nothing."""

Answer: TypeAlias = tuple[Value | Written | Counted | Used | Failure, WaitsFor]
"""A single-key command's reply, and what it waits for."""

Executed: TypeAlias = tuple[Value | Written | Counted | Used | Failure | Many | Unmet | Scripted, WaitsFor]
"""The same of a single-key command, a transaction or a script."""

Interpret: TypeAlias = Callable[[Script, Callable[[Command], Reply]], Any]
"""Runs a script, with a function that executes its commands, and returns its result (`Scripted`). Raises BadRequest
before anything was executed."""

Interpreter: TypeAlias = Callable[[], Interpret]
"""What runs the scripts of one command, a script or a transaction, and bounds what they take together."""


def no_interpreter() -> Interpret:
    """Stands where nobody brought an interpreter."""
    return _refuse_script


def _refuse_script(command: Script, execute: Callable[[Command], Reply]) -> Any:
    raise BadRequest("script: this node has no interpreter for scripts")


class Executor:
    """Executes one leadership's commands. `term` and `seq` name the newest effect executed."""

    def __init__(
        self,
        shard_id: str,
        keyspace: Keyspace,
        replies: Replies,
        sessions: Sessions,
        dropped: DroppedTags,
        budget: MemoryBudget,
        pipeline: Pipeline,
        stats: ShardStats,
        policies: Policies,
        owns: Callable[[bytes], bool],
        owns_slot: Callable[[int], bool],
        now_ms: Callable[[], int],
        on_disk: Callable[[], bool],
        dice: Callable[[], float],
    ) -> None:
        self.shard_id = shard_id
        self.keyspace = keyspace
        self.replies = replies
        self.sessions = sessions
        self.dropped = dropped
        self.budget = budget
        self.pipeline = pipeline
        self.stats = stats
        self.policies = policies
        self.owns, self.owns_slot = owns, owns_slot
        self.now_ms = now_ms
        self.on_disk = on_disk
        self.dice = dice
        self.blocked: Collection[int] = ()
        """Namespaces of which commands are held, so that every further write must be."""
        self.leads_at: Callable[[float], bool] = lambda _now_s: False
        """Whether this replica leads at that time, which is now."""
        self.holds_lease: Callable[[], bool] = lambda: False
        """Whether it is certain, at the moment of the call, that nobody leads but this replica."""
        self.room_for: Callable[[Namespace, bytes, int], None] = lambda _namespace, _key, _size_bytes: None
        """Makes room for a key that is charged so many bytes; `eviction` has the function."""
        self.followed: Callable[[], None] = lambda: None
        """Told that other policies are in force."""
        self.replica_get: Callable[[Get, Namespace], Answer]
        """Executes a read that any replica may answer; `replica_reads` has the function."""
        self.interpreter: Interpreter = no_interpreter
        self.spent: Callable[[bytes, int], None] = lambda _key, _size_bytes: None
        """Told of the bytes that a command of a script carried, or was answered with, for the rate of its namespace."""
        self.term = 0
        self.seq = 0

    def start(self, term: int, seq: int) -> None:
        """Begin a leadership whose newest effect is `(term, seq)`."""
        self.term, self.seq = term, seq

    def namespaces(self) -> Namespaces:
        """The namespaces in force for what is executed now."""
        return self.policies.in_force

    def resolve(self, command: Single) -> Namespace:
        """The namespace of a command's key. Raises WrongShard, UnknownNamespace, NotFollowing."""
        self.require_own(command.key)
        namespaces = self.namespaces()
        namespace = namespaces.resolve(command.key)
        if command.named_at and namespace.name == DEFAULT:
            raise self._unnamed(command, namespaces.epoch)
        return namespace

    def require_own(self, key: bytes) -> None:
        """Raises WrongShard."""
        if not self.owns(key):
            raise WrongShard(f"key: its slot does not belong to shard {self.shard_id}")

    def _unnamed(self, command: Single, epoch: int) -> RaftcacheError:
        """Why there is no namespace by which the key was addressed: it is deleted, if the log has come as far as the
        sender had; else the sender knew of a creation of which the log does not."""
        name = command.key.partition(b":")[0].decode()
        if epoch >= command.named_at:
            return UnknownNamespace(f"namespace {name!r} does not exist", namespace=name)
        text = f"shard {self.shard_id} follows the policies of epoch {epoch} and does not know namespace {name!r} yet"
        return NotFollowing(text, namespace=name, epoch=epoch)

    def lookup(self, key: bytes, namespace: Namespace, counts: bool = True) -> Entry | None:
        """The entry that stands at `key` for all the world. One that has expired is removed. `counts`: the look is a
        use of the key. Raises Overloaded."""
        entry = self.keyspace.get(key)
        tenant = self.keyspace.tenants.by_id.get(namespace.id)
        if tenant is not None and tenant.kind is not None and counts:
            self._track(tenant, key, entry is not None and entry.namespace_id == namespace.id)
        if entry is None or entry.namespace_id != namespace.id:
            return None
        if type(entry) is TaggedEntry and self.dropped.drop_of(entry) is not None:
            return None
        if entry.expires_ms and entry.expires_ms <= self.now_ms():
            self.pipeline.admit()
            self.expire(key)
            return None
        return entry

    def _track(self, tenant: Tenant, key: bytes, stands: bool) -> None:
        if stands:
            tenant.read(key, self.now_ms())
        elif tenant.counts_misses:
            tenant.missed(key, self.now_ms())

    def put(
        self,
        key: bytes,
        value: bytes,
        flag: int,
        expires_ms: int,
        namespace: Namespace,
        ack: AckLevel,
        tags: Collection[str] | None = None,
    ) -> Version:
        """Write a key: one effect, one undo record. Returns the write's version. `ack` is what its answer waits for."""
        if tags:
            self.seq = seq = self.seq + 1
            entry = TaggedEntry(value, flag, expires_ms, namespace.id, self.term, seq, canonical(tags))
            return self._put_tagged(key, entry, namespace, ack)
        seq = self.put_plain(key, value, flag, expires_ms, namespace.id)
        if ack == PRIMARY:
            size_bytes = len(key) + len(value) + EFFECT_OVERHEAD_BYTES
            self.pipeline.acknowledged(namespace.identity, key, seq, size_bytes)
        return Version(self.shard_id, self.term, seq)

    def put_plain(self, key: bytes, value: bytes, flag: int, expires_ms: int, namespace_id: int) -> int:
        """Write a key without tags: one effect, one undo record. Returns the effect's `seq`."""
        self.seq = seq = self.seq + 1
        old = self.keyspace.put(key, Entry(value, flag, expires_ms, namespace_id, self.term, seq))
        old_bytes = 0 if old is None else len(old.value) + ENTRY_OVERHEAD_BYTES
        size_bytes = len(key) + len(value) + EFFECT_OVERHEAD_BYTES
        self.pipeline.record((PUT, key, value, flag, expires_ms, namespace_id), (key, old), size_bytes, old_bytes)
        return seq

    def _put_tagged(self, key: bytes, entry: TaggedEntry, namespace: Namespace, ack: AckLevel) -> Version:
        value, tags = entry.value, entry.tags
        old = self.keyspace.put(key, entry)
        old_bytes = 0 if old is None else len(old.value) + ENTRY_OVERHEAD_BYTES
        size_bytes = len(key) + len(value) + EFFECT_OVERHEAD_BYTES
        effect = (PUT_TAGGED, key, value, entry.flag, entry.expires_ms, entry.namespace_id, tags)
        self.pipeline.record(effect, (key, old), size_bytes + tags_bytes(tags), old_bytes)
        if ack == PRIMARY:
            self.pipeline.acknowledged(namespace.identity, key, entry.seq, size_bytes)
        return Version(self.shard_id, self.term, entry.seq)

    def drop_tag(self, namespace: Namespace, tag: str) -> None:
        """Drop what carries `tag`: one effect, one undo record; none where no key does. Raises Overloaded."""
        family = (namespace.id, tag)
        self.stats.invalidations["tag"] += 1
        if not self.keyspace.families.count(family):
            return
        if self.dropped.get(family) is None and len(self.dropped) >= MAX_DROPPED_TAGS:
            self.stats.overloaded["dropped tags"] += 1
            raise Overloaded(
                f"dropped tags of shard {self.shard_id} whose entries are not reclaimed yet: {len(self.dropped)} reach "
                f"the limit of {MAX_DROPPED_TAGS}; try again later"
            )
        self._change_tag(family, True)

    def forget_tag(self, family: Family) -> None:
        """Forget that a tag was dropped, of which no entry is left that was."""
        self._change_tag(family, False)

    def _change_tag(self, family: Family, dropped: bool) -> None:
        self.seq = seq = self.seq + 1
        old = self.dropped.put(family, (self.term, seq) if dropped else None)
        effect = (TAG, *family, dropped)
        self.pipeline.record_tag(effect, (family, old), len(family[1]) + EFFECT_OVERHEAD_BYTES)

    def remove(self, key: bytes, namespace: Namespace, ack: AckLevel) -> Version:
        """Remove a key that is there, for a client. Returns the write's version. `ack` is what its answer waits for."""
        self.drop(key)
        if ack == PRIMARY:
            self.pipeline.acknowledged(namespace.identity, key, self.seq, len(key) + EFFECT_OVERHEAD_BYTES)
        return self.newest()

    def drop(self, key: bytes, code: int = REMOVE) -> None:
        """Remove a key that is there: one effect, one undo record."""
        self.seq += 1
        old = self.keyspace.remove(key, code == EVICT)
        assert old is not None, "remove of a key that is not there"
        old_bytes = len(old.value) + ENTRY_OVERHEAD_BYTES
        self.pipeline.record_removal((code, key), (key, old), len(key) + EFFECT_OVERHEAD_BYTES, old_bytes)

    def evict(self, key: bytes, namespace: str, reason: str) -> None:
        """Remove a key for the room that it takes."""
        self.drop(key, EVICT)
        self.stats.evicted[namespace, reason] += 1

    def record_reads(self, effect: Effect, size_bytes: int) -> None:
        """Tell followers of reads: an effect that changes no key."""
        self.seq += 1
        self.pipeline.record_reads(effect, size_bytes)

    def expire(self, key: bytes) -> None:
        """Remove a key whose time has come."""
        self.drop(key)
        self.stats.expired += 1

    def keep_reply(self, id_: bytes, record: bytes, expires_ms: int, namespace: Namespace) -> None:
        """Keep the reply record of the command just executed: an effect in the same batch as its own."""
        self.seq = seq = self.seq + 1
        old = self.replies.put(id_, Entry(record, 0, expires_ms, namespace.identity, self.term, seq))
        effect = (REPLY, id_, record, expires_ms, namespace.identity)
        self.pipeline.record_reply(effect, (id_, old), len(id_) + len(record) + EFFECT_OVERHEAD_BYTES)

    def forget_reply(self, id_: bytes) -> None:
        """Forget a reply record that is there."""
        self.seq += 1
        old = self.replies.remove(id_)
        assert old is not None, "a reply record to forget that is not there"
        self.pipeline.record_reply((REPLY, id_), (id_, old), len(id_) + EFFECT_OVERHEAD_BYTES)

    def keep_minted(self, session: bytes, number: int, floor: int, reply: bytes) -> None:
        """Keep the reply of the write just executed under a minted key: the effect of its session in the same batch as
        its own, which all of the session's writes in that batch share."""
        dropped_bytes = self.pipeline.keep_reply(session, number, reply)
        if dropped_bytes is None:
            self._begin_session(session, floor)
            dropped_bytes = self.pipeline.keep_reply(session, number, reply)
        if dropped_bytes:
            self.stats.overloaded["records of a session"] += 1

    def _begin_session(self, id_: bytes, floor: int) -> None:
        self.seq += 1
        change, dropped_bytes = self.sessions.begin([SESSION, id_, floor, self.now_ms(), []])
        self.pipeline.record_session(change, len(id_) + EFFECT_OVERHEAD_BYTES, dropped_bytes)

    def forget_session(self, id_: bytes) -> None:
        """Forget a session that is known."""
        self.seq += 1
        change = self.sessions.forget([FORGET_SESSION, id_, self.now_ms()])
        self.pipeline.record_session(change, len(id_) + EFFECT_OVERHEAD_BYTES, change.session.size_bytes)

    def follow(self, point: Point, durable: Callable[[], None]) -> None:
        """Let the shard follow other policies: one effect. What is executed from here on obeys them. `durable` is
        called when a quorum has synced it; never, where this leadership ends before."""
        self.seq += 1
        effect = effect_of(point)
        self.pipeline.record_point(effect, effect_bytes(effect))
        self.stats.invalidations["namespace"] += self.policies.invalidated_by(point)
        self.policies.append(point, self.seq)
        self.followed()

        def answered(reply: Reply) -> None:
            if not isinstance(reply, Failure):
                durable()

        self.pipeline.wait(answered, Many(()), durable=True)

    def newest(self) -> Version:
        """The version of the newest effect executed: what a reply that wrote nothing carries."""
        return Version(self.shard_id, self.term, self.seq)

    def observed(self, key: bytes) -> tuple[WaitsFor, Version]:
        """What a reply that wrote nothing and must not show what can be lost waits for, and the version it carries."""
        batch = self._newest_shown(key)
        if batch is None:
            return PRIMARY, Version(self.shard_id, self.term, self.pipeline.settled_seq)
        return batch, Version(self.shard_id, self.term, batch.last_seq)

    def _newest_shown(self, key: bytes) -> PendingBatch | None:
        """The newest batch that a look at `key` shows something of: a change of the key, or the policy point by which
        it belongs to another namespace, or the drop of its tag. None where all is committed."""
        changed, seq = self.pipeline.newest_change(key), self.policies.revealed_by(key)
        if len(self.dropped):
            seq = max(seq, self._drop_shown(key))
        if not seq or (changed is not None and changed.last_seq >= seq):
            return changed
        return self.pipeline.batch_of(seq)

    def _drop_shown(self, key: bytes) -> int:
        """The drop, of this leadership, by which what stands at `key` is none; 0 for no such."""
        entry = self.keyspace.get(key)
        mark = self.dropped.drop_of(entry) if isinstance(entry, TaggedEntry) else None
        return mark[1] if mark is not None and mark[0] == self.term else 0

    def proved(self, key: bytes) -> tuple[WaitsFor, Version]:
        """The same where this replica has to prove, besides, that it leads still: by its lease, of this very moment, or
        else by the open batch as a barrier."""
        if self.holds_lease():
            self.stats.proofs["lease"] += 1
            return self.observed(key)
        self.stats.proofs["barrier"] += 1
        return QUORUM, self.newest()

    def read_waits(self, key: bytes, level: ReadLevel) -> tuple[WaitsFor, Version]:
        """What the answer of a read of `key` at `committed` or `linearizable` waits for, and the version that one of
        nothing carries. To be asked when the key was looked up. Raises Overloaded."""
        waits_for, version = self.observed(key) if level == COMMITTED else self.proved(key)
        if level == COMMITTED and waits_for is not PRIMARY:
            self.pipeline.admit_waiter()
        return waits_for, version

    def version_of(self, entry: Entry) -> Version:
        """The version of the write that an entry stems from."""
        return Version(self.shard_id, entry.term, entry.seq)

    def expires_ms(self, ttl_ms: int | None, namespace: Namespace) -> int:
        """The absolute expiry where `ttl_ms` is asked, None for the namespace's default; 0 for never."""
        granted_ms = granted_ttl_ms(ttl_ms, namespace, self.dice)
        return 0 if granted_ms is None else self.now_ms() + granted_ms

    def require_memory(self, key: bytes, value_bytes: int) -> None:
        """Refuse what the node has no memory for: the entry, and its effect until that is committed.

        An overwrite is counted in full, for the old entry stays as the undo image. Raises MemoryFull, and Overloaded
        where there will be room as soon as what is executed is committed.
        """
        size_bytes = 2 * (len(key) + value_bytes) + ENTRY_OVERHEAD_BYTES + EFFECT_OVERHEAD_BYTES
        budget = self.budget
        if budget.used_bytes + size_bytes > budget.limit_bytes:
            if budget.settled_bytes + size_bytes <= budget.mark_bytes:
                self.stats.overloaded["uncommitted memory"] += 1
                raise Overloaded(
                    f"memory: {budget.speculative_bytes} of the {budget.used_bytes} bytes in use are for writes that "
                    f"are not committed, and the node's limit is {budget.limit_bytes} bytes; try again"
                )
            raise MemoryFull(
                f"memory: {size_bytes} bytes more than the {budget.used_bytes} in use are over this node's "
                f"limit of {budget.limit_bytes} bytes"
            )

    def make_room(self, namespace: Namespace, key: bytes, value_bytes: int, expires_ms: int, tags_bytes: int) -> None:
        """Evict what has to go for a write, which is executed next. Raises QuotaExceeded, Overloaded."""
        limits, budget = namespace.limits, self.budget
        size_bytes = len(key) + value_bytes + tags_bytes + (TTL_OVERHEAD_BYTES if expires_ms else ENTRY_OVERHEAD_BYTES)
        is_bounded = limits.quota_bytes is not None or limits.quota_items is not None
        if is_bounded or budget.used_bytes + size_bytes > budget.mark_bytes:
            self.room_for(namespace, key, size_bytes)

    def unchanged(
        self, key: bytes, ack: AckLevel, namespace: Namespace, entry: Entry | None, reveal: bool = False
    ) -> Answer:
        """The answer of a write command that found `entry` at `key` and wrote nothing; that reveals it."""
        reached, waits_for, version = self.showing(key, ack, namespace)
        if entry is None:
            return Written(False, version, None, reached), waits_for
        previous = entry.value if reveal else None
        return Written(False, version, None, reached, True, self.version_of(entry), previous), waits_for

    def showing(self, key: bytes, ack: AckLevel, namespace: Namespace) -> tuple[AckLevel, WaitsFor, Version]:
        """Of a write command's reply that wrote nothing: the level it reaches, what it waits for, and its version.

        `durable` asks for more than any read level: that what the reply reveals is synced on a quorum.
        """
        reached = self.revealing(ack, namespace)
        if reached != QUORUM:
            return reached, reached, self.newest()
        return reached, *(self.observed(key) if namespace.reads_at == COMMITTED else self.proved(key))

    def revealing(self, ack: AckLevel, namespace: Namespace) -> AckLevel:
        """What a write's reply that reveals state waits for: that what it reveals is committed, at least."""
        return QUORUM if ack == PRIMARY and namespace.reads_at > LATEST else ack

    def in_turn(self, namespace: Namespace, key: bytes, value_bytes: int = 0) -> None:
        """Let a write command go on where none of its namespace is held before it. Raises Hold.

        To be asked before its key is looked up: what stands there now may not be what it is to find in its turn.
        """
        if self.blocked and namespace.identity in self.blocked:
            raise Hold(namespace.identity, namespace.name, len(key) + value_bytes + EFFECT_OVERHEAD_BYTES, None)

    def fit(self, ack: AckLevel, namespace: Namespace, key: bytes, value_bytes: int) -> AckLevel:
        """What a write that would wait for `ack` waits for, its namespace's loss window considered.

        The last thing to be asked before a write is executed: nothing of it may have been. Raises Hold, LossWindowFull.
        """
        if ack > PRIMARY:
            return ack
        size_bytes = len(key) + value_bytes + EFFECT_OVERHEAD_BYTES
        exceeded = self.pipeline.windows.check(namespace, size_bytes)
        if exceeded is None:
            return ack
        if exceeded.then == OnExceeded.WAIT:
            raise Hold(namespace.identity, namespace.name, size_bytes, exceeded)
        self.pipeline.windows.note(namespace.name, exceeded.bound, exceeded.then.name.lower())
        if exceeded.then == OnExceeded.REJECT:
            raise exceeded.error(namespace.name, "it is refused")
        return QUORUM

    def granted(self, ack: AckLevel) -> AckLevel:
        """The ack level asked for, where it can be had here. Raises NoDisk."""
        if ack == DURABLE and not self.on_disk():
            raise NoDisk(
                f"durability: durable is not to be had, for a majority of the replicas of shard {self.shard_id} "
                "keep nothing on disk"
            )
        return ack
