"""When the disk fails: full, read-only, not permitted, a sync that failed.

A replica that cannot write its log stops at once, before anything that speaks of the lost write leaves: it steps down,
takes no part in the group, and says why (`Group.disk_error`). Nothing in memory is given up: the entries that the
disk did not take are still in the journal, and nobody was told of them.

It then tries, every `RETRY_S`, to bring the log back (`wal.api.Log.mend_work`): a partial write is cut; a segment whose
sync failed is written anew, for the operating system may have dropped its pages and called them clean; and what was
appended since goes into a new segment. When that works the replica goes on as a follower, as after a pause.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from raftcache.wal.errors import Damaged

if TYPE_CHECKING:
    from raftcache.consensus.group import Group

log = logging.getLogger("raftcache.consensus")

RETRY_S = 1.0


class Mending:
    """Of one replica. `reason` is empty while the disk works."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self.reason = ""
        self.failures = 0
        self.running = False
        """Whether a thread is at it. Until it is done nobody else may touch the log, not even to close it."""

    def failed(self, error: OSError) -> None:
        """The log could not be written or synced."""
        first = not self.reason
        self.failures += 1
        self.reason = f"the log cannot be written: {error}"
        if first:
            log.error("%s: this replica stops until the disk works again: %s", self._g.group_id, self.reason)
            self._later()

    def _later(self) -> None:
        self._g.runtime.call_later(RETRY_S, self._try)

    def _try(self) -> None:
        if self._g.halted or not self.reason:
            return
        if self._g.syncing.running:
            return self._later()  # Nobody else may touch the log.
        work = self._g.storage.log.mend_work(list(self._g.journal[1:]))
        self.running = True
        self._g.runtime.offload(work, self._tried)

    def _tried(self, result: BaseException | None) -> None:
        self.running = False
        if self._g.halted:
            self._let_go()
        elif isinstance(result, Damaged):
            self._g.lose(str(result))
        elif isinstance(result, BaseException):
            self.reason = f"the log cannot be written: {result}"
            self._later()
        else:
            self.reason = ""
            log.warning("%s: the disk works again; this replica goes on", self._g.group_id)
            self._g.run(self._g.resumed)

    def _let_go(self) -> None:
        """The replica was closed meanwhile, or has halted and will be."""
        try:
            self._g.journal.close()
        except OSError as error:
            log.error("%s: the log is not whole on disk: %s", self._g.group_id, error)
