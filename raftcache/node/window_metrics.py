"""What the loss windows of the shards that this node leads are used for, and how often they had no room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from raftcache.shard.replica import ShardReplica
from raftcache.shard.window import Usage

_GAUGES: tuple[tuple[str, str, Callable[[Usage, float], float]], ...] = (
    ("raftcache_window_writes", "Writes acknowledged at `primary` and not committed.", lambda u, _now_s: u.writes),
    ("raftcache_window_bytes", "Their keys, values and overhead.", lambda u, _now_s: u.size_bytes),
    ("raftcache_window_oldest_age_ms", "Since the oldest was executed.", lambda u, now_s: u.oldest_age_ms(now_s)),
    ("raftcache_window_used_ratio", "Of the bound of which most is used.", lambda u, now_s: u.used(now_s)),
)
_HELD: tuple[tuple[str, str, Callable[[ShardReplica], float]], ...] = (
    ("raftcache_held_commands", "Writes held before they are executed, for want of room.", lambda r: r.held.count),
    ("raftcache_held_bytes", "Their keys, values and overhead.", lambda r: r.held.size_bytes),
)


def window_metrics(shards: Mapping[str, ShardReplica]) -> Iterable[Metric]:
    """By shard and namespace; of a namespace in which nothing was written under this leadership there is no row."""
    for name, text, value in _GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=("shard", "namespace"))
        for shard_id, replica in shards.items():
            windows = replica.pipeline.windows
            for namespace, usage in windows.in_use().items():
                gauge.add_metric((shard_id, namespace), value(usage, windows.now()))
        yield gauge
    for name, text, held in _HELD:
        gauge = GaugeMetricFamily(name, text, labels=("shard",))
        for shard_id, replica in shards.items():
            gauge.add_metric((shard_id,), held(replica))
        yield gauge
    labels = ("shard", "namespace", "bound", "done")
    exceeded = CounterMetricFamily("raftcache_window_exceeded", "Writes without room, by what was done.", labels=labels)
    for shard_id, replica in shards.items():
        for row, count in replica.pipeline.windows.exceeded.items():
            exceeded.add_metric((shard_id, *row), count)
    yield exceeded
