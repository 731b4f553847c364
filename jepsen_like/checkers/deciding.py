"""Whether the acts on one object can be put in order: the quick proofs first, then the search. Pure.

    periods         a contradiction that needs no search
    a short look    the exact search, which answers almost always within some thousand configurations
    reuse           the search in which open acts may be used again: if that fails, there is no linearization
    the search      exact, with all that is left
"""

from __future__ import annotations

from collections.abc import Sequence

from jepsen_like.checkers.acts import Act, Budget, Found, Model
from jepsen_like.checkers.periods import contradict
from jepsen_like.checkers.wgl import Search

LOOK = 10_000
"""Configurations of the short look."""


def glance(acts: Sequence[Act], model: Model, budget: Budget) -> Found:
    """The proof that needs no search, and the short look."""
    look = Budget(budget.clock, budget.deadline_s, min(LOOK, budget.configurations))
    impossible = contradict(acts, model)
    found = Search(acts, model, look).run()
    return found._replace(linearizable=False) if impossible else found


def decide(acts: Sequence[Act], model: Model, budget: Budget, glanced: Found) -> Found:
    """What a glance could not tell. The answer names the operations that the glance found, where its own has none."""
    if any(act.returned is None for act in acts):
        now_s = budget.clock()
        half = Budget(budget.clock, now_s + (budget.deadline_s - now_s) / 2, budget.configurations)
        if Search(acts, model, half, reuse=True).run().linearizable is False:
            return glanced._replace(linearizable=False)
    return Search(acts, model, budget).run()
