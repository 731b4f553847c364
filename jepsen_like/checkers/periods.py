"""A quick proof that no linearization exists, where what stood there stood there once. Pure.

A version, or a value that one operation sets, is there for one period of time: every operation that set it or saw it
took effect in that period. Two periods do not overlap, so one of them is first, and nothing in it took effect after
anything in the other. So there is no linearization if an operation of A returned before one of B was called, and one of
B before one of A. Pairs are enough: of a longer circle, the period with the latest call makes a pair with the one after
it. (Gibbons and Korach, "Testing Shared Memories", 1997: where it is known which write every read saw, this decides the
matter, without any search.)

Versions are held against versions, and values against values: the period of a version lies in that of its value. A
compare-and-set that saw A and set B makes one period of the two, since nothing came between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from jepsen_like.checkers.acts import Act, Label, Model

BEGINNING = -1


class Period(NamedTuple):
    """Of its operations, the first return and the last call."""

    first_return: float
    last_call: float


def contradict(acts: Sequence[Act], model: Model) -> bool:
    """Whether the periods of a history exclude each other, or something was seen before anybody was asked to set it."""
    if _foreseen(acts, model):
        return True
    once = _periods(acts, model)
    by_sort: dict[str, list[Period]] = defaultdict(list)
    for label, period in once.items():
        by_sort[label.sort].append(period)
    return any(map(_some_pair, (*by_sort.values(), *_joined(acts, model, once))))


def _foreseen(acts: Sequence[Act], model: Model) -> bool:
    first_call: dict[Label, int] = dict.fromkeys(model.labels(model.initial), BEGINNING)
    for act in acts:
        for label in model.gives(act.what):
            first_call[label] = min(first_call.get(label, act.called), act.called)
    needs = ((model.needs(act.what), act.returned) for act in acts if act.returned is not None)
    return any(returned < first_call.get(label, returned) for label, returned in needs if label is not None)


def _periods(acts: Sequence[Act], model: Model) -> dict[Label, Period]:
    """Of every label that is there once, if anybody who was answered gave or needed it."""
    initial = model.labels(model.initial)
    givers = Counter([*initial, *(label for act in acts for label in model.gives(act.what))])
    members: dict[Label, list[Period]] = defaultdict(list)
    for act in acts:
        if act.returned is not None:
            for label in _touched(act, model):
                members[label].append(Period(act.returned, act.called))
    for label in initial:
        members[label].append(Period(BEGINNING, BEGINNING))
    return {label: _together(periods) for label, periods in members.items() if givers[label] <= 1}


def _touched(act: Act, model: Model) -> set[Label]:
    needed = model.needs(act.what)
    return {*model.gives(act.what), *([needed] if needed is not None else [])}


def _together(periods: Iterable[Period]) -> Period:
    returns, calls = zip(*periods, strict=True)
    return Period(min(returns), max(calls))


def _joined(acts: Sequence[Act], model: Model, once: dict[Label, Period]) -> Iterator[list[Period]]:
    """The periods, with those that follow each other at once made one; of each sort."""
    before: dict[Label, Label] = {}

    def first(label: Label) -> Label:
        while label in before:
            label = before[label]
        return label

    for act in acts:
        needed = model.needs(act.what)
        for given in model.gives(act.what) if act.returned is not None and needed in once else ():
            if needed is not None and given in once and given.sort == needed.sort and first(needed) != first(given):
                before[first(given)] = first(needed)
    joined: dict[str, dict[Label, list[Period]]] = defaultdict(lambda: defaultdict(list))
    for label, period in once.items():
        joined[label.sort][first(label)].append(period)
    return (list(map(_together, chains.values())) for chains in joined.values())


def _some_pair(periods: Iterable[Period]) -> bool:
    """Whether two of them exclude each other: each has a return before a call of the other."""
    ordered = sorted(periods)
    returns = [period.first_return for period in ordered]
    # The two latest calls of all periods up to each: one of them is another's than the period in question.
    latest = list(accumulate(([period.last_call] for period in ordered), lambda two, one: sorted(two + one)[-2:]))
    for first_return, last_call in ordered:
        earlier = bisect_left(returns, last_call)
        calls = list(latest[earlier - 1]) if earlier else []
        if first_return < last_call in calls:
            calls.remove(last_call)  # Its own.
        if calls and calls[-1] > first_return:
            return True
    return False
