"""What goes to a load generator and what comes back: JSON on its command line and on its standard output. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

KEYS_PER_CLIENT = 200


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What both systems are asked for: `clients` that each have one write in flight, over `connections` connections
    to each node, for `seconds` after `warm_up_s`. `pids` are the servers, whose processor time is read meanwhile."""

    clients: int
    connections: int
    seconds: float
    warm_up_s: float
    value_bytes: int
    pids: tuple[int, ...]


class RaftcacheLoad(msgspec.Struct, frozen=True, kw_only=True):
    """A load on raftcache. `ack` is the level to wait for; `slots` are `(first, last, shard id)`; `leaders` name a
    node by shard, `rpc` its `host:port`."""

    load: Load
    ack: str
    cluster_id: str
    secret_hex: str
    slots: tuple[tuple[int, int, str], ...]
    leaders: dict[str, str]
    rpc: dict[str, str]


class EtcdLoad(msgspec.Struct, frozen=True, kw_only=True):
    """A load on etcd. `address` is the leader's, `host:port`; `style` is how grpcio is driven: `aio` or `threads`."""

    load: Load
    address: str
    style: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one generator measured within its measured time. CPU is in seconds, `servers_cpu_s` by server process;
    `failures` are counts by error."""

    writes: int
    seconds: float
    p50_ms: float
    p99_ms: float
    servers_cpu_s: tuple[float, ...]
    load_cpu_s: float
    failures: dict[str, int] = {}

    @property
    def per_second(self) -> float:
        """Acknowledged writes a second."""
        return self.writes / self.seconds

    @property
    def server_cpu_us(self) -> float:
        """Processor time of all servers together for one write, in microseconds."""
        return sum(self.servers_cpu_s) / max(1, self.writes) * 1e6

    @property
    def load_cpu_us(self) -> float:
        """The same of the generator."""
        return self.load_cpu_s / max(1, self.writes) * 1e6

    @property
    def busiest_server(self) -> float:
        """How many processors the busiest server process used."""
        return max(self.servers_cpu_s, default=0.0) / self.seconds

    @property
    def generator(self) -> float:
        """How many processors the generator used."""
        return self.load_cpu_s / self.seconds

    @property
    def processors(self) -> float:
        """How many processors servers and generator used together."""
        return sum(self.servers_cpu_s) / self.seconds + self.generator


def keys(client: int) -> Iterator[bytes]:
    """The keys that a client writes, over and over; no two clients share one."""
    while True:
        for number in range(KEYS_PER_CLIENT):
            yield b"bench-%d-%d" % (client, number)


def value(client: int, size_bytes: int) -> bytes:
    """What a client writes: bytes that do not compress, the same in every run."""
    return random.Random(client).randbytes(size_bytes)
