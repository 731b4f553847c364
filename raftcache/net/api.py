"""The links between nodes, as consensus sees them: frames in, frames out, up, down.

One link joins two nodes and carries all groups. Frames arrive whole, in order and at most once while the link
is up; when it goes down, what was under way is lost, and both sides are told. The asyncio links and the
simulated network keep this same contract.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Peer(NamedTuple):
    """Who is at the other end, as its authenticated handshake said. `run_id` is new at every process start."""

    node_id: str
    incarnation: str
    run_id: str


class LinkReceiver(Protocol):
    """Gets what the links bring. All calls come from the event loop."""

    def link_up(self, peer: Peer) -> None:
        """A link to `peer` is ready. An older link to that node was reported down before."""

    def link_down(self, node_id: str) -> None:
        """The link is gone; frames sent and not yet delivered are lost."""

    def frame_received(self, node_id: str, frame: bytes) -> None:
        """One whole frame."""


class PeerLinks(Protocol):
    """All links of one node."""

    def attach(self, receiver: LinkReceiver) -> None:
        """Name the receiver; called once, before the first link comes up."""

    def send(self, node_id: str, *frame: bytes) -> None:
        """Send one frame, whose pieces these are; dropped where no link is up."""
