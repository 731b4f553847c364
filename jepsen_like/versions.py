"""What a run was made with, for the headers of histories."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("raftcache", "pysyncobj", "msgspec", "aiohttp", "uvloop")


def versions() -> dict[str, str]:
    """By name, of this project and what it runs on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
