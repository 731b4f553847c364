"""Whether this process has more to do than it can: measured by how late a timer fires.

A process that is over its processor answers everything late, and late answers are worth nothing to clients that have
given up. So it refuses the newest requests instead, at the door, for a fraction of what they would cost, until it is on
time again. `LAG_LIMIT_S` is far above what a garbage collection or a snapshot takes; it has to be exceeded on
`LATE_LIMIT` looks of the last `LOOKS`, so that one long pause, after which there is nothing left to do, sheds nothing.

What operators and other nodes ask for is never shed.
"""

from __future__ import annotations

import logging
from collections import deque

from raftcache.clock import Handle, Runtime

LOOK_INTERVAL_S = 0.1
LAG_LIMIT_S = 0.4
LAG_WELL_S = 0.1
LOOKS, LATE_LIMIT = 5, 3

log = logging.getLogger("raftcache.http")


class Load:
    """How late this process is. `shedding` says whether it takes no more requests."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._timer: Handle | None = None
        self._due_s = 0.0
        self._late: deque[bool] = deque(maxlen=LOOKS)
        self.lag_s = 0.0
        self.shedding = False
        self.shed = 0
        """Requests refused for that."""

    def start(self) -> None:
        """Begin to look."""
        self._due_s = self._runtime.now() + LOOK_INTERVAL_S
        self._timer = self._runtime.call_later(LOOK_INTERVAL_S, self._look)

    def stop(self) -> None:
        """Look no more. Harmless when not started."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.shedding = None, False

    def _look(self) -> None:
        self.lag_s = max(0.0, self._runtime.now() - self._due_s)
        self._late.append(self.lag_s > LAG_LIMIT_S)
        if not self.shedding and sum(self._late) >= LATE_LIMIT:
            self.shedding = True
            log.warning("over its processor: answers are %.0f ms late, new requests are refused", self.lag_s * 1000)
        elif self.shedding and self.lag_s < LAG_WELL_S:
            self.shedding = False
            self._late.clear()
            log.warning("on time again, after %d requests were refused", self.shed)
        self.start()
