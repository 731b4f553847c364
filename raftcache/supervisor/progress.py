"""A progress bar on standard error, for work whose steps are counted."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

PERCENTAGE, COUNT = "{task.percentage:>3.0f}%", "{task.completed}/{task.total}"
"""How far it has come, as rich's templates."""


class StepBar:
    """Shown inside `with`; `advance` tells of one more step."""

    def __init__(self, steps: int, shown: str = PERCENTAGE) -> None:
        columns = (BarColumn(), TextColumn(f"{shown}  {{task.description}}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("starting", total=steps)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, text: str) -> None:
        """One more step is done; `text` says what came of it."""
        self._progress.update(self._task, advance=1, description=text)
