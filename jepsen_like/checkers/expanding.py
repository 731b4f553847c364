"""Batches taken apart: as many operations on single keys, all under way at the same time. Pure.

A batch promises a result for every key and no atomicity, so it is worth as much as its items, each of which took effect
at some moment between the invocation and the answer. The items keep the number of their batch, by which complaints name
it. An item that was answered by `error CODE` failed, or is of unknown outcome where the error is not a definite one;
and so is every item of a batch that was not answered, or by something else than one result an item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from jepsen_like.history import Event, History, Kind, Operation, Outcome
from raftcache.errors import class_of

READ_MANY, WRITE_MANY = "read-many", "write-many"
ITEM_ERROR = "error "
"""How the result of an item begins that failed."""


def expanded(history: History) -> list[Operation]:
    """Every operation of every client, with the items of batches in the places of these. Raises ValueError: not
    well-formed."""
    return expand(history.operations())


def expand(operations: Iterable[Operation]) -> list[Operation]:
    """The same of operations."""
    return [item for operation in operations for item in _items(operation)]


def is_batch(operation: Operation) -> bool:
    """Whether it has items."""
    return operation.invoked.name in (READ_MANY, WRITE_MANY)


def asked_items(operation: Operation) -> list[tuple[str, Any]]:
    """The keys of a batch, each with the value that it is to have; what is no item is left out."""
    asked = operation.invoked.value if isinstance(operation.invoked.value, list) else []
    if operation.invoked.name == READ_MANY:
        return [(key, None) for key in asked if isinstance(key, str)]
    return [(item[0], item[1]) for item in asked if isinstance(item, list) and len(item) == 2 and _is_key(item[0])]


def _is_key(value: Any) -> bool:
    return isinstance(value, str)


def results_of(operation: Operation) -> list[Any] | None:
    """The results of a batch, one an item; None where it has not that many."""
    completed = operation.completed
    told = completed.value if completed is not None else None
    return told if isinstance(told, list) and len(told) == len(asked_items(operation)) else None


def _items(operation: Operation) -> Iterator[Operation]:
    if not is_batch(operation):
        yield operation
        return
    items = asked_items(operation)
    results = results_of(operation) or [None] * len(items)
    name = "read" if operation.invoked.name == READ_MANY else "write"
    for (key, value), result in zip(items, results, strict=True):
        invoked = replace(operation.invoked, name=name, key=key, value=value)
        yield Operation(number=operation.number, invoked=invoked, completed=_completed(operation, invoked, result))


def _completed(operation: Operation, invoked: Event, result: Any) -> Event | None:
    """How one item ended."""
    told = operation.completed
    if told is None or operation.outcome is Outcome.FAIL:
        return None if told is None else replace(told, name=invoked.name, key=invoked.key, value=None)
    kind, value, version, error = _judged(invoked.name, result)
    return replace(told, name=invoked.name, key=invoked.key, kind=kind, value=value, version=version, error=error)


def _judged(name: str, result: Any) -> tuple[Kind, Any, str, str]:
    if isinstance(result, str) and result.startswith(ITEM_ERROR):
        code = result.removeprefix(ITEM_ERROR)
        return "fail" if class_of(code).definite else "info", None, "", code
    if name == "write" and isinstance(result, str):
        return "ok", None, result, ""
    if name == "read" and isinstance(result, list) and len(result) == 2 and isinstance(result[1], str):
        return "ok", result[0], result[1], ""
    return "info", None, "", ""
