"""Which failures are tried again, and after how long.

The one rule: a command is sent again only where the send before it had definitely no effect, or where it has no
effect at all, being a read. A replica read that came to a replica too old for it goes on to another one, to the leader
first. An unkeyed write after `outcome_unknown` is never sent again: a `set` repeated late
can bring back an old value.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from raftcache.commands.types import (
    Command,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    MultiDelete,
    MultiGet,
    MultiSet,
    Persist,
    Receipts,
    Set,
)
from raftcache.errors import NotLeader, OutcomeUnknown, RaftcacheError, TooStale, Unavailable, WrongShard

READS: frozenset[type] = frozenset({Get, MultiGet, Receipts})
WRITES: frozenset[type] = frozenset({Set, Delete, Incr, Expire, Persist, MultiSet, MultiDelete})

ROUTING_CODES = frozenset({NotLeader.code, WrongShard.code, Unavailable.code, TooStale.code})
"""Definite failures that say: not here. Other definite failures are answers, for the client to act on."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """Seconds between rounds of attempts, doubling between the two, and how much may be in flight."""

    pause_min_seconds: float = 0.02
    pause_max_seconds: float = 0.5
    inflight_limit: int = 10_000


def may_retry(failure: Failure, reads: bool) -> bool:
    """Whether the dispatcher may send the command again after this failure."""
    return failure.code in ROUTING_CODES or (reads and failure.code == OutcomeUnknown.code)


def is_read(command: Command | Receipts) -> bool:
    """Whether executing the command twice is the same as once because it changes nothing."""
    return type(command) in READS


def any_replica_serves(command: Command) -> bool:
    """Whether `command`, all of it, may be answered by a replica that does not lead."""
    if type(command) is MultiGet:
        return all(item.replica for item in command.items)
    return type(command) is Get and command.replica


def pause_seconds(settings: RetrySettings, rounds: int, chance: random.Random) -> float:
    """The pause after the `rounds`-th fruitless round, from 1: between half and all of a doubling span."""
    span = min(settings.pause_max_seconds, settings.pause_min_seconds * 2.0 ** min(rounds - 1, 16))
    return span * chance.uniform(0.5, 1.0)


def failure_of(error: RaftcacheError) -> Failure:
    """An error in place of a reply."""
    return Failure(error.code, error.message, error.details)
