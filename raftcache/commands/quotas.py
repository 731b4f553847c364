"""What the leader of a shard tells of a namespace with a quota."""

from __future__ import annotations

import msgspec


class QuotaUse(msgspec.Struct, frozen=True, array_like=True):
    """A namespace with a quota in one shard, as its leader sees it. `share` is the shard's share as of its log, in
    parts of `SHARES_WHOLE`, 0 where the split is even; `evicted` counts keys evicted for the quota: in a report since
    its leader's process started, and for a decision since the one before."""

    namespace_id: int
    share: int
    items: int
    size_bytes: int
    evicted: int
