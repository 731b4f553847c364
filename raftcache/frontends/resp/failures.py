"""From failures to error lines. The prefixes stand in the one table, `raftcache.errors`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raftcache.commands.types import Counted, Failure, Used, Value, Written
from raftcache.errors import OutcomeUnknown, class_of

Item = Value | Written | Counted | Used | Failure


def line_of(failure: Failure, cluster: bool = False) -> str:
    """The error line of one failure, as a standalone server would put it, or as a node of a cluster."""
    return class_of(failure.code).to_resp(failure.message, cluster)


def failed_items(items: Iterable[Item]) -> list[Failure]:
    """The failures among the results of a multi-key command."""
    return [item for item in items if type(item) is Failure]


def line_of_many(items: Sequence[Item], failed: Sequence[Failure], cluster: bool = False) -> str:
    """One line for a multi-key command of which items have failed.

    A line that says "not executed" must hold for all keys: clients repeat such a command as a whole. So where some keys
    were written, or may have been, the outcome of the whole is what is not known.
    """
    done = sum(1 for item in items if isinstance(item, Written) and item.written)
    unknown = next((each for each in failed if not class_of(each.code).definite), None)
    if done:
        first = unknown or failed[0]
        return OutcomeUnknown.to_resp(
            f"{done} of {len(items)} keys were written and {len(failed)} failed, the first with: {first.message}"
        )
    return line_of(unknown or failed[0], cluster)
