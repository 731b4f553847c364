"""What the front ends stand on (`frontends.backend.Backend`), as far as nodes and lone front ends share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from raftcache.clock import Runtime
from raftcache.commands.namespaces import Namespaces, missing_namespace
from raftcache.commands.types import Command, Reply, Version
from raftcache.errors import RaftcacheError
from raftcache.frontends.backend import (
    DeleteDone,
    HotDone,
    InvalidateDone,
    LostDone,
    PolicyDone,
    PolicyWritten,
    ReceiptsDone,
    RefreshDone,
    ReplaceDone,
    ShardReplaced,
    SnapshotsDone,
)
from raftcache.metadata.applying import Result
from raftcache.metadata.commands import Applied, DeleteNamespace, InvalidateNamespace, MetadataCommand, PutNamespace
from raftcache.metadata.policy import parse_policy, policy_document
from raftcache.metadata.replacing import plan_replacement
from raftcache.metadata.submitting import MetadataSubmitter
from raftcache.metadata.view import MetadataView
from raftcache.node.following import Confirmations, still_unconfirmed, when_seen
from raftcache.node.hotkeys import HotKeysBody, gather_hot_keys
from raftcache.node.invalidating import drop_question
from raftcache.node.losses import gather_lost_writes
from raftcache.node.refreshing import NamespaceRefresh
from raftcache.node.snapshots import Call, take_on_nodes
from raftcache.routing.dispatcher import Dispatcher

T = TypeVar("T")


class ViewBackend:
    """Executes through a dispatcher, and changes policies through the metadata leader."""

    def __init__(
        self, runtime: Runtime, view: MetadataView, dispatcher: Dispatcher, metadata: MetadataSubmitter, call: Call
    ) -> None:
        """`call` makes one RPC to a node."""
        self.view, self.dispatcher = view, dispatcher
        self._runtime, self._metadata, self._call = runtime, metadata, call
        self._confirmations = Confirmations(runtime, view, call)
        self._refresh = NamespaceRefresh(runtime, view, metadata)
        # Nothing stands between the hot commands and the dispatcher.
        self.execute_now = dispatcher.execute_now
        self.look_many, self.write_many, self.add_many = (
            dispatcher.look_many, dispatcher.write_many, dispatcher.add_many
        )  # fmt: skip

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

    def hot_keys(self, namespace: str | None, limit: int, bucket_s: int, deadline: float, done: HotDone) -> None:
        """Ask every node for its hot keys."""
        nodes, wanted = [node.id for node in self.view.state.nodes], HotKeysBody(namespace, limit, bucket_s)
        gather_hot_keys(self._runtime, self._call, nodes, wanted, deadline, done)

    def namespaces(self) -> Namespaces:
        """The namespaces as this process knows them."""
        return self.view.namespaces

    def namespace_document(self, name: str) -> dict[str, Any] | None:
        """The whole policy of one namespace."""
        namespace = self.view.namespaces.by_name.get(name)
        return policy_document(namespace) if namespace is not None else None

    def put_namespace(self, name: str, document: dict[str, Any], deadline: float, done: PolicyDone) -> None:
        """Create a namespace or change its policy; answered once every shard follows it."""
        try:
            namespace = parse_policy(name, document, self.view.state.replication_factor)
        except RaftcacheError as error:
            done(error)
            return

        def written(result: Applied) -> PolicyWritten:
            assert result.namespace is not None
            return PolicyWritten(result.created, policy_document(result.namespace))

        self._change(PutNamespace(namespace), deadline, done, written, self._when_all_follow)

    def delete_namespace(self, name: str, deadline: float, done: DeleteDone) -> None:
        """Delete a namespace and with it its keys; answered once every shard follows that. Whether there is one, the
        metadata leader says: this process may not have heard of it yet."""
        if self.view.epoch == 0:
            done(missing_namespace(self.view.namespaces, name))
            return
        self._change(DeleteNamespace(name), deadline, done, lambda _result: None, self._when_all_follow)

    def invalidate_namespace(self, name: str, deadline: float, done: InvalidateDone) -> None:
        """Drop all keys of a namespace; answered once every shard follows that."""
        if self.view.epoch == 0:
            done(missing_namespace(self.view.namespaces, name))
            return
        self._change(InvalidateNamespace(name), deadline, done, lambda _result: None, self._when_all_follow)

    def invalidate_tag(self, name: str, tag: str, deadline: float, done: InvalidateDone) -> None:
        """Drop the keys of a namespace that carry a tag; answered once every shard has. A process that knows of no
        shards yet must not take that for all of them."""
        if self.view.epoch == 0:
            done(missing_namespace(self.view.namespaces, name))
            return
        self._confirmations.ask(drop_question(name, tag, self.view.epoch), deadline, done)

    def refresh_namespaces(self, deadline: float, done: RefreshDone) -> None:
        """See `NamespaceRefresh.ask`."""
        self._refresh.ask(deadline, done)

    def replace_shard(self, shard_id: str, source: str | None, deadline: float, done: ReplaceDone) -> None:
        """Put a new shard in a lost one's place; answered once this process routes to it."""
        try:
            command = plan_replacement(self.view.state, shard_id, source, self._runtime.random)
        except RaftcacheError as error:
            done(error)
            return
        replaced = ShardReplaced(command.shard.id, shard_id, source)
        self._change(command, deadline, done, lambda _result: replaced, self._when_followed)

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
        follow: Callable[[int, float, Callable[[RaftcacheError | None], None]], None],
    ) -> None:
        """Submit a command; `done` gets its error, or `answer` of its result once `follow` says that its epoch is
        followed, or the error that came of that."""

        def applied(result: Result) -> None:
            if isinstance(result, RaftcacheError):
                done(result)
                return
            answered = answer(result)
            follow(result.epoch, deadline, lambda error: done(answered if error is None else error))

        self._metadata.submit(command, deadline, applied)

    def _when_followed(self, epoch: int, deadline: float, then: Callable[[RaftcacheError | None], None]) -> None:
        """The change is committed; wait until requests through this process obey it, at most to the deadline."""
        when_seen(self._runtime, self.view, epoch, deadline, lambda _seen: then(None))

    def _when_all_follow(self, epoch: int, deadline: float, then: Callable[[RaftcacheError | None], None]) -> None:
        """The change of policy is committed; wait until every shard says that it follows."""

        def seen(in_time: bool) -> None:
            self._confirmations.wait(epoch, deadline, then) if in_time else then(still_unconfirmed(epoch, ()))

        when_seen(self._runtime, self.view, epoch, deadline, seen)
