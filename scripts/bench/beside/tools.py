"""What sends a load: redis-benchmark, the generators in Python, and one Python client alone."""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import redis
from writes.measure import Meter, cpu_of
from writes.rounds import Options, generate
from writes.rounds import Raftcache as RpcLoad
from writes.spec import EtcdLoad, Outcome

from beside.load import Spec
from beside.requests import KEYS, MULTI_KEYS, key, value
from beside.rows import (
    BENCHMARK,
    GET,
    GRPC,
    INCR,
    MGET,
    PYTHON,
    REDIS_PY,
    RPC,
    SET,
    Measurement,
)
from beside.systems import Place, Raftcache, System
from jepsen_like.cluster import DriverError

WARM_UP_S = 0.5
TRIAL_REQUESTS = 2_000
PATIENCE_S = 60.0
ATTEMPTS, PAUSE_S = 6, 2.0
RANDOM_KEY = "key:__rand_int__"
"""redis-benchmark puts twelve digits in the place of the name."""


class Effort(NamedTuple):
    """How many connections, and for how long."""

    connections: int
    seconds: float


def measure(measured: Measurement, system: System, effort: Effort) -> Outcome:
    """Measure once. redis-benchmark ends at the first error, which a change of leaders may bring about where a machine
    is too busy for heartbeats: then it is measured again, and the outcome says so. Raises DriverError."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return _noted(TOOLS[measured.tool](measured, system, effort), attempt)
        except DriverError as error:
            print(f"{error}; measured again", file=sys.stderr)
            time.sleep(PAUSE_S)  # Real processes elect by the wall clock.
    return _noted(TOOLS[measured.tool](measured, system, effort), ATTEMPTS - 1)


def _noted(outcome: Outcome, attempts: int) -> Outcome:
    failures = {**outcome.failures, **({"measured again": attempts} if attempts else {})}
    return msgspec.structs.replace(outcome, failures=failures)


def benchmark(measured: Measurement, system: System, effort: Effort) -> Outcome:
    """With redis-benchmark, which counts requests: a trial tells how many of them fill the time."""
    place = system.place(measured.at)
    rate = float(_run(measured, place, effort, TRIAL_REQUESTS)["rps"])
    rate = float(_run(measured, place, effort, int(rate * WARM_UP_S))["rps"])
    requests = max(TRIAL_REQUESTS, int(rate * effort.seconds))
    before, began, own = cpu_of(place.pids), time.perf_counter(), _children_cpu()
    row = _run(measured, place, effort, requests)
    spent = tuple(now - then for now, then in zip(cpu_of(place.pids), before, strict=True))
    return Outcome(
        writes=requests,
        seconds=requests / float(row["rps"]),
        p50_ms=float(row["p50_latency_ms"]),
        p99_ms=float(row["p99_latency_ms"]),
        servers_cpu_s=spent,
        load_cpu_s=min(_children_cpu() - own, time.perf_counter() - began),
        failures={},
    )


def _run(measured: Measurement, place: Place, effort: Effort, requests: int) -> dict[str, str]:
    """One run; its line as redis-benchmark names the columns. Raises DriverError, also where a reply is an error."""
    words = ["-h", place.host, "-p", place.port, "-c", effort.connections, "-n", max(requests, TRIAL_REQUESTS)]
    command = ["redis-benchmark", *map(str, words), "-P", str(measured.depth), "-r", str(KEYS), "--csv"]
    done = subprocess.run(
        [*command, *_command(measured)], capture_output=True, text=True, timeout=PATIENCE_S + effort.seconds
    )
    rows = list(csv.DictReader(done.stdout.splitlines()))
    if done.returncode or not rows or "rror" in done.stderr:
        raise DriverError(f"redis-benchmark, {measured.title}: {(done.stderr or done.stdout).strip()[-300:]}")
    return rows[-1]


def _command(measured: Measurement) -> list[str]:
    commands = {
        GET: ["GET", RANDOM_KEY],
        SET: ["SET", RANDOM_KEY, value(measured.value_bytes).decode()],
        INCR: ["INCR", "counter:__rand_int__"],
        MGET: ["MGET", *[RANDOM_KEY] * MULTI_KEYS],
    }
    return commands[measured.operation]


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def python(measured: Measurement, system: System, effort: Effort) -> Outcome:
    """With the generator in Python."""
    place = system.place(measured.at)
    spec = Spec(
        measured=measured,
        host=place.host,
        port=place.port,
        connections=effort.connections,
        seconds=effort.seconds,
        warm_up_s=WARM_UP_S,
        pids=place.pids,
    )
    return generate("beside.load", spec, spec.seconds + spec.warm_up_s)


def grpc(measured: Measurement, system: System, effort: Effort) -> Outcome:
    """Puts to etcd's leader, each client with one in flight, from one loop over a few connections."""
    place = system.place(measured.at)
    load = _options(measured, effort).load(4, place.pids)
    spec = EtcdLoad(load=load, address=f"{place.host}:{place.port}", style="aio")
    return generate("writes.etcd_load", spec, load.seconds + load.warm_up_s)


def rpc(measured: Measurement, system: System, effort: Effort) -> Outcome:
    """One client of raftcache's own RPC."""
    assert isinstance(system, Raftcache)
    one = Effort(1, effort.seconds)
    spec = RpcLoad("", 1, "primary").load(system.cluster, _options(measured, one))
    module = "writes.read_load" if measured.operation == GET else "writes.raftcache_load"
    return generate(module, spec, spec.load.seconds + spec.load.warm_up_s)


def _options(measured: Measurement, effort: Effort) -> Options:
    return Options(effort.connections, effort.seconds, WARM_UP_S, measured.value_bytes)


def redis_py(measured: Measurement, system: System, effort: Effort) -> Outcome:
    """One client of redis-py, one request after another."""
    place = system.place(measured.at)
    meter, content = Meter(place.pids), value(measured.value_bytes)
    with redis.Redis(place.host, place.port) as client:
        ask: Callable[[bytes], object] = client.get
        if measured.operation == SET:
            ask = lambda name: client.set(name, content)  # noqa: E731
        _ask_for(WARM_UP_S, meter, ask)
        meter.open()
        _ask_for(effort.seconds, meter, ask)
        return meter.close()


def _ask_for(seconds: float, meter: Meter, ask: Callable[[bytes], object]) -> None:
    end, number = time.perf_counter() + seconds, 0
    while (began := time.perf_counter()) < end:
        number = (number + 7919) % KEYS  # A prime: all keys, in no order.
        if ask(key(number)):
            meter.done(began)
        else:
            meter.failed("a miss")


TOOLS: dict[str, Callable[[Measurement, System, Effort], Outcome]] = {
    BENCHMARK: benchmark,
    PYTHON: python,
    GRPC: grpc,
    RPC: rpc,
    REDIS_PY: redis_py,
}
