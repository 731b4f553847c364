"""Calls to other nodes by node id, for the dispatcher, the watch and metadata commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import msgspec

from raftcache.commands.types import Asked, Receipts, Reply, decode_reply, failure_of
from raftcache.config import parse_address
from raftcache.errors import OutcomeUnknown, RaftcacheError, Unauthenticated, Unavailable
from raftcache.metadata.view import MetadataView
from raftcache.net.rpc_client import Done, RpcPool
from raftcache.node.rpc_methods import encode_execute, encode_receipts

address_of = lru_cache(maxsize=4096)(parse_address)


class RemoteNodes:
    """Finds a node's RPC address, in the metadata or else among the configured ones, and calls it there.

    `dialled` are addresses that take the place of both, for nodes that this process reaches in another way.
    """

    def __init__(
        self,
        pool: RpcPool,
        view: MetadataView,
        configured: dict[str, str] | None = None,
        dialled: dict[str, str] | None = None,
    ) -> None:
        self._pool, self._view = pool, view
        self._configured = configured or {}
        self._dialled = {node_id: address_of(address) for node_id, address in (dialled or {}).items()}
        self._addresses: dict[str, tuple[str, int]] = {}
        self._epoch = -1

    def call(self, node_id: str, method: str, body: bytes, deadline: float, done: Done) -> None:
        """One RPC; `done` gets the body or an error, once."""
        address = self._address(node_id)
        if address is None:
            done(Unavailable(f"the address of node {node_id} is not known"))
        else:
            self._pool.call(address, method, body, deadline, lambda answer: done(_own_trouble(answer)))

    def call_address(self, address: str, method: str, body: bytes, deadline: float, done: Done) -> None:
        """One RPC to a `host:port`, for whoever does not know node ids yet."""
        self._pool.call(address_of(address), method, body, deadline, done)

    def execute(
        self,
        node_id: str,
        shard_id: str,
        epoch: int,
        command: Asked | Receipts,
        deadline: float,
        done: Callable[[Reply], None],
    ) -> None:
        """The dispatcher's `Remote`."""
        if isinstance(command, Receipts):
            method, body = "receipts", encode_receipts(shard_id, command)
        else:
            method, body = "execute", encode_execute(shard_id, epoch, command)
        self.call(node_id, method, body, deadline, lambda answer: done(_reply_of(answer)))

    def _address(self, node_id: str) -> tuple[str, int] | None:
        if self._epoch != self._view.epoch:
            self._epoch = self._view.epoch
            known = {node.id: address_of(node.addresses.rpc) for node in self._view.state.nodes}
            self._addresses = known | self._dialled
        found = self._addresses.get(node_id)
        if found is None and node_id in self._configured:
            found = address_of(self._configured[node_id])
        return found


def _own_trouble(answer: bytes | RaftcacheError) -> bytes | RaftcacheError:
    """A handshake between nodes that fails is this cluster's trouble: nothing was sent, and no client's credentials
    are at fault."""
    if isinstance(answer, Unauthenticated):
        return Unavailable(f"another node refuses this one: {answer.message}")
    return answer


def _reply_of(answer: bytes | RaftcacheError) -> Reply:
    if isinstance(answer, RaftcacheError):
        return failure_of(answer)
    try:
        reply: Reply = decode_reply(answer)
        return reply
    except msgspec.MsgspecError as error:
        return failure_of(OutcomeUnknown(f"the leader's answer cannot be read: {error}"))
