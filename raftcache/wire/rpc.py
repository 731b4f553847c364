"""The two RPC messages, each the payload of one frame. Pure.

| message | msgpack array |
|---|---|
| request | `[call_id, method, deadline_ms_remaining, body]` |
| reply | `[call_id, ok, body]` |

`call_id` is chosen by the caller, from 1 up, and unique among its calls in flight on the connection. The deadline
travels as what remains of it, since the two ends share no clock. `body` is bytes that only the method
understands; a reply that is not `ok` carries `error.to_wire()` in msgpack. A reply to call 0 is about a request
whose call id could not be read.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from raftcache.errors import BadRequest, InternalError, RaftcacheError, from_wire

RPC_FRAME_LIMIT_BYTES = 32 << 20
"""The largest request or reply, envelope included."""
ENVELOPE_BYTES = 512
"""More than an envelope ever needs around its body."""
BODY_LIMIT_BYTES = RPC_FRAME_LIMIT_BYTES - ENVELOPE_BYTES
METHOD_LIMIT_CHARS = 64
UNKNOWN_CALL = 0

_CallId = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class MalformedMessage(BadRequest):
    """A frame that is not an RPC message. `call_id` is `UNKNOWN_CALL` where it could not be read."""

    code = "malformed_message"

    def __init__(self, message: str, call_id: int = UNKNOWN_CALL) -> None:
        super().__init__(message)
        self.call_id = call_id


class Request(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """One call."""

    call_id: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
    method: Annotated[str, msgspec.Meta(min_length=1, max_length=METHOD_LIMIT_CHARS)]
    deadline_ms_remaining: int
    body: bytes


class Reply(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """One answer."""

    call_id: _CallId
    ok: bool
    body: bytes


class _Head(msgspec.Struct, array_like=True):
    """What can be told of a message whose rest is wrong."""

    call_id: _CallId


class _ErrorBody(msgspec.Struct):
    code: str = ""
    message: str = ""
    details: dict[str, Any] = {}


# An error's details are for people: what has no msgpack form travels as its text.
_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_error = msgspec.msgpack.Decoder(_ErrorBody).decode
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode_request(call_id: int, method: str, deadline_ms_remaining: int, body: bytes) -> bytes:
    """A request's frame payload."""
    return _encode((call_id, method, deadline_ms_remaining, body))


def encode_reply(call_id: int, body: bytes) -> bytes:
    """A good reply's frame payload."""
    return _encode((call_id, True, body))


def encode_failure(call_id: int, error: RaftcacheError) -> bytes:
    """A failed reply's frame payload."""
    return _encode((call_id, False, _encode(error.to_wire())))


def decode_request(frame: bytes) -> Request:
    """Raises `MalformedMessage`, which knows the call id where that much could be read."""
    try:
        return _decode_request(frame)
    except _BAD as error:
        raise _malformed("request", frame, error) from error


def decode_reply(frame: bytes) -> Reply:
    """Raises `MalformedMessage`."""
    try:
        return _decode_reply(frame)
    except _BAD as error:
        raise _malformed("reply", frame, error) from error


def decode_failure(body: bytes) -> RaftcacheError:
    """The error in a failed reply's body; one that makes no sense becomes an `InternalError` that says so."""
    try:
        wire = _decode_error(body)
        return from_wire({"code": wire.code, "message": wire.message, "details": wire.details})
    except (*_BAD, TypeError) as error:
        return InternalError(f"the reply's error cannot be read: {error}")


def _malformed(kind: str, frame: bytes, error: Exception) -> MalformedMessage:
    try:
        call_id = _decode_head(frame).call_id
    except _BAD:
        call_id = UNKNOWN_CALL
    return MalformedMessage(f"not an RPC {kind}: {error}; {len(frame)} bytes, {frame[:16]!r}…", call_id)
