"""Clusters of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jepsen_like.cluster import RealCluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    """A cluster that a test may break."""
    with RealCluster(tmp_path) as running:
        yield running
    assert running.tracebacks() == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A cluster that the tests of one file share: each must leave it as it was."""
    with RealCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running
    assert running.tracebacks() == []
