"""Laboratories as fixtures: factories, so that a test names the size and the settings that its script needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .guarded import GuardedLab
from .stock import StockLab, patched


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Callable[..., StockLab]]:
    """`stock(**settings)` makes and starts a cluster of stock engines."""

    def make(**settings: Any) -> StockLab:
        lab = StockLab(tmp_path, **settings)
        lab.start(*lab.initial)
        return lab

    with patched():
        yield make


@pytest.fixture
def guarded(tmp_path: Path) -> Callable[..., GuardedLab]:
    """`guarded(**settings)` makes and starts a cluster of ours."""

    def make(**settings: Any) -> GuardedLab:
        lab = GuardedLab(tmp_path, **settings)
        lab.start(*lab.initial)
        return lab

    return make
