"""The vocabulary in which hazards are told: nodes, links, time, proposals.

A laboratory is a cluster inside one thread under a clock that only the script moves. Links are FIFO and lose
messages only when they go down, as TCP does; a script may hold a direction of a link and let its messages pass
one by one. A message takes one step (10 ms) unless it is held. Within a step every running node first runs its
own clockwork and then reads its links: the harsh order, since a node that comes back from a pause acts on its
own timeouts before it hears what happened meanwhile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

STEP = 0.01
"""Seconds of virtual time in one step."""

EAGERNESS = (0.0, 0.5, 1.0, 0.9, 0.8)
"""What each node's dice always show, so the running node with the smallest draws the shortest election timeout:
n0 before n1 before all others."""


class LogEntry(NamedTuple):
    """One entry of a node's log; `payload` is None for what the engine wrote for itself."""

    index: int
    term: int
    payload: bytes | None


class Network:
    """FIFO queues, one for each direction of each link."""

    def __init__(self) -> None:
        self.queues: dict[tuple[str, str], deque[Any]] = {}
        self.links: set[frozenset[str]] = set()
        self.held: set[tuple[str, str]] = set()
        self.per_step: dict[tuple[str, str], int] = {}

    def linked(self, a: str, b: str) -> bool:
        """Whether the link between `a` and `b` is up."""
        return frozenset((a, b)) in self.links

    def queue(self, source: str, target: str) -> deque[Any]:
        """What is under way from `source` to `target`, oldest first."""
        return self.queues.setdefault((source, target), deque())

    def send(self, source: str, target: str, message: Any) -> None:
        """Put a message on the link; lost where the link is down."""
        if self.linked(source, target):
            self.queue(source, target).append(message)


class Laboratory(ABC):
    """A scripted cluster. Subclasses know which engine runs in it."""

    def __init__(self, size: int) -> None:
        self.names = [f"n{i}" for i in range(size)]
        self.network = Network()
        self.paused: set[str] = set()
        self.down: set[str] = set(self.names)
        self.apart: set[frozenset[str]] = set()
        self.acked: list[bytes] = []
        self.history: dict[str, list[bytes]] = {name: [] for name in self.names}
        self.leaders_of_term: dict[int, set[str]] = {}

    # -- what an engine must answer --------------------------------------------------------------

    @abstractmethod
    def _start(self, name: str) -> None:
        """Start the engine of `name` on what its storage kept."""

    @abstractmethod
    def _stop(self, name: str) -> None:
        """Kill it: nothing is flushed, nobody is told."""

    @abstractmethod
    def _turn(self, name: str) -> None:
        """Run the node's own clockwork."""

    @abstractmethod
    def _receive(self, source: str, target: str, message: Any) -> None:
        """Deliver one message."""

    @abstractmethod
    def _link_up(self, name: str, peer: str) -> None:
        """Tell `name` of a link."""

    @abstractmethod
    def _link_down(self, name: str, peer: str) -> None:
        """Tell `name` that it is gone."""

    @abstractmethod
    def _advance_clock(self, seconds: float) -> None:
        """Move the virtual clock."""

    @abstractmethod
    def propose(self, name: str, payload: bytes) -> None:
        """Propose at `name`; once acknowledged, `payload` joins `acked`."""

    @abstractmethod
    def leads(self, name: str) -> bool:
        """Whether `name` would serve as leader at this moment."""

    @abstractmethod
    def term(self, name: str) -> int:
        """The node's current term."""

    @abstractmethod
    def commit_index(self, name: str) -> int:
        """What the node believes to be committed."""

    @abstractmethod
    def log(self, name: str) -> list[LogEntry]:
        """The node's log, as far as it is kept."""

    @abstractmethod
    def state(self, name: str) -> list[bytes]:
        """The payloads that the node's state machine holds, in order."""

    @abstractmethod
    def compact(self, name: str) -> None:
        """Replace the node's log by a snapshot, as far as it is applied."""

    # -- nodes -----------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Start nodes and link them with all that run."""
        for name in names or self.names:
            self.down.discard(name)
            self._start(name)
        self.connect_all()

    def crash(self, *names: str) -> None:
        """Kill nodes; their links go down."""
        for name in names:
            self.down.add(name)
            self.paused.discard(name)
            for peer in self.names:
                self._unlink(name, peer)
            self._stop(name)

    def pause(self, name: str) -> None:
        """Stop the node's clockwork and its reading; its links stay up (SIGSTOP)."""
        self.paused.add(name)

    def resume(self, name: str) -> None:
        """Let it run on (SIGCONT)."""
        self.paused.discard(name)

    def running(self) -> list[str]:
        """The nodes that are neither down nor paused."""
        return [name for name in self.names if name not in self.down and name not in self.paused]

    def return_quietly(self, name: str) -> None:
        """A node that was paused and cut off comes back, and hears its leader before its own timeout."""
        self.apart = {pair for pair in self.apart if name not in pair}
        self.connect_all()
        self.run(0.2)
        for peer in self.running():
            self.deliver(peer, name)
        self.resume(name)

    # -- links -----------------------------------------------------------------------------------

    def connect_all(self) -> None:
        """Bring up every link that is not kept apart."""
        for i, a in enumerate(self.names):
            for b in self.names[i + 1 :]:
                if frozenset((a, b)) not in self.apart:
                    self.connect(a, b)

    def connect(self, a: str, b: str) -> None:
        """Bring one link up."""
        if a in self.down or b in self.down or self.network.linked(a, b):
            return
        self.network.links.add(frozenset((a, b)))
        self._link_up(a, b)
        self._link_up(b, a)

    def _unlink(self, a: str, b: str) -> None:
        if not self.network.linked(a, b):
            return
        self.network.links.discard(frozenset((a, b)))
        self.network.queue(a, b).clear()
        self.network.queue(b, a).clear()
        for name, peer in ((a, b), (b, a)):
            if name not in self.down:
                self._link_down(name, peer)

    def disconnect(self, a: str, b: str) -> None:
        """Break the link: what was under way is lost. It stays down until `heal` or `reconnect`."""
        self.apart.add(frozenset((a, b)))
        self._unlink(a, b)

    def reconnect(self, a: str, b: str) -> None:
        """Break the link and bring it up again at once, as after a TCP reset."""
        self._unlink(a, b)
        self.apart.discard(frozenset((a, b)))
        self.connect(a, b)

    def partition(self, one: Iterable[str], other: Iterable[str]) -> None:
        """Break every link between the two sides."""
        others = list(other)
        for a in one:
            for b in others:
                self.disconnect(a, b)

    def isolate(self, name: str) -> None:
        """Break all links of one node."""
        self.partition([name], [other for other in self.names if other != name])

    def heal(self) -> None:
        """All links come back, nothing is held, everybody runs."""
        self.apart.clear()
        self.network.held.clear()
        self.paused.clear()
        self.connect_all()

    def heal_keeping_holds(self) -> None:
        """All links come back; what is held stays held."""
        self.apart.clear()
        self.connect_all()

    def hold(self, source: str, *targets: str) -> None:
        """Keep what `source` sends to `targets` on the link until it is delivered by hand or released."""
        self.network.held |= {(source, target) for target in targets}

    def release(self, source: str, *targets: str) -> None:
        """Let the messages flow again, the kept ones first."""
        self.network.held -= {(source, target) for target in targets}

    def deliver(self, source: str, target: str, count: int | None = None) -> None:
        """Deliver `count` messages (all that are there now, without it)."""
        queue = self.network.queue(source, target)
        for _ in range(len(queue) if count is None else min(count, len(queue))):
            self._receive(source, target, queue.popleft())
            self._note_leaders()

    def drop(self, source: str, target: str) -> None:
        """Lose what is under way (a link that breaks loses what it carries)."""
        self.network.queue(source, target).clear()

    def throttle(self, source: str, target: str, per_step: int) -> None:
        """A slow link: at most `per_step` messages pass in a step."""
        self.network.per_step[source, target] = per_step

    # -- time ------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        for _ in range(round(seconds / STEP)):
            self._step()

    def run_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until `condition` holds, at most `seconds`. Whether it came to hold."""
        for _ in range(round(seconds / STEP)):
            if condition():
                return True
            self._step()
        return condition()

    def _step(self) -> None:
        self._advance_clock(STEP)
        arriving = {pair: len(queue) for pair, queue in self.network.queues.items()}
        for name in self.running():
            self._turn(name)
            self._note_leaders()
        for (source, target), count in arriving.items():
            if (source, target) not in self.network.held and target in self.running():
                self.deliver(source, target, min(count, self.network.per_step.get((source, target), count)))

    def _note_leaders(self) -> None:
        for name in self.leaders():
            self.leaders_of_term.setdefault(self.term(name), set()).add(name)

    # -- questions -------------------------------------------------------------------------------

    def leaders(self) -> list[str]:
        """All nodes that believe that they lead, paused ones too."""
        return [name for name in self.names if name not in self.down and self.leads(name)]

    def leader(self) -> str:
        """The running leader of the highest term."""
        leading = [(self.term(name), name) for name in self.leaders() if name not in self.paused]
        assert leading, "no running node leads"
        return max(leading)[1]

    def elect(self, name: str) -> None:
        """Let time pass until `name` leads and a quorum applied what it started with."""
        assert self.run_until(lambda: self.leads(name), 10), f"{name} was not elected"
        self.run(0.5)

    def settle(self, payload: bytes = b"settled") -> bool:
        """Heal all and let 20 s pass; whether a new write then goes through. All have time to hear of it."""
        self.heal()
        self.run(20)
        if not any(name in self.running() for name in self.leaders()):
            return False
        self.propose(self.leader(), payload)
        committed = self.run_until(lambda: payload in self.acked, 5)
        self.run(0.5)
        return committed

    def payloads(self, name: str) -> list[bytes]:
        """The payloads in the node's log."""
        return [entry.payload for entry in self.log(name) if entry.payload is not None]

    def last_index(self, name: str) -> int:
        """The index of the node's last entry."""
        return self.log(name)[-1].index

    def lost(self) -> list[bytes]:
        """Acknowledged payloads that the running leader's state does not hold."""
        kept = self.state(self.leader())
        return [payload for payload in self.acked if payload not in kept]

    def doubled(self, name: str) -> list[bytes]:
        """Payloads that `name` applied more than once since it started."""
        return sorted({p for p in self.history[name] if self.history[name].count(p) > 1})

    def propose_all(self, name: str, payloads: Sequence[bytes]) -> None:
        """Propose one after the other."""
        for payload in payloads:
            self.propose(name, payload)
