"""Letting go in steps: bounded ones, and of everything in the end."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from raftcache.store.trash import ITEMS_PER_STEP, STEP_S, Trash, drop_at_once


class Timers:
    """The part of a runtime that the trash uses; a test runs what was scheduled."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.due.append((delay, callback))

    def step(self) -> None:
        (delay, callback), *self.due = self.due
        assert delay == STEP_S
        callback()


def new_trash() -> tuple[Timers, Trash]:
    timers = Timers()
    runtime: Any = timers
    return timers, Trash(runtime)


def test_a_step_drops_about_as_much_as_it_may() -> None:
    timers, trash = new_trash()
    part_size = ITEMS_PER_STEP // 4
    pages = [dict.fromkeys(range(part_size)) for _ in range(10)]
    trash.add(pages)
    left = [trash.waiting]
    while timers.due:
        assert len(timers.due) == 1, "one timer, whatever is added"
        timers.step()
        left.append(trash.waiting)
    assert left == [10, 6, 2, 0]


def test_parts_without_a_length_and_values_of_a_dict_go_too() -> None:
    class Thing:
        pass

    timers, trash = new_trash()
    things = [Thing() for _ in range(ITEMS_PER_STEP)]
    seen = [weakref.ref(thing) for thing in things]
    trash.add(dict(enumerate(things[:10])))
    trash.add(things[10:])
    things.clear()
    trash.add([])
    timers.step()
    assert sum(ref() is not None for ref in seen) == 0 or trash.waiting
    while timers.due:
        timers.step()
    assert [ref() for ref in seen if ref() is not None] == []
    assert trash.waiting == 0


def test_without_a_loop_all_goes_at_once() -> None:
    parts = [1, 2]
    drop_at_once(parts)
    assert parts == []
