"""Random commands, commits, losses of leadership and snapshots, against a model that only replays the log.

The model knows nothing of speculation: it decodes the committed entries and plays them into a dict. After every
step the replica's committed view must equal it, its live keys must equal the model with the pending effects on top,
bytes must equal a recount, and what clients were told must be true of the log. The last tests plant a defect and
demand that the same run notices.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_harness import Bench, follower_of

from raftcache.commands.types import (
    AckLevel,
    Command,
    Counted,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    Many,
    MultiSet,
    Persist,
    ReadLevel,
    Reply,
    Set,
    Written,
)
from raftcache.shard import pipeline as pipeline_module
from raftcache.shard import snapshot as snapshot_module
from raftcache.shard.pipeline import Pipeline
from raftcache.shard.replica import ShardReplica
from raftcache.store.effects import PUT, REMOVE, REPLY, apply_batch, decode_batch
from raftcache.store.entry import Entry, entry_bytes
from raftcache.store.keyspace import Cut

Model = dict[bytes, tuple[Any, ...]]
RECORD = b"reply record "
"""Before the ids of reply records in a model, to tell them from keys."""


def play(model: Model, term: int, first_seq: int, effects: Any) -> None:
    for seq, effect in enumerate(effects, first_seq):
        if effect[0] == PUT:
            model[effect[1]] = (*effect[2:], term, seq)
        elif effect[0] == REMOVE:
            model.pop(effect[1], None)
        elif effect[0] == REPLY:
            _, id_, record, expires_ms, namespace_id = effect
            model[RECORD + id_] = (record, 0, expires_ms, namespace_id, term, seq)


def replay(log: list[tuple[int, bytes]]) -> Model:
    model: Model = {}
    for _, payload in log:
        term, first_seq, _, effects = msgspec.msgpack.decode(payload)
        play(model, term, first_seq, effects)
    return model


def plain(entry: Entry) -> tuple[Any, ...]:
    return (entry.value, entry.flag, entry.expires_ms, entry.namespace_id, entry.term, entry.seq)


def live(tables: Any) -> dict[bytes, Entry]:
    """All keys and reply records of a replica, or of a prepared state."""
    rows = {key: tables.keyspace.get(key) for key in tables.keyspace.all_keys()}
    return rows | {RECORD + id_: tables.replies.get(id_) for id_ in tables.replies._rows.all_keys()}


class Run:
    """One random run and its checks."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.sent: list[tuple[Command, list[Reply]]] = []
        self.cut: tuple[Model, list[bytes], Iterator[bytes]] | None = None

    def step(self, kind: str, argument: Any) -> None:
        getattr(self, kind)(argument)
        self.check()

    def command(self, command: Command) -> None:
        self.sent.append((command, self.bench.send(command)))

    def turn(self, _: Any) -> None:
        self.bench.runtime.turn()

    def commit(self, count: int) -> None:
        group = self.bench.group
        group.commit(min(len(group.log), group.applied + count))

    def time(self, seconds: float) -> None:
        self.bench.runtime.advance(seconds)

    def lose(self, kept: int) -> None:
        """The successor has the first `kept` of the uncommitted entries and replaces the others."""
        group = self.bench.group
        group.lose()
        group.truncate(min(len(group.log), group.applied + kept))

    def gain(self, _: Any) -> None:
        if not self.bench.group.leading:
            self.bench.group.gain()

    def lead(self, _: Any) -> None:
        """Gain leadership and get as far as serving."""
        self.gain(None)
        if not self.bench.replica.serving:
            self.bench.group.commit()

    def refuse(self, _: Any) -> None:
        """The next proposal fails, if the pipeline has room to make one."""
        group = self.bench.group
        if group.leading and self.bench.replica.serving:
            group.refusal = OSError("scripted")
            self.command(Set(b"a", b"refused", ack=AckLevel.QUORUM))
            self.bench.runtime.turn()
            group.refusal = None
            if not group.leading:
                group.truncate(group.applied)

    def snapshot(self, _: Any) -> None:
        """Begin a snapshot, or pull two blocks of the one begun."""
        if self.cut is None:
            model = replay(self.bench.group.log[: self.bench.group.applied])
            self.cut = (model, [], self.bench.replica.snapshot_blocks())
        model, blocks, source = self.cut
        blocks.extend(islice(source, 2))

    def check(self) -> None:
        bench, replica = self.bench, self.bench.replica
        model = replay(bench.group.log[: bench.group.applied])
        committed, records = replica._cuts()
        assert committed.count + records.count == len(model)
        rows = [*committed.rows(), *((RECORD + id_, row) for id_, row in records.rows())]
        assert {key: plain(entry) for key, entry in rows} == model
        committed.close()
        records.close()
        for batch in replica.pipeline._batches():
            play(model, replica.pipeline.term, batch.first_seq, batch.effects)
        assert {key: plain(entry) for key, entry in live(replica).items()} == model
        recount = sum(entry_bytes(key, entry) for key, entry in live(replica).items())
        recount -= len(RECORD) * len(replica.replies)
        pinned = sum(cut.pinned_bytes for cut in [*replica.keyspace._cuts, *replica.replies._rows._cuts])
        assert replica.keyspace.used_bytes + replica.replies.used_bytes == recount
        assert bench.budget.used_bytes == recount + replica.pipeline.held_bytes + pinned

    def finish(self) -> None:
        """Heal, drain, and hold what was told against the log."""
        self.gain(None)
        self.bench.settle()
        self.check()
        assert all(len(replies) == 1 for _, replies in self.sent)
        self._check_cut()
        self._check_promises()
        assert self.bench.replica.digest() == follower_of(self.bench).replica.digest()
        assert (self.bench.replica.pipeline.held_bytes, self.bench.replica.pipeline.waiting) == (0, 0)

    def _check_cut(self) -> None:
        if self.cut is None:
            return
        model, blocks, source = self.cut
        prepared = Bench().replica.prepare_restore([*blocks, *source])
        assert {key: plain(entry) for key, entry in live(prepared).items()} == model

    def _check_promises(self) -> None:
        written: set[tuple[int, int]] = set()
        values: set[bytes] = set()
        for _, payload in self.bench.group.log:
            term, first_seq, _, effects = msgspec.msgpack.decode(payload)
            written |= {(term, first_seq + place) for place in range(len(effects))}
            values |= {effect[2] for effect in effects if effect[0] == PUT}
        for command, answer in self._answers():
            if isinstance(answer, Written | Counted) and answer.ack == AckLevel.QUORUM:
                assert (answer.version.term, answer.version.seq) in written, "an acknowledged write was lost"
            if isinstance(answer, Failure) and answer.code == "not_leader" and isinstance(command, Set):
                assert command.value not in values, "a write that definitely failed is in the log"
        self._check_retries()

    def _check_retries(self) -> None:
        """Whatever was answered for good under one idempotency key is one answer."""
        first: dict[Any, Any] = {}
        for command, answer in self._answers():
            idempotency = getattr(command, "idempotency", None)
            if idempotency is not None and isinstance(answer, Written | Counted) and answer.ack == AckLevel.QUORUM:
                known = first.setdefault((command.key.partition(b":")[0], idempotency), (command.key, answer))
                assert known == (command.key, answer), "a retry was executed again"

    def _answers(self) -> Iterator[tuple[Command, Reply]]:
        for command, replies in self.sent:
            if isinstance(command, MultiSet) and isinstance(replies[0], Many):
                yield from zip(command.items, replies[0].items, strict=True)
            else:
                yield command, replies[0]


KEYS = st.sampled_from([b"a", b"a", b"a", b"b", b"safe:a", b"strict:a"])
TTLS = st.sampled_from([None, None, 500, 3000])
QUORUM = st.sampled_from([None, AckLevel.QUORUM])
UNLESS = st.sampled_from([False, False, False, True])
RETRIED = st.sampled_from([b"i1", b"i2", b"i3"])
SETS = st.builds(Set, KEYS, st.just(b""), ttl_ms=TTLS, if_absent=UNLESS, ack=QUORUM)
COMMANDS = st.one_of(
    *[SETS] * 6,
    st.builds(Get, KEYS, st.sampled_from([None, ReadLevel.LINEARIZABLE])),
    st.builds(Delete, KEYS, ack=QUORUM),
    st.builds(Incr, st.sampled_from([b"n", b"safe:n"]), st.integers(-5, 5), ttl_ms=TTLS),
    *[st.builds(Incr, st.sampled_from([b"safe:n", b"safe:m"]), ack=QUORUM, idempotency=RETRIED)] * 2,
    st.builds(Set, KEYS, st.just(b""), if_absent=UNLESS, ack=QUORUM, idempotency=RETRIED),
    st.builds(Delete, st.sampled_from([b"safe:a"]), idempotency=RETRIED),
    st.builds(Expire, KEYS, st.sampled_from([400, 5000])),
    st.builds(Persist, KEYS),
    st.builds(MultiSet, st.lists(SETS, max_size=4).map(tuple)),
)
STEP = st.one_of(
    *[st.tuples(st.just("command"), COMMANDS)] * 6,
    *[st.tuples(st.just("turn"), st.none())] * 2,
    st.tuples(st.just("commit"), st.integers(1, 3)),
    *[st.tuples(st.just("lead"), st.none())] * 2,
    st.tuples(st.just("time"), st.sampled_from([0.05, 0.6, 3.0])),
    st.tuples(st.just("lose"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["gain", "refuse", "snapshot", "snapshot"]), st.none()),
)
STEPS = st.lists(STEP, min_size=10, max_size=80)


def numbered(step: tuple[str, Any], number: int) -> tuple[str, Any]:
    """Give every set a value of its own, so that the log tells which of them are in it."""
    kind, argument = step
    if isinstance(argument, Set):
        return kind, msgspec.structs.replace(argument, value=b"x%d" % number)
    if isinstance(argument, MultiSet):
        items = [msgspec.structs.replace(item, value=b"m%d.%d" % (number, i)) for i, item in enumerate(argument.items)]
        return kind, MultiSet(tuple(items))
    return step


def run(steps: list[tuple[str, Any]]) -> Run:
    driven = Run()
    driven.step("gain", None)
    driven.step("commit", 1)
    for number, step in enumerate(steps):
        driven.step(*numbered(step, number))
    driven.finish()
    return driven


@pytest.fixture(autouse=True, scope="module")
def small_steps() -> Iterator[None]:
    """A few keys fit into one step of a snapshot. These see to it that a cut is read in many, between the writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot_module, "KEYS_PER_STEP", 150)
        yield


@settings(deadline=None, max_examples=400)
@given(steps=STEPS)
def test_whatever_happens_the_replica_equals_its_log(steps: list[tuple[str, Any]]) -> None:
    run(steps)


@settings(deadline=None, max_examples=100)
@given(steps=STEPS)
def test_whatever_happens_the_replica_equals_its_log_with_tiny_batches(steps: list[tuple[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_module, "MAX_BATCH_EFFECTS", 2)
        run(steps)


QUORUM_SET = ("command", Set(b"a", b"", ack=AckLevel.QUORUM))
PLAIN_SET = ("command", Set(b"a", b""))
TURN, COMMIT = ("turn", None), ("commit", 1)
STORY: list[tuple[str, Any]] = [
    PLAIN_SET, TURN, PLAIN_SET, TURN, COMMIT, PLAIN_SET, ("snapshot", None), PLAIN_SET, QUORUM_SET, TURN,
    QUORUM_SET, TURN, ("lose", 2), ("gain", None), ("commit", 9), PLAIN_SET, TURN, COMMIT,
]  # fmt: skip
"""A run in which each of the planted defects below shows."""


def test_the_story_passes_without_a_defect() -> None:
    codes = [answer.code for _, answer in run(STORY)._answers() if isinstance(answer, Failure)]
    assert codes == ["outcome_unknown", "not_leader"]


def undo_oldest_first(self: Pipeline, batch: Any) -> None:
    for key, old in batch.undo:
        self._keyspace.restore(key, old)


def forget_the_undo(self: Pipeline, batch: Any) -> None:
    return None


def newest_undo_wins(self: Pipeline) -> Iterator[Any]:
    return iter([record for batch in reversed(self._batches()) for record in reversed(batch.undo)])


def call_everything_definite(self: Pipeline, batches: Any, not_leader: Failure) -> None:
    for batch in batches:
        for reply_to, _ in batch.waiters:
            reply_to(not_leader)


def apply_own_effects_again(self: ShardReplica, index: int, term: int, payload: bytes) -> None:
    if self.serving and term == self.pipeline.term:
        apply_batch(self, decode_batch(payload))
    ORIGINAL_APPLY(self, index, term, payload)


def answer_before_the_commit(self: Pipeline, reply_to: Any, answer: Reply, durable: bool = False) -> None:
    reply_to(answer)


def pin_nothing(self: Cut, number: int, key: bytes, old: Entry | None) -> None:
    return None


def read_what_is_live(self: Cut) -> list[tuple[bytes, Entry]] | None:
    self._preimages.clear()
    self._pinned.clear()
    return ORIGINAL_READ_PAGE(self)


ORIGINAL_READ_PAGE = Cut.read_page
ORIGINAL_APPLY = ShardReplica.apply
DEFECTS = [
    (Pipeline, "_undo", undo_oldest_first),
    (Pipeline, "_undo", forget_the_undo),
    (Pipeline, "undo_records", newest_undo_wins),
    (Pipeline, "dismiss", call_everything_definite),
    (ShardReplica, "apply", apply_own_effects_again),
    (Pipeline, "wait", answer_before_the_commit),
    (Cut, "pin", pin_nothing),
    (Cut, "read_page", read_what_is_live),
]


@pytest.mark.replaces_methods
@pytest.mark.parametrize(("owner", "name", "defect"), DEFECTS, ids=[defect.__name__ for _, _, defect in DEFECTS])
def test_a_planted_defect_is_noticed(owner: type, name: str, defect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, defect)
    story = [*STORY, PLAIN_SET, QUORUM_SET, TURN, ("lose", 0)]
    with pytest.raises(AssertionError):
        run(story)
