"""Where the engine is cut open: every name of pysyncobj that we replace, in one place.

pysyncobj imports its clock and its randomness by name and makes its journal, its serializer and its poller
itself. `construction` swaps the factories while an engine is built. The clock and the dice are replaced once,
by functions that ask the runtime of whichever engine is being called (`entered`), and fall back on the originals
when none is: a whole simulated cluster shares one process, and each of its nodes has its own clock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pysyncobj import syncobj

from raftcache.clock import Runtime

_stock_now = syncobj.monotonicTime
_stock_random = syncobj.random
_current: list[Runtime | None] = [None]


def now() -> float:
    """Seconds, on the clock of the runtime that was entered."""
    runtime = _current[0]
    return runtime.now() if runtime is not None else _stock_now()


class _Dice:
    """Stands for the module `random`, of which the engine uses one function."""

    @staticmethod
    def random() -> float:
        runtime = _current[0]
        return runtime.random.random() if runtime is not None else _stock_random.random()


class _NullPoller:
    """The engine owns no sockets: the links do."""

    def subscribe(self, *_: Any) -> None:
        """Nothing to watch."""

    unsubscribe = poll = subscribe


class _NullSerializer:
    """Snapshots are ours (`snapshots.py`). The engine is told that none is being written and none can be sent.

    A peer that needs one then gets, at every heartbeat, the engine's empty filler message, which the transport
    takes as the sign to start a transfer.
    """

    def __init__(self, *_: Any) -> None:
        pass

    def getTransmissionData(self, _node: Any) -> None:
        """No data: the engine sends its filler."""

    cancelTransmisstion = getTransmissionData


def install_clock() -> None:
    """Route the engine's clock and dice through the runtime that was entered. Done once, harmless again."""
    syncobj.monotonicTime = now
    syncobj.random = _Dice
    # A kept tail makes the engine log "truncating already-applied" although nothing is truncated (hazard 3):
    # dropping entries is the journal's decision, and it raises where it would drop an applied one.
    logging.getLogger("pysyncobj.syncobj").setLevel(logging.CRITICAL + 1)


@contextmanager
def entered(runtime: Runtime) -> Iterator[None]:
    """Within it, engines read the clock and the dice of `runtime`."""
    before, _current[0] = _current[0], runtime
    try:
        yield
    finally:
        _current[0] = before


def enter(runtime: Runtime | None) -> Runtime | None:
    """`entered` without the generator, for the hot path: returns what to put back."""
    before, _current[0] = _current[0], runtime
    return before


@contextmanager
def construction(journal: Any) -> Iterator[None]:
    """Within it, an engine gets our journal, no serializer, no poller and no pipe."""
    names = ("createJournal", "Serializer", "createPoller", "PIPE_NOTIFIER_ENABLED")
    before = {name: getattr(syncobj, name) for name in names}
    syncobj.createJournal = lambda _file: journal
    syncobj.Serializer = _NullSerializer
    syncobj.createPoller = lambda _kind: _NullPoller()
    syncobj.PIPE_NOTIFIER_ENABLED = False
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(syncobj, name, value)
