"""The engine as it comes, in a laboratory: fake clock, scripted dice, in-memory links, no thread, no socket."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated, syncobj
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from .laboratory import EAGERNESS, Laboratory, LogEntry

CLOCK_COST = 2e-5
"""Seconds that pass at every look at the clock. The engine's loops wait for its clock to move."""


class _Shared:
    """What the replaced names of the engine read: the laboratory that is running now."""

    now = 1000.0
    eagerness = 0.5

    @classmethod
    def monotonic(cls) -> float:
        cls.now += CLOCK_COST
        return cls.now

    @classmethod
    def random(cls) -> float:
        return cls.eagerness


class _NoPoller:
    def subscribe(self, *_: Any) -> None:
        pass

    unsubscribe = poll = subscribe


@contextmanager
def patched() -> Iterator[None]:
    """Replace the engine's clock, dice and poller, and silence its log; put all back afterwards."""
    replaced = {
        "monotonicTime": _Shared.monotonic,
        "random": _Shared,
        "createPoller": lambda _kind: _NoPoller(),
        "PIPE_NOTIFIER_ENABLED": False,
    }
    before = {name: getattr(syncobj, name) for name in replaced}
    logger = logging.getLogger("pysyncobj")
    was_disabled, logger.disabled = logger.disabled, True
    loggers = [logging.getLogger(f"pysyncobj.{name}") for name in ("syncobj", "serializer")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL + 1)
    for name, value in replaced.items():
        setattr(syncobj, name, value)
    _Shared.now = 1000.0
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(syncobj, name, value)
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
        logger.disabled = was_disabled


class StockNode(Node):  # type: ignore[misc]
    """A node whose hash does not depend on PYTHONHASHSEED: peers sit in sets."""

    def __hash__(self) -> int:
        return int(self.id[1:])

    @property
    def address(self) -> str:
        return str(self.id)


class LabTransport(Transport):  # type: ignore[misc]
    """The engine's view of the laboratory's links."""

    def __init__(self, engine: StockMachine, me: StockNode, others: list[StockNode]) -> None:
        super().__init__(engine, me, others)
        self.lab, self.me = engine.lab, me.id
        self.peers = {node.id: node for node in others}
        self.connected: set[str] = set()

    def addNode(self, node: StockNode) -> None:
        self.peers[node.id] = node
        if self.lab.network.linked(self.me, node.id):
            self.link_up(node.id)

    def dropNode(self, node: StockNode) -> None:
        self.link_down(node.id)
        self.peers.pop(node.id, None)

    def send(self, node: StockNode, message: Any) -> bool:
        if node.id not in self.connected:
            return False
        self.lab.sent(self.me, node.id, message)
        self.lab.network.send(self.me, node.id, pickle.dumps(message))
        return True

    def link_up(self, peer: str) -> None:
        if peer in self.peers and peer not in self.connected:
            self.connected.add(peer)
            self._onNodeConnected(self.peers[peer])

    def link_down(self, peer: str) -> None:
        if peer in self.connected:
            self.connected.discard(peer)
            self._onNodeDisconnected(self.peers[peer])


class StockMachine(SyncObj):  # type: ignore[misc]
    """A replicated list of payloads."""

    def __init__(self, lab: StockLab, name: str, others: list[str], conf: SyncObjConf) -> None:
        self.lab, self.name = lab, name
        super().__init__(StockNode(name), [StockNode(other) for other in others], conf, transportClass=LabTransport)
        # Set after the base class took note of its own attributes: this one alone goes into its dumps.
        self.state: list[bytes] = []

    @replicated  # type: ignore[misc]
    def put(self, payload: bytes) -> None:
        self.lab.history[self.name].append(payload)
        if payload in self.lab.poison:
            raise ValueError("this payload cannot be applied")
        self.state.append(payload)

    def private(self, name: str) -> Any:
        """An attribute of the engine under its plain name."""
        return getattr(self, "_SyncObj__" + name)


class StockLab(Laboratory):
    """A cluster of stock engines. `conf` overrides single settings of the engine.

    `directory` holds a journal per node where `journal` says "file", and a dump per node where `dump` is true.
    `initial` names the first members, all nodes without it; only they are started with the rest as peers.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        journal: str = "memory",
        dump: bool = False,
        initial: int | None = None,
        **conf: Any,
    ) -> None:
        super().__init__(size)
        self.directory, self.journal, self.dump, self.conf = directory, journal, dump, conf
        self.initial = self.names[: initial or size]
        self.nodes: dict[str, StockMachine] = {}
        self.poison: set[bytes] = set()
        self.outcomes: dict[bytes, int] = {}
        self.errors: dict[str, list[Exception]] = {name: [] for name in self.names}
        self.eagerness = dict(zip(self.names, EAGERNESS, strict=False))
        self.watch: Callable[[str, str, dict[str, Any]], None] = lambda source, target, message: None

    def configuration(self, name: str) -> SyncObjConf:
        """The engine's defaults, but for what makes a run deterministic, a member change possible, and a
        compaction something that only the script asks for."""
        settings: dict[str, Any] = {
            "autoTick": False,
            "useFork": False,
            "dynamicMembershipChange": True,
            "logCompactionMinEntries": 10**9,
            "logCompactionMinTime": 10**9,
            "journalFile": str(self.directory / f"{name}.journal") if self.journal == "file" else None,
            "fullDumpFile": str(self.directory / f"{name}.dump") if self.dump else None,
        }
        return SyncObjConf(**{**settings, **self.conf})

    def _start(self, name: str) -> None:
        _Shared.eagerness = self.eagerness[name]
        others = [other for other in self.initial if other != name]
        self.history[name] = []
        self.nodes[name] = StockMachine(self, name, others, self.configuration(name))

    def _stop(self, name: str) -> None:
        # The journal's pages live in the page cache: a killed process keeps what it wrote, without a flush.
        del self.nodes[name]

    def _turn(self, name: str) -> None:
        self._guarded_call(name, lambda: self.nodes[name].doTick(0.0))

    def tick(self, name: str) -> None:
        """One tick of one node, while all others stand still."""
        self._turn(name)
        self._note_leaders()

    def _receive(self, source: str, target: str, message: bytes) -> None:
        transport = self.nodes[target].private("transport")
        if source in transport.connected:
            node, body = transport.peers[source], pickle.loads(message)
            self._guarded_call(target, lambda: transport._onMessageReceived(node, body))

    def _guarded_call(self, name: str, call: Callable[[], None]) -> None:
        """The engine's own thread logs what a tick raises and goes on; so does the laboratory."""
        _Shared.eagerness = self.eagerness[name]
        try:
            call()
        except Exception as error:
            self.errors[name].append(error)

    def _link_up(self, name: str, peer: str) -> None:
        self.nodes[name].private("transport").link_up(peer)

    def _link_down(self, name: str, peer: str) -> None:
        self.nodes[name].private("transport").link_down(peer)

    def _advance_clock(self, seconds: float) -> None:
        _Shared.now += seconds

    def sent(self, source: str, target: str, message: dict[str, Any]) -> None:
        """Called with every message sent; a test may set `watch`."""
        self.watch(source, target, message)

    def propose(self, name: str, payload: bytes) -> None:
        def answered(_result: Any, reason: int) -> None:
            self.outcomes[payload] = reason
            if reason == FAIL_REASON.SUCCESS:
                self.acked.append(payload)

        _Shared.eagerness = self.eagerness[name]
        self.nodes[name].put(payload, callback=answered)

    def leads(self, name: str) -> bool:
        return bool(self.nodes[name]._isLeader())

    def term(self, name: str) -> int:
        return int(self.nodes[name].raftCurrentTerm)

    def commit_index(self, name: str) -> int:
        return int(self.nodes[name].raftCommitIndex)

    def applied_index(self, name: str) -> int:
        """The newest entry that the engine believes to have applied."""
        return int(self.nodes[name].raftLastApplied)

    def log(self, name: str) -> list[LogEntry]:
        journal = self.nodes[name].private("raftLog")
        return [LogEntry(index, term, _payload(data)) for data, index, term in journal[:]]

    def state(self, name: str) -> list[bytes]:
        return list(self.nodes[name].state)

    def compact(self, name: str) -> None:
        self.nodes[name].forceLogCompaction()
        self.run(0.03)

    def members(self, name: str) -> set[str]:
        """Who the engine of `name` counts for its quorum."""
        return {name, *(node.id for node in self.nodes[name].otherNodes)}

    def queued(self, source: str, target: str) -> list[dict[str, Any]]:
        """What is under way, decoded."""
        return [pickle.loads(message) for message in self.network.queue(source, target)]


def _payload(data: bytes) -> bytes | None:
    if data[0] != syncobj._COMMAND_TYPE.REGULAR:
        return None
    payload = pickle.loads(data[1:])[1][0]
    return payload if isinstance(payload, bytes) else None
