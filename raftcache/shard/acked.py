"""What a leader has acknowledged and may still lose: writes answered at `primary` whose batch is not committed."""

from __future__ import annotations

from typing import NamedTuple


class AckedWrite(NamedTuple):
    """One such write. `size_bytes` is its effect's, `at_s` the leader's clock (`Runtime.now`) when it was executed."""

    namespace_id: int
    key: bytes
    seq: int
    size_bytes: int
    at_s: float
