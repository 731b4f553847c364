"""One replica of the metadata group: the thin shell between the pure state and its Raft group.

An entry is msgpack `[request_id, command]`. The replica that proposed it keeps who asked under the request id, and
answers them with what applying gave. A new leader first proposes a `Barrier`: once that is applied it has applied
everything that any earlier leader acknowledged, and only then does it take commands and reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import msgspec

from raftcache.clock import Runtime
from raftcache.commands.namespaces import Namespaces
from raftcache.errors import InternalError, NotLeader, OutcomeUnknown, Overloaded, RaftcacheError
from raftcache.metadata.applying import Result, apply
from raftcache.metadata.commands import (
    Applied,
    Barrier,
    MetadataCommand,
    decode_metadata_command,
    encode_metadata_command,
)
from raftcache.metadata.state import EMPTY, MetadataState, decode_state, digest_of, encode_state, namespaces_of

WAITING_LIMIT = 1_000
"""Commands proposed and not yet answered, at one leader."""

SNAPSHOT_BLOCK_BYTES = 256 << 10
SNAPSHOT_HEADER = b"raftcache metadata 1\n"

log = logging.getLogger(__name__)


class MetadataGroup(Protocol):
    """What the replica needs of its Raft group."""

    @property
    def is_leader(self) -> bool:
        """Whether this member leads."""

    @property
    def leader(self) -> str | None:
        """The leader's node id, where known."""

    @property
    def term(self) -> int:
        """The current term."""

    def propose(self, payload: bytes) -> int:
        """Append an entry; its index. Raises NotLeader or Overloaded."""

    def barrier(self, done: Callable[[bool], None]) -> None:
        """Call `done` with whether this member still led after the call."""

    def step_down(self, reason: str) -> None:
        """Stop leading."""


class MetadataReplica:
    """The replicated metadata state, as the `StateMachine` of its group. Runs on the loop throughout."""

    def __init__(self, node_id: str, runtime: Runtime) -> None:
        self.node_id = node_id
        self.state: MetadataState = EMPTY
        self.namespaces: Namespaces = namespaces_of(EMPTY)
        self.serving = False
        self._group: MetadataGroup | None = None
        self._waiting: dict[str, Callable[[Result], None]] = {}
        self._subscribers: list[Callable[[MetadataState], None]] = []
        self._request_prefix = f"{node_id}.{runtime.random.getrandbits(64):016x}."
        self._requests = 0

    def attach(self, group: MetadataGroup) -> None:
        """Name the group that this is the state machine of; before anything is submitted."""
        self._group = group

    def forget(self) -> None:
        """Start over, with nothing, for a group that is opened again after its files were lost."""
        self._group = None
        self.state, self.namespaces = EMPTY, namespaces_of(EMPTY)

    def subscribe(self, callback: Callable[[MetadataState], None]) -> None:
        """Call `callback` with the state whenever its epoch has changed."""
        self._subscribers.append(callback)

    def submit(self, command: MetadataCommand, done: Callable[[Result], None]) -> None:
        """Propose `command`; `done` gets, once, the result of applying it or an error. Never raises.

        `NotLeader` (with `leader` and `term` as hints) and `Overloaded` are definite. `OutcomeUnknown` means that
        leadership was lost first: all commands are idempotent, so the caller may submit again.
        """
        if not self.serving:
            return done(self._not_leader())
        if len(self._waiting) >= WAITING_LIMIT:
            return done(Overloaded(f"metadata commands waiting must be at most {WAITING_LIMIT}: try again"))
        self._propose(command, done)

    def read(self, linearizable: bool, done: Callable[[MetadataState | RaftcacheError], None]) -> None:
        """`done` gets the state: this replica's at once, or, linearizable, one read while proven leader."""
        if not linearizable:
            return done(self.state)
        if not self.serving or self._group is None:
            return done(self._not_leader())
        self._group.barrier(lambda led: done(self.state if led else self._not_leader()))

    @property
    def waiting(self) -> int:
        """Commands proposed and not yet answered."""
        return len(self._waiting)

    def digest(self) -> str:
        """A digest of the state: equal on replicas that applied the same entries."""
        return digest_of(self.state)

    # The state machine.

    def apply(self, index: int, term: int, payload: bytes) -> None:
        """Apply one committed entry, tell the subscribers, answer whoever waits for it."""
        request_id, command = _decode_entry(payload)
        before = self.state
        result: Result
        if command is None:
            log.error("metadata entry %d of term %d cannot be read and changes nothing", index, term)
            result = InternalError(f"metadata entry {index} cannot be read")
        else:
            after, result = apply(before, command)
            self._become(after)
        done = self._waiting.pop(request_id, None)
        if done is not None:
            done(result)

    def leadership_gained(self, term: int) -> None:
        """Propose the barrier that has to be applied before this leader serves."""
        self._propose(Barrier(), lambda result: self._barrier_applied(term, result))

    def leadership_lost(self, term: int) -> None:
        """Stop serving. What was proposed may still commit, so its outcome is unknown."""
        self.serving = False
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done(OutcomeUnknown("the metadata leader changed before the command was committed"))

    def synced(self, index: int) -> None:
        """Nothing waits for that: the group's log is synced always, so what is committed is on disk."""

    def snapshot_blocks(self) -> Iterator[bytes]:
        """The state as of now, in blocks. The state is immutable, so the cut is a reference."""
        return _blocks(self.state)

    def prepare_restore(self, blocks: Iterable[bytes]) -> MetadataState:
        """The state in a snapshot. Raises ValueError where it is none."""
        whole = b"".join(blocks)
        if not whole.startswith(SNAPSHOT_HEADER):
            raise ValueError(f"not a metadata snapshot: it starts with {whole[:20]!r}")
        return decode_state(whole[len(SNAPSHOT_HEADER) :])

    def discard(self, prepared: MetadataState) -> None:
        """Nothing: it is small."""

    def install(self, prepared: Any, index: int, term: int) -> None:
        """Take over the state of a snapshot."""
        self._become(prepared)

    def _become(self, state: MetadataState) -> None:
        changed = state.epoch != self.state.epoch
        self.state = state
        if changed:
            self.namespaces = namespaces_of(state)
            for callback in self._subscribers:
                callback(state)

    def _barrier_applied(self, term: int, result: Result) -> None:
        if isinstance(result, Applied):
            self.serving = True
        elif result.definite and self._group is not None:
            self._group.step_down(f"metadata barrier of term {term} could not be proposed: {result.message}")

    def _propose(self, command: MetadataCommand, done: Callable[[Result], None]) -> None:
        """Register first: in a group of one, proposing may commit and apply before it returns."""
        if self._group is None:
            return done(self._not_leader())
        self._requests += 1
        request_id = f"{self._request_prefix}{self._requests}"
        self._waiting[request_id] = done
        try:
            self._group.propose(_encode_entry(request_id, command))
        except RaftcacheError as error:
            if self._waiting.pop(request_id, None) is not None:
                done(error)

    def _not_leader(self) -> NotLeader:
        group = self._group
        leader, term = (group.leader, group.term) if group is not None else (None, 0)
        hint = leader if leader != self.node_id else None
        return NotLeader(f"{self.node_id} does not lead the metadata group", leader=hint, term=term)


_encode_pair = msgspec.msgpack.Encoder().encode
_decode_pair = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw]).decode


def _encode_entry(request_id: str, command: MetadataCommand) -> bytes:
    return _encode_pair((request_id, msgspec.Raw(encode_metadata_command(command))))


def _decode_entry(payload: bytes) -> tuple[str, MetadataCommand | None]:
    """The request id and command; None for a command that is none: the same on every replica."""
    try:
        request_id, raw = _decode_pair(payload)
    except msgspec.MsgspecError:
        return "", None
    try:
        return request_id, decode_metadata_command(raw)
    except msgspec.MsgspecError:
        return request_id, None


def _blocks(state: MetadataState) -> Iterator[bytes]:
    yield SNAPSHOT_HEADER
    data = encode_state(state)
    for start in range(0, len(data), SNAPSHOT_BLOCK_BYTES):
        yield data[start : start + SNAPSHOT_BLOCK_BYTES]
