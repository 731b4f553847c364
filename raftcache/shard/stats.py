"""What a replica counts, as plain integers that metrics read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from raftcache.commands.types import Failure, failure_of
from raftcache.errors import LossWindowFull, QuotaExceeded, RaftcacheError, RateLimited
from raftcache.shard.latency import Latency

NAMESPACE_LIMITS = (RateLimited, QuotaExceeded, LossWindowFull)
"""Errors that name the namespace whose limit it is. Others may name one that a client made up."""


@dataclass(slots=True)
class ShardStats:
    """Counters since the process started. `rejected` is by error code, `overloaded` by the bound that was hit. `hits`
    and `misses` are reads at any level, by namespace, `over_limits` are refusals for what a namespace may have, by it
    and error code; of a deleted one they are forgotten, see `keep_only`.

    `proofs` are the replies that wrote nothing and had to prove that their leader still led, by how it did: `lease` or
    `barrier`. `invalidations` are those executed here, of a `namespace` or a `tag`, `evicted` likewise, by namespace
    and reason: `quota_bytes`, `quota_items`, `node_memory`. `commits` are from a batch's proposal to its commit, at its
    leader; `applies` what a replica took to take a committed batch in, and, at the leader, to answer who waited for it.
    """

    hits: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    misses: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
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
    over_limits: Counter[tuple[str, str]] = field(default_factory=Counter)
    proofs: Counter[str] = field(default_factory=Counter)
    invalidations: Counter[str] = field(default_factory=Counter)
    evicted: Counter[tuple[str, str]] = field(default_factory=Counter)
    commits: Latency = field(default_factory=Latency)
    applies: Latency = field(default_factory=Latency)

    def keep_only(self, namespaces: Iterable[str]) -> None:
        """Count on of these namespaces, and forget others, of which there would be ever more."""
        names = set(namespaces)
        for counted in (self.hits, self.misses):
            for name in counted.keys() - names:
                del counted[name]
        for each in [each for each in self.over_limits if each[0] not in names]:
            del self.over_limits[each]

    def refusal(self, error: RaftcacheError) -> Failure:
        """Count a command that is refused with `error`; returns its answer."""
        self.rejected[error.code] += 1
        if isinstance(error, NAMESPACE_LIMITS):
            self.over_limits[error.details["namespace"], error.code] += 1
        return failure_of(error)
