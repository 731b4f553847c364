"""Hatch's hook: `RAFTCACHE_COMPILE=1 pip install .` builds a wheel with the compiled modules; without it, the pure one.

Whoever asks for a compiled wheel and cannot have it gets an error, for a wheel does not say which kind it was to be.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface):  # type: ignore[misc]
    """An editable install stays pure: the extensions would stand before sources that are edited."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """mypyc, and what the sources import, whose types it reads."""
        core = self.metadata.core
        compilers = [each for each in core.optional_dependencies["dev"] if each.startswith("mypy")]
        return [*core.dependencies, *compilers] if _asked() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """hatch: before a wheel is put together."""
        if version == "editable" or not _asked():
            return
        root = Path(self.root)
        sys.path.insert(0, str(root / "scripts" / "compile"))
        import compiling

        self._folder = tempfile.TemporaryDirectory()
        target = Path(self._folder.name) / "build"
        compiling.build(root, target)
        build_data["pure_python"], build_data["infer_tag"] = False, True
        for path in compiling.extensions(target):
            build_data["force_include"][str(path)] = str(path.relative_to(target))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """hatch: the wheel is there."""
        if folder := getattr(self, "_folder", None):
            folder.cleanup()


def _asked() -> bool:
    return os.environ.get("RAFTCACHE_COMPILE") == "1"
