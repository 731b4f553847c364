"""Commands of one name that come in one piece are executed together, and that shows in nothing but the time taken."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import pytest
from resp_bytes import packed
from shard_backend import ShardBackend
from talk import Talk
from test_resp_cluster import Halves

from raftcache.commands.types import Get, MultiGet, MultiSet, Set, Version
from raftcache.errors import Overloaded
from raftcache.frontends.resp import session as sessions
from raftcache.frontends.resp.session import (
    ALONE_FIRST,
    COMMANDS_PER_TURN,
    OUTPUT_PER_TURN_BYTES,
    RUN_LIMIT,
    TOGETHER_FIRST,
    TOGETHER_LIMIT,
)
from raftcache.frontends.resp.state import Front, Standing
from raftcache.routing.slots import slot_of
from raftcache.store.entry import Looked

OK, NONE = b"+OK\r\n", b"$-1\r\n"
KEYS = ("a", "b", "c", "safe:a", "strict:a", "brief:a", "shown:a", "none:a", "{t}:a", "x" * 1025, "")

NAMES = ("GET", "GET", "SET", "SET", "set", "INCR", "INCRBY", "DECRBY", "DEL", "MULTI", "EXEC", "PING", "MGET", "TTL")


class CountingBackend(ShardBackend):
    """Notes how many keys came together."""

    def __init__(self) -> None:
        super().__init__()
        self.looks, self.writes, self.adds = list[int](), list[int](), list[int]()

    def look_many(self, keys: Sequence[bytes], now_s: float, until_bytes: int | None = None) -> list[Looked]:
        self.looks.append(len(keys))
        return super().look_many(keys, now_s, until_bytes)

    def write_many(self, pairs: Sequence[tuple[bytes, bytes]], now_s: float, joint: Any = None) -> Any:
        self.writes.append(len(pairs))
        return super().write_many(pairs, now_s, joint)

    def add_many(self, items: Sequence[tuple[bytes, int]], now_s: float) -> Any:
        self.adds.append(len(items))
        return super().add_many(items, now_s)


def _some(chance: random.Random) -> bytes:
    """Runs of some commands, and others between them."""
    commands, name = list[bytes](), "GET"
    for number in range(chance.randint(1, 60)):
        if chance.random() < 0.3:
            name = chance.choice(NAMES)
        key, amount = chance.choice(KEYS), chance.choice((1, 5, "x", -(1 << 63), 1 << 63))
        words: dict[str, tuple[object, ...]] = {
            "GET": (key,), "SET": (key, number), "set": (key, number), "INCR": (key,), "INCRBY": (key, amount),
            "DECRBY": (key, amount), "DEL": (key,), "MULTI": (), "EXEC": (), "PING": (), "MGET": (key, "a"),
            "TTL": (key,),
        }  # fmt: skip
        more = ("PX", 50) if name == "SET" and chance.random() < 0.1 else ()
        commands.append(packed(name, *words[name], *more))
    return b"".join(commands)


@pytest.mark.parametrize("seed", range(40))
def test_a_stream_has_the_same_replies_and_effects_in_one_piece_and_in_many(seed: int) -> None:
    told = []
    for whole in (True, False):
        chance, talk = random.Random(seed), Talk(ShardBackend())
        replies = b""
        for _ in range(8):
            stream = _some(chance)
            step = len(stream) if whole else 1
            for at in range(0, len(stream), step):
                replies += talk.raw(stream[at : at + step])
            for _ in range(100):  # What waits for a commit may hold up what comes behind it.
                talk.backend.bench.settle()
                replies += talk.rest()
            talk.backend.bench.runtime.advance(0.02)
        bench = talk.backend.bench
        entries = {key: bench.replica.keyspace.get(key) for key in bench.replica.keyspace.all_keys()}
        stats = bench.replica.stats
        told.append((replies, entries, dict(stats.hits), dict(stats.misses), stats.sets, talk.front.metrics.calls))
    assert told[0] == told[1]


def test_those_of_one_piece_are_executed_together() -> None:
    talk = Talk(CountingBackend())
    backend = talk.backend
    assert talk.raw(packed("SET", "a", 1) * 10 + packed("GET", "a") * 5 + packed("get", "b") * 3) == (
        OK * 10 + b"$1\r\n1\r\n" * 5 + NONE * 3
    )
    assert (backend.writes, backend.looks) == ([10], [5, 3])
    assert talk.front.metrics.calls == {"set": 10, "get": 8}
    assert not backend.commands
    counters = packed("INCR", "a") * 3 + packed("DECR", "n") * 2
    assert talk.raw(counters) == b":2\r\n:3\r\n:4\r\n:-1\r\n:-2\r\n"
    assert backend.adds == [3, 2] and not backend.commands


def test_a_counter_that_is_none_has_its_error_and_those_behind_it_their_values() -> None:
    talk = Talk(CountingBackend())
    talk.say("SET", "b", "x")
    said = talk.raw(b"".join(packed("INCR", key) for key in ("a", "b", "a", "safe:a")))
    first, refused, *rest = said.split(b"\r\n")
    assert first == b":1" and refused.startswith(b"-ERR value is not an integer") and rest == [b":2", b":1", b""]
    assert talk.backend.adds == [4, 3, 1, 1]


def test_a_run_is_bounded_and_so_is_a_turn() -> None:
    talk = Talk(CountingBackend())
    talk.session.receive(packed("GET", "a") * (COMMANDS_PER_TURN + 10))
    assert talk.session.unfinished and talk.session.take() == NONE * COMMANDS_PER_TURN
    assert talk.backend.looks == [RUN_LIMIT] * (COMMANDS_PER_TURN // RUN_LIMIT)
    assert talk.rest() == NONE * 10
    assert talk.backend.looks[-1] == 10


def test_a_turn_stops_behind_the_value_with_which_there_is_enough() -> None:
    talk = Talk(CountingBackend())
    size_bytes = OUTPUT_PER_TURN_BYTES // 4
    for key in "abcdef":
        talk.say("SET", key, "x" * size_bytes)
    one = b"$%d\r\n%s\r\n" % (size_bytes, b"x" * size_bytes)
    talk.session.receive(b"".join(packed("GET", key) for key in "abcdef"))
    assert talk.session.take() == one * 4
    assert talk.session.unfinished and talk.session.has_more and not talk.session.hungry
    assert talk.rest() == one * 2
    assert not talk.session.has_more and talk.session.hungry


def test_what_is_left_of_a_run_waits_while_the_connection_is_stalled() -> None:
    talk = Talk(CountingBackend())
    talk.backend.held = []
    assert talk.raw(packed("GET", "a") + packed("GET", "strict:a") + packed("GET", "b") * 2) == NONE
    talk.backend.release()
    assert talk.rest() == NONE * 3


class Elsewhere(CountingBackend):
    """Keys with `far` in them are led by another node: all commands of theirs have to be sent there."""

    def look_many(self, keys: Sequence[bytes], now_s: float, until_bytes: int | None = None) -> list[Looked]:
        near = [*takewhile(lambda key: b"far" not in key, keys)]
        self.looks.append(len(keys))
        found = super(CountingBackend, self).look_many(near, now_s, until_bytes)
        return [*found, None] if len(near) == len(found) < len(keys) else found

    def write_many(self, pairs: Sequence[tuple[bytes, bytes]], now_s: float, joint: Any = None) -> Any:
        near = [*takewhile(lambda pair: b"far" not in pair[0], pairs)]
        return super().write_many(near, now_s, joint)

    def add_many(self, items: Sequence[tuple[bytes, int]], now_s: float) -> Any:
        self.adds.append(len(items))
        near = [*takewhile(lambda item: b"far" not in item[0], items)]
        return super(CountingBackend, self).add_many(near, now_s)

    @property
    def asked_for(self) -> list[tuple[type, int]]:
        return [(type(command), len(getattr(command, "items", " "))) for command, _ in self.commands]


def test_those_for_elsewhere_are_asked_for_together_with_those_behind_them() -> None:
    talk = Talk(Elsewhere())
    sets = [packed("SET", key, number) for number, key in enumerate(("a", "far:b", "c", "far:b"))]
    gets = [packed("GET", key) for key in ("a", "far:b", "far:x", "c")]
    assert talk.raw(b"".join(sets + gets)) == OK * 4 + b"$1\r\n0\r\n$1\r\n3\r\n" + NONE + b"$1\r\n2\r\n"
    assert talk.backend.asked_for == [(MultiSet, 3), (MultiGet, 3)]
    assert talk.front.metrics.calls == {"set": 4, "get": 4}
    ((key, version),) = talk.client.unproved.values()
    newest = talk.backend.bench.replica._executor.seq
    assert (key, version.seq) == (b"far:b", newest), "what was acknowledged at once is what WAIT asks about"


def test_one_alone_is_asked_for_alone_and_so_are_sets_with_options() -> None:
    talk = Talk(Elsewhere())
    talk.raw(packed("GET", "far:a"))
    talk.raw(packed("SET", "far:a", 1, "EX", 9) * 2)
    assert talk.backend.asked_for == [(Get, 1), (Set, 1), (Set, 1)]


def test_so_many_are_asked_for_together_and_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(Elsewhere())
    few, most = TOGETHER_FIRST, TOGETHER_LIMIT
    assert talk.raw(packed("GET", "far:a") * (3 * few + 2 * most)) == NONE * (3 * few + 2 * most)
    assert talk.backend.asked_for == [(MultiGet, each) for each in (few, 2 * few, most, most)]
    talk.backend.commands.clear()
    monkeypatch.setattr(sessions, "TOGETHER_LIMIT_BYTES", 20)
    assert talk.raw(packed("SET", "far:a", "12345") * 5) == OK * 5
    assert talk.backend.asked_for == [(MultiSet, 2), (MultiSet, 2), (Set, 1)]


def test_after_large_replies_few_are_asked_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in review: reads that have to be executed here put 16 values of 1 MiB out in one turn, and at once."""
    monkeypatch.setattr(sessions, "OUTPUT_PER_TURN_BYTES", 60)
    talk = Talk(Elsewhere())
    talk.say("SET", "far:a", "12345")
    talk.raw(packed("GET", "far:a") * 20)
    few = [(MultiGet, TOGETHER_FIRST), (MultiGet, 2 * TOGETHER_FIRST), (MultiGet, 2), (MultiGet, 4), (MultiGet, 2)]
    assert talk.backend.asked_for == [(Set, 1), *few], "8 values are more than 60 bytes, and 4 are less"


def test_those_of_other_namespaces_wait_for_other_things_and_are_not_asked_for_together() -> None:
    """Found in review: a write that was acknowledged from memory waited for one that was to be synced on disks."""
    talk = Talk(Elsewhere())
    keys = ("far:a", "far:b", "safe:far:a", "safe:far:b", "far:c")
    assert talk.raw(b"".join(packed("SET", key, 1) for key in keys)) == OK * 5
    assert talk.backend.asked_for == [(MultiSet, 2), (MultiSet, 2), (Set, 1)]


def test_after_a_run_of_which_nothing_came_so_many_are_executed_one_by_one() -> None:
    """Found in review: of counters that are led elsewhere all were collected and put back for each one of them."""
    talk = Talk(Elsewhere())
    talk.raw(packed("INCR", "far:n") * 60)
    assert ALONE_FIRST == 16 and talk.backend.adds == [60, *[1] * 16, 43, *[1] * 32, 10, *[1] * 9]
    talk.backend.adds.clear()
    talk.raw(packed("PING") + packed("DECR", "n") * 5 + packed("DECR", "far:n") * 2 + packed("INCR", "n") * 3)
    assert talk.backend.adds == [7, 2, 1, 3], "another command's run is tried, and one that was executed is forgiven"
    assert talk.session._alone_next == ALONE_FIRST


def test_each_of_those_that_are_asked_for_together_fails_alone_or_all_do() -> None:
    talk = Talk(Elsewhere())
    far, long = "far:a", "far:" + "x" * 1024
    said = talk.raw(packed("SET", far, 1) + packed("SET", long, 1) + packed("SET", far, 2)).split(b"\r\n")
    assert said[0] == said[2] == b"+OK" and said[1].startswith(b"-ERR key: 1028 bytes") and len(said) == 4
    talk.backend.failing = Overloaded("busy")
    assert talk.raw(packed("GET", far) * 3) == b"-BUSY busy\r\n" * 3
    assert sum(talk.front.metrics.errors.values()) == 4


def test_replies_of_those_that_are_asked_for_together_come_in_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PENDING_LIMIT", 6)
    talk = Talk(Elsewhere())
    talk.backend.held = []
    assert talk.raw(packed("GET", "far:a") * 4 + packed("PING") + packed("GET", "a") * 3) == b""
    assert talk.session._others + len(talk.session._pending) == 6 and not talk.session.hungry
    assert talk.front.metrics.stalls == {"pending_replies": 1}
    talk.backend.release()
    assert talk.rest() == NONE * 4 + b"+PONG\r\n" + NONE * 3
    assert (talk.session._others, talk.session.hungry) == (0, True)
    talk.backend.held = []
    talk.raw(packed("GET", "far:a") * 6)
    assert not talk.session.hungry, "though there is no command behind them"


def test_who_reads_replicas_asks_for_each_alone() -> None:
    talk = Talk(Elsewhere())
    talk.client.readonly = True
    talk.raw(packed("GET", "far:a") * 2)
    assert talk.backend.asked_for == [(Get, 1)] * 2


def test_a_defect_is_the_answer_of_one_command_and_costs_no_other_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in review: those behind it were taken from the parser, and were never answered."""
    talk = Talk(CountingBackend())
    look_many, calls = talk.backend.look_many, list[int]()

    def fails_once(keys: Sequence[bytes], now_s: float, until_bytes: int | None = None) -> list[Looked]:
        calls.append(len(keys))
        if len(calls) == 1:
            raise RuntimeError("a defect")
        return look_many(keys, now_s, until_bytes)

    monkeypatch.setattr(talk.backend, "look_many", fails_once)
    said = talk.raw(packed("GET", "a") * 4)
    assert said.startswith(b"-UNKNOWN ") and said.endswith(b"\r\n" + NONE * 3) and said.count(b"\r\n") == 4
    assert calls == [4, 3]


def test_of_a_run_on_a_cluster_port_those_for_other_nodes_are_sent_there() -> None:
    backend = CountingBackend()
    talk = Talk(backend, Front(backend, Standing("n0"), topology=Halves()))
    here, elsewhere = b"bar", b"foo"
    assert slot_of(here) < 8192 <= slot_of(elsewhere)
    said = talk.raw(b"".join(packed("GET", key) for key in (here, here, elsewhere, here, elsewhere)))
    moved = b"-MOVED %d 127.0.0.1:7014\r\n" % slot_of(elsewhere)
    assert said == NONE * 2 + moved + NONE + moved
    assert backend.looks == [2, 1]


def test_a_connection_that_leaves_executes_nothing_of_what_it_had_ahead() -> None:
    talk = Talk(CountingBackend())
    size_bytes = OUTPUT_PER_TURN_BYTES
    talk.say("SET", "a", "x" * (size_bytes // 2))
    talk.session.receive(packed("GET", "a") * 6)
    assert talk.session.unfinished and talk.session._ahead
    talk.session.close()
    talk.session.go_on()
    assert talk.rest() == b""
    assert not talk.session._ahead


def test_no_more_wait_than_a_connection_may_have_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PENDING_LIMIT", 20)
    talk = Talk(CountingBackend())
    talk.raw(packed("SET", "safe:a", 1) * 50)
    assert talk.backend.writes == [20]
    assert talk.session._others + len(talk.session._pending) == 20
    assert not talk.session.hungry


def test_an_amount_that_is_none_ends_the_run_and_has_its_error() -> None:
    talk = Talk(CountingBackend())
    amounts = (5, -2, "x", 1, -(1 << 63), 1)
    said = talk.raw(b"".join(packed("DECRBY", "a", amount) for amount in amounts))
    invalid = b"-ERR value is not an integer or out of range\r\n"
    assert said == b":-5\r\n:-3\r\n" + invalid + b":-4\r\n-ERR decrement would overflow\r\n:-5\r\n"
    assert talk.backend.adds == [2, 0, 1, 0, 1]
    assert talk.raw(packed("INCRBY", "a", 7) * 2) == b":2\r\n:9\r\n" and not talk.backend.commands


@pytest.mark.parametrize("command", [("SET", "a", 1), ("INCR", "a"), ("DECRBY", "a", 2)], ids=lambda each: each[0])
def test_wait_asks_of_the_newest_write_of_a_run(command: tuple[object, ...]) -> None:
    talk = Talk(CountingBackend())
    talk.backend.cluster = lambda: {"shards": [{"replicas": [1, 2, 3]}]}  # type: ignore[method-assign, assignment]
    talk.raw(packed(*command) * 3)
    assert not talk.backend.commands
    bench = talk.backend.bench
    talk.say("WAIT", 1, 500)
    ((asked, _, _),) = talk.backend.asked
    assert asked == [(b"a", Version(bench.replica.shard_id, bench.group.term, bench.replica._executor.seq))]
