"""A whole cluster in one process under virtual time: the real node cores on a fake clock, network and files.

A process is a `NodeCore` with its own runtime; killing it stops that runtime and keeps its files as the page cache
would, starting it again opens them. Front ends are real dispatchers, one a process, whose calls to other processes
travel over a second simulated network with delays of their own, as RPC does on its own port.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from raftcache.commands.policy import Namespace
from raftcache.commands.types import (
    RAW,
    AckLevel,
    Asked,
    Command,
    Counted,
    Get,
    Incr,
    Minted,
    ReadLevel,
    Receipts,
    Reply,
    Set,
    Value,
    Version,
    Written,
    failure_of,
)
from raftcache.consensus import ConsensusSettings, Group, MemberId
from raftcache.consensus.host import Observer
from raftcache.errors import NotLeader, OutcomeUnknown, RaftcacheError, Unavailable
from raftcache.metadata.commands import MetadataCommand
from raftcache.metadata.remote_watch import RemoteWatch
from raftcache.metadata.state import EMPTY, METADATA_GROUP, Addresses, Node
from raftcache.metadata.submitting import MetadataSubmitter, serve_metadata
from raftcache.metadata.watch import WatchHub
from raftcache.net.api import Peer
from raftcache.node.backend import ViewBackend
from raftcache.node.core import CoreSettings, Identity, NodeCore
from raftcache.node.following import serve_policy
from raftcache.node.hotkeys import serve_hot_keys
from raftcache.node.invalidating import serve_drop_tag
from raftcache.node.losses import serve_lost_writes
from raftcache.node.storage import storage_in
from raftcache.routing.bootstrap import metadata_members, plan_cluster
from raftcache.routing.dispatcher import Dispatcher, Waits
from raftcache.shard.joint import Joint, JointWrites
from raftcache.shard.minted import Mint
from raftcache.shard.moment import ShardMoment
from raftcache.shard.replica import ShardReplica
from raftcache.store.entry import Entry
from raftcache.testing.files import FakeFiles
from raftcache.testing.loop import SimLoop, SimRuntime
from raftcache.testing.network import NetworkSettings, SimNetwork

DATA = "/data"
JOINT_TIMEOUT_S = 10.0
"""How long a plain write of a `quorum` namespace may wait: longer than on the Redis ports, so that more of those whose
leader was cut off learn what became of them."""


def sim_consensus() -> ConsensusSettings:
    """Small bounds, so that snapshots, transfers and cut logs happen within a minute."""
    return ConsensusSettings(snapshot_log_bytes=12_000, log_tail_bytes=2_000, snapshot_chunk_bytes=1_000)


@dataclass(frozen=True)
class ClusterSettings:
    """The shape of a simulated cluster. Clocks drift by up to `drift`, which is what leases allow for, and wall clocks
    are off by up to `wall_error_ms`."""

    nodes: int = 3
    shards: int = 2
    replication: int = 3
    segment_bytes: int = 3_000
    memory_limit_bytes: int = 1 << 30
    drift: float = ConsensusSettings().max_clock_drift
    wall_error_ms: int = 2_000
    consensus: ConsensusSettings = field(default_factory=sim_consensus)
    network: NetworkSettings = field(default_factory=NetworkSettings)


STANDARD_SPACES = (
    Namespace("default", 0),
    Namespace("safe", 0, ack=AckLevel.QUORUM),
    Namespace("vault", 0, ack=AckLevel.DURABLE),
    Namespace("shown", 0, read_level=ReadLevel.COMMITTED),
)
"""One for each ack level, and one whose readers see nothing that can be lost."""


class WatchedShard:
    """A shard's replica with somebody who sees what it answers, and who is told of writes that come again."""

    def __init__(
        self, replica: ShardReplica, saw: Callable[[Command, Reply], None], repeated: Callable[[], None]
    ) -> None:
        self._replica, self._saw, self._repeated = replica, saw, repeated

    @property
    def serving(self) -> bool:
        """Whether it leads and executes commands."""
        return self._replica.serving

    def submit(
        self, command: Asked, reply: Callable[[Reply], None], deadline_s: float, mint: Mint | None = None
    ) -> None:
        """See `ShardReplica.submit`."""
        self._replica.submit(command, self._watched(command, reply), deadline_s, mint)

    def submit_now(self, command: Command, later: Waits, deadline_s: float) -> Reply | None:
        """See `ShardReplica.submit_now`."""

        def watched() -> tuple[Callable[[Reply], None], Mint | None]:
            reply, mint = later()
            return self._watched(command, reply), mint

        answer = self._replica.submit_now(command, watched, deadline_s)
        if answer is not None:
            self._saw(command, answer)
        return answer

    def moment(self, now_s: float) -> ShardMoment | None:
        """See `ShardReplica.moment`. What is said by it is told to `saw` by whoever asked."""
        return self._replica.moment(now_s)

    def shown(self, found: Entry | Literal[False]) -> Value:
        """What a read says that found this by a look, as far as it is judged."""
        if found is False:
            return Value(None, RAW, self._replica._executor.newest(), None, ReadLevel.LATEST)
        version = Version(self._replica.shard_id, found.term, found.seq)
        return Value(found.value, found.flag, version, None, ReadLevel.LATEST)

    def submit_from(
        self, source: str, command: Asked, reply: Callable[[Reply], None], deadline_s: float
    ) -> None:
        """See `ShardReplica.submit_from`."""
        self._replica.submit_from(source, command, self._watched(command, reply), deadline_s)

    def _watched(self, command: Asked, reply: Callable[[Reply], None]) -> Callable[[Reply], None]:
        if isinstance(command, Minted) and command.repeat:
            self._repeated()

        def answered(answer: Reply) -> None:
            self._saw(command.command if isinstance(command, Minted) else command, answer)
            reply(answer)

        return answered

    def receipts(self, asked: Receipts, reply: Callable[[Reply], None]) -> None:
        """See `ShardReplica.receipts`."""
        self._replica.receipts(asked, reply)


class SimProcess:
    """One run of one node."""

    def __init__(self, cluster: SimCluster, node_id: str, run: int) -> None:
        self.node_id, self.name = node_id, f"{node_id}-{run}"
        self._cluster = cluster
        self.runtime = SimRuntime(
            cluster.loop, f"{node_id}-{run}", cluster.drifts[node_id], cluster.wall_errors[node_id]
        )
        self.runtime.on_killed = lambda: cluster.kill(node_id)
        incarnation = cluster.incarnations[node_id]
        self.links = cluster.network.join(Peer(node_id, incarnation, f"run{run}"), self.runtime)
        settings = CoreSettings(cluster.settings.consensus, cluster.settings.memory_limit_bytes, cluster.first_members)
        files, always = cluster.files[node_id], cluster.settings.consensus.fsync == "always"
        storage = storage_in(files, DATA, cluster.settings.segment_bytes, files.boot_id, always)
        identity = Identity("sim", node_id, incarnation, f"run{run}")
        self.core = NodeCore(identity, self.runtime, self.links, storage, settings)
        self.core.host.observer = cluster.observer
        self.dispatcher = Dispatcher(
            self.core.view, self.runtime, self.shard, self._remote(cluster), node_id=node_id
        )

        self._joint = Joint(JOINT_TIMEOUT_S)
        self._joined: dict[JointWrites, list[Callable[[Reply], None]]] = {}
        self.hub = WatchHub(self.core.view, self.runtime)
        call = self._call(cluster)
        self.watch = RemoteWatch(self.core.view, self.runtime, call, lambda: cluster.metadata_ids)
        metadata = MetadataSubmitter(self.runtime, call, lambda: cluster.metadata_ids)
        self.backend = ViewBackend(self.runtime, self.core.view, self.dispatcher, metadata, call)

    def ask(self, command: Command, deadline: float, reply: Callable[[Reply], None]) -> None:
        """Execute a command as the Redis ports do: plain reads and writes go their short ways, and an answer that is
        there at once makes nothing wait for it."""
        if type(command) is Get and command == Get(command.key):
            found = self.dispatcher.look_many([command.key], self.runtime.now())[0]
            shard_id = self.dispatcher.map.shard_of(command.key)
            if found is not None and shard_id and (shard := self.shard(shard_id)):
                return self._reply(command, shard.shown(found), reply)
        elif type(command) is Set and command == Set(command.key, command.value):
            pairs = [(command.key, command.value)]
            wrote = self.dispatcher.write_many(pairs, self.runtime.now(), self._joint)
            if wrote.joint:
                return self._join(wrote.joint[0], reply)
            for _, version in wrote.newest:
                return self._reply(command, Written(True, version, None, AckLevel.PRIMARY), reply)
        elif type(command) is Incr and command == Incr(command.key, command.delta):
            added = self.dispatcher.add_many([(command.key, command.delta)], self.runtime.now())
            for value, (_, version) in zip(added.values, added.newest, strict=True):
                return self._reply(command, Counted(value, version, None, AckLevel.PRIMARY), reply)
        answer = self.dispatcher.execute_now(command, deadline, lambda: reply)
        if answer is not None:
            reply(answer)

    def _reply(self, command: Command, answer: Reply, reply: Callable[[Reply], None]) -> None:
        self._answers(command, answer)
        reply(answer)

    def _join(self, writes: JointWrites, reply: Callable[[Reply], None]) -> None:
        """Await the newest of joint writes, as one of them."""
        self._joined.setdefault(writes, []).append(reply)

        def told(replies: list[Reply] | None) -> None:
            waiting = self._joined.pop(writes)
            for place, (key, value, version) in enumerate(writes.items):
                written = Written(True, version, None, AckLevel.QUORUM)
                if replies is None:
                    self._answers(Set(key, value), written)
                waiting[place](written if replies is None else replies[place])

        writes.tell = told

    def start(self, cluster: SimCluster) -> None:
        """Start the node. It also follows the metadata from outside: its own replica may be empty, or it has none."""
        self.core.start()
        self.watch.start()

    def shard(self, shard_id: str) -> WatchedShard | None:
        """This node's replica of a shard."""
        replica = self.core.shard(shard_id)
        return None if replica is None else WatchedShard(replica, self._answers, self._repeated)

    def _repeated(self) -> None:
        self._cluster.repeats += 1

    def _answers(self, command: Command, reply: Reply) -> None:
        for saw in self._cluster.on_reply:
            saw(self, command, reply)

    def serve(self, method: str, body: bytes, deadline: float, reply: Callable[..., None]) -> None:
        """What a node answers over RPC, as far as processes here ask it."""
        if method == "watch":
            self.hub.serve(body, deadline, reply)
        elif method == "policy":
            serve_policy(self.core, body, deadline, reply)
        elif method == "lost_writes":
            serve_lost_writes(self.core.losses, body, reply)
        elif method == "drop_tag":
            serve_drop_tag(self.core, body, reply)
        elif method == "hot_keys":
            serve_hot_keys(self.core, body, reply)
        else:
            assert method == "metadata", method
            serve_metadata(self.core.metadata, body, reply)

    def _remote(self, cluster: SimCluster) -> Callable[..., None]:
        """The dispatcher's `Remote`."""

        def execute(
            target: str,
            shard_id: str,
            _epoch: int,
            command: Asked | Receipts,
            deadline: float,
            done: Callable[[Reply], None],
        ) -> None:
            def serve(there: SimProcess, reply: Callable[[Reply], None]) -> None:
                replica = there.shard(shard_id)
                if replica is None:
                    reply(failure_of(NotLeader(f"{there.node_id} does not hold {shard_id}")))
                elif isinstance(command, Receipts):
                    replica.receipts(command, reply)
                else:
                    end = there.runtime.now() + deadline - self.runtime.now()
                    replica.submit_from(self.node_id, command, reply, end)

            SimCall(cluster, self, target, deadline, done, failure_of).send(serve)

        return execute

    def _call(self, cluster: SimCluster) -> Callable[..., None]:
        """The `Call` of the watch and of what goes to the metadata's and the shards' leaders."""

        def call(target: str, method: str, body: bytes, deadline: float, done: Callable[..., None]) -> None:
            def serve(there: SimProcess, reply: Callable[..., None]) -> None:
                there.serve(method, body, there.runtime.now() + deadline - self.runtime.now(), reply)

            SimCall(cluster, self, target, deadline, done, lambda error: error).send(serve)

        return call


class SimCall:
    """One RPC between two processes. It is answered once; at its deadline with `outcome_unknown`.

    `face` turns an error into what `done` takes.
    """

    def __init__(
        self,
        cluster: SimCluster,
        caller: SimProcess,
        target: str,
        deadline: float,
        done: Callable[..., None],
        face: Callable[[RaftcacheError], object],
    ) -> None:
        self._cluster, self._caller, self._target, self._done, self._face = cluster, caller, target, done, face
        self._open = True
        self._deadline = deadline

    def send(self, serve: Callable[[SimProcess, Callable[..., None]], None]) -> None:
        """Let the other process `serve`, after a delay; its answer comes back after another."""
        here, loop = self._caller, self._cluster.loop
        there = self._cluster.processes.get(self._target)
        if there is None or not self._cluster.network.can_reach(here.node_id, self._target):
            self._later(here, lambda: self._answer(self._face(Unavailable(f"{self._target} cannot be reached"))))
            return
        here.runtime.call_later(max(0.0, self._deadline - here.runtime.now()), self._expire)
        loop.call_later(self._delay(), lambda: there.runtime.deliver(lambda: self._serve(there, serve)))

    def _serve(self, there: SimProcess, serve: Callable[[SimProcess, Callable[..., None]], None]) -> None:
        if self._cluster.network.can_reach(self._caller.node_id, self._target):
            serve(there, lambda reply: self._reply(there, reply))

    def _reply(self, there: SimProcess, reply: object) -> None:
        if self._cluster.network.can_reach(there.node_id, self._caller.node_id):
            self._later(self._caller, lambda: self._answer(reply))

    def _later(self, process: SimProcess, callback: Callable[[], None]) -> None:
        self._cluster.loop.call_later(self._delay(), lambda: process.runtime.deliver(callback))

    def _delay(self) -> float:
        return self._cluster.loop.random.uniform(*self._cluster.settings.network.delay)

    def _answer(self, reply: object) -> None:
        if self._open:
            self._open = False
            self._done(reply)

    def _expire(self) -> None:
        self._answer(self._face(OutcomeUnknown(f"no answer from {self._target} within the deadline")))


def _has_synced(group: Group, index: int, term: int | None) -> bool:
    """Whether a replica has an entry on its disk. One that it does not hold in memory any more it has committed, and so
    has one whose term nobody can tell (None), for the leader does not hold it any more."""
    journal = group.journal
    same = term is None or index < journal[0].index or journal.holds(index, term)
    return same and journal.synced_index >= index


class SimCluster:
    """The cluster and its processes. `observer` sees every election and every applied entry."""

    def __init__(self, seed: int, settings: ClusterSettings | None = None, observer: Observer | None = None) -> None:
        self.settings = settings or ClusterSettings()
        self.observer = observer
        self.repeats = 0
        """Writes under minted keys that came to a shard again, their outcome unknown."""
        self.on_reply: list[Callable[[SimProcess, Command, Reply], None]] = []
        """Told what shards answer to commands, before whoever asked is."""
        self.loop = SimLoop(seed)
        self.network = SimNetwork(self.loop, self.settings.network)
        self.ids = [f"n{i}" for i in range(self.settings.nodes)]
        self.files = {node_id: FakeFiles() for node_id in self.ids}
        chance, worst, drift = self.loop.random, self.settings.wall_error_ms, self.settings.drift
        self.drifts = {node_id: chance.choice((-1, 1, chance.uniform(-1, 1))) * drift for node_id in self.ids}
        self.wall_errors = {node_id: chance.randint(-worst, worst) for node_id in self.ids}
        self.nodes = [Node(node_id, "a", Addresses("", "", "")) for node_id in self.ids]
        self.first_members: tuple[MemberId, ...] = metadata_members(self.nodes)
        self.metadata_ids = [member.node for member in self.first_members]
        self.processes: dict[str, SimProcess] = {}
        self.incarnations = dict.fromkeys(self.ids, "a")
        self.members_seen: dict[str, tuple[MemberId, ...]] = {}
        self.dark: set[str] = set()
        """The nodes that lost power and have not started since."""
        self._runs = 0

    # -- processes -------------------------------------------------------------------------------

    def start(self, node_id: str) -> None:
        """Start a node that is not running."""
        if node_id in self.processes:
            return
        self._runs += 1
        self.dark.discard(node_id)
        self.files[node_id].restart()
        self.loop.trace("start", node_id)
        process = self.processes[node_id] = SimProcess(self, node_id, self._runs)
        process.runtime.deliver(lambda: process.start(self))

    def kill(self, node_id: str) -> None:
        """End a process as SIGKILL does; what it wrote to files stays."""
        self._see_members()
        process = self.processes.pop(node_id, None)
        if process is not None:
            self.loop.trace("kill", node_id)
            process.runtime.kill()
            self.network.leave(node_id)

    def forgetful_groups(self, losing_power: list[str]) -> list[str]:
        """The groups of which a majority will have forgotten something, or is gone for good, once these nodes have lost
        power: then a group may go back to what was durable."""
        self._see_members()
        dark = self.dark | set(losing_power)
        return [
            group_id
            for group_id, seen in sorted(self.members_seen.items())
            if 2 * sum(self._forgetful(group_id, member, dark) for member in seen) > len(seen)
        ]

    def members(self) -> dict[str, tuple[MemberId, ...]]:
        """Of each group that the newest metadata names, whether or not anybody has opened it since a restart."""
        self._see_members()
        state = max((process.core.view.state for process in self.running()), key=lambda s: s.epoch, default=EMPTY)
        named = set(state.group_ids()) if state.shards else set(self.members_seen)
        return {group_id: seen for group_id, seen in self.members_seen.items() if group_id in named}

    def _see_members(self) -> None:
        """Note each group's members while somebody runs who knows them."""
        members: dict[str, tuple[int, tuple[MemberId, ...]]] = {}
        for process in self.processes.values():
            for group in process.core.host.groups.values():
                seen = (group.journal.change_index, group.members)
                members[group.group_id] = max(seen, members.get(group.group_id, seen))
        self.members_seen |= {group_id: seen for group_id, (_, seen) in members.items() if seen}

    def values_at(self, key: bytes) -> set[bytes]:
        """What replicas have at a key, of all shards: one value once they have settled, none where it is not there."""
        replicas = [replica for process in self.processes.values() for replica in process.core.shards.values()]
        return {entry.value for replica in replicas if (entry := replica.keyspace.get(key)) is not None}

    def members_without(self, group_id: str, leader_id: str, index: int) -> tuple[int, int]:
        """How many members, of how many, have not synced the leader's entry at `index`, as far as they run."""
        leader = self.processes[leader_id].core.host.groups[group_id]
        known = index >= leader.journal[0].index
        term = leader.journal.term_at(index) if known else None
        groups = [self._group_of(group_id, member) for member in leader.members]
        without = [each for each in groups if each and not _has_synced(each, index, term)]
        return len(without), len(groups)

    def _group_of(self, group_id: str, member: MemberId) -> Group | None:
        process = self.processes.get(member.node)
        group = process.core.host.groups.get(group_id) if process is not None else None
        return group if group is not None and group.member == member else None

    def _forgetful(self, group_id: str, member: MemberId, dark: set[str]) -> bool:
        files = self.files[member.node]
        if member.incarnation != self.incarnations[member.node]:
            return True
        if self.settings.consensus.fsync == "always" or group_id == METADATA_GROUP:
            return False
        return member.node in dark or files.exists(f"{DATA}/{group_id}/suspect")

    def lose_power(self, node_id: str) -> None:
        """End a node's machine: of its files stays what was synced, and what else happened to reach the disk."""
        self.kill(node_id)
        self.dark.add(node_id)
        self.loop.trace("power", node_id)
        self.files[node_id].lose_power(self.loop.random)

    def start_all(self) -> None:
        """Start what is not running."""
        for node_id in self.ids:
            self.start(node_id)

    def empty_disk(self, node_id: str) -> None:
        """Kill a node and lose its disk: what starts next under that id is a new incarnation, on another disk."""
        self.kill(node_id)
        self.files[node_id] = FakeFiles()
        self.incarnations[node_id] += "a"

    def whole(self) -> bool:
        """Whether every group has its wanted members, all of them caught up: then one of them may be lost."""
        reports = {
            group_id: process.core.fresh_report(group_id)
            for process in self.running()
            for group_id in process.core.host.groups
            if process.core.host.groups[group_id].leads_now()
        }
        states = [p.core.view.state for p in self.running()]
        if len(states) < len(self.ids) or not self.ready():
            return False
        state = max(states, key=lambda each: each.epoch)
        current = {node.id: node.incarnation for node in state.nodes} == self.incarnations
        return current and all(
            report is not None and set(report.healthy) == set(report.members) == set(state.wanted(group_id))
            for group_id, report in reports.items()
        )

    def running(self) -> list[SimProcess]:
        """The processes that are up and not paused, by node id."""
        return [p for _, p in sorted(self.processes.items()) if p.runtime.paused_until <= self.loop.time]

    def digest_of(self, node_id: str, group_id: str) -> str | None:
        """The digest of a shard's committed state on one node, where it runs."""
        process = self.processes.get(node_id)
        replica = process.core.shards.get(group_id) if process is not None else None
        return replica.digest() if replica is not None else None

    def lease_holders(self, group_id: str) -> list[tuple[str, int]]:
        """Who would say at this moment, if it ran, that it holds a group's lease, and in which term."""
        groups = [process.core.host.groups.get(group_id) for _, process in sorted(self.processes.items())]
        return [(g.member.node, g.term) for g in groups if g is not None and g.is_leader and not g.lease.why_not()]

    # -- creating the cluster --------------------------------------------------------------------

    def create(self, namespaces: tuple[Namespace, ...] | None = None) -> None:
        """Start every node and create the shards; returns when all of them have a leader."""
        self.start_all()
        spaces = namespaces or STANDARD_SPACES
        plan = plan_cluster(
            self.nodes, self.settings.shards, self.settings.replication, spaces, self.loop.random
        )
        self.submit_metadata(plan)
        self.run_until_ready(30.0)

    def submit_metadata(self, command: MetadataCommand) -> None:
        """Propose until some leader takes it: such commands may be repeated."""

        def attempt() -> None:
            for process in self.running():
                if process.core.metadata.serving:
                    process.runtime.deliver(partial(process.core.metadata.submit, command, lambda _result: None))
                    return
            self.loop.call_later(0.1, attempt)

        attempt()

    def ready(self) -> bool:
        """Whether every process runs, and every shard and the metadata group has a leader that all follow."""
        if len(self.processes) < len(self.ids) or not any(p.core.metadata.serving for p in self.running()):
            return False
        shards = max((p.core.view.state for p in self.running()), key=lambda state: state.epoch).shards
        return bool(shards) and all(
            any(s.id in p.core.shards and p.core.shards[s.id].serving for p in self.running()) for s in shards
        )

    def run_until_ready(self, within: float) -> None:
        """Run until `ready`. Raises TimeoutError after `within` virtual seconds."""
        if not self.loop.run_till(self.ready, within, 0.05):
            raise TimeoutError(f"the cluster does not serve after {within} virtual seconds")
