"""The systems that are compared: each started on files and ports of its own, all of them up during the whole run.

A system that is not measured just now costs next to nothing, which the report shows; starting them anew for every
measurement would put minutes between what is compared.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import redis
from writes.etcd_cluster import STOP_PATIENCE_S, EtcdCluster

from beside.requests import KEYS, PREFIXES, TWITTER_CLUSTER, Request, key, memcached, value
from beside.rows import ETCD, FORWARDED, LEADER, MEMCACHED, RAFTCACHE, RAFTCACHE_LOG, REDIS, REDIS_AOF
from jepsen_like.cluster import DriverError, RealCluster, wait_until
from jepsen_like.ports import Ports
from raftcache.cli.api import Api
from raftcache.cli.local import Local
from raftcache.config import parse_address
from raftcache.supervisor.cluster import PORTS_PER_NODE

HOST = "127.0.0.1"
REPLICAS = 2
PACKAGES = {
    "redis-server": "redis-server",
    "redis-benchmark": "redis-tools",
    "memcached": "memcached",
    "etcd": "etcd-server",
}
"""Debian's package for each program."""
MEMORY_MIB = 1024
FILL_ATTEMPTS, FILL_PAUSE_S = 5, 1.0


class Place(NamedTuple):
    """Where to ask a system, and whose processor time counts."""

    host: str
    port: int
    pids: tuple[int, ...]


class System(ABC):
    """Something that is measured: up between `start` and `stop`."""

    programs: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def start(self) -> None:
        """Bring it up. Raises DriverError."""

    @abstractmethod
    def stop(self) -> None:
        """End every process of it."""

    @abstractmethod
    def place(self, at: str) -> Place:
        """Where to ask: the leader, or a node that forwards. Raises DriverError."""

    def fill(self, value_bytes: int) -> None:  # noqa: B027  (a system that is only written to needs nothing)
        """Write every key that will be read."""


class _Processes:
    """Child processes on free ports: of the k-th, ports `port(k)` and on."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self._ports = folder, Ports(count)
        self.started: list[subprocess.Popen[bytes]] = []

    def port(self, number: int) -> int:
        """A port of the `number`-th process."""
        return self._ports.base + PORTS_PER_NODE * number

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start one, with its output in the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / f"{len(self.started)}.log", "ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
            )
        self.started.append(process)
        return process

    def stop(self) -> None:
        """End them all: asked first, killed after a while."""
        for process in self.started:
            process.terminate()
        for process in self.started:
            try:
                process.wait(STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._ports.close()


class Redis(System):
    """A master with two replicas, and Debian's defaults but for saving: no snapshots, and the AOF on or off."""

    programs = ("redis-server", "redis-benchmark")

    def __init__(self, folder: Path, aof: bool) -> None:
        super().__init__(folder)
        self._aof, self._processes = aof, _Processes(folder, 1 + REPLICAS)

    def start(self) -> None:
        """See `System`."""
        for number in range(1 + REPLICAS):
            self._start(number)
        wait_until(self._replicated, "Redis' replicas", self._processes.started[0], self.folder)

    def stop(self) -> None:
        """See `System`."""
        self._processes.stop()

    def place(self, at: str) -> Place:
        """See `System`: all are asked at the master."""
        return Place(HOST, self._processes.port(0), tuple(each.pid for each in self._processes.started))

    def fill(self, value_bytes: int) -> None:
        """See `System`."""
        fill_redis(self.place(LEADER), value_bytes)

    def _start(self, number: int) -> None:
        folder = self.folder / str(number)
        folder.mkdir(parents=True)
        words = ["--port", self._processes.port(number), "--bind", HOST, "--dir", folder, "--save", ""]
        words += ["--appendonly", "yes" if self._aof else "no", "--appendfsync", "everysec"]
        words += ["--replicaof", HOST, self._processes.port(0)] if number else []
        self._processes.start("redis-server", *map(str, words))

    def _replicated(self) -> bool:
        for number in range(1 + REPLICAS):
            with redis.Redis(HOST, self._processes.port(number)) as client, suppress(redis.RedisError):
                told = client.info("replication")
                if told["connected_slaves" if not number else "master_link_status"] in (REPLICAS, "up"):
                    continue
            return False
        return True


class Memcached(System):
    """One process, with its defaults but for memory, which is to hold everything."""

    programs = ("memcached",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._processes = _Processes(folder, 1)

    def start(self) -> None:
        """See `System`."""
        words = ["-l", HOST, "-p", self._processes.port(0), "-U", 0, "-u", "root", "-m", MEMORY_MIB]
        process = self._processes.start("memcached", *map(str, words))
        wait_until(lambda: _accepts(self._processes.port(0)), "memcached", process, self.folder)

    def stop(self) -> None:
        """See `System`."""
        self._processes.stop()

    def place(self, at: str) -> Place:
        """See `System`."""
        return Place(HOST, self._processes.port(0), tuple(each.pid for each in self._processes.started))

    def fill(self, value_bytes: int) -> None:
        """See `System`."""
        wanted = [Request(key(number), value(value_bytes)) for number in range(KEYS)]
        wanted += [Request(name, value(TWITTER_CLUSTER.value_bytes)) for name in twitter_keys()]
        _ask(self.place(LEADER), [memcached(request) for request in wanted], b"STORED\r\n")


class Etcd(System):
    """Three members."""

    programs = ("etcd",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.cluster = EtcdCluster(folder)

    def start(self) -> None:
        """See `System`."""
        self.cluster.__enter__()

    def stop(self) -> None:
        """See `System`."""
        self.cluster.__exit__()

    def place(self, at: str) -> Place:
        """See `System`."""
        host, port = parse_address(self.cluster.leader())
        return Place(host, port, self.cluster.pids)


class Raftcache(System):
    """Three nodes under `raftcache up` with one shard, with a log or without one."""

    def __init__(self, folder: Path, memory: bool) -> None:
        super().__init__(folder)
        self.cluster = RealCluster(folder, shards=1, memory=memory)

    def start(self) -> None:
        """See `System`. `safe` is a namespace of every new cluster."""
        self.cluster.__enter__()
        if not self.cluster.memory:
            url = f"http://{next(iter(self.cluster.http().values()))}"
            Api(url).send("PUT", "/v1/namespaces/vault", {"ack": "durable"}, expect=(200, 201))

    def stop(self) -> None:
        """See `System`."""
        self.cluster.__exit__()

    def place(self, at: str) -> Place:
        """See `System`. A leader that changes during a run is asked where it is then."""
        local, pids = Local(self.cluster.data_dir), self.cluster.wait_ready()
        leader = next(node for shard, node in self.cluster.leaders().items() if shard != "meta")
        nodes = [node for node in local.cluster.nodes if (node.id == leader) == (at != FORWARDED)]
        if leader is None or not nodes:
            raise DriverError("the shard has no leader")
        host, port = parse_address(nodes[0].redis_router)
        return Place(host, port, tuple(pids.values()))

    def fill(self, value_bytes: int) -> None:
        """See `System`."""
        fill_redis(self.place(LEADER), value_bytes)


def missing(systems: dict[str, Callable[[Path], System]]) -> dict[str, str]:
    """Of the systems that cannot be measured here, the package that is missing."""
    kinds = {name: PROGRAMS[name] for name in systems}
    lacking = {name: [each for each in programs if shutil.which(each) is None] for name, programs in kinds.items()}
    return {name: PACKAGES[programs[0]] for name, programs in lacking.items() if programs}


SYSTEMS: dict[str, Callable[[Path], System]] = {
    RAFTCACHE: lambda folder: Raftcache(folder, memory=True),
    RAFTCACHE_LOG: lambda folder: Raftcache(folder, memory=False),
    REDIS: lambda folder: Redis(folder, aof=False),
    REDIS_AOF: lambda folder: Redis(folder, aof=True),
    MEMCACHED: Memcached,
    ETCD: Etcd,
}
PROGRAMS = {
    RAFTCACHE: (),
    RAFTCACHE_LOG: (),
    REDIS: Redis.programs,
    REDIS_AOF: Redis.programs,
    MEMCACHED: Memcached.programs,
    ETCD: Etcd.programs,
}


def twitter_keys() -> list[bytes]:
    """The keys of the Twitter rows."""
    return [key(number, TWITTER_CLUSTER.key_bytes) for number in range(KEYS)]


def fill_redis(place: Place, value_bytes: int) -> None:
    """Write every key over the Redis protocol; again where leaders have changed meanwhile. Raises DriverError.

    Also those that are only written to: what of another size is left there makes raftcache's snapshots larger, and so
    the rows of one size would depend on which was measured before."""
    for _ in range(FILL_ATTEMPTS):
        try:
            return _fill_redis(place, value_bytes)
        except redis.RedisError as error:
            why = error
            time.sleep(FILL_PAUSE_S)  # Real processes elect by the wall clock.
    raise DriverError(f"the keys cannot be written: {why}")


def _fill_redis(place: Place, value_bytes: int) -> None:
    content, like = value(value_bytes), value(TWITTER_CLUSTER.value_bytes)
    with redis.Redis(place.host, place.port) as client:
        pipeline = client.pipeline(transaction=False)
        for prefix in sorted(set(PREFIXES.values())):
            for number in range(KEYS):
                pipeline.set(prefix + key(number), content)
        for name in twitter_keys():
            pipeline.set(name, like)
        pipeline.execute()


def _ask(place: Place, requests: list[bytes], answer: bytes) -> None:
    with socket.create_connection((place.host, place.port)) as connection, connection.makefile("rb") as replies:
        for request in requests:
            connection.sendall(request)
            if replies.readline() != answer:
                raise DriverError(f"{request[:40]!r} was not answered {answer!r}")


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
        return True
    return False
