"""What becomes of the bytes of one direction of one connection: toxics as a state machine on a given clock. Pure.

What comes in waits in one queue, with the time at which it came and the dice that were thrown for it. When the first of
it is due is worked out only when somebody asks, from the toxics as they are then: so a toxic that is taken away frees
at once what it held, and one that is put on holds what is still here. A piece leaves at

    max(when it came + latency + stalls, when the link was free) + its size / rate

and the link is free again then, or `slice_delay_us` later. As the queue is one, nothing overtakes anything.

Times are seconds on the caller's clock.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import inf, log

from jepsen_like.proxy.toxics import HEALTHY, LOSSES_LIMIT, RTO_MS, Toxics

HELD_LIMIT_BYTES = 256 << 10
"""Once so much is held, no more should be read: the sender is held up then, as by a receiver's full window."""
RATE_GRAIN_S = 0.1
"""Under a rate, a piece takes at most this long, as Toxiproxy has it."""


class End(Enum):
    """How a direction ends, or the whole connection with it."""

    EOF = "eof"
    """The sender has sent everything; the other direction goes on."""
    CLOSE = "close"
    """Both directions, in good order."""
    RESET = "reset"
    """Both directions, at once."""


@dataclass(slots=True)
class _Held:
    """Data that came at `came_at`. `jitter` is from -1 to 1, `lost` from 0 to 1: what chance has in store for it."""

    data: memoryview
    came_at: float
    jitter: float
    lost: float

    def due(self, toxics: Toxics) -> float:
        """When it has come over the wire."""
        delay_ms = toxics.latency_ms + toxics.jitter_ms * self.jitter + _stall_ms(toxics.loss, self.lost)
        return self.came_at + max(0.0, delay_ms) / 1000


def _stall_ms(loss: float, lost: float) -> float:
    """`lost` is uniform, so it is under `loss ** n` where the first n attempts are lost, which double their wait."""
    if not lost < loss:
        return 0.0
    losses = LOSSES_LIMIT if lost == 0 else min(LOSSES_LIMIT, int(log(lost) / log(loss)))
    return RTO_MS * float(2**losses - 1)


class Flow:
    """One direction. `receive_*` what came in; at `due` or later, `take` what goes on, then ask how it `ended`."""

    def __init__(self, dice: random.Random, now: float, toxics: Toxics = HEALTHY) -> None:
        self._dice, self._toxics = dice, toxics
        self._queue: deque[_Held] = deque()
        self._end: tuple[End, float] | None = None
        self.held_bytes = self._passed_bytes = 0
        self._free_at = -inf
        self._piece_bytes = 0
        self._told: End | None = None
        self.set_toxics(toxics, now)

    def set_toxics(self, toxics: Toxics, now: float) -> None:
        """Other toxics from now on, for what is held as well."""
        self._toxics = toxics
        self._free_at = min(self._free_at, now)
        self._piece_bytes = self._passed_bytes = 0
        spread_ms = self._dice.random() * toxics.reset_spread_ms
        self._reset_at = inf if toxics.reset_after_ms is None else now + (toxics.reset_after_ms + spread_ms) / 1000
        closes_ms = toxics.cut_closes_after_ms if toxics.cut else 0.0
        self._close_at = now + closes_ms / 1000 if closes_ms else inf

    @property
    def full(self) -> bool:
        """Whether no more should be read for it."""
        return self.held_bytes >= HELD_LIMIT_BYTES

    @property
    def told_eof(self) -> bool:
        """Whether it has said that it ended, and the other direction may go on."""
        return self._told is End.EOF

    def receive_data(self, data: bytes, now: float) -> None:
        """The sender sent this."""
        self._queue.append(_Held(memoryview(data), now, self._dice.uniform(-1, 1), self._dice.random()))
        self.held_bytes += len(data)

    def receive_end(self, end: End, now: float) -> None:
        """The sender sends no more: `EOF`, or `RESET` where its socket is gone. A reset may follow an EOF."""
        if self._end is None or end is End.RESET:
            self._end = end, now

    def due(self, blocked: bool = False) -> float:
        """When to ask again; infinity where only something new can change anything. `blocked`: nothing can be taken."""
        at = min(self._reset_at, self._close_at)
        return at if blocked else min(at, self._piece_at(), self._end_at())

    def take(self, now: float) -> list[bytes]:
        """The pieces that are due, in order; each is to be sent by itself."""
        pieces = []
        while (at := self._piece_at()) <= now:
            pieces.append(self._cut_piece())
            self._free_at = at + self._toxics.slice_delay_us / 1e6
        return pieces

    def ended(self, now: float) -> End | None:
        """How it has ended by now. `EOF` is told once."""
        if self._reset_at <= now:
            return End.RESET
        if self._close_at <= now or self._left_bytes() <= 0:
            return End.CLOSE
        if self._end is None or self._end_at() > now:
            return None
        self._told = self._end[0]
        return self._end[0]

    def _left_bytes(self) -> float:
        limit = self._toxics.limit_bytes
        return inf if limit is None else limit - self._passed_bytes

    def _piece_at(self) -> float:
        """When the next piece leaves."""
        if not self._queue or self._toxics.cut or self._left_bytes() <= 0:
            return inf
        rate = self._toxics.rate_kb_per_s * 1000
        return self._line_at() + (self._next_piece_bytes() / rate if rate else 0.0)

    def _line_at(self) -> float:
        """When the first in the queue may begin to leave."""
        return max(self._queue[0].due(self._toxics), self._free_at)

    def _next_piece_bytes(self) -> int:
        """The size of the next piece, which is drawn once."""
        if not self._piece_bytes:
            toxics, sizes = self._toxics, [len(self._queue[0].data), self._left_bytes()]
            if toxics.slice_bytes:
                variation = toxics.slice_variation_bytes
                sizes.append(toxics.slice_bytes + self._dice.randint(-variation, variation))
            if toxics.rate_kb_per_s:
                sizes.append(toxics.rate_kb_per_s * 1000 * RATE_GRAIN_S)
            self._piece_bytes = max(1, int(min(sizes)))
        return self._piece_bytes

    def _cut_piece(self) -> bytes:
        size, head = self._next_piece_bytes(), self._queue[0]
        piece, head.data = bytes(head.data[:size]), head.data[size:]
        if not head.data:
            self._queue.popleft()
        self.held_bytes -= len(piece)
        self._passed_bytes += len(piece)
        self._piece_bytes = 0
        return piece

    def _end_at(self) -> float:
        if self._end is None or self._told is self._end[0] or self._queue or self._toxics.cut:
            return inf
        end, came_at = self._end
        closing_ms = self._toxics.close_delay_ms if end is End.EOF else 0.0
        return max(came_at + (self._toxics.latency_ms + closing_ms) / 1000, self._free_at)
