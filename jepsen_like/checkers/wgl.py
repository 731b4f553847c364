"""The search for a linearization: Wing and Gong's, as Lowe made it fast, with operations that never end. Pure.

A history is linearizable if every operation can be given one instant between its call and its return such that, in the
order of these instants, each does what a plain object would do. The search puts operations in order one by one. What
may come next is every operation whose call stands before the first return that is left; if nothing can, it takes the
last one back and tries another. Three things make this fast (Lowe, "Testing for Linearizability", 2017, and the
checker porcupine): calls and returns are a linked list, from which an operation is lifted out, and put back, in O(1);
a configuration, that is the set of operations placed and the state reached, is never searched twice; and the search
is a loop with a stack of its own.

**Open operations**, which never return, are what makes histories of a broken cluster hard: each may take effect at any
time or never, and n of them have 2^n subsets. They are not in the list. Four observations keep them cheap, and none
loses a linearization:

*Late.* An open operation is placed only right before an operation X that needs it, that is, one that the state does not
allow. Take a linearization with open operations before an X that would have been allowed without them. If X changes
nothing, they can as well come after X, since they never return. If X ends in the same state whatever the one before,
all that follows is the same without them, and nothing obliges them to happen. So an unknown write that nobody ever read
is never tried; and an unknown read is not here at all.

*Alike.* Of open operations that do the same, the one called first is used first: swapping two of them changes nothing.
And one that does the same as an operation under way waits for that one, which must be placed anyway.

*Fewer.* Of two configurations that differ only in the open operations used, the one that has used a subset can do all
that the other can. A configuration is given up if one that dominates it was searched before.

*Untracked.* A search may leave it unrecorded which of them were used, so that one can be used over and over. It has
fewer configurations to go through. If it finds no linearization, there is none; if it finds one, the path says which
were used more often than they were called (`overused`), and the next search tracks those (see `deciding`).

**The others** need not all be tried in all orders either:

*Idle.* An operation that changes nothing and is allowed now is placed now, with no alternative: moved to the front of
any linearization, it disturbs nobody.

*Twins.* Of operations under way that do the same, the one that returns first goes first: they can be swapped.

*Vain.* An operation that any state allows, and whose result nobody will need, is placed together with the next one that
any state allows, right before it: there it disturbs nobody. It goes alone only where it must be placed at once.

*Farewell.* A state is not left while operations wait that need of it what nobody can give again (`Labels.may_leave`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence, Set
from typing import Any, NamedTuple

from jepsen_like.checkers.acts import Act, Budget, Found, Model
from jepsen_like.checkers.labels import Kind, Labels, kinds_of

HEAD = 0
"""Of the linked list, and its end."""


class _Config(NamedTuple):
    """`placed` and `used` are sets of bits, of acts and of open ones."""

    placed: int
    used: int
    state: Any


Step = tuple[int, Any]
"""A candidate, and the state after it; None where the state now does not allow it."""
Move = tuple[list[Any], Any]
"""What is placed next, in order: acts by their index, and kinds of open ones; and the state after all of it."""


class Search:
    """The search through the acts of one object. `tracked` has what the open acts do that are; None stands for all."""

    def __init__(self, acts: Sequence[Act], model: Model, budget: Budget, tracked: Set[Hashable] | None = None) -> None:
        self._model, self._budget = model, budget
        self._acts = sorted((act for act in acts if act.returned is not None), key=lambda act: act.called)
        self._kinds = kinds_of(acts, tracked)
        self._labels = Labels(model, self._acts, self._kinds)
        self._link()
        self._path: list[Any] = []
        self._searched: dict[tuple[int, int, Any], list[int]] = {}
        self._most = -1
        self._longest: list[Any] = []

    def _link(self) -> None:
        """Calls and returns in their order; entry 0 is the head."""
        events = [(act.called, False, index) for index, act in enumerate(self._acts)]
        events += [(act.returned or 0, True, index) for index, act in enumerate(self._acts)]
        events.sort()
        count = len(events) + 1
        self._next = [(entry + 1) % count for entry in range(count)]
        self._previous = [(entry - 1) % count for entry in range(count)]
        self._act_at = [-1] + [index for _, _, index in events]
        self._is_return = [True] + [returns for _, returns, _ in events]
        self._call_entry, self._return_entry = [0] * len(self._acts), [0] * len(self._acts)
        for entry, (_, returns, index) in enumerate(events, 1):
            (self._return_entry if returns else self._call_entry)[index] = entry

    # -- the search ------------------------------------------------------------------------------

    def run(self) -> Found:
        """Search until there is an answer, or the budget is spent. Once."""
        start = _Config(0, 0, self._model.initial)
        stack = [(start, 0, self._moves(start))]
        while stack and self._next[HEAD] != HEAD:
            config, length, moves = stack[-1]
            move = next(moves, None)
            self._budget.step()
            if self._budget.is_spent:
                if not self._longest:
                    self._note(config.placed)
                return self._found(None)
            if move is None:
                self._note(config.placed)
                stack.pop()
                self._take_back(stack[-1][1] if stack else 0)
            elif self._is_dominated(after := self._place(config, move)):
                self._take_back(length)
            else:
                stack.append((after, len(self._path), self._moves(after)))
        return self._found(bool(stack))

    def _place(self, config: _Config, move: Move) -> _Config:
        placed, used, _ = config
        for each in move[0]:
            if isinstance(each, Kind):
                used = each.after_use(used)
            else:
                placed |= 1 << each
                self._lift(each)
            self._path.append(each)
        return _Config(placed, used, move[1])

    def _take_back(self, length: int) -> None:
        while len(self._path) > length:
            each = self._path.pop()
            if not isinstance(each, Kind):
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

        All acts below the first that is not placed are placed, so that the rest of the set is short.
        """
        placed, used, state = config
        low = (~placed & placed + 1).bit_length() - 1
        known = self._searched.setdefault((low, placed >> low, state), [])
        self._budget.step(len(known) // 8)
        if any(fewer & ~used == 0 for fewer in known):
            return True
        known[:] = [more for more in known if used & ~more]
        known.append(used)
        self._budget.configurations -= 1
        return False

    # -- what may come next ----------------------------------------------------------------------

    def _moves(self, config: _Config) -> Iterator[Move]:
        """Everything that may come next, the most promising first."""
        candidates, first_return = self._candidates()
        model, state = self._model, config.state
        steps = [(index, model.step(state, self._acts[index].what)) for index in candidates]
        idle = [index for index, then in steps if then is state and not model.changes(self._acts[index].what)]
        if idle:
            yield list(idle), state
            return
        vain = self._labels.vain(candidates, config.placed)
        steps = [step for step in steps if step[0] == candidates[0] or step[0] not in vain]
        for move, end in self._choices(config, self._without_twins(steps), first_return):
            hidden = [index for index in vain if index not in move] if model.free(self._what(move[0])) else []
            yield hidden + move, end

    def _candidates(self) -> tuple[list[int], int]:
        """The acts called before the first return that is left, in the order of their returns; and where that stands.

        Of concurrent acts, the one that returned first took effect first more often than the one called first.
        """
        found = []
        entry = self._next[HEAD]
        while not self._is_return[entry]:
            found.append(self._act_at[entry])
            entry = self._next[entry]
        found.sort(key=self._return_entry.__getitem__)
        return found, self._acts[self._act_at[entry]].returned or 0

    def _what(self, each: Any) -> Any:
        return each.what if isinstance(each, Kind) else self._acts[each].what

    def _without_twins(self, steps: Iterable[Step]) -> list[Step]:
        first: dict[Any, Step] = {}
        for step in steps:
            first.setdefault(self._acts[step[0]].what, step)
        return list(first.values())

    def _choices(self, config: _Config, steps: list[Step], first_return: int) -> Iterator[Move]:
        """The first candidate is urgent: nothing called after its return can come before it. So it goes first, or what
        leads to it; what else is under way may be needed later, and waits."""
        there = {self._acts[index].what for index, _ in steps}
        urgent, then = steps[0]
        wanted = self._model.needs(self._acts[urgent].what) if then is None else None
        helping = [step for step in steps if wanted in self._model.gives(self._acts[step[0]].what)]
        yield from self._allowed(config, helping)
        if then is None:
            yield from self._enabled(config, urgent, first_return, there)
        yield from self._allowed(config, [step for step in steps if step not in helping])
        for index, then in steps[1:]:
            if then is None:
                yield from self._enabled(config, index, first_return, there)

    def _allowed(self, config: _Config, steps: Iterable[Step]) -> Iterator[Move]:
        for index, then in steps:
            if then is not None and self._may_leave(config, then, index):
                yield [index], then

    def _may_leave(self, config: _Config, after: Any, index: int) -> bool:
        return self._labels.may_leave(config.state, after, config.placed | 1 << index, config.used)

    def _enabled(self, config: _Config, index: int, first_return: int, there: set[Any]) -> Iterator[Move]:
        """A candidate after open acts that lead to a state that allows it: the shortest ways first.

        Backwards from the candidate: an open act may itself need another before it. No way goes twice through states
        with one label, since it would contain a shorter one. Where the candidate is not exact, any other state than
        the one now will do, and one step is enough.
        """
        model, what = self._model, self._acts[index].what
        ways: deque[tuple[list[Kind], Any]] = deque([([], what)])
        while ways and not self._budget.is_spent:
            way, wanting = ways.popleft()
            self._budget.step()
            for enabling in model.enabling(wanting):
                kind = self._kinds[enabling]
                if enabling in there or not self._is_left(kind, config.used, first_return) or self._repeats(kind, way):
                    continue
                if model.step(config.state, enabling) is not None:
                    end = self._end(config.state, [kind, *way], what)
                    if end is not None and self._may_leave(config, end, index):
                        yield [kind, *way, index], end
                        if model.exact(what) and not any(each.tracked for each in (kind, *way)):
                            return  # All ways end alike, and this one takes nothing.
                elif model.exact(what):
                    ways.append(([kind, *way], enabling))

    def _is_left(self, kind: Kind, used: int, first_return: int) -> bool:
        next_one = kind.used(used)
        return next_one < len(kind.acts) and kind.acts[next_one].called < first_return

    def _repeats(self, kind: Kind, way: list[Kind]) -> bool:
        given = set(self._model.gives(kind.what))
        return any(not given.isdisjoint(self._model.gives(other.what)) for other in way)

    def _end(self, state: Any, way: list[Kind], what: Any) -> Any:
        for kind in way:
            state = self._model.step(state, kind.what)
            if state is None:
                return None
        return self._model.step(state, what)

    # -- the answer ------------------------------------------------------------------------------

    def _note(self, placed: int) -> None:
        """Keep the path, which leads nowhere, if none was longer by the operations that had to be placed."""
        count = placed.bit_count()
        if count > self._most:
            self._most, self._longest = count, list(self._path)

    def _found(self, linearizable: bool | None) -> Found:
        path = self._path if linearizable else self._longest
        placed = {each for each in path if not isinstance(each, Kind)}
        left = [act for index, act in enumerate(self._acts) if index not in placed]
        first_return = min((act.returned or 0 for act in left), default=0)
        numbers = [act.number for act in self._named(path)]
        return Found(linearizable, numbers, [act.number for act in left if act.called < first_return])

    def _named(self, path: list[Any]) -> list[Act]:
        """The acts of a path. Those of a kind are used in the order of their calls; the last, again and again."""
        acts, used = [], {kind.offset: 0 for kind in self._kinds.values()}
        for each in path:
            if isinstance(each, Kind):
                acts.append(each.acts[min(used[each.offset], len(each.acts) - 1)])
                used[each.offset] += 1
            else:
                acts.append(self._acts[each])
        return acts

    def overused(self) -> set[Hashable]:
        """What those open acts do that the linearization found uses more often than they were called by then."""
        acts, seen, wrong = self._named(self._path), set(), set()
        for act in acts:
            if act.returned is None and act in seen:
                wrong.add(act.what)
            seen.add(act)
        first_return = float("inf")
        for act in reversed(acts):
            if act.returned is not None:
                first_return = min(first_return, act.returned)
            elif act.called > first_return:
                wrong.add(act.what)
        return wrong
