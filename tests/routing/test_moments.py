"""Plain reads and writes of one moment, through a real dispatcher: over shards that this node leads, and one that it
does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from routing_world import planned

from raftcache.metadata.view import MetadataView
from raftcache.routing.dispatcher import Dispatcher
from raftcache.shard.joint import Joint

sys.path.insert(0, str(Path(__file__).parents[1] / "shard"))
from shard_harness import Bench


class Node:
    """Leads all shards of three but the last. `keys` has four of each."""

    def __init__(self) -> None:
        state = planned(3)
        self.ids = [shard.id for shard in state.shards]
        self.benches = [Bench() for _ in self.ids]
        self.view = MetadataView(self.benches[0].runtime)
        replicas = {}
        for id_, bench in zip(self.ids, self.benches, strict=True):
            replicas[id_] = bench.replica
            bench.replica.shard_id = bench.replica._executor.shard_id = id_
        for bench in self.benches[:-1]:
            bench.lead()
        self.dispatcher = Dispatcher(
            self.view, self.benches[0].runtime, replicas.get, lambda *_: None, node_id="n0"  # type: ignore[arg-type]
        )
        self.view.update_state(state)
        self.keys: list[list[bytes]] = [[] for _ in self.ids]
        for number in range(200):
            for key in (b"k%d" % number, b"safe:%d" % number):
                place = self.ids.index(self.dispatcher.map.shard_of(key) or "")
                if len([each for each in self.keys[place] if each[:1] == key[:1]]) < 4:
                    self.keys[place].append(key)
        self.keys = [sorted(keys) for keys in self.keys]

    def look(self, keys: list[bytes], until_bytes: int | None = None) -> list[bytes | bool | None]:
        found = self.dispatcher.look_many(keys, self.benches[0].runtime.now(), until_bytes)
        return [each.value if each else each for each in found]

    def write(self, keys: list[bytes], joint: Joint | None = None) -> object:
        pairs = [(key, b"12345") for key in keys]
        wrote = self.dispatcher.write_many(pairs, self.benches[0].runtime.now(), joint)
        return wrote.count, wrote.newest, len(wrote.joint)

    def add(self, items: list[tuple[bytes, int]]) -> tuple[list[int], list[tuple[bytes, str]]]:
        added = self.dispatcher.add_many(items, self.benches[0].runtime.now())
        return added.values, [(key, version.shard) for key, version in added.newest]

    def stats(self) -> list[tuple[int, int, int]]:
        stats = [bench.replica.stats for bench in self.benches]
        return [(sum(each.hits.values()), sum(each.misses.values()), each.sets) for each in stats]


@pytest.fixture
def node() -> Node:
    return Node()


def test_looks_go_to_their_shards_and_none_is_said_of_what_is_led_elsewhere(node: Node) -> None:
    (a, b), (c, d), (e, _) = (keys[:2] for keys in node.keys)
    assert node.write([a, c])[0] == 2  # type: ignore[index]
    assert node.look([a, c, e, b, d, a]) == [b"12345", b"12345", None, False, False, b"12345"]
    assert node.stats() == [(2, 1, 1), (1, 1, 1), (0, 0, 0)], "and all are counted"


def test_with_a_bound_nothing_is_said_behind_it_or_behind_one_that_needs_a_command(node: Node) -> None:
    a, b, e = node.keys[0][0], node.keys[0][1], node.keys[2][0]
    node.write([a])
    assert node.look([a, b, a, a, a], 11) == [b"12345", False, b"12345", b"12345"]
    assert node.look([a, a, a], 10) == [b"12345"] * 2
    assert node.look([a, e, a], 100) == [b"12345", None]
    assert node.stats()[0] == (6, 1, 1), "nor looked at"


def test_writes_end_at_the_first_that_needs_a_command_and_the_newest_of_each_shard_is_told(node: Node) -> None:
    (a, b), (c, d), (e, _) = (keys[:2] for keys in node.keys)
    count, newest, joined = node.write([a, c, b, e, d])  # type: ignore[misc]
    assert (count, joined) == (3, 0)
    assert [(key, version.shard, version.seq) for key, version in newest] == [
        (b, node.ids[0], node.benches[0].replica._executor.seq),
        (c, node.ids[1], node.benches[1].replica._executor.seq),
    ]
    assert node.look([d]) == [False]


def test_those_at_once_and_those_that_wait_are_never_told_of_together(node: Node) -> None:
    plain, safe, joint = node.keys[0][0], [key for key in node.keys[0] if key.startswith(b"safe:")], Joint(2.0)
    assert node.write([plain, *safe, plain], joint)[0] == 1  # type: ignore[index]
    assert node.write([*safe, plain, *safe], joint) == (len(safe), [], len(safe))
    assert node.dispatcher.inflight == len(safe), "and who waits is seen to"
    assert node.write(safe) == (0, [], 0), "nobody to wait"


def test_while_fates_are_asked_for_nothing_is_written(node: Node) -> None:
    node.dispatcher.joining.line_up("s", lambda: None, ready=False)
    assert node.write([node.keys[0][0]]) == (0, [], 0)
    assert node.add([(node.keys[0][0], 1)]) == ([], [])
    assert node.look([node.keys[0][0]]) == [False]


def test_counters_end_at_the_first_that_needs_a_command_and_the_newest_of_each_shard_is_told(node: Node) -> None:
    a, (b, c), e = node.keys[0][0], node.keys[1][:2], node.keys[2][0]
    added = node.add([(a, 1), (b, 5), (a, 2), (c, -1), (e, 1), (a, 1)])
    assert added == ([1, 5, 3, -1], [(a, node.ids[0]), (c, node.ids[1])])
    assert node.look([a]) == [b"3"] and node.stats()[0][2] == 2
