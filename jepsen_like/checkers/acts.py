"""What a search for a linearization is given: acts, the model of the object they act on, and a budget. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

STEPS_A_LOOK = 500
"""Work between two looks at the clock: some milliseconds."""


class Act(NamedTuple):
    """An operation as the search sees it. `called` and `returned` are the places of its events in the history;
    `returned` is None where the outcome is not known. `what` is what its model makes of it."""

    number: int
    called: int
    returned: int | None
    what: Hashable


class Label(NamedTuple):
    """Something that a state has and others may need. A state has at most one label of a sort."""

    sort: str
    what: Hashable


class Model(Protocol):
    """The object that the operations act on: its first state, and what each operation makes of a state.

    States and `what`s are immutable and hashable. An operation either leaves the state that allows it as it is, or ends
    in the same state whatever the one before: that is what lets the search put off operations of unknown outcome.

    Beside that, a model says what of a state others may depend on, by labels: for a register its value and its version.
    """

    initial: Any

    def step(self, state: Any, what: Any) -> Any:
        """The state after, the very same object if nothing changed; None where the state does not allow it."""

    def changes(self, what: Any) -> bool:
        """Whether it sets a state."""

    def free(self, what: Any) -> bool:
        """Whether every state allows it."""

    def exact(self, what: Any) -> bool:
        """Whether it needs one certain label. What is neither free nor exact needs *another* state than one."""

    def enabling(self, what: Any) -> Sequence[Any]:
        """Of the operations of unknown outcome, those after which it may be allowed."""

    def labels(self, state: Any) -> Sequence[Label]:
        """Those of a state."""

    def needs(self, what: Any) -> Label | None:
        """The label without which it is not allowed, if it is exact."""

    def gives(self, what: Any) -> Sequence[Label]:
        """Labels of the states that it sets. A label that nobody gives, and the initial state has not, is there for one
        period only, if at all."""


@dataclass(slots=True)
class Budget:
    """What a search may spend. `clock` is in seconds, and is looked at now and then. `configurations` bounds memory as
    well: a configuration that is searched is remembered, in about 300 bytes."""

    clock: Callable[[], float]
    deadline_s: float
    configurations: int
    steps: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether there is nothing left."""
        return self.configurations <= 0

    def step(self, count: int = 1) -> None:
        """Account for work."""
        self.steps += count
        if self.steps >= STEPS_A_LOOK:
            self.steps = 0
            if self.clock() >= self.deadline_s:
                self.configurations = 0


class Found(NamedTuple):
    """What a search found. `linearizable` is None where it ran out of budget.

    `longest` has the numbers of the operations of the longest partial linearization, in its order; `stuck` those of
    which one had to come next, and none could.
    """

    linearizable: bool | None
    longest: list[int]
    stuck: list[int]
