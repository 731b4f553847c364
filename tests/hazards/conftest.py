"""Laboratories as fixtures: factories, so that a test names the size and the settings that its script needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftcache.consensus import engine

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
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., GuardedLab]:
    """`guarded(**settings)` makes and starts a cluster of ours; `append_limit_bytes` is a constant elsewhere."""

    def make(append_limit_bytes: int | None = None, **settings: Any) -> GuardedLab:
        if append_limit_bytes is not None:
            monkeypatch.setattr(engine, "APPEND_LIMIT_BYTES", append_limit_bytes)
        lab = GuardedLab(tmp_path, **settings)
        lab.start(*lab.initial)
        return lab

    return make
