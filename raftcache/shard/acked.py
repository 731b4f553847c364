"""What a leader has acknowledged and may still lose: writes answered at `primary` whose batch is not committed."""

from __future__ import annotations

from typing import Final, final


@final
class AckedRun:
    """Writes of one namespace with neighbouring `seq` in one batch, executed at one moment: `at_s` of the leader's
    clock (`Runtime.now`). Their keys stand in the batch's effects. Most writes come in runs, and then none of them
    costs an object of its own."""

    __slots__ = ("at_s", "end_seq", "first_seq", "namespace_id")

    def __init__(self, namespace_id: int, seq: int, at_s: float) -> None:
        self.namespace_id: Final = namespace_id
        self.first_seq: Final = seq
        self.at_s: Final = at_s
        self.end_seq = seq + 1

    def takes(self, namespace_id: int, seq: int, at_s: float) -> bool:
        """Whether a write belongs to the run; it does then."""
        if seq != self.end_seq or at_s != self.at_s or namespace_id != self.namespace_id:
            return False
        self.end_seq = seq + 1
        return True


class AckedWrite:
    """One such write."""

    __slots__ = ("at_s", "key", "namespace_id", "seq")

    def __init__(self, namespace_id: int, key: bytes, seq: int, at_s: float) -> None:
        self.namespace_id, self.key, self.seq, self.at_s = namespace_id, key, seq, at_s
