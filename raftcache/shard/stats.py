"""What a replica counts, as plain integers that metrics read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from raftcache.commands.types import Failure, failure_of
from raftcache.errors import RaftcacheError
from raftcache.shard.latency import Latency


@dataclass(slots=True)
class ShardStats:
    """Counters since the process started. `rejected` is by error code, `overloaded` by the bound that was hit.

    `proofs` are the replies that wrote nothing and had to prove that their leader still led, by how it did: `lease` or
    `barrier`. `invalidations` are those executed here, of a `namespace` or a `tag`, `evicted` likewise, by namespace
    and reason: `quota_bytes`, `quota_items`, `node_memory`. `commits` are from a batch's proposal to its commit, at its
    leader; `applies` what a replica took to take a committed batch in, and, at the leader, to answer who waited for it.
    """

    hits: int = 0
    misses: int = 0
    sets: int = 0
    deletes: int = 0
    expired: int = 0
    reclaimed: int = 0
    batches_committed: int = 0
    writes_committed: int = 0
    undone_writes: int = 0
    outcomes_unknown: int = 0
    replica_reads: int = 0
    replays: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    overloaded: Counter[str] = field(default_factory=Counter)
    proofs: Counter[str] = field(default_factory=Counter)
    invalidations: Counter[str] = field(default_factory=Counter)
    evicted: Counter[tuple[str, str]] = field(default_factory=Counter)
    commits: Latency = field(default_factory=Latency)
    applies: Latency = field(default_factory=Latency)

    def refusal(self, error: RaftcacheError) -> Failure:
        """Count a command that is refused with `error`; returns its answer."""
        self.rejected[error.code] += 1
        return failure_of(error)
