"""Gathers the answers of a multi-key command's items at one shard.

The items are executed one after another within one turn, each as a command of its own: each fails alone, is held alone
(`held`), and where there are too many for one batch they stand in several. The reply leaves when the last item has its
answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from raftcache.commands.types import Counted, Failure, Many, Reply, Used, Value, Written
from raftcache.shard.pipeline import ReplyTo, deliver

Item = Value | Written | Counted | Used | Failure


class Gather:
    """One multi-key command in progress: `fill` or `slot` for every item, then `all_executed`."""

    __slots__ = ("_answers", "_missing", "_reply_to")

    def __init__(self, count: int, reply_to: ReplyTo) -> None:
        self._answers: list[Item | None] = [None] * count
        self._missing = count + 1
        self._reply_to = reply_to

    def fill(self, place: int, answer: Reply) -> None:
        """The answer of item `place`."""
        self._answers[place] = cast(Item, answer)
        self._one_less()

    def slot(self, place: int) -> Callable[[Reply], None]:
        """Where the answer of item `place` goes when it is released."""
        return partial(self.fill, place)

    def all_executed(self) -> None:
        """Every item was executed; from now on only waiting ones hold the reply."""
        self._one_less()

    def _one_less(self) -> None:
        self._missing -= 1
        if not self._missing:
            deliver(self._reply_to, Many(tuple(cast("list[Item]", self._answers))))
