"""The timings and bounds of consensus, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from raftcache.config import Fsync, LinearizableReads

ENTRY_LIMIT_BYTES = 7 << 20
"""The largest payload that may be proposed. Below `append_limit_bytes`, so that no entry is ever cut in pieces
(hazard 18)."""

APPLY_TURN_BYTES = 1 << 20
"""How much of a backlog of committed entries a group applies before it lets the loop turn."""

CAUGHT_UP_ENTRIES = 64
"""A learner this close to the leader's last entry becomes a voter."""


@dataclass(frozen=True, slots=True)
class ConsensusSettings:
    """`election_min_ms` must exceed three heartbeats; the fallback is when a leader without a quorum steps down.

    A log that has grown by `snapshot_log_bytes`, and by `snapshot_growth_percent` of what the last snapshot held, is
    replaced by a snapshot; the last `log_tail_bytes` of entries are kept for replicas that lag a little. At most twice
    that is held in memory, whatever the log on disk has grown to. One append carries entries of up to
    `append_limit_bytes`.

    Snapshots go out in chunks, a window of them in flight to a peer, all of a node together at
    `snapshot_rate_bytes_per_s`; 0 means no limit.

    `fsync` says when logs are synced that nobody waits for: every `fsync_interval_ms`, `always` before anything that
    speaks of an entry is sent, or `never`.

    `linearizable_reads` says how a leader proves that it still leads: by its `lease`, where it holds one, or always by
    a `barrier`. The rate of any node's clock is off by `max_clock_drift_percent` at most.
    """

    heartbeat_ms: int = 100
    election_min_ms: int = 400
    election_max_ms: int = 800
    fallback_ms: int = 1000
    tick_ms: int = 20
    snapshot_log_bytes: int = 64 << 20
    snapshot_growth_percent: int = 100
    log_tail_bytes: int = 16 << 20
    append_limit_bytes: int = 8 << 20
    snapshot_chunk_bytes: int = 256 << 10
    snapshot_window_chunks: int = 4
    snapshot_rate_bytes_per_s: int = 64 << 20
    fsync: Fsync = "interval"
    fsync_interval_ms: int = 1000
    linearizable_reads: LinearizableReads = "lease"
    max_clock_drift_percent: float = 10.0

    @property
    def election_min(self) -> float:
        """Seconds."""
        return self.election_min_ms / 1000

    @property
    def snapshot_burst_bytes(self) -> int:
        """What may be sent of snapshots at once after a rest: a tick's worth of the rate and one chunk."""
        return self.snapshot_rate_bytes_per_s * self.tick_ms // 1000 + self.snapshot_chunk_bytes

    @property
    def max_clock_drift(self) -> float:
        """As a share: 0.1 for ten percent."""
        return self.max_clock_drift_percent / 100

    @property
    def fallback(self) -> float:
        """Seconds."""
        return self.fallback_ms / 1000

    @property
    def fallback_elsewhere(self) -> float:
        """Seconds on this machine's clock in which another one's has certainly counted a fallback time: that one's may
        be as slow as clocks may be, and this one's as fast."""
        return self.fallback * (1 + self.max_clock_drift) / (1 - self.max_clock_drift)
