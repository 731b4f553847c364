"""RPC messages: round trips, torn ones, wrong types, errors as they travel."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.errors import InternalError, NotLeader, OutcomeUnknown, RaftcacheError
from raftcache.wire.rpc import (
    BODY_LIMIT_BYTES,
    ENVELOPE_BYTES,
    METHOD_LIMIT_CHARS,
    RPC_FRAME_LIMIT_BYTES,
    UNKNOWN_CALL,
    MalformedMessage,
    Reply,
    Request,
    decode_failure,
    decode_reply,
    decode_request,
    encode_failure,
    encode_reply,
    encode_request,
)

call_ids = st.integers(1, (1 << 63) - 1)
pack = msgspec.msgpack.encode


@settings(deadline=None, max_examples=60)
@given(call_ids, st.text(min_size=1, max_size=64), st.integers(-(1 << 31), 1 << 40), st.binary(max_size=50))
def test_a_request_survives_the_wire(call_id: int, method: str, left_ms: int, body: bytes) -> None:
    frame = encode_request(call_id, method, left_ms, body)
    assert decode_request(frame) == Request(call_id, method, left_ms, body)
    assert msgspec.msgpack.decode(frame) == [call_id, method, left_ms, body]


@settings(deadline=None, max_examples=60)
@given(call_ids, st.binary(max_size=50))
def test_a_reply_survives_the_wire(call_id: int, body: bytes) -> None:
    assert decode_reply(encode_reply(call_id, body)) == Reply(call_id, True, body)


def test_an_error_survives_the_wire_with_its_details() -> None:
    reply = decode_reply(encode_failure(7, NotLeader("shard 7c1f is led elsewhere", leader="n2", term=4)))
    error = decode_failure(reply.body)
    assert (reply.call_id, reply.ok, type(error)) == (7, False, NotLeader)
    assert error.to_wire() == {
        "code": "not_leader",
        "message": "shard 7c1f is led elsewhere",
        "details": {"leader": "n2", "term": 4},
    }


def test_details_without_a_wire_form_travel_as_text() -> None:
    error = decode_failure(decode_reply(encode_failure(1, OutcomeUnknown("x", why=ValueError("odd")))).body)
    assert error.details == {"why": "odd"}


@pytest.mark.parametrize("wire", [b"", b"\xc1", pack([1]), pack({"code": 3})])
def test_an_unreadable_error_is_an_internal_one(wire: bytes) -> None:
    error = decode_failure(wire)
    assert type(error) is InternalError and "cannot be read" in error.message


def test_an_unknown_code_keeps_its_text() -> None:
    error = decode_failure(pack({"code": "from_the_future", "message": "hm"}))
    assert type(error) is InternalError and error.message == "hm"


@pytest.mark.parametrize("length", range(len(encode_request(5, "get", 100, b"body"))))
def test_a_torn_request_is_a_named_error(length: int) -> None:
    with pytest.raises(MalformedMessage, match="not an RPC request") as caught:
        decode_request(encode_request(5, "get", 100, b"body")[:length])
    assert caught.value.call_id == UNKNOWN_CALL


@pytest.mark.parametrize(
    ("message", "call_id"),
    [
        ([], UNKNOWN_CALL),
        ({"call_id": 1}, UNKNOWN_CALL),
        (["one", "get", 100, b""], UNKNOWN_CALL),
        ([-1, "get", 100, b""], UNKNOWN_CALL),
        ([0, "get", 100, b""], UNKNOWN_CALL),
        ([5], 5),
        ([5, "", 100, b""], 5),
        ([5, "m" * (METHOD_LIMIT_CHARS + 1), 100, b""], 5),
        ([5, b"\xff", 100, b""], 5),
        ([5, "get", 1.5, b""], 5),
        ([5, "get", 100, {"not": "bytes"}], 5),
        ([5, "get", 100, b"", "more"], 5),
    ],
)
def test_a_request_of_wrong_shape_is_a_named_error(message: Any, call_id: int) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_request(pack(message))
    assert caught.value.call_id == call_id and isinstance(caught.value, RaftcacheError)


@pytest.mark.parametrize("message", [[], [1, True], [1, 1, b""], [1, True, 7], [1, True, b"", 0]])
def test_a_reply_of_wrong_shape_is_a_named_error(message: Any) -> None:
    with pytest.raises(MalformedMessage, match="not an RPC reply"):
        decode_reply(pack(message))


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_fail(data: bytes) -> None:
    for decode in (decode_request, decode_reply):
        with contextlib.suppress(MalformedMessage):
            decode(data)
    assert isinstance(decode_failure(data), RaftcacheError)


def test_the_envelope_fits_its_allowance() -> None:
    largest = encode_request(
        (1 << 63) - 1, "\N{EARTH GLOBE EUROPE-AFRICA}" * METHOD_LIMIT_CHARS, 1 << 62, b"x" * 70_000
    )
    assert len(largest) - 70_000 <= ENVELOPE_BYTES == RPC_FRAME_LIMIT_BYTES - BODY_LIMIT_BYTES
