"""Whether this process runs compiled: this module is among those that `scripts/compile` builds, so its file tells."""

from __future__ import annotations


def is_compiled() -> bool:
    """Whether the hot modules are extensions here."""
    return not __file__.endswith(".py")
