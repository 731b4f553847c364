"""Which failures are tried again, and after how long.

The one rule: a command is sent again only where the send before it had definitely no effect, where it has no effect
at all, being a read, or where a shard executes it once however often it comes, being a write with an idempotency key,
the client's or a minted one. A replica read that came to a replica too old for it goes on to another one, to the leader
first. A write without a key after `outcome_unknown` is never sent again: a `set` repeated late can bring back an old
value. Nor is one of which the shard says that it has forgotten the key.

Once the outcome of one attempt of a keyed write is unknown, that attempt may still be on its way. What a later one is
refused with then says nothing about the write, unless it is what stands, or will stand, in its record: the answer is
`outcome_unknown` (`cleared_of_doubt` tells).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from raftcache.commands.types import (
    Command,
    Failure,
    Get,
    MultiGet,
    Receipts,
    Scan,
    Script,
    Transaction,
    Usage,
    failure_of,
)
from raftcache.errors import (
    IdempotencyMismatch,
    NotAnInteger,
    NotFollowing,
    NotLeader,
    OutcomeUnknown,
    TooStale,
    Unavailable,
    WrongShard,
)

READS: frozenset[type] = frozenset({Get, MultiGet, Receipts, Scan, Usage})
ROUTING_CODES: Final = frozenset({NotLeader.code, WrongShard.code, Unavailable.code, TooStale.code, NotFollowing.code})
"""Definite failures that say: not here, or not yet. Other definite failures are answers, for the client to act on."""

DECIDED_CODES: Final = frozenset({NotAnInteger.code, IdempotencyMismatch.code})
"""Failures that are said by a record, and so by every attempt under its key."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """Seconds between rounds of attempts, doubling between the two, and how much may be in flight."""

    pause_min_seconds: float = 0.02
    pause_max_seconds: float = 0.5
    inflight_limit: int = 10_000


def may_retry(failure: Failure, repeatable: bool) -> bool:
    """Whether the dispatcher may send the command again after this failure."""
    if failure.code == OutcomeUnknown.code:
        return repeatable and "forgotten" not in failure.details
    return failure.code in ROUTING_CODES


def takes_minted_key(command: Command | Receipts) -> bool:
    """Whether a front end mints a key for the command: for every write to which its client gave none."""
    return not is_read(command) and getattr(command, "idempotency", None) is None


def is_repeatable(command: Command) -> bool:
    """Whether executing the command twice is the same as once."""
    return is_read(command) or getattr(command, "idempotency", None) is not None


def cleared_of_doubt(failure: Failure) -> Failure:
    """The answer that `failure` makes where an earlier attempt of the same keyed write may take effect."""
    if failure.code in DECIDED_CODES or failure.code == OutcomeUnknown.code:
        return failure
    text = f"an earlier attempt may or may not take effect, and the last one failed: {failure.message}"
    return failure_of(OutcomeUnknown(text, cause=failure.code))


def is_read(command: Command | Receipts) -> bool:
    """Whether executing the command twice is the same as once because it changes nothing."""
    kind = type(command)
    if isinstance(command, Transaction):
        return all(is_read(item) for item in command.items)
    return kind in READS or (isinstance(command, Script) and command.read_only)


def any_replica_serves(command: Command) -> bool:
    """Whether `command`, all of it, may be answered by a replica that does not lead."""
    if type(command) is MultiGet:
        return all(item.replica for item in command.items)
    return type(command) is Get and command.replica


def pause_seconds(settings: RetrySettings, rounds: int, chance: random.Random) -> float:
    """The pause after the `rounds`-th fruitless round, from 1: between half and all of a doubling span."""
    span = min(settings.pause_max_seconds, settings.pause_min_seconds * 2.0 ** min(rounds - 1, 16))
    return span * chance.uniform(0.5, 1.0)
