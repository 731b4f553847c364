"""What one connection sees when the leadership under its joint writes ends: with a real dispatcher, and a real replica
that is deposed; the next leader is a node that remembers what it is sent."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from http_backend import FakeBackend
from resp_bytes import packed
from talk import Talk

from raftcache.commands.types import Command, Delete, Fate, Minted, Receipt, ReceiptList, Receipts, Reply, Set
from raftcache.metadata.view import MetadataView
from raftcache.routing.dispatcher import Dispatcher
from raftcache.shard.pipeline import PendingBatch

sys.path.insert(0, str(Path(__file__).parents[1] / "shard"))
sys.path.insert(0, str(Path(__file__).parents[1] / "routing"))
from routing_world import answer, planned
from shard_harness import Bench

OK = b"+OK\r\n"


class Cluster(FakeBackend):
    """This node, which leads the one shard, and n1, which leads it next. `fate` is what n1 says of versions."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.runtime = self.bench.runtime
        self.view = MetadataView(self.runtime)
        state = planned(1)
        self.shard_id, replica = state.shards[0].id, self.bench.replica
        replica.shard_id = replica._executor.shard_id = self.shard_id
        self.bench.lead()
        self.executed: list[Any] = []
        self.fate = Fate.LOST
        self.dispatcher = Dispatcher(
            self.view, self.runtime, lambda _shard: replica, self._remote, node_id="n0"  # type: ignore[arg-type]
        )
        self.view.update_state(state)
        self.view.update_leader(self.shard_id, 1, "n0")
        dispatcher = self.dispatcher
        self.look_many = dispatcher.look_many  # type: ignore[method-assign]
        self.write_many = dispatcher.write_many  # type: ignore[method-assign]
        self.add_many = dispatcher.add_many  # type: ignore[method-assign]
        self.execute, self.execute_now = dispatcher.execute, dispatcher.execute_now  # type: ignore[method-assign]

    def _remote(
        self, _node: str, shard: str, _epoch: int, command: Any, _deadline: float, done: Callable[[Reply], None]
    ) -> None:
        command = command.command if isinstance(command, Minted) else command
        if isinstance(command, Receipts):
            said: Reply = ReceiptList(tuple(Receipt(each, self.fate) for each in command.versions))
        else:
            self.executed.append(command)
            said = answer(command, shard)
        self.runtime.call_later(0.001, lambda: done(said))

    def depose(self) -> None:
        """n1 leads."""
        self.bench.group.lose("n1")
        self.view.update_leader(self.shard_id, 2, "n1")

    def at(self, key: bytes) -> list[Command]:
        return [command for command in self.executed if command.key == key]


def begun() -> tuple[Talk, Cluster]:
    cluster = Cluster()
    return Talk(cluster), cluster


def test_what_is_lost_is_written_by_the_next_leader_and_what_is_committed_is_not() -> None:
    for fate, executed in ((Fate.LOST, 2), (Fate.COMMITTED, 0)):
        talk, cluster = begun()
        cluster.fate = fate
        talk.raw(packed("SET", "safe:a", "1") + packed("SET", "safe:b", "2"))
        cluster.bench.runtime.turn()
        cluster.depose()
        assert talk.rest() == b""
        cluster.bench.runtime.advance(1.0)
        assert talk.rest() == OK * 2
        assert len(cluster.executed) == executed


def test_regression_a_later_batch_does_not_overtake_one_that_is_asked_about() -> None:
    """It was never proposed, and so was sent at once, while receipts were asked for the one before it."""
    talk, cluster = begun()
    for value in ("1", "2"):
        talk.say("SET", "safe:k", value)
        cluster.bench.runtime.turn()
    talk.say("SET", "safe:k", "3")
    cluster.depose()
    cluster.bench.runtime.advance(1.0)
    assert talk.rest() == OK * 3
    assert [command.value for command in cluster.at(b"safe:k")] == [b"1", b"2", b"3"]


def test_regression_nor_does_another_command_of_the_same_batch() -> None:
    talk, cluster = begun()
    talk.raw(packed("SET", "safe:k", "1") + packed("DEL", "safe:k"))
    cluster.bench.runtime.turn()
    cluster.depose()
    cluster.bench.runtime.advance(1.0)
    assert talk.rest() == OK + b":1\r\n"
    assert [type(command) for command in cluster.at(b"safe:k")] == [Set, Delete]


def test_regression_nor_does_what_is_asked_afterwards() -> None:
    talk, cluster = begun()
    talk.say("SET", "safe:k", "1")
    cluster.bench.runtime.turn()
    cluster.depose()
    talk.raw(packed("SET", "safe:k", "2") + packed("MSET", "safe:k", "3") + packed("GET", "safe:other"))
    cluster.bench.runtime.advance(1.0)
    assert talk.rest().startswith(OK * 3)
    written = [item.value for command in cluster.executed for item in getattr(command, "items", (command,))
               if isinstance(item, Set)]  # fmt: skip
    assert written == [b"1", b"2", b"3"]
    assert not cluster.dispatcher.joining.is_asking and cluster.dispatcher.inflight == 0


def test_regression_a_connection_that_rests_keeps_no_batch() -> None:
    """Its newest joint writes had everybody's effects, old values and waiters, outside of what is counted as used."""
    talk, cluster = begun()
    talks = [Talk(cluster, talk.front) for _ in range(20)]
    for number, each in enumerate(talks):
        each.say("SET", f"safe:{number}", "x" * 1000)
        cluster.bench.settle()
        assert each.rest() == OK
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, PendingBatch) and each.effects]


def test_regression_one_that_joins_late_has_all_its_time() -> None:
    talk, cluster = begun()
    for key in ("safe:x", "safe:y", "safe:z"):
        talk.say("SET", key, "1")
        cluster.bench.runtime.turn()
    cluster.bench.runtime.advance(1.9)
    talk.say("SET", "safe:late", "1")
    cluster.bench.runtime.advance(0.3)
    said = talk.rest()
    assert said.count(b"-UNKNOWN") == 3 and OK not in said
    cluster.bench.settle()
    assert talk.rest() == OK


def test_all_of_them_count() -> None:
    talk, cluster = begun()
    talk.raw(packed("SET", "safe:k", "1") * 10)
    assert cluster.dispatcher.inflight == 10
    cluster.bench.runtime.turn()
    cluster.depose()
    assert cluster.bench.replica.stats.outcomes_unknown == 10
    assert cluster.dispatcher.inflight == 10 + 1, "and the question"
    cluster.bench.runtime.advance(1.0)
    assert cluster.dispatcher.inflight == 0 and not cluster.dispatcher._sweeping
