"""A node without its sockets: consensus, the metadata replica, the shards, and what they tell the other nodes.

All of it runs on a `Runtime`, a `PeerLinks` and a storage that come from outside, so the very same node runs on a
machine (`server.py`) and in the simulation (`raftcache.testing.cluster`). How replicas are opened, renewed and set
aside stands in `replicas.py`, which shards this node holds in `shards.py`; here they are put together, with the reports
and notes that nodes exchange.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from raftcache.clock import Runtime
from raftcache.commands.quotas import QuotaUse
from raftcache.consensus import ConsensusSettings, Group, Host, MemberId
from raftcache.errors import RaftcacheError
from raftcache.frontends.resp.scripts.calling import Scripts
from raftcache.frontends.resp.scripts.sandbox import Sandbox
from raftcache.metadata.commands import PutNode
from raftcache.metadata.controller import REPORT_AGE_SECONDS, Controller
from raftcache.metadata.decisions import Action, Propose
from raftcache.metadata.held import HeldReplicas
from raftcache.metadata.replica import MetadataReplica
from raftcache.metadata.reports import (
    REPLICA_REPORTS_LIMIT,
    GroupReport,
    NodeReport,
    ReplicaReport,
    closed_replica,
    report_of,
)
from raftcache.metadata.shares import QUOTA_USES_LIMIT
from raftcache.metadata.state import METADATA_GROUP
from raftcache.metadata.view import MetadataView
from raftcache.net.api import PeerLinks
from raftcache.node import notes
from raftcache.node.replicas import Plan, Progress, Replicas
from raftcache.node.shards import Shards
from raftcache.node.storage import NodeStorage
from raftcache.shard.losses import Losses
from raftcache.shard.rates import NodeRates
from raftcache.shard.replica import ShardReplica
from raftcache.store.memory import MemoryBudget

log = logging.getLogger("raftcache.node")

REPORT_S = 0.5
"""How often a node says that it lives and what it leads."""

REPORT_FRESH_S = 2.0
"""A report older than this says nothing about now."""


class Identity(NamedTuple):
    """Who this process is: see DESIGN, section 2."""

    cluster_id: str
    node_id: str
    incarnation: str
    run_id: str


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """What a core needs of a node's configuration. `metadata_members` are the cluster's first ones."""

    consensus: ConsensusSettings
    memory_limit_bytes: int
    metadata_members: tuple[MemberId, ...]


class SeenReport(NamedTuple):
    """A leader's report and when it came."""

    at: float
    report: GroupReport


class NodeCore:
    """One node of a cluster."""

    def __init__(
        self, identity: Identity, runtime: Runtime, links: PeerLinks, storage: NodeStorage, settings: CoreSettings
    ) -> None:
        self.identity, self.runtime, self.settings = identity, runtime, settings
        node_id, incarnation = identity.node_id, identity.incarnation
        self.host = Host(node_id, incarnation, runtime, links, settings.consensus)
        self.host.on_note = self._on_note
        self.host.is_gone = self._is_gone
        self.view = MetadataView(runtime)
        self.budget = MemoryBudget(settings.memory_limit_bytes)
        self.reports: dict[str, SeenReport] = {}
        self.held = HeldReplicas(runtime, REPORT_AGE_SECONDS)
        self.metadata = MetadataReplica(node_id, runtime)
        self.controller = Controller(self.metadata, runtime, self._perform)
        self.replicas = Replicas(runtime, self.host, storage, node_id, incarnation)
        self.losses = Losses(runtime)
        self.rates = NodeRates(runtime.now, lambda: len(self.view.state.nodes))
        self.scripts = Scripts(Sandbox(time.thread_time), runtime.wall_ms)
        self._shards = Shards(
            runtime, self.view, self.replicas, self.budget, self.member, self._announce, self.losses, self.rates,
            self.scripts,
        )  # fmt: skip
        self.shards: dict[str, ShardReplica] = self._shards.table
        self._running = self._controlling = False
        self._told_replicas = 0
        self.view.subscribe(self._reconcile)

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to open the metadata group, where this node has a replica of it, then whatever the state says."""
        self._running = True
        self.metadata.subscribe(self.view.update_state)
        first = any(member.node == self.identity.node_id for member in self.settings.metadata_members)
        if first or METADATA_GROUP in self.replicas.held:
            self._open_metadata()
        self.host.start()
        self._report_loop()

    def _open_metadata(self) -> None:
        def make(_progress: Progress) -> MetadataReplica:
            self.metadata.forget()
            return self.metadata

        def opened(group: Group, _machine: Any) -> None:
            self.metadata.attach(group)
            if not self._controlling:
                self._controlling = True
                self.controller.start()
            self.view.update_state(self.metadata.state)

        plan = Plan(METADATA_GROUP, self.settings.metadata_members, make, opened, lambda: None, always=True)
        self.replicas.open(plan)

    def stop(self, done: Callable[[], None] = lambda: None) -> None:
        """Close every group; `done` is called when whatever was being opened has ended, too."""
        self._running = False
        self.controller.stop()
        whole = self.host.stop()
        self.replicas.stop(whole, done)

    # -- shards ----------------------------------------------------------------------------------

    @property
    def member(self) -> tuple[str, str]:
        """This node and its incarnation."""
        return self.identity.node_id, self.identity.incarnation

    def _reconcile(self) -> None:
        if self._running:
            self._shards.reconcile()
            for replica in self.shards.values():
                replica.policies_changed()

    def shard(self, shard_id: str) -> ShardReplica | None:
        """This node's replica of a shard."""
        return self.shards.get(shard_id)

    def leads_metadata(self) -> bool:
        """Whether this node serves the metadata group."""
        return self.metadata.serving

    # -- reports ---------------------------------------------------------------------------------

    def _announce(self, shard_id: str, term: int) -> None:
        self.view.update_leader(shard_id, term, self.identity.node_id)
        self._tell_all(notes.Leading(shard_id, term, self.identity.node_id))
        self.runtime.call_soon(self._report)

    def _report_loop(self) -> None:
        if self._running:
            self._report()
            self._ask_whether_removed()
            self.runtime.call_later(REPORT_S, self._report_loop)

    def _report(self) -> None:
        if self._running:
            led = tuple(report_of(status, self._uses(status.group_id)) for status in (g.status() for g in self._led()))
            report = NodeReport(self.identity.node_id, led, self._replica_reports(), self.rates.tell())
            self._take_report(report)
            self._tell_all(notes.Report(report))
            if self.losses.resolved:
                self._tell_all(notes.LossesKnown(self.losses.resolved))

    def _uses(self, group_id: str) -> tuple[QuotaUse, ...]:
        replica = self.shards.get(group_id)
        return () if replica is None else tuple(islice(replica.quota_uses(), QUOTA_USES_LIMIT))

    def _led(self) -> list[Group]:
        groups = self.host.groups
        shards = [groups[shard_id] for shard_id, replica in self.shards.items() if replica.serving]
        return shards + ([groups[METADATA_GROUP]] if self.metadata.serving else [])

    def _replica_reports(self) -> tuple[ReplicaReport, ...]:
        """The replicas that no leader speaks for; where they are too many, in turns."""
        spoken_for = {
            group_id
            for group_id, group in self.host.groups.items()
            if group.member.replica == 0 and self.fresh_report(group_id) is not None
        }
        untold = sorted({*self.host.groups, *self.replicas.busy, *self.replicas.refused} - spoken_for)
        start = self._told_replicas if self._told_replicas < len(untold) else 0
        self._told_replicas = start + REPLICA_REPORTS_LIMIT
        return tuple(map(self.replica_report, untold[start : self._told_replicas]))

    def replica_report(self, group_id: str) -> ReplicaReport:
        """This node's replica of a group that is open, busy or refused here."""
        group = self.host.groups.get(group_id)
        if group is None:
            refused, busy = self.replicas.refused.get(group_id), self.replicas.busy.get(group_id)
            doing = busy.describe() if busy is not None else ""
            member = self.replicas.member(group_id)
            return closed_replica(group_id, member, "refused" if refused else "opening", refused or doing)
        replica, last = self.shards.get(group_id), group.last_index
        return ReplicaReport(
            group_id,
            group.member,
            group.members,
            group.journal.term_at(last),
            last,
            empty=not group.members and last == 0,
            keys=-1 if replica is None else len(replica.keyspace),
        )

    def _take_report(self, report: NodeReport) -> None:
        if report.node != self.identity.node_id:
            self.rates.hear(report.node, report.demands)
        self.controller.report(report)
        self.held.take(report, self.view.state)
        now = self.runtime.now()
        for group in report.groups:
            seen = self.reports.get(group.group_id)
            if seen is None or group.term >= seen.report.term:
                self.reports[group.group_id] = SeenReport(now, group)
            if group.group_id != METADATA_GROUP:
                self.view.update_leader(group.group_id, group.term, group.leader)

    def _notice_incarnation(self, node_id: str) -> None:
        """A node that came back with an empty disk is a new incarnation: at the metadata leader, register it, and the
        controller swaps it in wherever the old one was a member (DESIGN, section 8)."""
        node, seen = self.view.state.node(node_id), self.host.incarnation_of(node_id)
        if node is None or seen is None:
            return
        self.held.note_incarnation(node_id, seen, self.view.state)
        if not self.metadata.serving or seen == node.incarnation:
            return
        log.warning("%s is a new incarnation, %s: it replaces %s", node_id, seen, node.incarnation)
        self.metadata.submit(PutNode(node_id, seen, node.addresses, node.zone), lambda _result: None)

    def _is_gone(self, group_id: str, member: MemberId) -> bool:
        return self.host.is_replaced(group_id, member) or self.held.is_gone(group_id, member)

    def fresh_report(self, group_id: str) -> GroupReport | None:
        """What a group's leader last said, unless that was long ago or the leader is out of reach."""
        seen = self.reports.get(group_id)
        if seen is None or self.runtime.now() - seen.at > REPORT_FRESH_S:
            return None
        if seen.report.leader == self.identity.node_id:
            group = self.host.groups.get(group_id)
            return seen.report if group is not None and group.is_leader else None
        return seen.report if seen.report.leader in self.host.peer_ids() else None

    def _ask_whether_removed(self) -> None:
        for shard_id in list(self.shards):
            shard = self.view.state.shard(shard_id)
            if shard is not None and all((m.node, m.incarnation) != self.member for m in shard.replicas):
                leader = self.view.leaders.get(shard_id)
                if leader is not None and shard_id in self.host.groups:
                    self._tell(leader.node, notes.AmIRemoved(shard_id, self.host.groups[shard_id].member))

    # -- notes -----------------------------------------------------------------------------------

    def _tell(self, node_id: str, note: notes.Note) -> None:
        if node_id == self.identity.node_id:
            self._handle(node_id, note)
        else:
            self.host.send_note(node_id, notes.encode_note(note))

    def _tell_all(self, note: notes.Note) -> None:
        payload = notes.encode_note(note)
        for node_id in self.host.peer_ids():
            self.host.send_note(node_id, payload)

    def _on_note(self, node_id: str, payload: bytes) -> None:
        try:
            note = notes.decode_note(payload)
        except msgspec.MsgspecError as error:
            log.warning("a note from %s cannot be read: %s", node_id, error)
            return
        self._handle(node_id, note)

    def _handle(self, node_id: str, note: notes.Note) -> None:
        if isinstance(note, notes.Leading):
            self.view.update_leader(note.shard, note.term, note.node)
        elif isinstance(note, notes.Report):
            self._take_report(note.report)
            self._notice_incarnation(node_id)
        elif isinstance(note, notes.LossesKnown):
            self.losses.bounds.reported(note.resolved)
        elif isinstance(note, notes.AmIRemoved):
            self._answer_removed(node_id, note)
        elif isinstance(note, notes.Removed):
            self._heed_removed(note)
        elif note.group in self.host.groups:
            self._act(note)

    def _answer_removed(self, node_id: str, note: notes.AmIRemoved) -> None:
        group = self.host.groups.get(note.group)
        if group is not None and group.leads_now() and note.member not in group.members:
            self._tell(node_id, notes.Removed(note.group, note.member))

    def _heed_removed(self, note: notes.Removed) -> None:
        group = self.host.groups.get(note.group)
        shard = self.view.state.shard(note.group)
        if group is None or shard is None or group.member != note.member:
            return
        if note.member not in shard.replicas:
            self._shards.drop(note.group)

    def _perform(self, action: Action) -> None:
        assert not isinstance(action, Propose)
        node_id, note = notes.note_of(action)
        self._tell(node_id, note)

    def _act(self, note: notes.Transfer | notes.ChangeMember) -> None:
        group = self.host.groups[note.group]
        try:
            if isinstance(note, notes.Transfer):
                group.transfer_leadership(note.to_node)
            elif note.add:
                group.add_member(note.member)
            else:
                group.remove_member(note.member)
        except RaftcacheError as error:
            log.info("%s: the controller's wish is refused: %s", note.group, error)
