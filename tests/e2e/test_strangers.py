"""Bad input on the real ports: each kind gets its clear answer, and the node lives on as the same process."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import msgspec
import pytest

from e2e.support import Stranger, addresses, is_ready, put, secret_of, write
from jepsen_like.cluster import RealCluster, wait_until
from raftcache.commands.types import KEY_LIMIT_BYTES, VALUE_LIMIT_BYTES
from raftcache.errors import RaftcacheError
from raftcache.node import admin
from raftcache.wire.frames import pack_frame
from raftcache.wire.handshake import HANDSHAKE_LIMIT_BYTES
from raftcache.wire.rpc import RPC_FRAME_LIMIT_BYTES, decode_reply, encode_request

NODE = "n1"
HTTP_REQUEST = b"GET /v1/cluster HTTP/1.1\r\nHost: cache\r\n\r\n"


@pytest.fixture(autouse=True)
def lives_on(whole: RealCluster) -> Iterator[None]:
    """After each test the same processes serve; a leadership that is being moved just then has a moment's grace."""
    before = whole.wait_ready()
    yield
    assert whole.pids() == before
    for number, address in enumerate(addresses(whole, "http").values()):
        wait_until(partial(is_ready, address), f"{address} to be ready")
        assert write(address, f"alive-{number}", number).value == number


@pytest.mark.parametrize("port", ["rpc", "peer"])
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(HTTP_REQUEST, id="http"),
        pytest.param(b"\xff" * 64, id="a frame of four gigabytes"),
        pytest.param((HANDSHAKE_LIMIT_BYTES + 1).to_bytes(4, "big"), id="more than a handshake"),
        pytest.param(pack_frame(b"\x00garbage"), id="garbage in a frame"),
        pytest.param(pack_frame(b"\x80\x04\x95."), id="a pickle"),
    ],
)
def test_who_does_not_speak_the_handshake_is_shown_the_door_without_a_word(
    whole: RealCluster, port: str, sent: bytes
) -> None:
    with Stranger(addresses(whole, port)[NODE]) as stranger:
        stranger.send(sent)
        assert stranger.until_closed() == b""


@pytest.mark.parametrize("port", ["rpc", "peer"])
def test_a_frame_torn_in_the_handshake_harms_nobody(whole: RealCluster, port: str) -> None:
    with Stranger(addresses(whole, port)[NODE]) as stranger:
        stranger.send(b"\x00\x00\x00\x20half")


@pytest.mark.parametrize("port", ["rpc", "peer"])
def test_a_wrong_secret_is_told_so(whole: RealCluster, port: str) -> None:
    _, cluster_id = secret_of(whole)
    with Stranger(addresses(whole, port)[NODE]) as stranger, pytest.raises(RaftcacheError) as raised:
        stranger.authenticate(b"another secret of good length", cluster_id)
    assert raised.value.details == {"reason": "wrong_secret"}


def test_an_admin_call_with_a_wrong_secret_is_unauthenticated(whole: RealCluster) -> None:
    secret, cluster_id = secret_of(whole)
    address = addresses(whole, "rpc")[NODE]
    with pytest.raises(RaftcacheError, match="secret") as raised:
        admin.call(address, b"x" * len(secret), cluster_id, "fault", {"isolate": True}, 5.0)
    assert raised.value.code == "unauthenticated"
    with pytest.raises(RaftcacheError, match="cluster_id 'another' is not this cluster's"):
        admin.call(address, secret, "another", "fault", {"isolate": True}, 5.0)


# -- behind the handshake ----------------------------------------------------------------------------


@pytest.fixture
def client(whole: RealCluster) -> Iterator[Stranger]:
    """An authenticated client on the RPC port."""
    with Stranger(addresses(whole, "rpc")[NODE]) as connection:
        connection.authenticate(*secret_of(whole))
        yield connection


def _error(frame: bytes) -> tuple[int, dict[str, str]]:
    """The call that a failed reply is about, and the error as it stands on the wire."""
    reply = decode_reply(frame)
    assert not reply.ok
    return reply.call_id, msgspec.msgpack.decode(reply.body)


@pytest.mark.parametrize(
    ("frame", "call_id", "code"),
    [
        (b"\xc1not msgpack", 0, "malformed_message"),
        (msgspec.msgpack.encode([7, "execute", "soon", b""]), 7, "malformed_message"),
        (msgspec.msgpack.encode([7, "execute"]), 7, "malformed_message"),
        (encode_request(7, "reboot", 1000, b""), 7, "unknown_command"),
        (encode_request(7, "execute", 1000, b"\xc1"), 7, "bad_request"),
        (encode_request(7, "fault", 1000, b'{"isolate": "yes"}'), 7, "bad_request"),
    ],
    ids=["no msgpack", "wrong type", "too short", "unknown method", "bad command", "bad fault"],
)
def test_a_bad_message_costs_only_its_own_call(client: Stranger, frame: bytes, call_id: int, code: str) -> None:
    client.send(pack_frame(frame))
    answered, error = _error(client.frame())
    assert (answered, error["code"]) == (call_id, code) and error["message"]
    client.send(pack_frame(encode_request(8, "cluster", 5000, b"")))
    reply = decode_reply(client.frame())
    assert (reply.call_id, reply.ok) == (8, True)


def test_a_torn_frame_is_waited_for(client: Stranger) -> None:
    whole_frame = pack_frame(encode_request(1, "cluster", 5000, b""))
    for start in range(len(whole_frame)):
        client.send(whole_frame[start : start + 1])
    assert decode_reply(client.frame()).ok


def test_a_frame_over_the_limit_ends_the_connection(client: Stranger) -> None:
    client.send((RPC_FRAME_LIMIT_BYTES + 1).to_bytes(4, "big") + b"x" * 64)
    client.until_closed()


def test_a_client_is_no_peer(whole: RealCluster) -> None:
    with Stranger(addresses(whole, "peer")[NODE]) as stranger, pytest.raises(RaftcacheError) as raised:
        stranger.authenticate(*secret_of(whole))
    assert raised.value.details == {"reason": "not_admitted"}


# -- HTTP --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ({"value": "x" * (VALUE_LIMIT_BYTES + 1)}, 413, str(VALUE_LIMIT_BYTES)),
        ({"value": 1, "ttlSeconds": -5}, 400, "ttlSeconds"),
        ({"value": 1, "ttlSeconds": "soon"}, 400, "ttlSeconds"),
        ({"value": 1, "surprise": 2}, 400, "surprise"),
        ({"value": 1, "durability": "sure"}, 400, "durability"),
        ({"ttlSeconds": 5}, 400, "value"),
    ],
)
def test_a_bad_body_is_named(whole: RealCluster, document: dict[str, object], status: int, words: str) -> None:
    answer = put(addresses(whole, "http")[NODE], "k", document)
    assert answer.status == status
    assert words in answer.json()["error"]["message"]


def test_bad_names_are_named(whole: RealCluster) -> None:
    address = addresses(whole, "http")[NODE]
    for namespace, key, status, code in (
        ("no-such", "k", 404, "unknown_namespace"),
        ("no such", "k", 400, "invalid_name"),
        ("safe", "k" * (KEY_LIMIT_BYTES + 1), 400, "invalid_key"),
    ):
        answer = put(address, key, {"value": 1}, namespace)
        assert (answer.status, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9\r\n\r\n", b"\x00" * 200],
    ids=["TLS", "an unknown version", "zeros"],
)
def test_what_is_no_http_is_a_bad_request(whole: RealCluster, sent: bytes) -> None:
    with Stranger(addresses(whole, "http")[NODE]) as stranger:
        stranger.send(sent + b"\r\n\r\n")
        assert stranger.until_closed().startswith(b"HTTP/1.0 400 ")
