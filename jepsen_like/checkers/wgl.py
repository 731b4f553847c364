"""The search for a linearization: Wing and Gong's, as Lowe made it fast, with operations that never end.

A history is linearizable if every operation can be given one instant between its call and its return such that, in the
order of these instants, each does what a plain object would do. The search puts operations in order one by one. What
may come next is every operation whose call stands before the first return that is left; if nothing can, it takes the
last one back and tries another. Three things make this fast (Lowe, "Testing for Linearizability", 2017, and the
checker porcupine): calls and returns are a linked list, from which an operation is lifted out, and put back, in O(1);
a configuration, that is the set of operations placed and the state reached, is never searched twice; and the search
is a loop with a stack of its own.

Operations that never return are what makes histories of a broken cluster hard: each may take effect at any time or
never, so that n of them have 2^n subsets. They are not in the list. Four observations keep them cheap, and each loses
no linearization:

*Late.* An open operation is placed only right before an operation that needs it, that is, one that the state does not
allow. Take a linearization with open operations before an operation X that would have been allowed without them. If X
changes nothing, they can as well come after X, since they never return. If X sets a state of its own, or needs one
certain state, what follows X is the same without them, and they may be left out: nothing obliges them to happen. So
an unknown write that nobody ever read is never tried, and an unknown read is not here at all.

*Alike.* Of open operations that do the same, the one called first is used first; swapping two of them changes nothing.

*Fewer.* Of two configurations that differ only in the open operations used, the one that has used a subset can do all
that the other can. A configuration is given up if one that dominates it was searched before.

*Reused.* If no linearization exists even where each open operation may be used over and over from its call on, none
exists. That search has no sets of open operations to go through, and shows most real violations at once; the exact
search is interrupted for it where it takes long.

And two for the others. An operation that changes nothing and is allowed now is placed now, with no alternative: moved
to the front of any linearization, it disturbs nobody. And a state is not left for good while operations wait that only
it allows: a value that nobody can give again, a version, which never comes back (`Model.labels`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

NOWHERE = 0
"""The head of the linked list."""


class Act(NamedTuple):
    """An operation as the search sees it. `called` and `returned` are the places of its events in the history, all
    different; `returned` is None where the outcome is not known. `what` is what its model makes of it."""

    number: int
    called: int
    returned: int | None
    what: Hashable


class Model(Protocol):
    """The object that the operations act on. States and `what`s are immutable and hashable.

    For the first observation above to hold, an operation either leaves the state that allows it as it is, or ends in
    the same state whatever the one before.
    """

    initial: Hashable

    def step(self, state: Any, what: Any) -> Any:
        """The state after, the very same object if nothing changed; None where the state does not allow it."""

    def changes(self, what: Any) -> bool:
        """Whether it sets a state."""

    def exact(self, what: Any) -> bool:
        """Whether it needs one certain state. What is not exact needs *another* one than that which refuses it."""

    def enabling(self, what: Any) -> Sequence[Any]:
        """Of the open operations, those after which it may be allowed."""

    def labels(self, state: Any) -> Sequence[Hashable]:
        """What of the state somebody may need."""

    def needs(self, what: Any) -> Hashable | None:
        """The label without which it is never allowed, if there is one."""

    def gives(self, what: Any) -> Sequence[Hashable]:
        """Labels of states that it sets."""


@dataclass(slots=True)
class Budget:
    """What a search may spend. `clock` is in seconds. It bounds memory as well: a configuration that is searched is
    remembered, in about 300 bytes."""

    clock: Callable[[], float]
    deadline_s: float
    configurations: int

    def spend(self) -> bool:
        """One configuration more. False where there is nothing left."""
        self.configurations -= 1
        if self.configurations % 128 == 0 and self.clock() >= self.deadline_s:
            self.configurations = 0
        return self.configurations > 0


class Found(NamedTuple):
    """What a search found. `linearizable` is None where it ran out of budget.

    `longest` has the numbers of the operations of the longest partial linearization, in its order; `stuck` those of
    which one had to come next, and none could.
    """

    linearizable: bool | None
    longest: list[int] = []
    stuck: list[int] = []


class _Label:
    """Who needs a label, and who gives it: bits of acts, and of open ones."""

    __slots__ = ("given", "given_open", "needed")

    def __init__(self) -> None:
        self.needed = self.given = self.given_open = 0


@dataclass(slots=True)
class _Kind:
    """Open operations that do the same, in the order of their calls. Their bits begin at `offset`: those used are
    always the lowest, so that "used a subset" is a subset of bits."""

    what: Any
    offset: int = 0
    acts: list[Act] = field(default_factory=list)

    def used(self, used: int) -> int:
        """How many."""
        return (used >> self.offset & (1 << len(self.acts)) - 1).bit_length()


class _Config(NamedTuple):
    """`placed` and `used` are sets of bits, of acts and of open ones."""

    placed: int
    used: int
    state: Any


Move = tuple[list[Any], Any]
"""What is placed next, in order: indices of acts, and kinds of open ones; and the state after all of it."""


class Search:
    """The search through the acts of one object. With `reuse`, an open act may be used again and again."""

    def __init__(self, acts: Sequence[Act], model: Model, *, reuse: bool = False) -> None:
        self._model = model
        self._reuse = reuse
        self._acts = sorted((act for act in acts if act.returned is not None), key=lambda act: act.called)
        self._kinds = _kinds(acts)
        self._labels = self._label()
        self._link()
        self._path: list[Any] = []
        self._searched: dict[tuple[int, int, Any], list[int]] = {}
        self._best = -1
        self._longest: list[Any] = []

    @property
    def has_open(self) -> bool:
        """Whether an open act may matter."""
        return bool(self._kinds)

    # -- before the search -----------------------------------------------------------------------

    def _label(self) -> dict[Hashable, _Label]:
        labels: dict[Hashable, _Label] = {}
        for index, act in enumerate(self._acts):
            needed = self._model.needs(act.what)
            if needed is not None:
                labels.setdefault(needed, _Label()).needed |= 1 << index
            for given in self._model.gives(act.what):
                labels.setdefault(given, _Label()).given |= 1 << index
        for kind in self._kinds.values():
            for given in self._model.gives(kind.what):
                labels.setdefault(given, _Label()).given_open |= (1 << len(kind.acts)) - 1 << kind.offset
        return {name: label for name, label in labels.items() if label.needed}

    def _link(self) -> None:
        """Calls and returns in their order. Entry 0 is the head, and the end."""
        events = [(act.called, index, False) for index, act in enumerate(self._acts)]
        events += [(act.returned or 0, index, True) for index, act in enumerate(self._acts)]
        events.sort()
        count = len(events) + 1
        self._next = [(entry + 1) % count for entry in range(count)]
        self._previous = [(entry - 1) % count for entry in range(count)]
        self._act_at = [-1] + [index for _, index, _ in events]
        self._is_return = [True] + [returns for _, _, returns in events]
        self._call_entry, self._return_entry = [0] * len(self._acts), [0] * len(self._acts)
        for entry, (_, index, returns) in enumerate(events, 1):
            (self._return_entry if returns else self._call_entry)[index] = entry

    # -- the search ------------------------------------------------------------------------------

    def run(self, budget: Budget) -> Found:
        """Search until there is an answer, or the budget is spent."""
        start = _Config(0, 0, self._model.initial)
        stack = [(start, 0, self._moves(start))]
        while stack and self._next[NOWHERE] != NOWHERE:
            config, length, moves = stack[-1]
            move = next(moves, None)
            if move is None:
                self._note(config.placed)
                stack.pop()
                self._take_back(stack[-1][1] if stack else 0)
                continue
            after = self._place(config, move)
            if self._is_dominated(after):
                self._take_back(length)
            elif not budget.spend():
                self._note(after.placed)
                return self._found(None)
            else:
                stack.append((after, len(self._path), self._moves(after)))
        return self._found(bool(stack))

    def _place(self, config: _Config, move: Move) -> _Config:
        placed, used, _ = config
        for each in move[0]:
            if isinstance(each, _Kind):
                used = used if self._reuse else used | 1 << each.offset + each.used(used)
            else:
                placed |= 1 << each
                self._lift(each)
            self._path.append(each)
        return _Config(placed, used, move[1])

    def _take_back(self, length: int) -> None:
        while len(self._path) > length:
            each = self._path.pop()
            if not isinstance(each, _Kind):
                self._unlift(each)

    def _lift(self, index: int) -> None:
        following, previous = self._next, self._previous
        for entry in (self._call_entry[index], self._return_entry[index]):
            following[previous[entry]], previous[following[entry]] = following[entry], previous[entry]

    def _unlift(self, index: int) -> None:
        following, previous = self._next, self._previous
        for entry in (self._return_entry[index], self._call_entry[index]):
            following[previous[entry]] = previous[following[entry]] = entry

    def _is_dominated(self, config: _Config) -> bool:
        """Whether it was searched, or one that can do all that it can; else it is remembered.

        All acts below the first that is not placed are placed: the rest of the set is short.
        """
        placed, used, state = config
        low = (~placed & placed + 1).bit_length() - 1
        known = self._searched.setdefault((low, placed >> low, state), [])
        if any(fewer & ~used == 0 for fewer in known):
            return True
        known[:] = [more for more in known if used & ~more]
        known.append(used)
        return False

    # -- what may come next ----------------------------------------------------------------------

    def _moves(self, config: _Config) -> Iterator[Move]:
        candidates, before = self._candidates()
        state, step, model = config.state, self._model.step, self._model
        after = [step(state, self._acts[index].what) for index in candidates]
        idle = [
            index
            for index, then in zip(candidates, after, strict=True)
            if then is state and not model.changes(self._acts[index].what)
        ]
        if idle:
            yield list(idle), state
            return
        for index, then in zip(candidates, after, strict=True):
            if then is not None and self._may_leave(config, then, index):
                yield [index], then
        for index, then in zip(candidates, after, strict=True):
            if then is None:
                for chain, end in self._enable(config, self._acts[index].what, before):
                    if self._may_leave(config, end, index):
                        yield [*chain, index], end

    def _candidates(self) -> tuple[list[int], int]:
        """The acts called before the first return that is left, the first to return first; and where that stands.

        Of concurrent acts, the one that returned first took effect first more often than the one called first.
        """
        found = []
        entry = self._next[NOWHERE]
        while not self._is_return[entry]:
            found.append(self._act_at[entry])
            entry = self._next[entry]
        found.sort(key=self._return_entry.__getitem__)
        return found, self._acts[self._act_at[entry]].returned or 0

    def _may_leave(self, config: _Config, after: Any, index: int) -> bool:
        """Whether nobody is left behind who needs what was, and can never get it again."""
        kept = self._model.labels(after)
        for name in self._model.labels(config.state):
            label = self._labels.get(name)
            if label is None or name in kept:
                continue
            placed = config.placed | 1 << index
            used = 0 if self._reuse else config.used
            if label.needed & ~placed and not label.given & ~placed and not label.given_open & ~used:
                return False
        return True

    def _enable(self, config: _Config, what: Any, before: int) -> Iterator[tuple[list[_Kind], Any]]:
        """The shortest ways, by open acts called before `before`, to a state that allows `what`; and what follows it.

        Backwards from `what`: an open act may itself need another before it. No kind is used twice in one way, nor
        does a way come twice through the same state: it would contain a shorter one. Where `what` is not exact, one
        step is enough, since then every other state will do.
        """
        state, model = config.state, self._model
        ways: deque[tuple[list[_Kind], Any]] = deque([([], what)])
        while ways:
            way, wanting = ways.popleft()
            for enabling in model.enabling(wanting):
                kind = self._kinds[enabling]
                if not self._is_there(kind, config.used, before) or _gives_alike(model, kind, way):
                    continue
                if model.step(state, enabling) is None:
                    if model.exact(what):
                        ways.append(([kind, *way], enabling))
                    continue
                end = self._go(state, [kind, *way], what)
                if end is not None:
                    yield [kind, *way], end
                    if self._reuse and model.exact(what):
                        return

    def _is_there(self, kind: _Kind, used: int, before: int) -> bool:
        next_one = 0 if self._reuse else kind.used(used)
        return next_one < len(kind.acts) and kind.acts[next_one].called < before

    def _go(self, state: Any, way: list[_Kind], what: Any) -> Any:
        for kind in way:
            state = self._model.step(state, kind.what)
            if state is None:
                return None
        return self._model.step(state, what)

    # -- the answer ------------------------------------------------------------------------------

    def _note(self, placed: int) -> None:
        """Keep the path if none was longer, by the operations that had to be placed."""
        count = placed.bit_count()
        if count > self._best:
            self._best, self._longest = count, list(self._path)

    def _found(self, linearizable: bool | None) -> Found:
        path = self._path if linearizable else self._longest
        placed = {each for each in path if not isinstance(each, _Kind)}
        return Found(linearizable, self._numbers(path), self._stuck(placed))

    def _numbers(self, path: list[Any]) -> list[int]:
        numbers, used = [], dict.fromkeys((id(kind) for kind in self._kinds.values()), 0)
        for each in path:
            if isinstance(each, _Kind):
                numbers.append(each.acts[0 if self._reuse else used[id(each)]].number)
                used[id(each)] += 1
            else:
                numbers.append(self._acts[each].number)
        return numbers

    def _stuck(self, placed: set[int]) -> list[int]:
        left = [act for index, act in enumerate(self._acts) if index not in placed]
        first_return = min((act.returned or 0 for act in left), default=0)
        return [act.number for act in left if act.called < first_return]


def _kinds(acts: Sequence[Act]) -> dict[Hashable, _Kind]:
    kinds: dict[Hashable, _Kind] = {}
    for act in sorted((act for act in acts if act.returned is None), key=lambda act: act.called):
        kinds.setdefault(act.what, _Kind(act.what)).acts.append(act)
    offset = 0
    for kind in kinds.values():
        kind.offset = offset
        offset += len(kind.acts)
    return kinds


def _gives_alike(model: Model, kind: _Kind, way: list[_Kind]) -> bool:
    given = set(model.gives(kind.what))
    return any(not given.isdisjoint(model.gives(other.what)) for other in way)


FIRST_LOOK = 20_000
"""Configurations that the exact search gets before the search with reuse is asked."""


def search(acts: Sequence[Act], model: Model, budget: Budget) -> Found:
    """Whether there is a linearization: exactly, then with reuse, then exactly with all that is left."""
    look = Budget(budget.clock, budget.deadline_s, min(FIRST_LOOK, budget.configurations))
    first = Search(acts, model)
    found = first.run(look)
    if found.linearizable is not None or budget.configurations <= FIRST_LOOK:
        return found
    if first.has_open:
        del first
        most = Budget(budget.clock, budget.deadline_s, budget.configurations)
        if Search(acts, model, reuse=True).run(most).linearizable is False:
            return found._replace(linearizable=False)
    return Search(acts, model).run(budget)
