"""Who needs what of a state, and who can still give it: bookkeeping for `wgl`. Pure.

Sets of acts are bits, by their place in the search.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from jepsen_like.checkers.acts import Act, Label, Model


@dataclass(slots=True)
class Kind:
    """Acts of unknown outcome that do the same, in the order of their calls. Their bits begin at `offset`, and those
    used are always the lowest of them: then "used no more of any kind" is "a subset of the bits". Of a kind that is not
    `tracked`, none is ever used."""

    what: Any
    tracked: bool
    offset: int = 0
    acts: list[Act] = field(default_factory=list)

    def used(self, used: int) -> int:
        """How many."""
        return (used >> self.offset & self._all).bit_length()

    def after_use(self, used: int) -> int:
        """With one more."""
        return used | 1 << self.offset + self.used(used) if self.tracked else used

    @property
    def bits(self) -> int:
        """Of all of them."""
        return self._all << self.offset

    @property
    def _all(self) -> int:
        return (1 << len(self.acts)) - 1


def kinds_of(acts: Sequence[Act], tracked: Set[Hashable] | None) -> dict[Hashable, Kind]:
    """The acts of unknown outcome, by what they do. With None, all are tracked."""
    kinds: dict[Hashable, Kind] = {}
    for act in sorted((act for act in acts if act.returned is None), key=lambda act: act.called):
        kinds.setdefault(act.what, Kind(act.what, tracked is None or act.what in tracked)).acts.append(act)
    offset = 0
    for kind in kinds.values():
        kind.offset = offset
        offset += len(kind.acts)
    return kinds


@dataclass(slots=True)
class _Users:
    needed: int = 0
    given: int = 0
    given_open: int = 0
    needed_open: bool = False


class Labels:
    """Of the acts of one search."""

    def __init__(self, model: Model, acts: Sequence[Act], kinds: dict[Hashable, Kind]) -> None:
        self._model = model
        self._whats = [act.what for act in acts]
        self._labels: dict[Label, _Users] = {}
        for index, what in enumerate(self._whats):
            for label in self._of(model.needs(what)):
                label.needed |= 1 << index
            for label in self._of(*model.gives(what)):
                label.given |= 1 << index
        for kind in kinds.values():
            for label in self._of(model.needs(kind.what)):
                label.needed_open = True
            for label in self._of(*model.gives(kind.what)):
                label.given_open |= kind.bits
        self._choosy = sum(1 << index for index, what in enumerate(self._whats) if self._is_choosy(what))
        self._choosy_open = any(self._is_choosy(kind.what) for kind in kinds.values())

    def _of(self, *names: Label | None) -> list[_Users]:
        return [self._labels.setdefault(name, _Users()) for name in names if name is not None]

    def _is_choosy(self, what: Any) -> bool:
        """Whether it needs any other state than one: whatever changes the state may be of use to it."""
        return not self._model.free(what) and not self._model.exact(what)

    def may_leave(self, state: Any, after: Any, placed: int, used: int) -> bool:
        """Whether nobody who is not `placed` needs what `state` has, `after` has not, and nobody is left to give."""
        kept = self._model.labels(after)
        for name in self._model.labels(state):
            label = self._labels.get(name)
            if label is None or name in kept or not label.needed & ~placed:
                continue
            if not label.given & ~placed and not label.given_open & ~used:
                return False
        return True

    def vain(self, candidates: Sequence[int], placed: int) -> list[int]:
        """Candidates that every state allows, and that give only what nobody needs who is not placed."""
        if self._choosy_open or self._choosy & ~placed:
            return []
        return [index for index in candidates if self._is_vain(self._whats[index], placed)]

    def _is_vain(self, what: Any, placed: int) -> bool:
        labels = (self._labels[name] for name in self._model.gives(what))
        return self._model.free(what) and not any(label.needed & ~placed or label.needed_open for label in labels)
