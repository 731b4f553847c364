"""A quick proof that no linearization exists, where what stood there stood there once. Pure.

A version, or a value that one operation sets, is there for one period of time: every operation that set it or saw it
took effect in that period. Two periods do not overlap, so one of them is first, and nothing in it can have taken effect
after anything in the other. So there is no linearization if an operation of A returned before one of B was called, and
one of B before one of A. Pairs are enough: in a longer circle, the period with the latest call makes a pair with the
one after it. (Gibbons and Korach, "Testing Shared Memories", 1997: where it is known which write every read saw, this
decides the matter, without any search.)

A compare-and-set that saw A and set B makes the two one period, since nothing came between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from jepsen_like.checkers.acts import Act, Model

BEGINNING = -1


class Period(NamedTuple):
    """Of its operations, the first return and the last call."""

    first_return: float
    last_call: float


def contradict(acts: Sequence[Act], model: Model) -> bool:
    """Whether the periods of a history exclude each other."""
    once = _periods(acts, model)
    return _some_pair(once.values()) or _some_pair(_joined(acts, model, once))


def _periods(acts: Sequence[Act], model: Model) -> dict[Hashable, Period]:
    """Of every label that is there once."""
    givers: dict[Hashable, int] = defaultdict(int)
    members: dict[Hashable, list[Act]] = defaultdict(list)
    for act in acts:
        needed = model.needs(act.what)
        for label in model.gives(act.what):
            givers[label] += 1
        for label in {*model.gives(act.what), *([needed] if needed is not None else [])}:
            if act.returned is not None:
                members[label].append(act)
    initial = model.labels(model.initial)
    once = {label: _period(each) for label, each in members.items() if givers[label] + (label in initial) <= 1}
    return once | {label: Period(BEGINNING, once[label].last_call) for label in initial if label in once}


def _period(acts: Iterable[Act]) -> Period:
    spans = [(act.returned or 0, act.called) for act in acts]
    return Period(min(returned for returned, _ in spans), max(called for _, called in spans))


def _joined(acts: Sequence[Act], model: Model, once: dict[Hashable, Period]) -> list[Period]:
    """The periods, with those that follow each other at once made one."""
    before: dict[Hashable, Hashable] = {}

    def first(label: Hashable) -> Hashable:
        while label in before:
            label = before[label]
        return label

    for act in acts:
        needed = model.needs(act.what)
        for given in model.gives(act.what):
            if act.returned is not None and needed in once and given in once and first(needed) != first(given):
                before[first(given)] = first(needed)
    joined: dict[Hashable, list[Period]] = defaultdict(list)
    for label, period in once.items():
        joined[first(label)].append(period)
    return [Period(min(each.first_return for each in some), max(each.last_call for each in some)) for some in joined.values()]


def _some_pair(periods: Iterable[Period]) -> bool:
    """Whether two of them exclude each other: each has a return before a call of the other."""
    ordered = sorted(periods)
    returns = [period.first_return for period in ordered]
    # Of all up to each place, the two latest calls: one of them is another period's.
    latest = list(accumulate(([period.last_call] for period in ordered), lambda two, one: sorted(two + one)[-2:]))
    for period in ordered:
        earlier = bisect_left(returns, period.last_call)
        calls = latest[earlier - 1] if earlier else []
        own = period.first_return < period.last_call
        if len(calls) > own and (calls[-2] if own and calls[-1] == period.last_call else calls[-1]) > period.first_return:
            return True
    return False
