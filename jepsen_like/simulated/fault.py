"""What a simulated fault is: it strikes at once, and returns what mends it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from jepsen_like.nemeses.plan import ANY, FOLLOWER, HOLD_S, LEADER, METADATA_LEADER
from jepsen_like.simulated.ground import SimGround

ALL_TARGETS = (LEADER, FOLLOWER, ANY, METADATA_LEADER)


class Skipped(Exception):
    """The fault cannot strike just now; the text says why."""


class Victims(NamedTuple):
    """Whom to hit: all nodes, the one aimed at first."""

    order: tuple[str, ...]
    dice: random.Random

    @property
    def node(self) -> str:
        """The one aimed at."""
        return self.order[0]


Heal = Callable[[], dict[str, Any] | None]
"""Mends a fault; may tell what is to stand on record beside."""
Strike = Callable[[SimGround, Victims], Heal]


class Fault(NamedTuple):
    """One row of the table. `needs_durable`: only writes that are durable survive it."""

    summary: str
    strike: Strike
    targets: tuple[str, ...] = ALL_TARGETS
    hold_s: tuple[float, float] = HOLD_S
    needs_durable: bool = False
