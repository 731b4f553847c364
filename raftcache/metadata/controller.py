"""The controller's shell: gathers reports, decides at the metadata leader, carries out with care.

It looks once every `LOOK_SECONDS` and at the end of a turn in which the state changed. What to do comes from
`decisions.decide`; here is only what keeps it gentle:

- a group gets one action at a time, and the next only on a report that arrived after the action was given out;
- at most `TRANSFERS_AT_ONCE` leaderships are moved together, and where moving one does not help, the next try
  waits twice as long, up to `TRANSFER_PAUSE_MAX_SECONDS`: a transfer that fails costs clients time each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from raftcache.clock import Runtime
from raftcache.commands.quotas import QuotaUse
from raftcache.metadata.applying import Result
from raftcache.metadata.commands import SetShares
from raftcache.metadata.decisions import Action, Propose, ReplicaFacts, TransferLeadership, decide
from raftcache.metadata.held import HeldReplicas
from raftcache.metadata.replica import MetadataReplica
from raftcache.metadata.reports import GroupReport, NodeReport
from raftcache.metadata.shares import decide_shares

LOOK_SECONDS = 0.5
REPORT_AGE_SECONDS = 3.0
"""A report, or word of a node, older than this counts for nothing."""

BALANCE_SECONDS = 10.0
"""How often the split of quotas is looked at."""

ACTION_SECONDS = 1.0
"""The least time between two actions on one group."""

LOST_PATIENCE_S = 10.0
"""How long a shard must have been without a leader, as this metadata leader knows, before it can be declared lost."""

TRANSFERS_AT_ONCE = 4
TRANSFER_PAUSE_SECONDS = 4.0
TRANSFER_PAUSE_MAX_SECONDS = 120.0


@dataclass(slots=True)
class _Received:
    at: float
    report: GroupReport


@dataclass(slots=True)
class _Moves:
    """How often leadership of one shard was moved since its preferred node last led, and when last."""

    at: float
    count: int


class Controller:
    """Runs at every metadata replica, acts only at the leader.

    `perform` carries out a transfer or a membership change, or asks the node named in it to: it neither raises
    nor answers, for the next reports show whether it worked.
    """

    def __init__(self, replica: MetadataReplica, runtime: Runtime, perform: Callable[[Action], None]) -> None:
        self._replica = replica
        self._runtime = runtime
        self._perform = perform
        self._reports: dict[str, _Received] = {}
        self._heard: dict[str, float] = {}
        self._acted: dict[str, float] = {}
        self._moves: dict[str, _Moves] = {}
        self._held = HeldReplicas(runtime, REPORT_AGE_SECONDS)
        self._serving_since: float | None = None
        self._balanced = 0.0
        self._evicted: dict[tuple[str, int], tuple[int, int]] = {}
        """By group and namespace id: the term and the count of the last look."""
        self._looking_soon = False
        self._running = False
        replica.subscribe(lambda state: self._look_soon())

    def start(self) -> None:
        """Begin to look; harmless at a follower."""
        self._running = True
        self._tick()

    def stop(self) -> None:
        """Look no more."""
        self._running = False

    def report(self, report: NodeReport) -> None:
        """Take in what a node says. Of two leaders of one group the higher term is right.

        Nodes and groups that the state does not know are left out, which bounds the tables.
        """
        state, now = self._replica.state, self._runtime.now()
        if state.node(report.node) is None:
            return
        self._heard[report.node] = now
        self._held.take(report, state)
        for group in report.groups:
            held = self._reports.get(group.group_id)
            newest = held is None or group.term >= held.report.term
            if newest and state.wanted(group.group_id):
                self._reports[group.group_id] = _Received(now, group)
                self._forgive(group)

    def up(self) -> frozenset[str]:
        """The nodes heard from lately; also what a cluster status shows as up."""
        oldest = self._runtime.now() - REPORT_AGE_SECONDS
        return frozenset(node for node, at in self._heard.items() if at >= oldest)

    def look(self) -> None:
        """Decide once, and act on what may be acted on now."""
        if not self._replica.serving:
            self._serving_since = None
            return
        now = self._runtime.now()
        reports = {group: held.report for group, held in self._reports.items() if self._usable(group, held, now)}
        budget = TRANSFERS_AT_ONCE - self._transfers_under_way(now)
        for action in decide(self._replica.state, reports, self.up(), self._facts(now)):
            if not self._may_act(_group_of(action), now):
                continue
            if isinstance(action, TransferLeadership):
                if budget <= 0 or not self._may_move(action.shard, now):
                    continue
                budget -= 1
                self._note_move(action.shard, now)
            self._act(action, now)
        if now >= self._balanced + BALANCE_SECONDS:
            self._balanced = now
            self._balance(reports)

    def _balance(self, reports: dict[str, GroupReport]) -> None:
        """Move parts of quotas to where they are needed, if every shard has told of its use."""
        state = self._replica.state
        told = [reports.get(shard.id) for shard in sorted(state.shards, key=lambda shard: shard.slots)]
        if None in told:
            return
        uses: dict[int, list[QuotaUse]] = {}
        for report in told:
            assert report is not None
            for use in report.uses:
                uses.setdefault(use.namespace_id, []).append(self._since_last(report, use))
        for namespace in state.namespaces:
            if len(uses.get(namespace.id, ())) == len(told) > 1:
                shares = decide_shares(namespace, uses[namespace.id])
                if shares is not None:
                    self._replica.submit(SetShares(namespace.id, namespace.shares, shares), _ignore)
        self._evicted = {place: seen for place, seen in self._evicted.items() if place[1] in uses}

    def _since_last(self, report: GroupReport, use: QuotaUse) -> QuotaUse:
        """The same with the evictions since the last look; none where another leader told of it then."""
        place = (report.group_id, use.namespace_id)
        term, before = self._evicted.get(place, (0, 0))
        self._evicted[place] = (report.term, use.evicted)
        return replace(use, evicted=max(0, use.evicted - before) if term == report.term else 0)

    def _facts(self, now: float) -> ReplicaFacts:
        """A metadata leader counts the silence of a shard's leader from when it began to serve, or to hear it."""
        if self._serving_since is None:
            self._serving_since = now
        silent_since = now - LOST_PATIENCE_S
        leaderless = {
            shard.id
            for shard in self._replica.state.shards
            if self._serving_since <= silent_since
            and (shard.id not in self._reports or self._reports[shard.id].at <= silent_since)
        }
        return ReplicaFacts(self._held.fresh(), self._held.identities(), leaderless)

    def _usable(self, group: str, held: _Received, now: float) -> bool:
        acted = self._acted.get(group)
        fresh_since = now - REPORT_AGE_SECONDS if acted is None else max(acted, now - REPORT_AGE_SECONDS)
        return held.at > fresh_since

    def _may_act(self, group: str, now: float) -> bool:
        return group not in self._acted or now - self._acted[group] >= ACTION_SECONDS

    def _act(self, action: Action, now: float) -> None:
        self._acted[_group_of(action)] = now
        if isinstance(action, Propose):
            self._replica.submit(action.command, _ignore)
        else:
            self._perform(action)

    def _may_move(self, shard: str, now: float) -> bool:
        moves = self._moves.get(shard)
        if moves is None:
            return True
        pause = min(TRANSFER_PAUSE_MAX_SECONDS, TRANSFER_PAUSE_SECONDS * 2.0 ** max(0, moves.count - 1))
        return now - moves.at >= pause

    def _forgive(self, report: GroupReport) -> None:
        """The preferred node leads: the next move, whenever it is due, starts with the shortest pause."""
        shard, moves = self._replica.state.shard(report.group_id), self._moves.get(report.group_id)
        if shard is not None and moves is not None and report.leader == shard.preferred:
            moves.count = 0

    def _note_move(self, shard: str, now: float) -> None:
        moves = self._moves.setdefault(shard, _Moves(now, 0))
        moves.at, moves.count = now, moves.count + 1

    def _transfers_under_way(self, now: float) -> int:
        return sum(1 for moves in self._moves.values() if now - moves.at < ACTION_SECONDS)

    def _look_soon(self) -> None:
        if self._running and not self._looking_soon:
            self._looking_soon = True
            self._runtime.call_soon(self._look_now)

    def _look_now(self) -> None:
        self._looking_soon = False
        self.look()

    def _tick(self) -> None:
        if self._running:
            self.look()
            self._runtime.call_later(LOOK_SECONDS, self._tick)


def _group_of(action: Action) -> str:
    return action.shard if isinstance(action, TransferLeadership) else action.group


def _ignore(result: Result) -> None:
    """A refused or lost change of what is wanted is decided again at a later look."""
