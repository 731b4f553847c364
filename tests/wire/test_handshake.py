"""The handshake: both ends prove themselves, and everybody else gets a clear error."""

from __future__ import annotations

import contextlib
import hmac
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.errors import Unauthenticated
from raftcache.wire.frames import pack_frame
from raftcache.wire.handshake import HANDSHAKE_LIMIT_BYTES, ClientHandshake, Identity, ServerHandshake

SECRET = b"a shared secret"
ALICE = Identity("client", "alice", "i1", "r1")
NODE = Identity("node", "n0", "i2", "r2")


def client(secret: bytes = SECRET, cluster: str = "c1", nonce: bytes = b"c" * 32, **more: Any) -> ClientHandshake:
    return ClientHandshake(secret, cluster, ALICE, nonce, **more)


def server(secret: bytes = SECRET, cluster: str = "c1", nonce: bytes = b"s" * 32, **more: Any) -> ServerHandshake:
    return ServerHandshake(secret, cluster, NODE, nonce, **more)


def feed(target: ClientHandshake | ServerHandshake, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        target.receive_data(data[start : start + step])


def exchange(c: ClientHandshake, s: ServerHandshake, step: int = 10_000) -> None:
    """Carry bytes both ways until both have ended."""
    while c.result is None or s.result is None:
        to_server, to_client = c.data_to_send(), s.data_to_send()
        assert to_server or to_client, "neither side has anything to say"
        feed(s, to_server, step)
        feed(c, to_client, step)


def reason_of(caught: pytest.ExceptionInfo[Unauthenticated]) -> str:
    return str(caught.value.details["reason"])


@pytest.mark.parametrize("step", [10_000, 1, 7])
@pytest.mark.parametrize("secret", [SECRET, b"", b"k" * 500])
def test_both_ends_learn_who_the_other_is(step: int, secret: bytes) -> None:
    c, s = client(secret), server(secret)
    exchange(c, s, step)
    assert (c.result, s.result) == (NODE, ALICE)
    assert c.trailing == s.trailing == b""


def test_what_follows_the_welcome_is_handed_on() -> None:
    c, s = client(), server()
    s.receive_data(c.data_to_send())
    c.receive_data(s.data_to_send())
    s.receive_data(c.data_to_send() + b"early")
    c.receive_data(s.data_to_send() + pack_frame(b"first frame"))
    assert c.trailing == pack_frame(b"first frame")
    assert s.trailing == b"early"


def test_a_client_with_a_wrong_secret_is_refused_and_told_so() -> None:
    c, s = client(b"wrong"), server()
    with pytest.raises(Unauthenticated, match="client does not hold this cluster's secret") as caught:
        exchange(c, s)
    assert reason_of(caught) == "wrong_secret" and s.result is None
    with pytest.raises(Unauthenticated, match="the server refused the handshake: the client does not hold"):
        c.receive_data(s.data_to_send())


def test_an_empty_secret_does_not_pass_for_a_set_one() -> None:
    with pytest.raises(Unauthenticated, match="secret"):
        exchange(client(b""), server())


def test_a_server_without_the_secret_is_found_out() -> None:
    c, s = client(), server()
    s.receive_data(c.data_to_send())
    c.receive_data(s.data_to_send())
    forged = msgspec.msgpack.encode(["welcome", hmac.digest(b"guess", b"anything", "sha256")])
    with pytest.raises(Unauthenticated, match="the server does not hold this cluster's secret") as caught:
        c.receive_data(pack_frame(forged))
    assert reason_of(caught) == "wrong_secret" and c.result is None


def test_a_wrong_cluster_is_named() -> None:
    c, s = client(cluster="c2"), server()
    with pytest.raises(Unauthenticated, match="cluster_id 'c2' is not this cluster's") as caught:
        s.receive_data(c.data_to_send())
    assert reason_of(caught) == "wrong_cluster"
    with pytest.raises(Unauthenticated, match="cluster_id 'c2'"):
        c.receive_data(s.data_to_send())


def test_another_protocol_version_is_named_whatever_its_hello_holds() -> None:
    with pytest.raises(Unauthenticated, match="protocol version 2 is not spoken here, 1 is") as caught:
        server().receive_data(pack_frame(msgspec.msgpack.encode(["raftcache", 2, {"new": "shape"}])))
    assert reason_of(caught) == "wrong_version"


def test_a_reflected_proof_fails() -> None:
    """A server that knows nothing sends the client's own proof back."""
    c, s = client(), server()
    s.receive_data(c.data_to_send())
    c.receive_data(s.data_to_send())
    proof = msgspec.msgpack.decode(c.data_to_send()[4:])[1]
    with pytest.raises(Unauthenticated, match="server does not hold"):
        c.receive_data(pack_frame(msgspec.msgpack.encode(["welcome", proof])))


def test_a_reflected_challenge_fails() -> None:
    """A stranger dials a node and, to prove itself, uses what the node says when it dials the stranger."""
    target = server()
    stranger_says = msgspec.msgpack.encode(["raftcache", 1, "c1", NODE, b"s" * 32])
    target.receive_data(pack_frame(stranger_says))
    node_as_client = ClientHandshake(SECRET, "c1", NODE, b"s" * 32)
    node_as_client.data_to_send()
    node_as_client.receive_data(pack_frame(msgspec.msgpack.encode(["challenge", ALICE, b"s" * 32])))
    with pytest.raises(Unauthenticated, match="client does not hold"):
        target.receive_data(node_as_client.data_to_send())


def test_a_replayed_conversation_fails_on_the_new_nonce() -> None:
    c, s = client(), server()
    hello = c.data_to_send()
    s.receive_data(hello)
    c.receive_data(s.data_to_send())
    proof = c.data_to_send()
    s.receive_data(proof)
    assert s.result == ALICE
    again = server(nonce=b"t" * 32)
    again.receive_data(hello)
    with pytest.raises(Unauthenticated, match="secret"):
        again.receive_data(proof)


@pytest.mark.parametrize("field", range(4))
def test_an_identity_changed_on_the_way_fails(field: int) -> None:
    c, s = client(), server()
    hello = msgspec.msgpack.decode(c.data_to_send()[4:])
    hello[3][field] = "node"
    s.receive_data(pack_frame(msgspec.msgpack.encode(hello)))
    c.receive_data(s.data_to_send())
    with pytest.raises(Unauthenticated, match="secret"):
        s.receive_data(c.data_to_send())


@pytest.mark.parametrize(
    "garbage",
    [
        pack_frame(b""),
        pack_frame(b"\xc1"),
        pack_frame(msgspec.msgpack.encode({"raftcache": 1})),
        pack_frame(msgspec.msgpack.encode(["raftcache", 1])),
        pack_frame(msgspec.msgpack.encode(["raftcache", 1, "c1", ["client", "a\nb", "", ""], b"c" * 32])),
        pack_frame(msgspec.msgpack.encode(["raftcache", 1, "c1", ["client", "x" * 65, "", ""], b"c" * 32])),
        pack_frame(msgspec.msgpack.encode(["raftcache", 1, "c1", ALICE, b"short"])),
        pack_frame(msgspec.msgpack.encode(["raftcache", 1, "c1", ALICE, b"c" * 32, "more"])),
        pack_frame(b"\x92" * 900),
        pack_frame(b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix."),
    ],
)
def test_garbage_is_refused_without_an_answer(garbage: bytes) -> None:
    s = server()
    with pytest.raises(Unauthenticated, match="not a raftcache handshake") as caught:
        s.receive_data(garbage)
    assert reason_of(caught) == "not_a_handshake" and s.data_to_send() == b""


def test_http_on_the_port_is_refused_at_its_first_bytes() -> None:
    s = server()
    with pytest.raises(Unauthenticated, match=r"announced by the bytes b'GET '; the limit is 1024") as caught:
        s.receive_data(b"GET /livez HTTP/1.1\r\n\r\n")
    assert reason_of(caught) == "too_large" and s.data_to_send() == b""


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_is_exact(over: int) -> None:
    s = server()
    header = (HANDSHAKE_LIMIT_BYTES - 4 + over).to_bytes(4, "big")
    if over:
        with pytest.raises(Unauthenticated, match="limit is 1024"):
            s.receive_data(header)
    else:
        s.receive_data(header)
    assert s.result is None


def test_who_is_not_admitted_hears_why_only_after_the_proof() -> None:
    c, s = client(), server(admit=lambda who: f"{who.node_id} is not wanted")
    s.receive_data(c.data_to_send())
    c.receive_data(s.data_to_send())
    with pytest.raises(Unauthenticated, match="alice is not wanted") as caught:
        s.receive_data(c.data_to_send())
    assert reason_of(caught) == "not_admitted" and s.result is None
    with pytest.raises(Unauthenticated, match="refused the handshake: alice is not wanted"):
        c.receive_data(s.data_to_send())


def test_a_client_proves_nothing_to_a_server_that_it_does_not_admit() -> None:
    c, s = client(admit=lambda who: f"{who.node_id} was not expected"), server()
    s.receive_data(c.data_to_send())
    with pytest.raises(Unauthenticated, match="n0 was not expected"):
        c.receive_data(s.data_to_send())
    assert c.data_to_send() == b""


def test_an_unknown_role_is_not_admitted() -> None:
    c = ClientHandshake(SECRET, "c1", Identity("king"), b"c" * 32)
    with pytest.raises(Unauthenticated, match="role 'king' is none of node, client, frontend"):
        exchange(c, server())


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=1200))
def test_no_bytes_of_a_stranger_do_more_than_fail(data: bytes) -> None:
    for target in (client(), server()):
        with contextlib.suppress(Unauthenticated):
            target.receive_data(data)
        assert target.result is None
