"""A seeded network between simulated nodes, with the contract of `net.api.PeerLinks`.

A link is a connection: frames arrive in order, once, after a random delay, or the link breaks and everything
under way is lost, which both ends learn. That is all that TCP ever does to us, so nothing else is simulated:
no single frame is lost, doubled or overtaken within a connection. A direction can be blocked; frames sent into
it vanish, and the link breaks some seconds later, as unanswered pings make it break.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from raftcache.net.api import LinkReceiver, Peer
from raftcache.testing.loop import SimLoop, SimRuntime


@dataclass
class NetworkSettings:
    """Seconds, as (least, most); drawn anew each time."""

    delay: tuple[float, float] = (0.0005, 0.005)
    connect: tuple[float, float] = (0.01, 0.15)
    break_after: tuple[float, float] = (0.5, 2.5)


class SimLinks:
    """One process's end of the network: `net.api.PeerLinks`."""

    def __init__(self, network: SimNetwork, peer: Peer, runtime: SimRuntime) -> None:
        self.network, self.peer, self.runtime = network, peer, runtime
        self.receiver: LinkReceiver | None = None

    def attach(self, receiver: LinkReceiver) -> None:
        """Name the receiver."""
        self.receiver = receiver

    def send(self, node_id: str, *frame: bytes) -> None:
        """Send one frame, whose pieces these are."""
        self.network.carry(self.peer.node_id, node_id, b"".join(frame))


@dataclass
class _Link:
    """A connection between two processes; `number` tells it from earlier ones of the same pair."""

    number: int
    last_arrival: dict[str, float] = field(default_factory=dict)


class SimNetwork:
    """All links of a simulated cluster."""

    def __init__(self, loop: SimLoop, settings: NetworkSettings | None = None) -> None:
        self.loop = loop
        self.settings = settings or NetworkSettings()
        self.frames = 0
        self._ends: dict[str, SimLinks] = {}
        self._links: dict[tuple[str, str], _Link] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._numbers = 0
        self.slow: dict[tuple[str, str], float] = {}

    # -- processes -------------------------------------------------------------------------------

    def join(self, peer: Peer, runtime: SimRuntime) -> SimLinks:
        """A process starts; links to all others come up after a while."""
        self.leave(peer.node_id)
        end = self._ends[peer.node_id] = SimLinks(self, peer, runtime)
        for other in list(self._ends):
            if other != peer.node_id:
                self._connect_later(peer.node_id, other)
        return end

    def leave(self, node_id: str) -> None:
        """A process is gone; the others see their links to it break."""
        gone = self._ends.pop(node_id, None)
        if gone is not None:
            for other in sorted(self._ends):
                self.break_link(node_id, other, reconnect=False)

    # -- links -----------------------------------------------------------------------------------

    @staticmethod
    def _pair(a: str, b: str) -> tuple[str, str]:
        return (a, b) if a < b else (b, a)

    def _connect_later(self, a: str, b: str) -> None:
        self.loop.call_later(self.loop.random.uniform(*self.settings.connect), lambda: self._connect(a, b))

    def _connect(self, a: str, b: str) -> None:
        ends = self._ends.get(a), self._ends.get(b)
        if ends[0] is None or ends[1] is None or self._pair(a, b) in self._links:
            return
        if (a, b) in self._blocked or (b, a) in self._blocked:
            self._connect_later(a, b)
            return
        self._numbers += 1
        link = self._links[self._pair(a, b)] = _Link(self._numbers)
        self.loop.trace("link", a, b)
        for end, other in ((ends[0], ends[1]), (ends[1], ends[0])):
            self._tell_up(link, end, other.peer)

    def _tell_up(self, link: _Link, end: SimLinks, peer: Peer) -> None:
        def tell() -> None:
            if self._links.get(self._pair(end.peer.node_id, peer.node_id)) is link and end.receiver is not None:
                end.receiver.link_up(peer)

        end.runtime.deliver(tell)

    def break_link(self, a: str, b: str, reconnect: bool = True) -> None:
        """Cut the connection; what is under way is lost."""
        link = self._links.pop(self._pair(a, b), None)
        if link is not None:
            self.loop.trace("break", a, b)
            for node_id, other in ((a, b), (b, a)):
                end = self._ends.get(node_id)
                if end is not None:
                    self._tell_down(end, other)
        if reconnect:
            self._connect_later(a, b)

    @staticmethod
    def _tell_down(end: SimLinks, other: str) -> None:
        end.runtime.deliver(lambda: end.receiver.link_down(other) if end.receiver is not None else None)

    def carry(self, source: str, target: str, frame: bytes) -> None:
        """One frame on its way."""
        link = self._links.get(self._pair(source, target))
        if link is None:
            return
        self.frames += 1
        if (source, target) in self._blocked:
            self._break_later(source, target, link)
            return
        delay = self.loop.random.uniform(*self.settings.delay) + self.slow.get((source, target), 0.0)
        at = max(self.loop.time + delay, link.last_arrival.get(target, 0.0) + 1e-9)
        link.last_arrival[target] = at
        self.loop.call_at(at, lambda: self._arrive(link, source, target, frame))

    def _break_later(self, source: str, target: str, link: _Link) -> None:
        if "breaking" in link.last_arrival:
            return
        link.last_arrival["breaking"] = self.loop.time

        def check() -> None:
            if self._links.get(self._pair(source, target)) is link:
                self.break_link(source, target)

        self.loop.call_later(self.loop.random.uniform(*self.settings.break_after), check)

    def _arrive(self, link: _Link, source: str, target: str, frame: bytes) -> None:
        end = self._ends.get(target)
        if end is None or self._links.get(self._pair(source, target)) is not link:
            return
        if (source, target) in self._blocked:
            self._break_later(source, target, link)
            return

        def hand_over() -> None:
            if self._links.get(self._pair(source, target)) is link and end.receiver is not None:
                self.loop.trace("frame", source, target, frame)
                end.receiver.frame_received(source, frame)

        end.runtime.deliver(hand_over)

    # -- faults ----------------------------------------------------------------------------------

    def block(self, source: str, target: str) -> None:
        """Lose every frame from `source` to `target`."""
        self._blocked.add((source, target))

    def partition(self, *sides: set[str]) -> None:
        """Block both directions between any two of the sides."""
        for one in sides:
            for other in sides:
                if one is not other:
                    for a in sorted(one):
                        for b in sorted(other):
                            self.block(a, b)

    def isolate(self, node_id: str) -> None:
        """Cut one node from all others."""
        self.partition({node_id}, set(self._ends) - {node_id})

    def can_reach(self, source: str, target: str) -> bool:
        """Whether a frame from `source` would get to `target` at this moment, were there a connection."""
        return source in self._ends and target in self._ends and (source, target) not in self._blocked

    def heal(self) -> None:
        """Unblock everything."""
        self._blocked.clear()
        self.slow.clear()
