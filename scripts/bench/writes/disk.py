"""How long this disk takes to sync a small append: the floor under every durable write."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

APPEND_BYTES = 4096
SYNCS = 100


def sync_ms(folder: Path) -> float:
    """The median time of one `fdatasync` after an append of `APPEND_BYTES`, in ms."""
    descriptor = os.open(folder / "sync-probe", os.O_WRONLY | os.O_CREAT)
    try:
        return median(_sync_once(descriptor) for _ in range(SYNCS)) * 1000
    finally:
        os.close(descriptor)


def _sync_once(descriptor: int) -> float:
    os.write(descriptor, bytes(APPEND_BYTES))
    began = time.perf_counter()
    os.fdatasync(descriptor)
    return time.perf_counter() - began
