"""What the front ends stand on (`frontends.backend.Backend`), as far as nodes and lone front ends share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from raftcache.clock import Runtime
from raftcache.commands.policy import Namespaces, missing_namespace
from raftcache.commands.types import Command, Reply, Version
from raftcache.errors import RaftcacheError
from raftcache.frontends.backend import (
    DeleteDone,
    LostDone,
    PolicyDone,
    PolicyWritten,
    ReceiptsDone,
    ReplaceDone,
    ShardReplaced,
    SnapshotsDone,
)
from raftcache.metadata.applying import Result
from raftcache.metadata.commands import Applied, DeleteNamespace, MetadataCommand, PutNamespace
from raftcache.metadata.policy import parse_policy, policy_document
from raftcache.metadata.replacing import plan_replacement
from raftcache.metadata.submitting import MetadataSubmitter
from raftcache.metadata.view import MetadataView
from raftcache.node.losses import gather_lost_writes
from raftcache.node.snapshots import Call, take_on_nodes
from raftcache.routing.dispatcher import Dispatcher

T = TypeVar("T")

FOLLOW_POLL_S = 0.01
"""How often a change of policy looks whether this node's own view has come up to it."""


class ViewBackend:
    """Executes through a dispatcher, and changes policies through the metadata leader."""

    def __init__(
        self, runtime: Runtime, view: MetadataView, dispatcher: Dispatcher, metadata: MetadataSubmitter, call: Call
    ) -> None:
        """`call` makes one RPC to a node."""
        self.view, self.dispatcher = view, dispatcher
        self._runtime, self._metadata, self._call = runtime, metadata, call

    @property
    def runtime(self) -> Runtime:
        """The clock and loop of everything here."""
        return self._runtime

    def execute(self, command: Command, deadline: float, reply: Callable[[Reply], None]) -> None:
        """See `Dispatcher.execute`."""
        self.dispatcher.execute(command, deadline, reply)

    def receipts(
        self, asked: Sequence[tuple[bytes, Version]], wait_ms: int, deadline: float, done: ReceiptsDone
    ) -> None:
        """See `Dispatcher.receipts`."""
        self.dispatcher.receipts(asked, wait_ms, deadline, done)

    def lost_writes(self, namespace: str | None, deadline: float, done: LostDone) -> None:
        """Ask every node for its report."""
        gather_lost_writes(self._call, [node.id for node in self.view.state.nodes], namespace, deadline, done)

    def namespaces(self) -> Namespaces:
        """The namespaces as this process knows them."""
        return self.view.namespaces

    def namespace_document(self, name: str) -> dict[str, Any] | None:
        """The whole policy of one namespace."""
        namespace = self.view.namespaces.by_name.get(name)
        return policy_document(namespace) if namespace is not None else None

    def put_namespace(self, name: str, document: dict[str, Any], deadline: float, done: PolicyDone) -> None:
        """Create a namespace or change its policy; answered once this process follows it."""
        try:
            namespace = parse_policy(name, document, self.view.state.replication_factor)
        except RaftcacheError as error:
            done(error)
            return

        def written(result: Applied) -> PolicyWritten:
            assert result.namespace is not None
            return PolicyWritten(result.created, policy_document(result.namespace))

        self._change(PutNamespace(namespace), deadline, done, written)

    def delete_namespace(self, name: str, deadline: float, done: DeleteDone) -> None:
        """Delete a namespace and with it its keys; answered once this process follows that."""
        if name not in self.view.namespaces.by_name:
            done(missing_namespace(self.view.namespaces, name))
            return
        self._change(DeleteNamespace(name), deadline, done, lambda _result: None)

    def replace_shard(self, shard_id: str, source: str | None, deadline: float, done: ReplaceDone) -> None:
        """Put a new shard in a lost one's place; answered once this process routes to it."""
        try:
            command = plan_replacement(self.view.state, shard_id, source, self._runtime.random)
        except RaftcacheError as error:
            done(error)
            return
        replaced = ShardReplaced(command.shard.id, shard_id, source)
        self._change(command, deadline, done, lambda _result: replaced)

    def take_snapshots(self, nodes: Sequence[str], shards: Sequence[str], deadline: float, done: SnapshotsDone) -> None:
        """Have nodes take snapshots, each by an RPC."""
        wanted = list(dict.fromkeys(nodes)) or [node.id for node in self.view.state.nodes]
        take_on_nodes(self._call, wanted, shards, deadline, done)

    def _change(
        self,
        command: MetadataCommand,
        deadline: float,
        done: Callable[[T | RaftcacheError], None],
        answer: Callable[[Applied], T],
    ) -> None:
        """Submit a command; `done` gets its error, or `answer` of its result once this process follows it."""

        def applied(result: Result) -> None:
            if isinstance(result, RaftcacheError):
                done(result)
                return
            answered = answer(result)
            self._when_followed(result.epoch, deadline, lambda: done(answered))

        self._metadata.submit(command, deadline, applied)

    def _when_followed(self, epoch: int, deadline: float, then: Callable[[], None]) -> None:
        """The change is committed; wait until requests through this process obey it, at most to the deadline."""
        if self.view.epoch >= epoch or self._runtime.now() >= deadline:
            then()
        else:
            self.view.refresh()
            self._runtime.call_later(FOLLOW_POLL_S, lambda: self._when_followed(epoch, deadline, then))
