"""A node never outlives its supervisor, however that one ends.

Two ways, for neither is enough alone. The kernel kills the node when the thread that started it is gone, which works
even on a stopped process, but only on Linux. And the node holds the reading end of a pipe whose writing end only the
supervisor has: when that closes, the node ends itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int, pipe: int) -> None:
    """From now on this process is killed when `parent_pid` ends or the last writer of `pipe` closes it.

    Where the parent has ended already, this does not return.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        _die()
    threading.Thread(target=_watch, args=(pipe,), name="lifeline", daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 64):
        pass
    _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
