"""What checkers take from a history's header and from its faults: what was promised, and what excuses. Pure.

`options` of the header. A checker that misses one says what it could not judge.

    namespaces          {name: policy}: each namespace that there is at the start, its policy as `PUT /v1/namespaces`
                        takes it. Missing: the header's `ack` holds for all, and no loss window is known
    shards              [id, ...]: all shards, in the order of their slots. Missing: no share of a window is known
    clockDriftPercent   how far off the rate of any node's clock may be. Missing: `CLOCK_DRIFT_PERCENT`
    clockErrorMs        how far off any node's wall clock may be, and what another node knows of it: the time that
                        messages are under way counts, and how far nemeses set clocks. Missing: `CLOCK_ERROR_MS`
    minimumRatePerS     successful operations a second, below which a run is a failure. Missing: `availability`'s
    livenessBoundMs     the time that a healed majority has until it serves. Missing: `liveness`'s

Policies may change while the run lasts, by `set-namespace`. Checkers other than `policies` then take the weakest policy
that any attempt named.

Faults that mean something to checkers:

    final               a mark and no fault: all is healed and has settled, and no client changes anything from now on
    majority-healed     a mark and no fault: see `liveness`. What it leaves broken may have been ended (`stops`)
    any that `forgets`  has in its details `"forgets": "all"`, or a list of shards: of these a majority forgot what was
                        not durable, and may have gone back. It is over when nothing more can be forgotten
    any in `STOPS`      by the beginning of its name, or with `"stops": true` in its details: processes ended, and their
                        memory with them
    clock...            wall clocks were set
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jepsen_like.history import Fault, Header
from raftcache.commands.policy import Namespace
from raftcache.commands.types import AckLevel, ReadLevel
from raftcache.errors import RaftcacheError
from raftcache.metadata.policy import parse_policy
from raftcache.shard.window import Place

FINAL, MAJORITY_HEALED = "final", "majority-healed"
MARKS = frozenset({FINAL, MAJORITY_HEALED})
FORGETS = "forgets"
STOPS = ("crash", "empt", "flip", "kill", "power", "restart", "rolling", "torn")
"""How the names of faults begin that end processes."""
CLOCK = "clock"

CLOCK_DRIFT_PERCENT = 0.01
"""Processes of one machine share its clock, whose rate the kernel trims by less."""
CLOCK_ERROR_MS = 250.0
"""Processes of one machine share its wall clock, and hear of each other's within this time."""
NEVER_MS = -1.0

REPLICATION_FACTOR = 3
"""A policy may name it; it says nothing here."""


class Setting:
    """The header and the faults of one history, read."""

    def __init__(self, header: Header, faults: Iterable[Fault]) -> None:
        self.options = header.options
        self.ack = ack_level(header.ack)
        named = self.options.get("namespaces")
        documents = named if isinstance(named, dict) else {}
        self.namespaces = {
            str(name): policy for name, document in documents.items() if (policy := policy_of(name, document))
        }
        shards = self.options.get("shards")
        self.shards = [str(each) for each in shards] if isinstance(shards, list) else []
        self.drift = self.number("clockDriftPercent", CLOCK_DRIFT_PERCENT) / 100
        self.clock_error_ms = self.number("clockErrorMs", CLOCK_ERROR_MS)
        everything = list(faults)
        self.faults = [fault for fault in everything if fault.name not in MARKS]
        self.marks = [fault for fault in everything if fault.name in MARKS]

    def number(self, option: str, otherwise: float) -> float:
        """An option that is a number, and no less than 0."""
        value: Any = self.options.get(option)
        usable = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        return float(value) if usable else otherwise

    def place_of(self, shard: str) -> Place | None:
        """Which of how many shards this one is; None where that is not on record."""
        return (self.shards.index(shard), len(self.shards)) if shard in self.shards else None

    @property
    def final_ms(self) -> float:
        """When the run came to rest; infinity where it never did."""
        return min((mark.began_ms for mark in self.marks if mark.name == FINAL), default=float("inf"))

    def forgotten_ms(self, shard: str | None = None) -> float:
        """Until when a majority of the shard may have forgotten what was not durable; of any shard, for None."""
        struck = (fault for fault in self.faults if _forgets(fault, shard))
        return max((fault.ended_ms for fault in struck), default=NEVER_MS)

    @property
    def memory_lost(self) -> bool:
        """Whether a process ended, and what it remembered of its losses with it."""
        everything = (*self.faults, *self.marks)
        return any(fault.name.startswith(STOPS) or fault.details.get("stops") is True for fault in everything)

    @property
    def clocks_unknown(self) -> bool:
        """Whether clocks were set, and nobody says how far."""
        return "clockErrorMs" not in self.options and any(fault.name.startswith(CLOCK) for fault in self.faults)

    def clock_margin_ms(self, at_ms: float) -> float:
        """How far a shard's time may be from the true one, `at_ms` into the run.

        Each leadership begins at the median of the voters' wall clocks, or at the log's time if that is ahead; from
        there its time drifts with its leader's clock. So what drift adds up to is bounded by the length of the run.
        """
        return self.clock_error_ms + self.drift * at_ms


def _forgets(fault: Fault, shard: str | None) -> bool:
    struck = fault.details.get(FORGETS)
    if isinstance(struck, list):
        return bool(struck) if shard is None else shard in struck
    return struck == "all"


def policy_of(name: Any, document: Any) -> Namespace | None:
    """A policy as it was asked for; None where it is none."""
    try:
        return parse_policy(str(name), document, REPLICATION_FACTOR)
    except RaftcacheError:
        return None


def ack_level(text: str) -> AckLevel | None:
    """The level of that name; None where there is none."""
    return AckLevel.__members__.get(text.upper())


def read_level(text: str) -> ReadLevel | None:
    """The level of that name; None where there is none."""
    return ReadLevel.__members__.get(text.upper())


def namespace_of(key: str) -> str:
    """The name of a key's namespace."""
    return key.partition(":")[0]
