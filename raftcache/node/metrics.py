"""A node's metrics for Prometheus, read off when somebody asks. Names follow etcd and redis_exporter where those
have one for the same thing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from raftcache.commands.namespaces import Namespaces
from raftcache.consensus import Group, GroupStatus
from raftcache.metadata.view import MetadataView
from raftcache.net.links import AsyncioLinks
from raftcache.net.rpc_server import RpcServer
from raftcache.node.core import NodeCore
from raftcache.node.memory_metrics import hot_key_metrics, latency_metrics, memory_metrics, rate_metrics, read_metrics
from raftcache.node.status import readiness
from raftcache.node.window_metrics import window_metrics
from raftcache.routing.dispatcher import Dispatcher
from raftcache.shard.losses import Losses
from raftcache.shard.replica import ShardReplica
from raftcache.shard.upkeep import all_of

GROUP_GAUGES = (
    ("raftcache_is_leader", "1 where this replica leads the group.", lambda s: s.is_leader),
    ("raftcache_term", "The current Raft term.", lambda s: s.term),
    ("raftcache_commit_index", "The newest committed entry.", lambda s: s.commit_index),
    ("raftcache_applied_index", "The newest applied entry.", lambda s: s.applied_index),
    ("raftcache_log_bytes", "What the group's log takes up.", lambda s: s.log_bytes),
    ("raftcache_snapshot_index", "The entry that the newest snapshot is of.", lambda s: s.snapshot_index),
    ("raftcache_synced_index", "The newest entry that is on this node's disk for certain.", lambda s: s.synced_index),
    ("raftcache_durable_index", "At a leader: known to be synced on a quorum.", lambda s: s.durable_index),
)
REPLICA_GAUGES: tuple[tuple[str, str, Callable[[Group], float]], ...] = (
    ("raftcache_replica_number", "How often this node's replica was lost and renewed.", lambda g: g.member.replica),
    ("raftcache_suspect", "1 while it may have forgotten what it acknowledged.", lambda g: g.suspect),
    ("raftcache_disk_error", "1 while its disk refuses to be written.", lambda g: bool(g.disk_error)),
    ("raftcache_lease_held", "1 while it leads and answers linearizable reads by its lease.", lambda g: has_lease(g)),
    ("raftcache_messages_held", "Messages that wait for the disk.", lambda g: g.gate.held),
)
REPLICA_COUNTERS: tuple[tuple[str, str, Callable[[Group], float]], ...] = (
    ("raftcache_messages_dropped", "Messages dropped where too many waited for the disk.", lambda g: g.gate.dropped),
    ("raftcache_disk_failures", "Writes and syncs of the log that failed.", lambda g: g.mending.failures),
    ("raftcache_log_syncs", "Syncs of the log.", lambda g: g.syncing.syncs),
    ("raftcache_snapshots_taken", "Snapshots written.", lambda g: g.compaction.taken),
    ("raftcache_snapshot_failures", "Snapshots that could not be written.", lambda g: g.compaction.failed),
)
SHARD_GAUGES = (
    ("raftcache_keys", "Keys in the shard.", lambda r: len(r.keyspace)),
    ("raftcache_keyspace_bytes", "Bytes of keys, values and overhead.", lambda r: r.keyspace.used_bytes),
    ("raftcache_reply_records", "Replies kept for retries of keyed writes.", lambda r: len(r.replies)),
    ("raftcache_reply_records_bytes", "Bytes of these.", lambda r: r.replies.used_bytes),
    ("raftcache_sessions", "Front ends whose writes under minted keys are remembered.", lambda r: len(r.sessions)),
    ("raftcache_session_records", "Replies kept for what they may send again.", lambda r: r.sessions.records),
    ("raftcache_session_records_bytes", "Bytes of these.", lambda r: r.sessions.used_bytes),
    ("raftcache_speculative_writes", "Writes executed and not yet committed.", lambda r: r.pipeline.writes),
    ("raftcache_speculative_bytes", "Their undo images and effects.", lambda r: r.pipeline.held_bytes),
    ("raftcache_waiting_commands", "Commands that wait for a commit.", lambda r: r.pipeline.waiting),
    ("raftcache_waiting_receipts", "Questions for receipts that are held back.", lambda r: r.desk.waiting),
    ("raftcache_parked_replica_reads", "Reads that wait for their minVersion.", lambda r: r.replica_reads.parked),
    ("raftcache_policy_epoch", "The epoch whose policies the shard follows.", lambda r: r.policies.applied.epoch),
    ("raftcache_policy_points_pending", "Policy points not yet committed.", lambda r: r.policies.pending),
    ("raftcache_dropped_tags", "Dropped tags of which entries are not reclaimed yet.", lambda r: len(r.dropped)),
    ("raftcache_drop_waiters", "Drops of tags that wait to be confirmed.", lambda r: r.drop_waiters),
    ("raftcache_tagged_keys", "Keys with tags.", lambda r: r.keyspace.families.entries),
    ("raftcache_awaiting_reclaim_keys", "At a leader: dropped keys, as counted.", lambda r: r.awaiting_reclaim[0]),
    ("raftcache_awaiting_reclaim_bytes", "Their bytes.", lambda r: r.awaiting_reclaim[1]),
    ("raftcache_policy_waiters", "Changes of policy that wait to be confirmed.", lambda r: r.policy_waiters),
)
SHARD_COUNTERS = (
    ("raftcache_replica_reads", "Reads answered at the level replica.", lambda r: r.stats.replica_reads),
    ("raftcache_sets", "Keys written.", lambda r: r.stats.sets),
    ("raftcache_deletes", "Keys deleted.", lambda r: r.stats.deletes),
    ("raftcache_expired_keys", "Keys whose time to live was over.", lambda r: r.stats.expired),
    ("raftcache_reclaimed_keys", "Keys of dropped namespaces and tags reclaimed.", lambda r: r.stats.reclaimed),
    ("raftcache_batches_committed", "Log entries committed here.", lambda r: r.stats.batches_committed),
    ("raftcache_writes_committed", "Effects committed here.", lambda r: r.stats.writes_committed),
    ("raftcache_undone_writes", "Speculative writes undone after a lost leadership.", lambda r: r.stats.undone_writes),
    ("raftcache_replays_answered", "Retries answered with the first reply.", lambda r: r.stats.replays),
    ("raftcache_outcomes_unknown", "Writes answered `outcome_unknown`.", lambda r: r.stats.outcomes_unknown),
)


def has_lease(group: Group) -> bool:
    """Whether a replica leads and has the lease, without counting the question."""
    return group.is_leader and not group.lease.why_not()


def node_metrics(core: NodeCore, dispatcher: Dispatcher, links: AsyncioLinks, rpc: RpcServer) -> Iterable[Metric]:
    """Everything that a node knows below its front end."""
    statuses = [group.status() for group in core.host.groups.values()]
    yield from _table(GaugeMetricFamily, GROUP_GAUGES, [((s.group_id,), s) for s in statuses])
    yield from replica_metrics(core)
    yield from _replica_lag(statuses)
    yield _lag_in_writes(core, statuses)
    yield _staleness(core)
    shards = [((shard_id,), replica) for shard_id, replica in core.shards.items()]
    yield from _table(GaugeMetricFamily, SHARD_GAUGES, shards)
    yield from _table(CounterMetricFamily, SHARD_COUNTERS, shards)
    yield from _by_cause(core.shards)
    yield from window_metrics(core.shards)
    yield from memory_metrics(core)
    yield from read_metrics(core)
    yield from rate_metrics(core)
    yield from hot_key_metrics(core)
    yield from latency_metrics(core)
    yield from loss_metrics(core.losses, core.view.namespaces)
    yield script_metrics(core)
    yield GaugeMetricFamily("raftcache_memory_used_bytes", "Bytes that the shards account for.", core.budget.used_bytes)
    yield GaugeMetricFamily("raftcache_memory_max_bytes", "The node's hard limit.", core.budget.limit_bytes)
    yield GaugeMetricFamily("raftcache_ready", "1 where /readyz says so.", float(readiness(core)[0]))
    yield from _links(core, links, rpc)
    yield from routing_metrics(core.view, dispatcher)


def script_metrics(core: NodeCore) -> Metric:
    """What became of the scripts that ran here."""
    text = "Scripts that ran at leaders here, by what became of them."
    family = CounterMetricFamily("raftcache_scripts", text, labels=("result",))
    for outcome, number in sorted(core.scripts.outcomes.items()):
        family.add_metric((outcome,), number)
    return family


def loss_metrics(losses: Losses, known: Namespaces) -> Iterable[Metric]:
    """What this node acknowledged and lost, and what leaders before it may have.

    Counters begin with 0 for every known namespace: `increase` sees nothing in a series that begins with its first
    loss, so that an alert would miss that one."""
    none = dict.fromkeys((namespace.name for namespace in all_of(known)), 0)
    text = "Acknowledged here as the leader, and lost."
    yield _by_namespace(CounterMetricFamily, "raftcache_lost_writes", text, {**none, **losses.counts})
    text = "Acknowledged and undone here; whether they are lost was not learnt."
    yield _by_namespace(CounterMetricFamily, "raftcache_lost_writes_unresolved", text, {**none, **losses.unresolved})
    text = "Acknowledged and undone here, of terms not known to be closed yet."
    yield GaugeMetricFamily("raftcache_lost_writes_undecided", text, losses.waiting)
    text = "The most that leaders before this node's own may have lost, as long as they have not said how much."
    yield _by_namespace(GaugeMetricFamily, "raftcache_lost_writes_upper_bound", text, losses.bounds.total())


def _by_namespace(family: Any, name: str, text: str, values: Mapping[str, float]) -> Metric:
    metric: Metric = family(name, text, labels=("namespace",))
    for namespace, value in values.items():
        metric.add_metric((namespace,), float(value))  # type: ignore[attr-defined]
    return metric


def replica_metrics(core: NodeCore) -> Iterable[Metric]:
    """What became of this node's replicas and their disk, and which shards are lost."""
    replicas = [((group.group_id,), group) for group in core.host.groups.values()]
    yield from _table(GaugeMetricFamily, REPLICA_GAUGES, replicas)
    yield from _table(CounterMetricFamily, REPLICA_COUNTERS, replicas)
    yield from _losses(core)
    yield _by_state(core)
    yield _lease_refusals(core)
    votes_error = float(bool(core.host.votes_error))
    yield GaugeMetricFamily("raftcache_votes_error", "1 while terms and votes cannot be put on disk.", votes_error)


def routing_metrics(view: MetadataView, dispatcher: Dispatcher) -> Iterable[Metric]:
    """What every front end knows."""
    yield GaugeMetricFamily("raftcache_epoch", "The metadata epoch that this process follows.", view.epoch)
    yield GaugeMetricFamily("raftcache_requests_in_flight", "Commands on their way.", dispatcher.inflight)
    yield GaugeMetricFamily("raftcache_requests_parked", "Commands that wait for a leader.", dispatcher.parked)
    retries = CounterMetricFamily("raftcache_request_retries", "Attempts after the first.", labels=("cause",))
    for cause, count in dispatcher.retries.items():
        retries.add_metric((cause,), count)
    yield retries


def _table(family: Any, rows: Any, subjects: Sequence[tuple[tuple[str, ...], Any]]) -> Iterable[Metric]:
    for name, text, value in rows:
        metric = family(name, text, labels=("shard",))
        for labels, subject in subjects:
            metric.add_metric(labels, float(value(subject)))
        yield metric


def _losses(core: NodeCore) -> Iterable[Metric]:
    lost = GaugeMetricFamily("raftcache_shard_lost", "1 where the quorum is gone for good.", labels=("shard",))
    for shard in core.view.state.shards:
        lost.add_metric((shard.id,), float(shard.state == "lost"))
    yield lost
    text = "Replicas here that were lost, set aside and opened again, empty."
    yield CounterMetricFamily("raftcache_replica_renewals", text, core.replicas.renewals)


def _by_state(core: NodeCore) -> Metric:
    metric = GaugeMetricFamily("raftcache_replicas", "Replicas of this node.", labels=("state",))
    stopped = sum(group.stopped for group in core.host.groups.values())
    for state, count in (
        ("open", len(core.host.groups) - stopped),
        ("stopped", stopped),
        ("opening", len(core.replicas.busy)),
        ("refused", len(core.replicas.refused)),
    ):
        metric.add_metric((state,), count)
    return metric


def _lease_refusals(core: NodeCore) -> Metric:
    text = "Proofs of leadership for which there was no lease."
    metric = CounterMetricFamily("raftcache_lease_refusals", text, labels=("shard", "reason"))
    for group in core.host.groups.values():
        for reason, count in group.lease.refusals.items():
            metric.add_metric((group.group_id, reason), count)
    return metric


def _replica_lag(statuses: list[GroupStatus]) -> Iterable[Metric]:
    names = ("shard", "node")
    entries = GaugeMetricFamily("raftcache_replica_lag_entries", "Entries behind the leader.", labels=names)
    lag = GaugeMetricFamily("raftcache_replica_lag_ms", "Age of the oldest entry not acknowledged.", labels=names)
    connected = GaugeMetricFamily("raftcache_replica_connected", "1 where the leader reaches it.", labels=names)
    for status in statuses:
        for peer in status.peers:
            labels = (status.group_id, peer.member.node)
            entries.add_metric(labels, peer.lag_entries)
            lag.add_metric(labels, peer.lag_ms)
            connected.add_metric(labels, float(peer.connected))
    return entries, lag, connected


def _staleness(core: NodeCore) -> Metric:
    """Nothing for a replica that does not know."""
    text = "How old the state of this replica may be."
    staleness = GaugeMetricFamily("raftcache_replica_staleness_ms", text, labels=("shard",))
    for group in core.host.groups.values():
        known = group.staleness_ms()
        if known is not None:
            staleness.add_metric((group.group_id,), known)
    return staleness


def _lag_in_writes(core: NodeCore, statuses: list[GroupStatus]) -> Metric:
    lag = GaugeMetricFamily("raftcache_replica_lag_writes", "Writes it lacks (at least).", labels=("shard", "node"))
    for status in statuses:
        replica = core.shards.get(status.group_id)
        for peer in status.peers if replica is not None else ():
            assert replica is not None
            lag.add_metric((status.group_id, peer.member.node), replica.pipeline.writes_behind(peer.match_index))
    return lag


def _by_cause(shards: dict[str, ShardReplica]) -> Iterable[Metric]:
    rejected = CounterMetricFamily("raftcache_rejected_commands", "Commands refused.", labels=("shard", "code"))
    bounds = CounterMetricFamily("raftcache_bounds_reached", "Bounds that were hit.", labels=("shard", "bound"))
    text = "Linearizable replies that wrote nothing, by what proved leadership."
    proofs = CounterMetricFamily("raftcache_leadership_proofs", text, labels=("shard", "proof"))
    text = "Invalidations executed here as the leader, of namespaces and tags."
    invalidations = CounterMetricFamily("raftcache_invalidations", text, labels=("shard", "of"))
    for shard_id, replica in shards.items():
        for kind, count in replica.stats.invalidations.items():
            invalidations.add_metric((shard_id, kind), count)
        for code, count in replica.stats.rejected.items():
            rejected.add_metric((shard_id, code), count)
        for bound, count in replica.stats.overloaded.items():
            bounds.add_metric((shard_id, bound), count)
        for proof, count in replica.stats.proofs.items():
            proofs.add_metric((shard_id, proof), count)
    return rejected, bounds, proofs, invalidations


def _links(core: NodeCore, links: AsyncioLinks, rpc: RpcServer) -> Iterable[Metric]:
    counted = CounterMetricFamily("raftcache_peer_links", "What happened on peer links.", labels=("event",))
    for event, count in links.counters.items():
        counted.add_metric((event,), count)
    calls = CounterMetricFamily("raftcache_rpc", "What happened on the RPC port.", labels=("event",))
    for event, count in rpc.counters.items():
        calls.add_metric((event,), count)
    yield counted
    yield calls
    yield GaugeMetricFamily("raftcache_peers_connected", "Nodes to which a link is up.", len(core.host.peer_ids()))
    elections = CounterMetricFamily("raftcache_elections_won", "Leaderships gained here.", labels=("shard",))
    for group in core.host.groups.values():
        elections.add_metric((group.group_id,), group.elections_won)
    yield elections
