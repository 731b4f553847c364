"""Whether the acts on one object can be put in order: what is quick first. Pure.

A *glance* is a contradiction that needs no search (`periods`), and a short exact search, which answers almost always.
Where it does not, the open acts are the reason more often than not: those used early are missed late, and the search
goes through all the ways to use them in between. So the next search tracks none of them, which is quick, and may find
an order that uses some more often than they were called. These it tracks from then on, and searches again, until it
finds none, and there is none, or one that is right. Acts that nobody competes for are never tracked. (Clarke and
others, "Counterexample-Guided Abstraction Refinement", 2000.)
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from jepsen_like.checkers.acts import Act, Budget, Found, Model
from jepsen_like.checkers.periods import contradict
from jepsen_like.checkers.wgl import Search

GLANCE = 10_000
"""Configurations of the short search, beside those that it takes to go through the history once."""


def glance(plain: Sequence[Act], acts: Sequence[Act], model: Model, budget: Budget) -> Found:
    """The quick answer; `linearizable` is None where there is none. `plain` are the acts as they were."""
    short = replace(budget, configurations=min(GLANCE + len(acts), budget.configurations))
    found = Search(acts, model, short).run()
    return found._replace(linearizable=False) if contradict(plain, model) else found


def decide(acts: Sequence[Act], model: Model, budget: Budget, glanced: Found) -> Found:
    """What a glance could not tell. Each search has all configurations of the budget; they share its time.

    Of what is not linearizable, the glance knows the longest order: others may use acts too often.
    """
    tracked: set[Hashable] = set()
    while True:
        search = Search(acts, model, replace(budget), tracked)
        found = search.run()
        if not found.linearizable:
            return glanced._replace(linearizable=found.linearizable)
        overused = search.overused()
        if not overused:
            return found
        tracked |= overused
