"""Linearizability: to everybody, each key looks like one register that does one thing at a time.

It is a property of every key by itself (Herlihy and Wing, "Linearizability", 1990, theorem 1), so each key is searched
by itself (`wgl`). Keys that are quickly done come first, and a hard one takes no time from the others. A key on which
there is no answer within the budget is named; it is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from jepsen_like.checkers.acts import Budget, Found
from jepsen_like.checkers.deciding import decide, glance
from jepsen_like.checkers.registers import Part, partition
from jepsen_like.checking import Complaint, Judgement, Verdict, verdict
from jepsen_like.history import History, Operation, Outcome

TIMEOUT_S = 60.0
CONFIGURATIONS = 1_000_000
"""Of a key: what is remembered takes about 300 bytes each."""
SHOWN = 8
"""Operations in the text of a complaint, of either sort; the figures have all."""
KEYS_SHOWN = 5
STUCK = "Whichever of these comes next, an answer is wrong:"


class Linearizability:
    """The checker. Its figures:

    `longest`      of each key that is not linearizable, the numbers of the operations of the longest partial
                   linearization, in its order
    `undecided`    keys on which there is no answer, each with the reason
    """

    name = "linearizability"

    def __init__(
        self, clock: Callable[[], float], timeout_s: float = TIMEOUT_S, configurations: int = CONFIGURATIONS
    ) -> None:
        """`clock` is in seconds, and monotonic. `configurations` bounds the memory, key by key."""
        self._clock = clock
        self._timeout_s = timeout_s
        self._configurations = configurations

    def check(self, history: History) -> Verdict:
        """See `checking.Checker`."""
        try:
            parts = partition(history)
        except ValueError as error:
            return _unknown(f"not a well-formed history: {error}")
        if not parts:
            return _unknown("no operation on any key", undecided={})
        return self._verdict(history.operations(), parts, self._search(parts))

    def _search(self, parts: list[Part]) -> dict[str, Found]:
        """By key: a glance at each, then those without an answer, sharing what time is left."""
        deadline_s = self._clock() + self._timeout_s
        found, hard = {}, []
        for part in parts:
            if part.model is not None:
                budget = Budget(self._clock, deadline_s, self._configurations)
                found[part.key] = glance(part.plain, part.acts, part.model, budget)
                if found[part.key].linearizable is None:
                    hard.append(part)
        for done, part in enumerate(hard):
            now_s = self._clock()
            budget = Budget(self._clock, now_s + (deadline_s - now_s) / (len(hard) - done), self._configurations)
            if part.model is not None and now_s < deadline_s:
                found[part.key] = decide(part.acts, part.model, budget, found[part.key])
        return found

    def _verdict(self, operations: list[Operation], parts: list[Part], found: dict[str, Found]) -> Verdict:
        wrong = {key: each for key, each in found.items() if each.linearizable is False}
        undecided = {part.key: part.reason for part in parts if part.reason}
        undecided |= {key: "out of budget" for key, each in found.items() if each.linearizable is None}
        figures = {
            "keys": len(parts),
            "operations": sum(part.operations for part in parts),
            "longest": {key: each.longest for key, each in wrong.items()},
            "undecided": undecided,
        }
        summary = _summary(len(parts), wrong, undecided)
        if undecided and not wrong:
            return _unknown(summary, **figures)
        complaints = [Complaint(_complaint(key, each, operations), each.stuck) for key, each in wrong.items()]
        return verdict(self.name, summary, complaints, **figures)


def _unknown(summary: str, **figures: object) -> Verdict:
    return Verdict(checker=Linearizability.name, judgement=Judgement.UNKNOWN, summary=summary, figures=figures)


def _summary(keys: int, wrong: Mapping[str, Found], undecided: Mapping[str, str]) -> str:
    if wrong:
        return f"{len(wrong)} of {keys} keys are not linearizable: {_some(map(_key, wrong))}"
    if undecided:
        reasons = (f"{_key(key)} ({reason})" for key, reason in undecided.items())
        return f"no answer on {len(undecided)} of {keys} keys: {_some(reasons)}"
    return f"{keys} keys are linearizable"


def _some(texts: Iterable[str]) -> str:
    found = list(texts)
    more = f" and {len(found) - KEYS_SHOWN} more" if len(found) > KEYS_SHOWN else ""
    return ", ".join(found[:KEYS_SHOWN]) + more


def _key(key: str) -> str:
    return f"key {key}" if key else "the register"


# -- what people read ----------------------------------------------------------------------------


def _complaint(key: str, found: Found, operations: list[Operation]) -> str:
    end = [operation_text(operations[number]) for number in found.longest[-SHOWN:]]
    begin = "... " if len(found.longest) > SHOWN else ""
    order = f"{begin}{'; '.join(end)}" if end else "nothing"
    stuck = [operation_text(operations[number]) for number in found.stuck[:SHOWN]]
    more = f" (and {len(found.stuck) - SHOWN} more)" if len(found.stuck) > SHOWN else ""
    return (
        f"{_key(key)}: no order of its operations explains the answers. The longest has {len(found.longest)}: {order}. "
        f"{STUCK} {'; '.join(stuck)}{more}"
    )


def operation_text(operation: Operation) -> str:
    """An operation in a few words: its number, its process, what it asked and was told."""
    invoked, completed = operation.invoked, operation.completed
    what = " ".join([invoked.name, *_asked(operation)])
    told = {Outcome.OK: "", Outcome.FAIL: " (failed)", Outcome.UNKNOWN: " (unknown)"}[operation.outcome]
    if completed is not None and operation.outcome is Outcome.OK:
        shown = [f"-> {_json(completed.value)}"] if invoked.name not in ("write", "cas") else []
        told = "".join(f" {each}" for each in [*shown, *([f"as {completed.version}"] if completed.version else [])])
    if completed is not None and operation.outcome is Outcome.FAIL and operation.told("current") is not None:
        told = f" (failed, {operation.told('current') or 'nothing'} was there)"
    return f"#{operation.number} process {invoked.process} {what}{told}"


def _asked(operation: Operation) -> list[str]:
    invoked = operation.invoked
    condition = [f"if {invoked.details['ifVersion']}"] if invoked.details.get("ifVersion") else []
    return ([_json(invoked.value)] if invoked.value is not None else []) + condition


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()[:80] if value is not None else "nil"
