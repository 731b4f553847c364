"""Waiting until every shard follows a change of policy, and answering for the shards of this node.

Whoever changed a policy asks each shard's leader whether the shard follows it (`shard.following` says when it does),
and asks again, elsewhere if need be, until all have said so; asking twice does no harm. Shards that are declared lost
are not asked: what replaces them starts with the newest policies. The change itself is agreed on before anybody is
asked, and the leaders bring it into their logs by themselves, so one whose deadline comes first is not lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from raftcache.clock import Runtime
from raftcache.errors import BadRequest, NotLeader, OutcomeUnknown, RaftcacheError
from raftcache.metadata.view import MetadataView
from raftcache.node.snapshots import Call

if TYPE_CHECKING:
    from raftcache.node.core import NodeCore

METHOD = "policy"
ATTEMPT_S = 1.5
"""How long one leader may take before somebody else is asked. A new one waits for a fallback time before it answers."""
PAUSE_S = 0.1
"""After all nodes of a shard were asked in vain. Half of it is jitter."""
FOLLOW_POLL_S = 0.01
"""How often it is looked whether this process's view has come up to an epoch."""
SHOWN_SHARDS = 8

Followed: TypeAlias = Callable[["RaftcacheError | None"], None]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, int]).decode


def serve_policy(
    core: NodeCore, body: bytes, deadline: float, reply: Callable[[bytes | RaftcacheError], None]
) -> None:
    """The RPC method `policy`: `[shard id, epoch]` in, nothing or an error out, once the shard's leader knows."""
    try:
        shard_id, epoch = _decode(body)
    except msgspec.MsgspecError as error:
        return reply(BadRequest(f"policy: the body cannot be read: {error}"))
    replica = core.shard(shard_id)
    if replica is None:
        return reply(NotLeader(f"{core.identity.node_id} does not hold shard {shard_id}"))
    if core.view.epoch < epoch:
        core.view.refresh()
    replica.confirm_policies(epoch, deadline, lambda error: reply(b"" if error is None else error))


def when_seen(
    runtime: Runtime, view: MetadataView, epoch: int, deadline: float, then: Callable[[bool], None]
) -> None:
    """Call `then(True)` once `view` has come up to `epoch`, or `then(False)` at the deadline."""
    if view.epoch >= epoch:
        then(True)
    elif runtime.now() >= deadline:
        then(False)
    else:
        view.refresh()
        runtime.call_later(FOLLOW_POLL_S, lambda: when_seen(runtime, view, epoch, deadline, then))


def still_unconfirmed(epoch: int, shard_ids: Iterable[str]) -> OutcomeUnknown:
    """What is said of a change that was made, and that shards had not confirmed at the deadline."""
    ids = sorted(shard_ids)
    which = f"shards {', '.join(ids[:SHOWN_SHARDS])}{' …' if ids[SHOWN_SHARDS:] else ''}" if ids else "the shards"
    return OutcomeUnknown(
        f"the change is made, as epoch {epoch} of the metadata, but {which} had not confirmed within the deadline that "
        "they follow it; they will"
    )


class Confirmations:
    """Asks the shards of a cluster, for one process."""

    def __init__(self, runtime: Runtime, view: MetadataView, call: Call) -> None:
        self.runtime, self.view, self.call = runtime, view, call

    def wait(self, epoch: int, deadline: float, done: Followed) -> None:
        """Call `done` once: with None when every shard that is not lost follows `epoch`, which the view has; at the
        deadline with OutcomeUnknown."""
        _Change(self, epoch, deadline, done).start()


class _Change:
    """One change, until all shards have confirmed it."""

    def __init__(self, parent: Confirmations, epoch: int, deadline: float, done: Followed) -> None:
        self.parent, self.epoch, self.deadline, self._done = parent, epoch, deadline, done
        self._left = {shard.id for shard in parent.view.state.shards if shard.state != "lost"}
        self._timer = parent.runtime.call_later(max(0.0, deadline - parent.runtime.now()), self._expire)

    def start(self) -> None:
        for shard_id in sorted(self._left):
            _Asking(self, shard_id).next_round()
        if not self._left:
            self._finish(None)

    def is_open(self, shard_id: str) -> bool:
        """Whether this shard has to confirm, still. One that was lost meanwhile, or replaced, has not."""
        shard = self.parent.view.state.shard(shard_id)
        if shard_id in self._left and (shard is None or shard.state == "lost"):
            self.confirmed(shard_id)
        return shard_id in self._left

    def confirmed(self, shard_id: str) -> None:
        """The last one ends it."""
        if shard_id in self._left:
            self._left.remove(shard_id)
            if not self._left:
                self._finish(None)

    def _expire(self) -> None:
        left, self._left = self._left, set()
        self._finish(still_unconfirmed(self.epoch, left))

    def _finish(self, error: RaftcacheError | None) -> None:
        self._timer.cancel()
        self._done(error)


class _Asking:
    """One shard of a change: its nodes in turn, the leader first, until one confirms."""

    def __init__(self, change: _Change, shard_id: str) -> None:
        self._change, self._shard_id = change, shard_id
        self._tried: dict[str, int] = {}

    def next_round(self) -> None:
        """Begin with the leader again."""
        self._tried = {}
        self._ask()

    def _ask(self) -> None:
        if not self._change.is_open(self._shard_id):
            return
        parent = self._change.parent
        node = self._next_node()
        if node is None:
            parent.runtime.call_later(PAUSE_S * parent.runtime.random.uniform(0.5, 1.0), self.next_round)
            return
        body = _encode((self._shard_id, self._change.epoch))
        deadline = min(self._change.deadline, parent.runtime.now() + ATTEMPT_S)
        parent.call(node, METHOD, body, deadline, partial(self._answered, node))

    def _next_node(self) -> str | None:
        view = self._change.parent.view
        leader, shard = view.leaders.get(self._shard_id), view.state.shard(self._shard_id)
        if leader is not None and self._tried.get(leader.node, -1) < leader.term:
            self._tried[leader.node] = leader.term
            return leader.node
        for node in shard.nodes if shard is not None else ():
            if node not in self._tried:
                self._tried[node] = 0
                return node
        return None

    def _answered(self, node: str, answer: bytes | RaftcacheError) -> None:
        if not isinstance(answer, RaftcacheError):
            return self._change.confirmed(self._shard_id)
        if answer.details.get("leader") != node:
            self._change.parent.view.heed(self._shard_id, answer.details)
        self._ask()
