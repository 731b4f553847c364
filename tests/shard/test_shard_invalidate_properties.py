"""Random sets with tags, drops, invalidations, losses of leadership and snapshots, and one judge.

**The judge**: once a drop or an invalidation is confirmed, no read sees a value whose set was sent before the drop
was, whoever leads, also after a restore. Besides, the committed state equals a replay of the log at every step. The
last tests plant a defect and demand that the same runs notice.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_harness import Bench, follower_of
from test_shard_invalidate import Confirmed, drop, emptied

from raftcache.commands.types import AckLevel, Get, ReadLevel, Set, Value
from raftcache.errors import RaftcacheError
from raftcache.shard import pipeline as pipeline_module
from raftcache.shard import reclaim
from raftcache.shard.invalidating import TagDrops
from raftcache.shard.pipeline import Pipeline
from raftcache.shard.reclaim import Reclaimer
from raftcache.shard.replica import ShardReplica
from raftcache.store.effects import EVICT, PUT, PUT_TAGGED, REMOVE, TAG
from raftcache.store.tags import DroppedTags

KEYS = (b"a", b"b", b"safe:a", b"shown:a")
NAMES = ("s", "t")


def space_of(key: bytes) -> str:
    return key.partition(b":")[0].decode() if b":" in key else "default"


class Sent:
    """A drop (`tag` None: an invalidation) and the sets that it takes: those that were sent before it."""

    def __init__(self, space: str, tag: str | None, before: int, answers: Confirmed) -> None:
        self.space, self.tag, self.before, self.answers = space, tag, before, answers

    def forbids(self, written: tuple[bytes, tuple[str, ...], int]) -> bool:
        key, tags, number = written
        confirmed = self.answers == [None]
        return confirmed and number < self.before and space_of(key) == self.space and self.tag in (None, *tags)


class Run:
    """One random run and its checks."""

    def __init__(self) -> None:
        self.bench = Bench().lead()
        self.sets: dict[bytes, tuple[bytes, tuple[str, ...], int]] = {}
        self.drops: list[Sent] = []
        self.number = 0

    def step(self, kind: str, argument: Any) -> None:
        self.number += 1
        getattr(self, kind)(argument)
        self.check()

    def set(self, argument: tuple[bytes, tuple[str, ...], AckLevel | None]) -> None:
        key, tags, ack = argument
        value = b"v%d" % self.number
        self.sets[value] = key, tags, self.number
        self.bench.send(Set(key, value, ack=ack, tags=tags or None))

    def drop(self, argument: tuple[str, str]) -> None:
        space, tag = argument
        self.drops.append(Sent(space, tag, self.number, drop(self.bench, tag, space)))

    def invalidate(self, space: str) -> None:
        """The metadata has it from now on, whoever leads."""
        self.bench.follow(emptied(self.bench.policies, space))
        answers: Confirmed = []
        self.drops.append(Sent(space, None, self.number, answers))
        self.bench.replica.confirm_policies(self.bench.policies.epoch, 1e9, answers.append)

    def turn(self, _: Any) -> None:
        self.bench.runtime.turn()

    def commit(self, count: int) -> None:
        group = self.bench.group
        group.commit(min(len(group.log), group.applied + count))

    def time(self, seconds: float) -> None:
        self.bench.runtime.advance(seconds)

    def lose(self, kept: int) -> None:
        """The successor has the first `kept` of the uncommitted entries; this replica leads again after it."""
        group = self.bench.group
        group.lose()
        group.truncate(min(len(group.log), group.applied + kept))
        self.bench.lead()

    def restore(self, _: Any) -> None:
        """The committed state goes through a snapshot into a replica that reads the same."""
        other = Bench(node_id="n2", policies=self.bench.first_policies)
        other.replica.install(other.replica.prepare_restore(self.bench.replica.snapshot_blocks()), 1, 1)
        assert other.replica.digest() == self.bench.replica.digest()
        self.judge(other)

    def check(self) -> None:
        self.judge(self.bench)
        replica, group = self.bench.replica, self.bench.group
        entries, rows = replay(group.log[: group.applied])
        keys, replies = replica._cuts()
        found = {key: (entry.value, entry.namespace_id, entry.term, entry.seq) for key, entry in keys.rows()}
        keys.close()
        replies.close()
        assert found == entries
        assert replica._dropped_rows() == sorted((*family, *mark) for family, mark in rows.items())

    def judge(self, bench: Bench) -> None:
        level = ReadLevel.LATEST
        for key in KEYS:
            replies = bench.send(Get(key, level if space_of(key) == "default" else None, replica=not bench.served))
            for reply in replies:
                value = reply.value if isinstance(reply, Value) else None
                written = self.sets.get(value or b"")
                broken = written is not None and any(sent.forbids(written) for sent in self.drops)
                assert not broken, f"{value!r} of {written} was read after a drop of it was confirmed"

    def finish(self) -> None:
        self.bench.settle()
        self.check()
        for _ in range(10):
            self.bench.runtime.advance(0.1)
            self.bench.settle()
        self.check()
        assert self.bench.replica.digest() == follower_of(self.bench).replica.digest()
        assert all(len(sent.answers) <= 1 for sent in self.drops) and not self.bench.replica.drop_waiters
        assert not len(self.bench.replica.dropped), "a drop is never forgotten"
        for sent in self.drops:
            assert not sent.answers or sent.answers == [None] or isinstance(sent.answers[0], RaftcacheError)


def replay(log: list[tuple[int, bytes]]) -> tuple[dict[bytes, Any], dict[Any, Any]]:
    """The keys and the dropped tags that a log makes."""
    entries, rows = dict[bytes, Any](), dict[Any, Any]()
    for _, payload in log:
        term, first_seq, _, effects = msgspec.msgpack.decode(payload)
        for seq, effect in enumerate(effects, first_seq):
            if effect[0] in (PUT, PUT_TAGGED):
                entries[effect[1]] = (effect[2], effect[5], term, seq)
            elif effect[0] in (REMOVE, EVICT):
                entries.pop(effect[1], None)
            elif effect[0] == TAG and effect[3]:
                rows[effect[1], effect[2]] = (term, seq)
            elif effect[0] == TAG:
                rows.pop((effect[1], effect[2]), None)
    return entries, rows


SPACES = st.sampled_from(["default", "default", "safe", "shown"])
TAGS = st.sampled_from([(), ("s",), ("t",), ("s", "t")])
SETS = st.tuples(st.sampled_from(KEYS), TAGS, st.sampled_from([None, AckLevel.QUORUM]))
STEP = st.one_of(
    *[st.tuples(st.just("set"), SETS)] * 4,
    *[st.tuples(st.just("drop"), st.tuples(SPACES, st.sampled_from(NAMES)))] * 3,
    st.tuples(st.just("invalidate"), SPACES),
    *[st.tuples(st.just("turn"), st.none())] * 2,
    *[st.tuples(st.just("commit"), st.integers(1, 3))] * 2,
    st.tuples(st.just("time"), st.sampled_from([0.01, 0.1, 0.3])),
    st.tuples(st.just("lose"), st.integers(0, 3)),
    st.tuples(st.just("restore"), st.none()),
)
STEPS = st.lists(STEP, min_size=8, max_size=60)


def run(steps: list[tuple[str, Any]]) -> Run:
    driven = Run()
    for kind, argument in steps:
        driven.step(kind, argument)
    driven.finish()
    return driven


@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_no_read_sees_what_was_dropped(steps: list[tuple[str, Any]]) -> None:
    run(steps)


@settings(deadline=None, max_examples=80)
@given(steps=STEPS)
def test_no_read_sees_what_was_dropped_with_small_steps_everywhere(steps: list[tuple[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_module, "MAX_BATCH_EFFECTS", 2)
        patch.setattr(reclaim, "SCANNED_PER_TICK", 300)
        run(steps)


SET, DROP, TURN, COMMIT = ("set", (b"a", ("t",), None)), ("drop", ("default", "t")), ("turn", None), ("commit", 9)
SETTLED = [SET, TURN, COMMIT]
STORY: list[tuple[str, Any]] = [
    *SETTLED, DROP, ("lose", 0), *SETTLED, DROP, TURN, COMMIT, ("restore", None), SET, TURN, ("time", 0.1), DROP,
    ("time", 0.3), TURN, COMMIT, ("time", 0.3), TURN, COMMIT, ("lose", 0), *SETTLED, ("invalidate", "default"),
    TURN, ("lose", 0), TURN, COMMIT, ("restore", None), *SETTLED, DROP, TURN, DROP, ("lose", 0), ("lose", 0),
]  # fmt: skip
"""A run in which each of the planted defects below shows."""


def test_the_story_passes_without_a_defect() -> None:
    driven = run(STORY)
    assert sum(sent.answers == [None] for sent in driven.drops) >= 2
    assert sum(bool(sent.answers) and sent.answers != [None] for sent in driven.drops) >= 2


def confirm_at_once(self: TagDrops, namespace: str, tag: str, named_at: int, reply: Any) -> None:
    self._execute(namespace, tag, named_at)
    reply(None)


def undo_no_tags(self: Pipeline, batch: Any) -> None:
    batch.undo_tags.clear()
    STOCK_UNDO(self, batch)


def forget_before_the_walk(self: Reclaimer) -> Any:
    for family, _ in self._ex.dropped.rows():
        self._ex.forget_tag(family)
    yield True


def leave_rows_out_of_snapshots(self: ShardReplica) -> list[Any]:
    return []


def compare_nothing(self: DroppedTags, entry: Any) -> None:
    return None


STOCK_UNDO = Pipeline._undo
DEFECTS = [
    (TagDrops, "drop", confirm_at_once),
    (Pipeline, "_undo", undo_no_tags),
    (Reclaimer, "_pages", forget_before_the_walk),
    (ShardReplica, "_dropped_rows", leave_rows_out_of_snapshots),
    (DroppedTags, "drop_of", compare_nothing),
]


@pytest.mark.replaces_methods
@pytest.mark.parametrize(("owner", "name", "defect"), DEFECTS, ids=[defect.__name__ for _, _, defect in DEFECTS])
def test_a_planted_defect_is_noticed(owner: type, name: str, defect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, defect)
    with pytest.raises(AssertionError):
        run(STORY)
