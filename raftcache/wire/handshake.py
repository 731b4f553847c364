"""The mutual challenge that opens every connection between processes. Pure: bytes in, bytes out.

Both sides hold the cluster secret, and each proves it without sending it:

    client                                             server
    hello      version, cluster, who I am, my nonce  ->
               <-  challenge   who I am, my nonce
    proof      HMAC(secret, "client" + transcript)   ->
               <-  welcome     HMAC(secret, "server" + transcript)

The transcript is the protocol version, the cluster id, both identities and both nonces, so a proof is good for
this connection only: a recorded one names another nonce, a reflected one the other side, and nobody can change
an identity on the way. The client proves first, so that a stranger gets nothing out of a server but a nonce.
A server that turns somebody away after a well-formed hello says why in a `refused` message; to garbage it says
nothing. Until the end at most 1 KiB is held, and only these five fixed shapes are parsed.

An empty secret runs the same exchange with an empty key: it proves nothing, and keeps the two ends honest about
cluster and version. Where that is allowed is decided by `net.protected`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from raftcache.errors import Unauthenticated
from raftcache.wire.frames import HEADER_BYTES, pack_frame

PROTOCOL_VERSION = 1
HANDSHAKE_LIMIT_BYTES = 1024
"""The most that is held of a connection that has not proved anything, header included."""
NONCE_BYTES = 32
PROOF_BYTES = 32
ROLES = ("node", "client", "frontend")

_Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.:-]{0,64}\Z")]
_Nonce = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
_Proof = Annotated[bytes, msgspec.Meta(min_length=PROOF_BYTES, max_length=PROOF_BYTES)]


class Identity(NamedTuple):
    """Who stands at one end. `role` is one of `ROLES`; nobody but a node needs more than a role and a run id."""

    role: str
    node_id: str = ""
    incarnation: str = ""
    run_id: str = ""


_AnyIdentity = tuple[_Name, _Name, _Name, _Name]
Admit = Callable[[Identity], str | None]
"""Decides whether the other end is welcome: None, or the reason why not."""


class _Opening(msgspec.Struct, array_like=True, tag="raftcache"):
    """What a hello of any version starts with."""

    version: int


class _Hello(msgspec.Struct, array_like=True, tag="raftcache", forbid_unknown_fields=True):
    version: int
    cluster_id: _Name
    identity: _AnyIdentity
    nonce: _Nonce


class _Challenge(msgspec.Struct, array_like=True, tag="challenge", forbid_unknown_fields=True):
    identity: _AnyIdentity
    nonce: _Nonce


class _ProofMessage(msgspec.Struct, array_like=True, tag="proof", forbid_unknown_fields=True):
    proof: _Proof


class _Welcome(msgspec.Struct, array_like=True, tag="welcome", forbid_unknown_fields=True):
    proof: _Proof


class _Refused(msgspec.Struct, array_like=True, tag="refused", forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(max_length=64)]
    text: Annotated[str, msgspec.Meta(max_length=400)]


_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode


def _decode(frame: bytes, shape: Any) -> Any:
    try:
        return msgspec.msgpack.decode(frame, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _failure("not_a_handshake", f"not a raftcache handshake: {error}; got {frame[:16]!r}") from error


def _failure(reason: str, message: str) -> Unauthenticated:
    return Unauthenticated(message, reason=reason)


class _Handshake:
    """What both sides share: the buffer, the transcript, the end.

    `result` is the other end's identity once it has proved itself, `trailing` what was received after the last
    message of the handshake. `receive_data` raises `Unauthenticated` with a `reason` in its details; what
    `data_to_send` then holds is still to be sent before the connection is closed.
    """

    def __init__(self, secret: bytes, cluster_id: str, identity: Identity, nonce: bytes, admit: Admit | None) -> None:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"nonce must have {NONCE_BYTES} bytes, not {len(nonce)}")
        self.result: Identity | None = None
        self._secret = secret
        self._cluster_id = cluster_id
        self._identity = identity
        self._nonce = nonce
        self._admit = admit
        self._received = b""
        self._outgoing = b""
        self._step: Callable[[bytes], None]

    @property
    def trailing(self) -> bytes:
        """Bytes after the handshake; they belong to the protocol that follows."""
        return self._received if self.result is not None else b""

    def data_to_send(self) -> bytes:
        """What is to be written now; empty where nothing is."""
        data, self._outgoing = self._outgoing, b""
        return data

    def receive_data(self, data: bytes) -> None:
        """Take what arrived. Raises `Unauthenticated`."""
        self._received += data
        while self.result is None and (frame := self._next_frame()) is not None:
            self._step(frame)

    def _next_frame(self) -> bytes | None:
        if len(self._received) < HEADER_BYTES:
            return None
        length = int.from_bytes(self._received[:HEADER_BYTES], "big")
        end = HEADER_BYTES + length
        if end > HANDSHAKE_LIMIT_BYTES:
            raise _failure(
                "too_large",
                f"not a raftcache handshake: a message of {length} bytes is announced by the bytes "
                f"{self._received[:HEADER_BYTES]!r}; the limit is {HANDSHAKE_LIMIT_BYTES}",
            )
        if len(self._received) < end:
            return None
        frame, self._received = self._received[HEADER_BYTES:end], self._received[end:]
        return frame

    def _say(self, message: msgspec.Struct) -> None:
        self._outgoing += pack_frame(_encode(message))

    def _proof(self, side: str, client: Identity, server: Identity, nonces: tuple[bytes, bytes]) -> bytes:
        # A msgpack array is unambiguous: no two transcripts have the same bytes.
        transcript = _encode([side, PROTOCOL_VERSION, self._cluster_id, client, server, *nonces])
        return hmac.digest(self._secret, transcript, "sha256")

    def _objection(self, other: Identity) -> str | None:
        if other.role not in ROLES:
            return f"role {other.role!r} is none of {', '.join(ROLES)}"
        return self._admit(other) if self._admit is not None else None


class ClientHandshake(_Handshake):
    """The side that dialled. `admit` judges the server's identity before anything is proved to it."""

    def __init__(
        self, secret: bytes, cluster_id: str, identity: Identity, nonce: bytes, admit: Admit | None = None
    ) -> None:
        super().__init__(secret, cluster_id, identity, nonce, admit)
        self._server = Identity("")
        self._nonces = (nonce, b"")
        self._step = self._challenged
        self._say(_Hello(PROTOCOL_VERSION, cluster_id, identity, nonce))

    def _challenged(self, frame: bytes) -> None:
        challenge = self._unless_refused(frame, _Challenge)
        self._server = Identity(*challenge.identity)
        if (objection := self._objection(self._server)) is not None:
            raise _failure("not_admitted", objection)
        self._nonces = (self._nonce, challenge.nonce)
        self._say(_ProofMessage(self._proof("client", self._identity, self._server, self._nonces)))
        self._step = self._welcomed

    def _welcomed(self, frame: bytes) -> None:
        welcome = self._unless_refused(frame, _Welcome)
        expected = self._proof("server", self._identity, self._server, self._nonces)
        if not hmac.compare_digest(welcome.proof, expected):
            raise _failure("wrong_secret", "the server does not hold this cluster's secret")
        self.result = self._server

    @staticmethod
    def _unless_refused(frame: bytes, shape: type[_T]) -> _T:
        message = _decode(frame, shape | _Refused)
        if isinstance(message, _Refused):
            raise _failure(message.reason, f"the server refused the handshake: {message.text}")
        assert isinstance(message, shape)
        return message


class ServerHandshake(_Handshake):
    """The side that was dialled. `admit` judges the client's identity once the client has proved it."""

    def __init__(
        self, secret: bytes, cluster_id: str, identity: Identity, nonce: bytes, admit: Admit | None = None
    ) -> None:
        super().__init__(secret, cluster_id, identity, nonce, admit)
        self._client = Identity("")
        self._nonces = (b"", nonce)
        self._step = self._greeted

    def _greeted(self, frame: bytes) -> None:
        version = _decode(frame, _Opening).version
        if version != PROTOCOL_VERSION:
            self._refuse("wrong_version", f"protocol version {version} is not spoken here, {PROTOCOL_VERSION} is")
        hello = _decode(frame, _Hello)
        if hello.cluster_id != self._cluster_id:
            self._refuse("wrong_cluster", f"cluster_id {hello.cluster_id!r} is not this cluster's")
        self._client = Identity(*hello.identity)
        self._nonces = (hello.nonce, self._nonce)
        self._say(_Challenge(self._identity, self._nonce))
        self._step = self._proved

    def _proved(self, frame: bytes) -> None:
        message = _decode(frame, _ProofMessage)
        client, server = self._client, self._identity
        if not hmac.compare_digest(message.proof, self._proof("client", client, server, self._nonces)):
            self._refuse("wrong_secret", "the client does not hold this cluster's secret")
        if (objection := self._objection(client)) is not None:
            self._refuse("not_admitted", objection)
        self._say(_Welcome(self._proof("server", client, server, self._nonces)))
        self.result = client

    def _refuse(self, reason: str, text: str) -> None:
        self._say(_Refused(reason, text[:400]))
        raise _failure(reason, text)
