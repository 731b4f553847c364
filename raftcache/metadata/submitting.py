"""Bringing a metadata command to the metadata leader, from any node or front end.

The same rule as for shards: a command is sent again only after a definite failure to find the leader. An unknown
outcome is reported: a repeated `DeleteNamespace` would answer `unknown_namespace` for a deletion that worked.

A node that did not answer in time is asked last by the commands that follow: it may hear everything and reach nobody,
and each of them would wait for it until its own deadline, though another has led for long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from raftcache.clock import Runtime
from raftcache.errors import BadRequest, InternalError, NoLeader, NotLeader, RaftcacheError, Unavailable
from raftcache.metadata.applying import Result
from raftcache.metadata.commands import (
    MetadataCommand,
    decode_applied,
    decode_metadata_command,
    encode_applied,
    encode_metadata_command,
)
from raftcache.metadata.remote_watch import Call
from raftcache.metadata.replica import MetadataReplica

METHOD = "metadata"
PAUSE_MIN_SECONDS = 0.02
PAUSE_MAX_SECONDS = 0.5


def serve_metadata(replica: MetadataReplica, body: bytes, reply: Callable[[bytes | RaftcacheError], None]) -> None:
    """The RPC method `metadata`: an encoded command in, an encoded `Applied` or an error out."""
    try:
        command = decode_metadata_command(body)
    except msgspec.MsgspecError as error:
        return reply(BadRequest(f"not a metadata command: {error}"))

    def done(result: Result) -> None:
        reply(result if isinstance(result, RaftcacheError) else encode_applied(result))

    replica.submit(command, done)


class MetadataSubmitter:
    """Finds the metadata leader for each command, and remembers it for the next."""

    def __init__(self, runtime: Runtime, call: Call, endpoints: Callable[[], Sequence[str]]) -> None:
        """`endpoints` are the nodes with a metadata replica, as `call` and the hints of `NotLeader` name them."""
        self.runtime = runtime
        self.call = call
        self.endpoints = endpoints
        self.leader: str | None = None
        self.silent: str | None = None
        """The node whose answer was last waited for in vain, until it gives one."""

    def submit(self, command: MetadataCommand, deadline: float, done: Callable[[Result], None]) -> None:
        """`done` gets, once, what applying `command` gave, or an error: `NoLeader` where it was never executed."""
        _Submission(self, encode_metadata_command(command), deadline, done).next_round()


class _Submission:
    """One command's way through the nodes, one at a time."""

    def __init__(
        self, submitter: MetadataSubmitter, body: bytes, deadline: float, done: Callable[[Result], None]
    ) -> None:
        self._submitter = submitter
        self._body = body
        self._deadline = deadline
        self._done = done
        self._left: list[str] = []
        self._pause_seconds = PAUSE_MIN_SECONDS

    def next_round(self) -> None:
        """Try the remembered leader, then every other node, the silent one last."""
        leader, silent = self._submitter.leader, self._submitter.silent
        self._left = sorted(self._submitter.endpoints(), key=lambda node: (node == silent, node != leader))
        self._next_node()

    def _next_node(self) -> None:
        runtime = self._submitter.runtime
        if runtime.now() >= self._deadline:
            return self._done(NoLeader("no metadata leader answered within the deadline: not executed"))
        if not self._left:
            pause = self._pause_seconds * runtime.random.uniform(0.5, 1.0)
            self._pause_seconds = min(PAUSE_MAX_SECONDS, self._pause_seconds * 2)
            runtime.call_later(min(pause, self._deadline - runtime.now()), self.next_round)
            return
        node = self._left.pop(0)
        self._submitter.call(node, METHOD, self._body, self._deadline, lambda answer: self._answered(node, answer))

    def _answered(self, node: str, answer: bytes | RaftcacheError) -> None:
        if isinstance(answer, RaftcacheError) and not answer.definite:
            self._submitter.leader, self._submitter.silent = None, node
            return self._done(answer)
        if self._submitter.silent == node:
            self._submitter.silent = None
        if isinstance(answer, NotLeader | Unavailable):
            self._heed(node, answer.details.get("leader"))
            return self._next_node()
        self._submitter.leader = node
        if isinstance(answer, RaftcacheError):
            return self._done(answer)
        try:
            self._done(decode_applied(answer))
        except msgspec.MsgspecError as error:
            self._done(InternalError(f"{node} answered a metadata command with what cannot be read: {error}"))

    def _heed(self, node: str, hint: object) -> None:
        """Go to the named leader next, if this round has not asked it yet."""
        self._submitter.leader = hint if isinstance(hint, str) and hint != node else None
        if hint in self._left:
            self._left.remove(str(hint))
            self._left.insert(0, str(hint))
