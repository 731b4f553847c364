"""What a workload is, and the options of a run.

A workload thinks for some number of *workers*. A worker does one thing at a time, and goes on as another process of the
history when nobody knows how its last operation ended (Jepsen's rule): a worker may therefore remember, a process can
not. The runner asks a workload what comes `next` and tells it what has `completed`; a workload waits for nothing,
looks at no clock and throws only the dice that it is given. So one seed is one run, in the simulation.

Each workload has namespaces of its own, whose names begin with `jl-`, and never touches any others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from random import Random
from typing import Any, Protocol

import msgspec

from jepsen_like.asking import Completion, Request

ALWAYS = ("availability", "liveness")
"""The checkers that judge every run."""

Policies = dict[str, dict[str, Any]]
"""By the namespace's name, each as `PUT /v1/namespaces` takes it."""


class Options(msgspec.Struct, kw_only=True, frozen=True):
    """What a run asks of its workload and of its runner. `keys` 0 is the workload's own choice."""

    ack: str = "quorum"
    """The level that writes are acknowledged at, where the workload does not need a certain one."""
    seconds: float = 60.0
    """How long the main phase lasts, in which things are broken."""
    processes: int = 8
    rate: float = 20.0
    """Operations a second of each process. In an open loop `rate` times `processes` arrive."""
    keys: int = 0
    window: dict[str, int | None] = {}
    """The loss window of `primary` namespaces, as a policy has it; empty: the workload's own."""
    shape: str = "cluster22"
    """Which row of the table of production clusters `mix` is shaped like."""
    sticky: bool = False
    """Whether a process keeps to one node. Else it chooses one anew for each operation."""
    liveness_bound_s: float = 10.0
    """How long it may take until a healed majority serves; the workload goes on for so long after healing."""
    timeout_s: float = 2.0
    """After which an operation that is not answered is of unknown outcome."""


class Pace(Enum):
    """Who decides when the next operation begins."""

    CLOSED = "closed"
    """Each worker at the rate that the options say, one after the other."""
    OWN = "own"
    """The workload alone, by the pauses that it returns."""
    OPEN = "open"
    """They arrive, whether or not those before are answered."""


class Workload(Protocol):
    """One way to use the cluster, made from `Options`; see `registry`."""

    name: str
    summary: str
    """A line for people."""
    pace: Pace
    workers_per_process: int
    """It is to have so many workers for each process that the options say: more than one where most of them wait."""

    def __init__(self, options: Options) -> None:
        """Raises ValueError: an option that cannot be."""

    def namespaces(self) -> Policies:
        """What to create before it begins."""

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """What this worker does now, or how many seconds it is to wait and ask again."""

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """An operation has ended; `worker` is -1 for those of `settle` and `final`."""

    def settle(self) -> list[Request]:
        """What is still to be changed once everything is healed, in any order. What does not succeed is asked again,
        so it must do no harm twice."""

    def final(self) -> Iterator[list[Request]]:
        """What to ask after that, which changes nothing: lists, each worked off in any order before the next is drawn.
        What does not succeed is asked again."""

    def checkers(self) -> tuple[str, ...]:
        """The names of those that judge it."""


def policy(ack: str, window: Mapping[str, int | None] | None = None, **more: Any) -> dict[str, Any]:
    """A policy document. The window stands in it where it means something."""
    windowed = {"lossWindow": dict(window)} if window and ack == "primary" else {}
    return {"ack": ack, **windowed, **more}
