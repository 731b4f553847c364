"""Puts to etcd over gRPC: `python -m writes.etcd_load JSON`. Needs grpcio.

Each client sends its next put when the last one is answered, to etcd's leader, which spares etcd forwarding it.
grpcio can be driven in two ways, from one loop or from a thread a client; the script tries both and keeps what gives
etcd more.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any

import msgspec

from writes.measure import Meter
from writes.protobuf import PUT, RANGE, put_request, range_request, range_values
from writes.spec import EtcdLoad, Load, Outcome, keys, value

TIMEOUT_S = 10.0


def options(number: int) -> list[tuple[str, int]]:
    """Channels of one process share a connection unless they differ; these do."""
    return [("grpc.use_local_subchannel_pool", 1), ("raftcache.bench.channel", number)]


def unchanged(message: bytes) -> bytes:
    """Serialiser and deserialiser: messages are bytes here already."""
    return message


async def run_aio(spec: EtcdLoad) -> Outcome:
    """All clients on one loop."""
    from grpc import RpcError, aio

    load, meter, running = spec.load, Meter(spec.load.pids), True
    channels = [aio.insecure_channel(spec.address, options=options(number)) for number in range(load.connections)]
    puts = [channel.unary_unary(PUT, unchanged, unchanged) for channel in channels]

    async def client(number: int) -> None:
        put, own_value = puts[number % len(puts)], value(number, load.value_bytes)
        for key in keys(number):
            if not running:
                return
            began = time.perf_counter()
            try:
                await put(put_request(key, own_value), timeout=TIMEOUT_S)
            except RpcError as error:
                meter.failed(str(error.code()))
            else:
                meter.done(began)

    clients = [asyncio.ensure_future(client(number)) for number in range(load.clients)]
    await asyncio.sleep(load.warm_up_s)
    meter.open()
    await asyncio.sleep(load.seconds)
    outcome = meter.close()
    running = False
    await asyncio.gather(*clients)
    for channel in channels:
        await channel.close()
    return outcome


def run_threads(spec: EtcdLoad) -> Outcome:
    """A thread a client."""
    import grpc

    load, meter, stop = spec.load, Meter(spec.load.pids), threading.Event()
    channels = [grpc.insecure_channel(spec.address, options=options(number)) for number in range(load.connections)]
    puts = [channel.unary_unary(PUT, unchanged, unchanged) for channel in channels]

    def client(number: int) -> None:
        put, own_value = puts[number % len(puts)], value(number, load.value_bytes)
        for key in keys(number):
            if stop.is_set():
                return
            began = time.perf_counter()
            try:
                put(put_request(key, own_value), timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                meter.failed(str(error.code()))
            else:
                meter.done(began)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(load.clients)]
    for thread in clients:
        thread.start()
    time.sleep(load.warm_up_s)  # Threads do the work meanwhile; this one only keeps the time.
    meter.open()
    time.sleep(load.seconds)  # As above.
    outcome = meter.close()
    stop.set()
    for thread in clients:
        thread.join()
    for channel in channels:
        channel.close()
    return outcome


def check(address: str, load: Load) -> None:
    """Raises RuntimeError where a put is not there."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        ask: Any = channel.unary_unary(RANGE, unchanged, unchanged)
        for number in range(load.clients):
            key = next(keys(number))
            found = range_values(ask(range_request(key), timeout=TIMEOUT_S))
            if found != {key: value(number, load.value_bytes)}:
                raise RuntimeError(f"{key!r} was acknowledged, and reading it answers {found!r:.200}")


def main() -> None:
    """Run one load and print its outcome."""
    spec = msgspec.json.decode(sys.argv[1], type=EtcdLoad)
    outcome = asyncio.run(run_aio(spec)) if spec.style == "aio" else run_threads(spec)
    check(spec.address, spec.load)
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
