"""Fixtures of the HTTP tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_caller import Caller


@pytest.fixture
def caller() -> Iterator[Caller]:
    """A server of its own for one test."""
    caller = Caller()
    yield caller
    caller.close()
