"""Asking every shard until all have said yes: whether they follow a change of policy, and to drop a tag.

Whoever changed a policy asks each shard's leader whether the shard follows it (`shard.following` says when it does),
and asks again, elsewhere if need be, until all have said so; asking twice does no harm. Shards that are declared lost
are not asked: what replaces them starts with the newest policies. The change itself is agreed on before anybody is
asked, and the leaders bring it into their logs by themselves, so one whose deadline comes first is not lost.

Any other question that all shards must say yes to goes the same way (`Question`); the other one is told in
`invalidating`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

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


def named_shards(shard_ids: Iterable[str]) -> str:
    """Some shards, for an error message."""
    ids = sorted(shard_ids)
    return f"shards {', '.join(ids[:SHOWN_SHARDS])}{' …' if ids[SHOWN_SHARDS:] else ''}" if ids else "the shards"


def still_unconfirmed(epoch: int, shard_ids: Iterable[str]) -> OutcomeUnknown:
    """What is said of a change that was made, and that shards had not confirmed at the deadline."""
    return OutcomeUnknown(
        f"the change is made, as epoch {epoch} of the metadata, but {named_shards(shard_ids)} had not confirmed within "
        "the deadline that they follow it; they will"
    )


class Question(NamedTuple):
    """What every shard is asked. `body` is the RPC's for a shard, `unconfirmed` the error that says which shards had
    not said yes at the deadline.

    `of_lost`: shards that are declared lost have to answer as well; they cannot, until they are replaced. An error of a
    `final` kind is the answer for all.
    """

    method: str
    body: Callable[[str], bytes]
    unconfirmed: Callable[[Iterable[str]], RaftcacheError]
    of_lost: bool = False
    final: tuple[type[RaftcacheError], ...] = ()


class Confirmations:
    """Asks the shards of a cluster, for one process."""

    def __init__(self, runtime: Runtime, view: MetadataView, call: Call) -> None:
        self.runtime, self.view, self.call = runtime, view, call

    def wait(self, epoch: int, deadline: float, done: Followed) -> None:
        """Call `done` once: with None when every shard that is not lost follows `epoch`, which the view has; at the
        deadline with OutcomeUnknown."""
        question = Question(METHOD, lambda shard_id: _encode((shard_id, epoch)), partial(still_unconfirmed, epoch))
        self.ask(question, deadline, done)

    def ask(self, question: Question, deadline: float, done: Followed) -> None:
        """Call `done` once: with None when all shards have said yes, or with why they have not."""
        _Asked(self, question, deadline, done).start()


class _Asked:
    """One question, until all shards have said yes to it."""

    def __init__(self, parent: Confirmations, question: Question, deadline: float, done: Followed) -> None:
        self.parent, self.question, self.deadline, self._done = parent, question, deadline, done
        shards = parent.view.state.shards
        self._left = {shard.id for shard in shards if question.of_lost or shard.state != "lost"}
        self._timer = parent.runtime.call_later(max(0.0, deadline - parent.runtime.now()), self._expire)

    def start(self) -> None:
        if not self._left:
            return self._finish(None)
        for shard_id in sorted(self._left):
            _Asking(self, shard_id).next_round()  # May be answered at once, and be the last.

    def is_open(self, shard_id: str) -> bool:
        """Whether this shard has to say yes, still. One that was lost meanwhile, or replaced, has not, unless it was
        asked for all the same: then nobody will."""
        shard = self.parent.view.state.shard(shard_id)
        is_lost = shard is None or shard.state == "lost"
        if shard_id in self._left and is_lost and not self.question.of_lost:
            self.confirmed(shard_id)
        return shard_id in self._left

    def confirmed(self, shard_id: str) -> None:
        """The last one ends it."""
        if shard_id in self._left:
            self._left.remove(shard_id)
            if not self._left:
                self._finish(None)

    def refused(self, error: RaftcacheError) -> None:
        """One shard's answer is that of all."""
        if self._left:
            self._left = set()
            self._finish(error)

    def _expire(self) -> None:
        left, self._left = self._left, set()
        self._finish(self.question.unconfirmed(left))

    def _finish(self, error: RaftcacheError | None) -> None:
        self._timer.cancel()
        self._done(error)


class _Asking:
    """One shard of a question: its nodes in turn, the leader first, until one says yes."""

    def __init__(self, asked: _Asked, shard_id: str) -> None:
        self._asked, self._shard_id = asked, shard_id
        self._tried: dict[str, int] = {}

    def next_round(self) -> None:
        """Begin with the leader again."""
        self._tried = {}
        self._ask()

    def _ask(self) -> None:
        if not self._asked.is_open(self._shard_id):
            return
        parent = self._asked.parent
        node = self._next_node()
        if node is None:
            parent.runtime.call_later(PAUSE_S * parent.runtime.random.uniform(0.5, 1.0), self.next_round)
            return
        question = self._asked.question
        deadline = min(self._asked.deadline, parent.runtime.now() + ATTEMPT_S)
        parent.call(node, question.method, question.body(self._shard_id), deadline, partial(self._answered, node))

    def _next_node(self) -> str | None:
        view = self._asked.parent.view
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
            return self._asked.confirmed(self._shard_id)
        if isinstance(answer, self._asked.question.final):
            return self._asked.refused(answer)
        if answer.details.get("leader") != node:
            self._asked.parent.view.heed(self._shard_id, answer.details)
        self._ask()
