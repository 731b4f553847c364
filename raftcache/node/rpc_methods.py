"""What a node answers over RPC: the methods, and the shapes of their bodies.

| method | body | reply |
|---|---|---|
| `execute` | `[shard id, epoch, command, or `minted` with one]` | a reply of `commands.types` |
| `receipts` | `[shard id, [version, ...], wait ms]` | a `ReceiptList` of `commands.types`, or `not_leader` |
| `lost_writes` | JSON `{"namespace": name or null}` | JSON, `losses.LostRows` |
| `hot_keys` | JSON, `hotkeys.HotKeysBody` | `hotkeys.NodeRows` |
| `watch` | `metadata.watch.WatchRequest` | `WatchAnswer` |
| `policy` | `[shard id, epoch]` | empty, once the shard follows the policies of that epoch, see `following` |
| `drop_tag` | `[shard id, namespace, tag, named at]` | empty, once no reader of the shard sees it, see `invalidating` |
| `metadata` | a metadata command | `Applied` |
| `init_cluster` | JSON: cluster_id, nodes, shards, replicas, namespaces | JSON `{"epoch"}` |
| `cluster` | empty | JSON, the body of `GET /v1/cluster`, with `ready` and `reason` |
| `fault` | JSON `{"isolate": bool}` | JSON `{"isolated": bool}` |
| `snapshot` | JSON, `snapshots.SnapshotBody` | JSON `{"taken": rows}` once all are taken, see `snapshots` |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from raftcache.commands.policy import Namespace
from raftcache.commands.types import (
    MULTI_KEY_LIMIT,
    RECEIPT_WAIT_LIMIT_MS,
    AckLevel,
    Asked,
    Receipts,
    Version,
    encode_reply,
)
from raftcache.errors import BadRequest, NotLeader, RaftcacheError
from raftcache.metadata.applying import Result
from raftcache.metadata.commands import InitCluster
from raftcache.metadata.state import METADATA_GROUP, Addresses, Node
from raftcache.metadata.submitting import serve_metadata
from raftcache.metadata.watch import WatchHub
from raftcache.net.rpc_server import RpcCall
from raftcache.node.core import NodeCore
from raftcache.node.following import serve_policy
from raftcache.node.hotkeys import serve_hot_keys
from raftcache.node.invalidating import serve_drop_tag
from raftcache.node.losses import serve_lost_writes
from raftcache.node.snapshots import SnapshotBody, take_snapshots
from raftcache.node.status import cluster_document, readiness
from raftcache.routing.bootstrap import plan_cluster

ExecuteBody = tuple[str, int, msgspec.Raw]

_encode_execute = msgspec.msgpack.Encoder().encode
_decode_execute = msgspec.msgpack.Decoder(tuple[str, int, Asked]).decode


def encode_execute(shard_id: str, epoch: int, command: Asked) -> bytes:
    """The body of `execute`."""
    return _encode_execute((shard_id, epoch, command))


_decode_receipts = msgspec.msgpack.Decoder(tuple[str, tuple[Version, ...], int]).decode


def encode_receipts(shard_id: str, asked: Receipts) -> bytes:
    """The body of `receipts`."""
    return _encode_execute((shard_id, asked.versions, asked.wait_ms))


class NamespaceBody(msgspec.Struct, forbid_unknown_fields=True):
    """A namespace of a new cluster."""

    name: str
    ack: str = "primary"


class NodeBody(msgspec.Struct, forbid_unknown_fields=True):
    """A node of a new cluster."""

    id: str
    incarnation: str
    http: str
    rpc: str
    peer: str
    zone: str = ""
    redis_cluster: str = ""


class InitBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new cluster."""

    cluster_id: str
    nodes: list[NodeBody]
    shards: int
    replicas: int
    namespaces: list[NamespaceBody]


class NodeMethods:
    """The handlers of one node, by method name."""

    def __init__(self, core: NodeCore, hub: WatchHub, isolate: Callable[[bool], None]) -> None:
        self._core, self._hub, self._isolate = core, hub, isolate

    def table(self) -> dict[str, Callable[[RpcCall], None]]:
        """For `RpcServer.handlers`."""
        return {
            "execute": self._execute,
            "receipts": self._receipts,
            "lost_writes": self._lost_writes,
            "hot_keys": self._hot_keys,
            "watch": self._watch,
            "policy": self._policy,
            "drop_tag": self._drop_tag,
            "metadata": self._metadata,
            "init_cluster": self._init_cluster,
            "cluster": self._cluster,
            "fault": self._fault,
            "snapshot": self._snapshot,
        }

    def _execute(self, call: RpcCall) -> None:
        try:
            shard_id, _epoch, command = _decode_execute(call.body)
        except msgspec.MsgspecError as error:
            call.fail(BadRequest(f"execute: the body cannot be read: {error}"))
            return
        replica = self._core.shard(shard_id)
        if replica is None:
            call.fail(NotLeader(f"{self._core.identity.node_id} does not hold shard {shard_id}"))
        else:
            source = call.peer.node_id or call.peer.run_id
            replica.submit_from(source, command, lambda reply: call.reply(encode_reply(reply)), call.deadline)

    def _receipts(self, call: RpcCall) -> None:
        try:
            shard_id, versions, wait_ms = _decode_receipts(call.body)
        except msgspec.MsgspecError as error:
            call.fail(BadRequest(f"receipts: the body cannot be read: {error}"))
            return
        replica = self._core.shard(shard_id)
        if len(versions) > MULTI_KEY_LIMIT:
            call.fail(BadRequest(f"receipts: {len(versions)} versions are over the limit of {MULTI_KEY_LIMIT}"))
        elif not 0 <= wait_ms <= RECEIPT_WAIT_LIMIT_MS:
            call.fail(BadRequest(f"receipts: a wait of {wait_ms} ms is not within 0 to {RECEIPT_WAIT_LIMIT_MS} ms"))
        elif replica is None:
            call.fail(NotLeader(f"{self._core.identity.node_id} does not hold shard {shard_id}"))
        else:
            replica.receipts(Receipts(versions, wait_ms), lambda reply: call.reply(encode_reply(reply)))

    def _lost_writes(self, call: RpcCall) -> None:
        serve_lost_writes(self._core.losses, call.body, lambda answer: _answer(call, answer))

    def _hot_keys(self, call: RpcCall) -> None:
        serve_hot_keys(self._core, call.body, lambda answer: _answer(call, answer))

    def _watch(self, call: RpcCall) -> None:
        self._hub.serve(call.body, call.deadline, lambda answer: _answer(call, answer))

    def _policy(self, call: RpcCall) -> None:
        serve_policy(self._core, call.body, call.deadline, lambda answer: _answer(call, answer))

    def _drop_tag(self, call: RpcCall) -> None:
        serve_drop_tag(self._core, call.body, lambda answer: _answer(call, answer))

    def _metadata(self, call: RpcCall) -> None:
        serve_metadata(self._core.metadata, call.body, lambda answer: _answer(call, answer))

    def _init_cluster(self, call: RpcCall) -> None:
        try:
            command = self._plan(_json(call.body, InitBody))
        except ValueError as error:
            call.fail(BadRequest(f"init_cluster: {error}"))
            return

        def applied(result: Result) -> None:
            if isinstance(result, RaftcacheError):
                call.fail(result)
            else:
                call.reply(msgspec.json.encode({"epoch": result.epoch}))

        self._core.metadata.submit(command, applied)

    def _plan(self, body: InitBody) -> InitCluster:
        nodes = [Node(n.id, n.incarnation, _addresses(n), n.zone) for n in body.nodes]
        namespaces = [Namespace(ns.name, 0, ack=AckLevel[ns.ack.upper()]) for ns in body.namespaces]
        plan = plan_cluster(nodes, body.shards, body.replicas, namespaces, self._core.runtime.random)
        plan = msgspec.structs.replace(plan, cluster_id=body.cluster_id)
        group = self._core.host.groups.get(METADATA_GROUP)
        return msgspec.structs.replace(plan, metadata=group.members) if group is not None else plan

    def _cluster(self, call: RpcCall) -> None:
        ready, reason = readiness(self._core)
        call.reply(msgspec.json.encode({**cluster_document(self._core), "ready": ready, "reason": reason}))

    def _fault(self, call: RpcCall) -> None:
        try:
            on = _json(call.body, dict[str, bool])["isolate"]
        except (ValueError, KeyError) as error:
            call.fail(BadRequest(f"fault: {error}"))
            return
        self._isolate(on)
        call.reply(msgspec.json.encode({"isolated": on}))

    def _snapshot(self, call: RpcCall) -> None:
        try:
            wanted = _json(call.body, SnapshotBody).groups
        except ValueError as error:
            call.fail(BadRequest(f"snapshot: {error}"))
            return
        take_snapshots(self._core.host, wanted, lambda rows: call.reply(msgspec.json.encode({"taken": rows})))


def _addresses(node: NodeBody) -> Addresses:
    return Addresses(node.http, node.rpc, node.peer, node.redis_cluster)


def _json(body: bytes, kind: Any) -> Any:
    """Decode a JSON body. Raises ValueError."""
    return msgspec.json.decode(body, type=kind)


def _answer(call: RpcCall, answer: bytes | RaftcacheError) -> None:
    if isinstance(answer, RaftcacheError):
        call.fail(answer)
    else:
        call.reply(answer)
