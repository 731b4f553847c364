"""Prints the folder with the compiled modules, which is built first where the sources have changed since.

Where that cannot be done, it says why on stderr and prints nothing: the code runs as it is.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
from pathlib import Path

from compiling import NotCompiled, build, stamp

ROOT = Path(__file__).parents[2]
BUILDS = ROOT / ".compiled"
KEPT_BUILDS = 4
"""The ones used last: a cluster that was started from an older one restarts its nodes from there."""
_STAMP = re.compile("[0-9a-f]{16}")


def main() -> int:
    """0 in any case."""
    try:
        print(ready())
    except (NotCompiled, OSError) as error:
        print(f"RAFTCACHE_COMPILE=1, but nothing is compiled, and all runs as pure Python: {error}", file=sys.stderr)
    return 0


def ready() -> Path:
    """The folder, which is complete. Raises NotCompiled, OSError."""
    folder = BUILDS / stamp(ROOT)
    BUILDS.mkdir(exist_ok=True)
    with open(BUILDS / "lock", "w") as lock:  # Whoever comes second waits, and finds it done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _build(folder)
        os.utime(folder)
        _forget_old()
    return folder


def _build(folder: Path) -> None:
    print("Compiling the hot modules (once for these sources; a minute or two)", file=sys.stderr)
    unfinished = BUILDS / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    build(ROOT, unfinished)
    unfinished.rename(folder)


def _forget_old() -> None:
    folders = [path for path in BUILDS.iterdir() if _STAMP.fullmatch(path.name)]
    for old in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_BUILDS:]:
        shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
