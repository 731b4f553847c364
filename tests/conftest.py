"""Every run of the tests draws the same examples: what fails once fails again, and what passes was really changed.

To look for new ones: `./scripts/test --hypothesis-profile=default`.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
