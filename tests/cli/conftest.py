"""What several tests of the command line need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.fake_server import FakeCache, serve


@pytest.fixture
def cache() -> Iterator[FakeCache]:
    """A cache that serves over HTTP."""
    with serve(FakeCache()) as served:
        yield served
