"""What namespaces hold here and may hold, how they are read, what was evicted or refused for their limits, how hot the
hottest keys are, and how long batches take: read off when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from raftcache.commands.policy import DEFAULT, is_limited
from raftcache.node.core import NodeCore
from raftcache.shard.upkeep import all_of, quota_of

BOTH = ("shard", "namespace")


def memory_metrics(core: NodeCore) -> Iterable[Metric]:
    """By shard and namespace. One with a quota has rows also where it has nothing yet: what it has elsewhere is to be
    held against the whole. Of others there may be very many, and those that have nothing in a shard have no row."""
    keys = GaugeMetricFamily("raftcache_namespace_keys", "Keys of the namespace in the shard.", labels=BOTH)
    size = GaugeMetricFamily("raftcache_namespace_bytes", "What they are charged.", labels=BOTH)
    quota_keys = GaugeMetricFamily("raftcache_namespace_quota_keys", "The shard's part of quotaItems.", labels=BOTH)
    quota_size = GaugeMetricFamily("raftcache_namespace_quota_bytes", "The shard's part of quotaBytes.", labels=BOTH)
    text = "Keys evicted here as the leader, by why: quota_bytes, quota_items, node_memory."
    evicted = CounterMetricFamily("raftcache_evicted_keys", text, labels=(*BOTH, "reason"))
    for shard_id, replica in core.shards.items():
        place = core.view.place_of(shard_id)
        for namespace in all_of(replica.policies.in_force):
            labels = (shard_id, namespace.name)
            tenant = replica.keyspace.tenants.by_id.get(namespace.id)
            part_bytes, part_items = quota_of(namespace, place)
            if tenant is None and part_bytes is None and part_items is None:
                continue
            keys.add_metric(labels, 0 if tenant is None else tenant.items)
            size.add_metric(labels, 0 if tenant is None else tenant.bytes)
            if part_items is not None:
                quota_keys.add_metric(labels, part_items)
            if part_bytes is not None:
                quota_size.add_metric(labels, part_bytes)
        for (name, reason), count in replica.stats.evicted.items():
            evicted.add_metric((shard_id, name, reason), count)
    yield from (keys, size, quota_keys, quota_size, evicted)
    yield GaugeMetricFamily("raftcache_memory_mark_bytes", "What leaders evict down to.", core.budget.mark_bytes)
    text = "Undo images and effects of what is not committed."
    yield GaugeMetricFamily("raftcache_memory_speculative_bytes", text, core.budget.speculative_bytes)


def read_metrics(core: NodeCore) -> Iterable[Metric]:
    """Reads executed here, of `default` and of namespaces that were read, and what was refused for their limits."""
    text = "Reads that found their key, executed here at any level."
    hits = CounterMetricFamily("raftcache_keyspace_hits", text, labels=BOTH)
    misses = CounterMetricFamily("raftcache_keyspace_misses", "Reads that did not.", labels=BOTH)
    text = "Commands refused for a namespace's limits: rate_limited, quota_exceeded, loss_window_full."
    refused = CounterMetricFamily("raftcache_namespace_refused", text, labels=(*BOTH, "code"))
    for shard_id, replica in core.shards.items():
        for name in {DEFAULT, *replica.stats.hits, *replica.stats.misses}:
            hits.add_metric((shard_id, name), replica.stats.hits.get(name, 0))
            misses.add_metric((shard_id, name), replica.stats.misses.get(name, 0))
        for (name, code), count in replica.stats.over_limits.items():
            refused.add_metric((shard_id, name, code), count)
    return hits, misses, refused


def rate_metrics(core: NodeCore) -> Iterable[Metric]:
    """Of the node, for all its shards."""
    text = "Commands refused for a namespace's rate, by bound."
    refused = CounterMetricFamily("raftcache_rate_limited", text, labels=("namespace", "bound"))
    for place, count in core.rates.refused.items():
        refused.add_metric(place, count)
    text = "This node's part of a namespace's rate."
    share = GaugeMetricFamily("raftcache_rate_share", text, labels=("namespace",))
    for namespace in core.view.namespaces.by_name.values():
        if is_limited(namespace):
            share.add_metric((namespace.name,), core.rates.share(namespace.name))
    return refused, share


def hot_key_metrics(core: NodeCore) -> Iterable[Metric]:
    """Of the last whole seconds; the keys themselves are at `/v1/hotkeys`."""
    rate = GaugeMetricFamily("raftcache_hottest_key_qps", "Operations a second of the hottest key.", labels=("shard",))
    share = GaugeMetricFamily("raftcache_hottest_key_share", "Its part of the shard's traffic.", labels=("shard",))
    text = "The part of the ten hottest keys together."
    top = GaugeMetricFamily("raftcache_hot_keys_share", text, labels=("shard",))
    for shard_id, replica in core.shards.items():
        found = replica.hotkeys.concentration(core.runtime.wall_ms() // 1000)
        rate.add_metric((shard_id,), found.hottest_qps)
        share.add_metric((shard_id,), found.hottest_share)
        top.add_metric((shard_id,), found.top_share)
    return rate, share, top


def latency_metrics(core: NodeCore) -> Iterable[Metric]:
    """Histograms in seconds; named after etcd's `backend_commit_duration` and `apply_duration`."""
    text = "From a batch's proposal to its commit, at its leader."
    commits = HistogramMetricFamily("raftcache_commit_duration_seconds", text, labels=("shard",))
    text = "To take a committed batch in, and to answer who waited for it."
    applies = HistogramMetricFamily("raftcache_apply_duration_seconds", text, labels=("shard",))
    for shard_id, replica in core.shards.items():
        commits.add_metric((shard_id,), replica.stats.commits.buckets(), replica.stats.commits.sum_s)
        applies.add_metric((shard_id,), replica.stats.applies.buckets(), replica.stats.applies.sum_s)
    return commits, applies
