"""Every run of the tests draws the same examples: what fails once fails again, and what passes was really changed.

To look for new ones: `./scripts/test --hypothesis-profile=default`.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from raftcache.compiled import is_compiled

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A call within the compiled modules does not look the method up, so it is the stock one whatever a test plants."""
    if is_compiled():
        for item in items:
            if item.get_closest_marker("replaces_methods") is not None:
                item.add_marker(pytest.mark.skip(reason="replaces methods of compiled classes"))
