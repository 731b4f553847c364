"""Our engine in a laboratory: `consensus.Host` on a virtual runtime, scripted dice, in-memory links.

Storage is the real one: in memory, or in files of `tmp_path` that can refuse writes and kill their process.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgpack

from raftcache.consensus import ConsensusSettings, Group, Host, MemberId
from raftcache.consensus.journal import REGULAR
from raftcache.consensus.messages import SNAPSHOT, Message, unpack_frame
from raftcache.net.api import LinkReceiver, Peer
from raftcache.wal.api import GroupStorage, SnapshotMeta
from raftcache.wal.segments import SEGMENT_SUFFIX
from raftcache.wal.storage import memory_storage, open_storage
from raftcache.wal.suspicion import SUSPECT

from .fakes import Killed, LabFiles, LabRuntime
from .laboratory import EAGERNESS, Laboratory, LogEntry

GROUP = "7c1f"
SEGMENT_BYTES = 64
"""Small, so that a log of a few entries has segments to drop."""

PAYLOADS_PER_BLOCK = 8


def frame_of(message: Message) -> bytes:
    """A frame that holds one message, as `consensus.messages` describes it."""
    return bytes(msgpack.packb([message]))


class LabLinks:
    """`net.api.PeerLinks` over the laboratory's network."""

    def __init__(self, lab: GuardedLab, name: str) -> None:
        self._lab, self._name = lab, name
        self.receiver: LinkReceiver

    def attach(self, receiver: LinkReceiver) -> None:
        self.receiver = receiver

    def send(self, node_id: str, *in_pieces: bytes) -> None:
        frame = b"".join(in_pieces)
        self._lab.watch(self._name, node_id, frame)
        pieces = [frame_of(message) for message in unpack_frame(frame)] if self._lab.one_by_one else [frame]
        for piece in pieces:
            self._lab.network.send(self._name, node_id, piece)


class LabMachine:
    """A state machine that is a list of payloads, and remembers what happened to it."""

    def __init__(self, lab: GuardedLab, name: str) -> None:
        self.state: list[bytes] = []
        self.waiting: dict[int, tuple[int, bytes]] = {}
        self._lab, self._name = lab, name

    def _event(self, *words: object) -> None:
        self._lab.events[self._name].append(" ".join(str(word) for word in words))

    def apply(self, index: int, term: int, payload: bytes) -> None:
        self._event("apply", term, payload.decode(errors="replace"))
        self._lab.history[self._name].append(payload)
        if (self._name, payload) in self._lab.poison:
            raise ValueError("this payload cannot be applied")
        self.state.append(payload)
        proposed_in, proposed = self.waiting.pop(index, (0, b""))
        if proposed_in == term:
            assert proposed == payload
            self._lab.acked.append(payload)
        if (self._name, payload) in self._lab.raise_after_apply:
            raise RuntimeError("a waiter's future was cancelled")

    def leadership_gained(self, term: int) -> None:
        self._event("gained", term)

    def leadership_lost(self, term: int) -> None:
        self._event("lost", term)
        self.waiting.clear()

    def synced(self, index: int) -> None:
        self._event("synced", index)

    def snapshot_blocks(self) -> Iterator[bytes]:
        cut = list(self.state)
        starts = range(0, len(cut), PAYLOADS_PER_BLOCK)
        return (msgpack.packb(cut[at : at + PAYLOADS_PER_BLOCK]) for at in starts)

    def prepare_restore(self, blocks: Iterable[bytes]) -> list[bytes]:
        return [payload for block in blocks for payload in msgpack.unpackb(block)]

    def discard(self, prepared: list[bytes]) -> None:
        self._event("discard", len(prepared))

    def install(self, prepared: list[bytes], index: int, term: int) -> None:
        self._event("install", index, term)
        self.state = list(prepared)


class GuardedNode:
    """One start of one node."""

    def __init__(self, lab: GuardedLab, name: str, incarnation: str, run_id: str, storage: GroupStorage) -> None:
        self.peer = Peer(name, incarnation, run_id)
        self.runtime = LabRuntime(lab, lab.eagerness[name], lab.rates.get(name, 1.0))
        self.links = LabLinks(lab, name)
        self.machine = LabMachine(lab, name)
        self.storage = storage
        self.host = Host(name, incarnation, self.runtime, self.links, lab.settings)
        self.group: Group

    def open(self, bootstrap: tuple[MemberId, ...]) -> None:
        """Open the group and begin to tick."""
        self.group = self.host.open_group(GROUP, self.storage, self.machine, bootstrap=bootstrap)
        self.host.start()


class GuardedLab(Laboratory):
    """A cluster of ours. `settings` are those of `ConsensusSettings`.

    With `journal` "memory" every start is a new incarnation with nothing; with "file" a node keeps both.
    `initial` says how many nodes the group is founded with; the others start empty, known to nobody. `rates` says how
    fast the clocks run of nodes that have not the laboratory's.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        journal: str = "memory",
        initial: int | None = None,
        subdirectory: str = "",
        rates: dict[str, float] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(size)
        self.directory, self.journal = directory / subdirectory, journal
        self.settings = ConsensusSettings(**settings)
        self.initial = self.names[: initial or size]
        self.now = 1000.0
        self.nodes: dict[str, GuardedNode] = {}
        self.files = {name: LabFiles() for name in self.names}
        self.starts, self.disks = dict.fromkeys(self.names, 0), dict.fromkeys(self.names, 0)
        self.eagerness = dict(zip(self.names, EAGERNESS, strict=False))
        self.events: dict[str, list[str]] = {name: [] for name in self.names}
        self.rates = rates or {}
        self.one_by_one = False
        """Send every message in a frame of its own, so that a script can stop between any two."""
        self.poison: set[tuple[str, bytes]] = set()
        self.raise_after_apply: set[tuple[str, bytes]] = set()
        self.watch: Callable[[str, str, bytes], None] = lambda source, target, frame: None

    # -- nodes -----------------------------------------------------------------------------------

    def _start(self, name: str) -> None:
        number = self.starts[name]
        self.starts[name] += 1
        self.history[name] = []
        self.files[name] = LabFiles()
        incarnation = f"a{self.disks[name] if self.journal == 'file' else number}"
        node = GuardedNode(self, name, incarnation, f"r{number}", self._storage(name))
        self.nodes[name] = node
        founders = tuple(MemberId(each, "a0") for each in self.initial) if number == 0 else ()
        node.open(founders if name in self.initial else ())
        node.runtime.end_turn()

    def _storage(self, name: str) -> GroupStorage:
        if self.journal == "memory":
            return memory_storage(GROUP)
        return open_storage(self.files[name], str(self.directory / name), GROUP, segment_bytes=SEGMENT_BYTES)

    def _stop(self, name: str) -> None:
        del self.nodes[name]

    def _turn(self, name: str) -> None:
        self._alive(name, self.nodes[name].runtime.turn)

    def _receive(self, source: str, target: str, message: bytes) -> None:
        node = self.nodes[target]
        self._alive(target, lambda: node.links.receiver.frame_received(source, message))

    def _link_up(self, name: str, peer: str) -> None:
        self._alive(name, lambda: self.nodes[name].links.receiver.link_up(self.nodes[peer].peer))

    def _link_down(self, name: str, peer: str) -> None:
        self._alive(name, lambda: self.nodes[name].links.receiver.link_down(peer))

    def _alive(self, name: str, call: Callable[[], object]) -> None:
        """Run one turn of a node's loop; where its files kill it, it stands still from then on."""
        try:
            call()
            self.nodes[name].runtime.end_turn()
        except Killed:
            self.pause(name)

    def _advance_clock(self, seconds: float) -> None:
        self.now += seconds

    # -- faults ----------------------------------------------------------------------------------

    def fail_writes(self, name: str, failing: bool = True) -> None:
        """The node's disk is full from now on, or no longer."""
        self.files[name].failing = failing

    def fail_syncs(self, name: str, failing: bool = True) -> None:
        """From now on the node's disk takes writes and fails to sync them, or no longer."""
        self.files[name].failing_syncs = failing

    def suspect(self, *names: str) -> None:
        """Nodes that are down lost power: what they find when they start may lack what they acknowledged."""
        for name in names:
            (self.directory / name / SUSPECT).touch()

    def empty_disk(self, name: str) -> None:
        """A node that is down loses all it had, and comes back as another incarnation that nobody knows."""
        shutil.rmtree(self.directory / name)
        self.disks[name] += 1

    def log_syncs(self, name: str) -> int:
        """How often the node's log was synced since it started."""
        return sum(path.endswith(SEGMENT_SUFFIX) for path in self.files[name].syncs)

    def kill_after(self, name: str, changes: int) -> None:
        """The node's process dies at the file operation after `changes` more."""
        self.files[name].changes_left = changes

    def stall_offload(self, name: str) -> None:
        """The node's background work does not get on."""
        self.nodes[name].runtime.stalled = True

    def resume_offload(self, name: str) -> None:
        """It gets on again."""
        self.nodes[name].runtime.stalled = False

    # -- acting and asking -----------------------------------------------------------------------

    def group(self, name: str) -> Group:
        """The node's replica."""
        return self.nodes[name].group

    def member(self, name: str) -> MemberId:
        """The identity under which the node runs now."""
        return self.group(name).member

    def members(self, name: str) -> list[str]:
        """The nodes that the replica of `name` counts."""
        return [member.node for member in self.group(name).members]

    def propose(self, name: str, payload: bytes) -> None:
        group, machine = self.group(name), self.nodes[name].machine
        machine.waiting[group.propose(payload)] = (group.term, payload)
        self.nodes[name].runtime.end_turn()

    def propose_durable(self, name: str, payload: bytes) -> int:
        """Propose something that a quorum is to sync; returns its index."""
        index = self.group(name).propose(payload, sync=True)
        self.nodes[name].runtime.end_turn()
        return index

    def told_durable(self, name: str) -> int:
        """Up to where the node's machine was told, since it started, that a quorum has synced everything."""
        told = [int(event.split()[1]) for event in self.events[name] if event.startswith("synced ")]
        return max(told, default=0)

    def leads(self, name: str) -> bool:
        return self.group(name).leads_now()

    def term(self, name: str) -> int:
        return self.group(name).term

    def commit_index(self, name: str) -> int:
        return self.group(name).commit_index

    def log(self, name: str) -> list[LogEntry]:
        journal = self.group(name).journal
        return [
            LogEntry(entry.index, entry.term, entry.data[1:] if entry.data[0] == REGULAR else None) for entry in journal
        ]

    def kinds(self, name: str) -> set[int]:
        """The kinds of the entries in the node's log."""
        return {entry.data[0] for entry in self.group(name).journal}

    def state(self, name: str) -> list[bytes]:
        return list(self.nodes[name].machine.state)

    def compact(self, name: str) -> None:
        group = self.group(name)
        self._alive(name, group.take_snapshot)
        self.run_until(lambda: not group.compaction.running or name in self.paused, 5)

    def snapshot(self, name: str) -> SnapshotMeta:
        """The node's newest snapshot."""
        meta = self.nodes[name].storage.snapshots.latest()
        assert meta is not None
        return meta

    def snapshot_state(self, name: str) -> list[bytes]:
        """What is in it."""
        node = self.nodes[name]
        return node.machine.prepare_restore(node.storage.snapshots.blocks(self.snapshot(name)))

    def snapshots_installed(self, name: str) -> int:
        """How many snapshots of a leader the node has installed since it started."""
        return self.group(name).inbox.installed

    def carries_snapshot(self, frame: bytes) -> bool:
        """Whether a frame holds a piece of a snapshot."""
        return any(message[1] == SNAPSHOT for message in unpack_frame(frame))
