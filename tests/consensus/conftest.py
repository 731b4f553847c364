"""The laboratory of the hazards as a fixture, and one with a long way between its nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hazards.guarded import GuardedLab
from hazards.laboratory import Network


@pytest.fixture
def guarded(tmp_path: Path) -> Callable[..., GuardedLab]:
    """`guarded(**settings)` makes and starts a cluster; the arguments are those of `GuardedLab`."""

    def make(**settings: Any) -> GuardedLab:
        lab = GuardedLab(tmp_path, **settings)
        lab.start(*lab.initial)
        return lab

    return make


class DistantNetwork(Network):
    """Every message is under way for `steps` before it can be read."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps, self._step = steps, 0
        self._under_way: deque[tuple[int, str, str, Any]] = deque()

    def send(self, source: str, target: str, message: Any) -> None:
        self._under_way.append((self._step + self._steps, source, target, message))

    def advance(self) -> None:
        """One step passes."""
        self._step += 1
        while self._under_way and self._under_way[0][0] <= self._step:
            super().send(*self._under_way.popleft()[1:])


class DistantLab(GuardedLab):
    """A cluster with `one_way_steps` (of 10 ms) between any two nodes."""

    def __init__(self, directory: Path, one_way_steps: int, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.network: DistantNetwork = DistantNetwork(one_way_steps - 1)

    def _advance_clock(self, seconds: float) -> None:
        super()._advance_clock(seconds)
        self.network.advance()


@pytest.fixture
def distant(tmp_path: Path) -> Callable[..., DistantLab]:
    """`distant(one_way_steps, **settings)` makes and starts such a cluster."""

    def make(one_way_steps: int, **settings: Any) -> DistantLab:
        lab = DistantLab(tmp_path, one_way_steps, **settings)
        lab.start(*lab.initial)
        return lab

    return make
