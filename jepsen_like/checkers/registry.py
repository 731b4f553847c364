"""All checkers by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from jepsen_like.checkers.availability import Availability
from jepsen_like.checkers.batch import Batches
from jepsen_like.checkers.counter import Counters
from jepsen_like.checkers.invalidation import Invalidations
from jepsen_like.checkers.linearizability import Linearizability
from jepsen_like.checkers.liveness import Liveness
from jepsen_like.checkers.loss_window import LossWindows
from jepsen_like.checkers.policies import Policies
from jepsen_like.checkers.quota import Quotas
from jepsen_like.checkers.receipts import Receipts
from jepsen_like.checkers.sets import Sets
from jepsen_like.checkers.staleness import Staleness
from jepsen_like.checkers.ttl import TimesToLive
from jepsen_like.checking import Checker, Verdict
from jepsen_like.history import History

CHECKERS: dict[str, Callable[[], Checker]] = {
    Linearizability.name: lambda: Linearizability(time.monotonic),
    Counters.name: Counters,
    Sets.name: Sets,
    LossWindows.name: LossWindows,
    Receipts.name: Receipts,
    Staleness.name: Staleness,
    TimesToLive.name: TimesToLive,
    Batches.name: Batches,
    Policies.name: Policies,
    Invalidations.name: Invalidations,
    Quotas.name: Quotas,
    Availability.name: Availability,
    Liveness.name: Liveness,
}


def judge(history: History, names: Iterable[str]) -> list[Verdict]:
    """What each of these checkers says, in this order. Raises KeyError: no such checker."""
    return [CHECKERS[name]().check(history) for name in names]
