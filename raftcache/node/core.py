"""A node without its sockets: consensus, the metadata replica, the shards, and what they tell the other nodes.

All of it runs on a `Runtime`, a `PeerLinks` and a storage factory that come from outside, so the very same node
runs on a machine (`server.py`) and in the simulation (`raftcache.testing.cluster`).

Which shards run here follows from the metadata state and from the disk: a replica is opened where the state wants
this node's incarnation, or where the disk holds one, since its group may count on it still; it is closed and removed
once the state no longer wants it *and* its group has let it go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from raftcache.clock import Runtime
from raftcache.consensus import ConsensusSettings, Group, Host, MemberId
from raftcache.errors import RaftcacheError
from raftcache.metadata.commands import PutNode
from raftcache.metadata.controller import Controller, NodeReport
from raftcache.metadata.decisions import Action, GroupReport, Propose, report_of
from raftcache.metadata.replica import MetadataReplica
from raftcache.metadata.state import METADATA_GROUP, Shard
from raftcache.metadata.view import MetadataView
from raftcache.net.api import PeerLinks
from raftcache.node import notes
from raftcache.routing.slots import slot_of
from raftcache.shard.replica import ShardReplica
from raftcache.store.memory import MemoryBudget
from raftcache.wal.api import GroupStorage
from raftcache.wal.errors import Damaged

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


class Storages(NamedTuple):
    """How a group's storage is opened, and removed once its replica is not wanted any more; `held` names the groups
    that this node keeps something of, and `removed` tells whether this incarnation has ever removed one."""

    open: Callable[[str], GroupStorage]
    remove: Callable[[str], None]
    held: Callable[[], frozenset[str]]
    removed: Callable[[str], bool]


class SeenReport(NamedTuple):
    """A leader's report and when it came."""

    at: float
    report: GroupReport


class NodeCore:
    """One node of a cluster."""

    def __init__(
        self, identity: Identity, runtime: Runtime, links: PeerLinks, storages: Storages, settings: CoreSettings
    ) -> None:
        self.identity, self.runtime, self.settings = identity, runtime, settings
        self.host = Host(identity.node_id, identity.incarnation, runtime, links, settings.consensus)
        self.host.on_note = self._on_note
        self.view = MetadataView(runtime)
        self.budget = MemoryBudget(settings.memory_limit_bytes)
        self.shards: dict[str, ShardReplica] = {}
        self.reports: dict[str, SeenReport] = {}
        self.refused: dict[str, str] = {}
        """Shards whose replica here could not be opened, and why."""
        self.metadata = MetadataReplica(identity.node_id, runtime)
        self.controller = Controller(self.metadata, runtime, self._perform)
        self._storages = storages
        self._held = storages.held()
        self._running = False
        self.view.subscribe(self._reconcile)

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the metadata group where this node has a replica of it, then whatever the state says."""
        self._running = True
        self.metadata.subscribe(self.view.update_state)
        if any(member.node == self.identity.node_id for member in self.settings.metadata_members):
            self._open_metadata()
        self.host.start()
        self._report_loop()

    def _open_metadata(self) -> None:
        storage = self._storages.open(METADATA_GROUP)
        group = self.host.open_group(
            METADATA_GROUP, storage, self.metadata, bootstrap=self.settings.metadata_members
        )
        self.metadata.attach(group)
        self.controller.start()
        self.view.update_state(self.metadata.state)

    def stop(self) -> None:
        """Close every group."""
        self._running = False
        self.controller.stop()
        self.host.stop()

    # -- shards ----------------------------------------------------------------------------------

    @property
    def member(self) -> tuple[str, str]:
        """This node and its incarnation."""
        return self.identity.node_id, self.identity.incarnation

    def _reconcile(self) -> None:
        if not self._running:
            return
        for shard in self.view.state.shards:
            if shard.id in self.shards or shard.id in self.refused:
                continue
            mine = next((m for m in shard.replicas if (m.node, m.incarnation) == self.member), None)
            if mine is None and shard.id in self._held:
                mine = MemberId(*self.member)
            if mine is not None:
                self._open_shard(shard, mine)

    def _open_shard(self, shard: Shard, member: MemberId) -> None:
        slots = frozenset(slot for first, last in shard.slots for slot in range(first, last + 1))
        replica = ShardReplica(
            shard_id=shard.id,
            node_id=member.node,
            runtime=self.runtime,
            budget=self.budget,
            namespaces=lambda: self.view.namespaces,
            owns=lambda key: slot_of(key) in slots,
            on_serving=lambda term: self._announce(shard.id, term),
        )
        first = () if self._storages.removed(shard.id) else shard.initial
        try:
            storage = self._storages.open(shard.id)
            group = self.host.open_group(shard.id, storage, replica, member.replica, first)
        except (OSError, Damaged) as error:
            log.error("%s: this node's replica is not started: %s", shard.id, error)
            self.refused[shard.id] = str(error)
            return
        replica.attach(group)
        self.shards[shard.id] = replica

    def _drop_shard(self, shard_id: str) -> None:
        log.info("%s: this node's replica is not wanted any more and is removed", shard_id)
        replica = self.shards.pop(shard_id, None)
        self.host.close_group(shard_id)
        if replica is not None:
            replica.close()
        self._storages.remove(shard_id)
        self._held -= {shard_id}  # Or the next change of the state would open an empty replica that nobody wants.

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
            led = tuple(report_of(group.status()) for group in self._led())
            report = NodeReport(self.identity.node_id, led)
            self._take_report(report)
            self._tell_all(notes.Report(report))

    def _led(self) -> list[Group]:
        groups = self.host.groups
        shards = [groups[shard_id] for shard_id, replica in self.shards.items() if replica.serving]
        return shards + ([groups[METADATA_GROUP]] if self.metadata.serving else [])

    def _take_report(self, report: NodeReport) -> None:
        self.controller.report(report)
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
        if not self.metadata.serving or node is None or seen is None or seen == node.incarnation:
            return
        log.warning("%s is a new incarnation, %s: it replaces %s", node_id, seen, node.incarnation)
        self.metadata.submit(PutNode(node_id, seen, node.addresses, node.zone), lambda _result: None)

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
            self._drop_shard(note.group)

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
