"""What is measured, and what is held against what. Pure.

A `Measurement` is one load on one system; a `Row` compares two of them. Like is compared with like: the same tool, the
same number of connections, the same depth, the same sizes; a log that is synced once a second against Redis' AOF
`everysec`, no log against no AOF, an answer from a majority against `SET` and `WAIT 1`, and against etcd's put.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

LEADER, FORWARDED = "leader", "forwarded"
"""Which node is asked: the one that leads the shard, or one that has to ask it."""

RAFTCACHE, RAFTCACHE_LOG = "raftcache", "raftcache, log"
REDIS, REDIS_AOF, MEMCACHED, ETCD = "redis", "redis, AOF", "memcached", "etcd"

BENCHMARK, PYTHON, GRPC, RPC, REDIS_PY = "redis-benchmark", "python", "grpc", "rpc", "redis-py"
"""What sends the load. The last two are how Python programs ask: one connection, one request after another."""

GET, SET, SET_QUORUM, SET_DURABLE, INCR, MGET, TWITTER = (
    "GET",
    "SET",
    "SET quorum",
    "SET durable",
    "INCR",
    "MGET 100",
    "Twitter",
)
"""A `SET quorum` is a `SET` in a namespace of that level, or `SET` and `WAIT 1` of Redis, or a put of etcd."""

SIZES_BYTES, DEPTHS = (64, 1024, 10240), (1, 16)
JUDGED_BYTES = 1024
"""The size at which floors are asked for, and at which what does not depend on the size is measured."""

FLOORS = {
    (GET, 1): 0.75,
    (GET, 16): 0.5,
    (SET, 1): 0.65,
    (SET, 16): 0.45,
    (SET_QUORUM, 1): 0.5,
    (SET_QUORUM, 16): 0.5,
}
"""What is asked of raftcache at its leader against Redis with two replicas, by operation and depth."""
ETCD_FLOOR = 5.0


class Measurement(NamedTuple):
    """One load on one system: `depth` requests in flight on each connection."""

    system: str
    operation: str
    tool: str
    depth: int = 1
    value_bytes: int = JUDGED_BYTES
    at: str = LEADER

    @property
    def title(self) -> str:
        """What it is called in reports."""
        place = f" ({self.at})" if self.at != LEADER else ""
        return f"{self.system}{place}: {self.operation}, {self.value_bytes} B, depth {self.depth}, {self.tool}"


class Row(NamedTuple):
    """`ours` is to reach `at_least` times the throughput of `theirs`; where that is 0, it is only shown."""

    ours: Measurement
    theirs: Measurement
    at_least: float = 0.0


def rows(sizes_bytes: Iterable[int] = SIZES_BYTES, depths: Iterable[int] = DEPTHS) -> list[Row]:
    """All comparisons for values of these sizes, at these depths."""
    depths = tuple(depths)
    return [row for size in sizes_bytes for depth in depths for row in _of_size(size, depth)]


def measurements(wanted: Iterable[Row]) -> list[Measurement]:
    """What has to be measured for them, each once, so that what is compared is measured close together."""
    return list(dict.fromkeys(each for row in wanted for each in (row.theirs, row.ours)))


def _of_size(size: int, depth: int) -> Iterator[Row]:
    for operation in (GET, SET):
        redis = Measurement(REDIS, operation, BENCHMARK, depth, size)
        yield Row(redis._replace(system=RAFTCACHE), redis, _floor(operation, depth, size))
        yield Row(redis._replace(system=RAFTCACHE, at=FORWARDED), redis)
    yield _pair(RAFTCACHE_LOG, REDIS_AOF, SET, BENCHMARK, depth, size)
    for operation in (GET, SET):
        yield _pair(RAFTCACHE, MEMCACHED, operation, PYTHON, depth, size)
    yield _pair(RAFTCACHE, REDIS, SET_QUORUM, PYTHON, depth, size, _floor(SET_QUORUM, depth, size))
    if depth == 1:
        yield from _against_etcd(size)
    if size == JUDGED_BYTES:
        yield from _once(depth)


def _against_etcd(size: int) -> Iterator[Row]:
    etcd = Measurement(ETCD, SET_QUORUM, GRPC, 1, size)
    floor = ETCD_FLOOR if size == JUDGED_BYTES else 0.0
    yield Row(Measurement(RAFTCACHE, SET_QUORUM, PYTHON, 1, size), etcd, floor)
    yield Row(Measurement(RAFTCACHE_LOG, SET_QUORUM, PYTHON, 1, size), etcd)
    yield Row(Measurement(RAFTCACHE_LOG, SET_DURABLE, PYTHON, 1, size), etcd)


def _once(depth: int) -> Iterator[Row]:
    """What is measured at one size only."""
    yield _pair(RAFTCACHE, REDIS, INCR, BENCHMARK, depth, JUDGED_BYTES)
    if depth == 1:
        yield _pair(RAFTCACHE, REDIS, MGET, BENCHMARK, depth, JUDGED_BYTES)
    for rival in (REDIS, MEMCACHED):
        yield _pair(RAFTCACHE, rival, TWITTER, PYTHON, depth, JUDGED_BYTES)
    if depth == 1:
        for operation in (GET, SET):
            redis = Measurement(REDIS, operation, REDIS_PY)
            yield Row(redis._replace(system=RAFTCACHE), redis)
            yield Row(Measurement(RAFTCACHE, operation, RPC), redis)


def _pair(ours: str, theirs: str, operation: str, tool: str, depth: int, size: int, at_least: float = 0.0) -> Row:
    measured = Measurement(theirs, operation, tool, depth, size)
    return Row(measured._replace(system=ours), measured, at_least)


def _floor(operation: str, depth: int, size: int) -> float:
    return FLOORS.get((operation, depth), 0.0) if size == JUDGED_BYTES else 0.0
