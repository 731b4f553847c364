"""What a leader has acknowledged and may still lose: writes answered at `primary` whose batch is not committed."""

from __future__ import annotations


class AckedWrite:
    """One such write. `size_bytes` is its effect's, `at_s` the leader's clock (`Runtime.now`) when it was executed.
    One is made for every write: a class of its own costs a third of a named tuple, once compiled."""

    __slots__ = ("at_s", "key", "namespace_id", "seq", "size_bytes")

    def __init__(self, namespace_id: int, key: bytes, seq: int, size_bytes: int, at_s: float) -> None:
        self.namespace_id, self.key, self.seq = namespace_id, key, seq
        self.size_bytes, self.at_s = size_bytes, at_s
