"""What the tests with real processes share: calls over HTTP, strangers on raw sockets, metrics read off."""

from __future__ import annotations

import functools
import inspect
import secrets
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import redis
from prometheus_client.parser import text_string_to_metric_families

from jepsen_like.cluster import PROGRAM, RealCluster
from raftcache.cli.api import Answer, Api, key_path
from raftcache.cli.local import Local
from raftcache.config import parse_address
from raftcache.wire.handshake import NONCE_BYTES, ClientHandshake, Identity

SOCKET_PATIENCE_S = 10.0


class Written(NamedTuple):
    """An acknowledged write."""

    value: int
    version: str


def put(address: str, key: str, document: dict[str, Any], namespace: str = "safe") -> Answer:
    """PUT one key as JSON."""
    body = msgspec.json.encode(document)
    return Api(f"http://{address}").call(
        "PUT", key_path(namespace, key.encode()), body, {"Content-Type": "application/json"}
    )


def write(address: str, key: str, value: int) -> Written:
    """Write to `safe`; it must be acknowledged."""
    answer = put(address, key, {"value": value})
    assert answer.status == 201, answer
    return Written(value, answer.json()["version"])


def read(address: str, keys: list[str]) -> dict[str, Written]:
    """What a linearizable read at this node shows."""
    asked = {"namespace": "safe", "keys": keys, "consistency": "linearizable"}
    results = Api(f"http://{address}").send("POST", "/v1/cache/batch/get", asked)["results"]
    return {each["key"]: Written(each["value"], each["version"]) for each in results if each["hit"]}


def shards(address: str) -> dict[str, dict[str, Any]]:
    """The shards of `/v1/cluster`, by id."""
    return {shard["id"]: shard for shard in Api(f"http://{address}").send("GET", "/v1/cluster")["shards"]}


def leaders_of(cluster: RealCluster) -> dict[str, tuple[str | None, int]]:
    """Who leads each shard, and since which term."""
    first = next(iter(addresses(cluster, "http").values()))
    return {id_: (shard["leader"], shard["term"]) for id_, shard in shards(first).items()}


def steady(test: Callable[..., None]) -> Callable[..., None]:
    """Once more, with no keys there, where leaders changed while the test ran. On a busy machine they do, and what the
    test asks for holds while they stay: what was acknowledged at `primary` can be lost, and order and time change."""
    parameters = inspect.signature(test).parameters

    @functools.wraps(test)
    def run(whole: RealCluster, **given: Any) -> None:
        given |= {"whole": whole} if "whole" in parameters else {}
        for left in (2, 1, 0):
            before = leaders_of(whole)
            try:
                return test(**given)
            except Exception:
                if not left or leaders_of(whole) == before:
                    raise
            with redis.Redis.from_url(f"redis://{addresses(whole, 'redis_router')['n0']}") as client:
                client.flushall()

    others = [each for each in parameters.values() if each.name != "whole"]
    whole = inspect.Parameter("whole", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([whole, *others])  # type: ignore[attr-defined]
    return run


def is_ready(address: str) -> bool:
    """Whether `/readyz` says so."""
    return Api(f"http://{address}").call("GET", "/readyz").status == 200


def samples(address: str) -> dict[str, dict[tuple[str, ...], float]]:
    """`/metrics`: for each name the value by label values, in the order of the labels' names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    text = Api(f"http://{address}").call("GET", "/metrics").body.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def program(*words: str | Path, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run `raftcache WORDS` to its end."""
    command = [*PROGRAM, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)


class Stranger:
    """A raw connection. `with Stranger(address) as stranger: …`"""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_connection(parse_address(address), timeout=SOCKET_PATIENCE_S)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until_closed(self) -> bytes:
        """Everything that comes until the node closes the connection. Raises TimeoutError where it does not."""
        received = b""
        try:
            while data := self.socket.recv(65_536):
                received += data
        except ConnectionResetError:
            pass
        return received

    def frame(self) -> bytes:
        """The payload of the next frame that is not a ping."""
        while not (length := int.from_bytes(self._exactly(4), "big")):
            pass
        return self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            data = self.socket.recv(size - len(received))
            assert data, f"closed after {received!r}"
            received += data
        return received

    def authenticate(self, secret: bytes, cluster_id: str) -> None:
        """Go through the handshake as a client."""
        who = Identity("client", "", "", secrets.token_hex(8))
        handshake = ClientHandshake(secret, cluster_id, who, secrets.token_bytes(NONCE_BYTES))
        self.send(handshake.data_to_send())
        while handshake.result is None:
            handshake.receive_data(self.socket.recv(65_536))
            self.send(handshake.data_to_send())


def secret_of(cluster: RealCluster) -> tuple[bytes, str]:
    """The cluster's secret and id."""
    local = Local(cluster.data_dir)
    return local.data_dir.secret(local.cluster), local.cluster.cluster_id


def addresses(cluster: RealCluster, kind: str) -> Mapping[str, str]:
    """The `http`, `rpc` or `peer` address of each node."""
    return {node.id: getattr(node, kind) for node in Local(cluster.data_dir).cluster.nodes}
