"""What can be wrong with a link. Pure.

The names and meanings are Toxiproxy's (its README, section "Toxics"), as far as TCP can do the same by itself:

| Toxiproxy     | here                                                     | what differs here                   |
|---------------|----------------------------------------------------------|-------------------------------------|
| `latency`     | `latency_ms`, `jitter_ms`                                |                                     |
| `bandwidth`   | `rate_kb_per_s`, of 1000 bytes                           |                                     |
| `slicer`      | `slice_bytes`, `slice_variation_bytes`, `slice_delay_us` |                                     |
| `limit_data`  | `limit_bytes`                                            |                                     |
| `slow_close`  | `close_delay_ms`                                         | of each direction by itself         |
| `reset_peer`  | `reset_after_ms`, `reset_spread_ms`                      | may be spread; needs no data        |
| `timeout`     | `cut`, `cut_closes_after_ms`                             | holds data back and does not drop it |
| `down`        | (kill the node)                                          | what the node refuses is refused    |
| `toxicity`    |                                                          | a link is sick as a whole           |
|               | `loss`                                                   | stalls, as TCP has them             |

*Held back, not dropped.* TCP never loses bytes out of the middle of a stream. Toxiproxy's `timeout` drops them, and so
closes the connection when it is taken away. Here a cut holds them, as a kernel would that keeps sending again:
after the heal they arrive late, in order, on connections that neither end gave up meanwhile. This is what a partition
does to real nodes, and the harder test: the messages of a deposed leader still come. New connections of a cut link are
taken and left unanswered; so are closes and resets, for a FIN is a packet as well.

*Loss* is what a lost packet does to TCP: the data waits for its retransmission, which comes after `RTO_MS` and then
twice as long each time (RFC 6298, with the least RTO of Linux), and everything behind it waits with it.
"""

from __future__ import annotations

import msgspec

RTO_MS = 200.0
"""Linux's TCP_RTO_MIN."""
LOSSES_LIMIT = 5
"""A piece of data is lost at most so often in a row: it stalls for 6.2 s at the most."""


class Toxics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong with one direction of a link; by default nothing. Raises ValueError for what makes no sense."""

    cut: bool = False
    """Nothing passes: what comes in is held back."""
    cut_closes_after_ms: float = 0.0
    """With `cut`: so long after it was set, its connections are closed; 0: never."""
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    """Each piece of data takes `latency_ms` plus or minus so much. Order is kept."""
    loss: float = 0.0
    """The part of the packets that are lost, from 0 to under 1."""
    rate_kb_per_s: float = 0.0
    """0: no limit."""
    slice_bytes: int = 0
    """Data leaves in pieces of about this size; 0: as it came."""
    slice_variation_bytes: int = 0
    slice_delay_us: float = 0.0
    """Between two pieces."""
    limit_bytes: int | None = None
    """After so many bytes the connection is closed."""
    reset_after_ms: float | None = None
    reset_spread_ms: float = 0.0
    """A connection is reset after the first, and a time drawn between 0 and the second."""
    close_delay_ms: float = 0.0
    """The end of the data is told so much later."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} = {value} is less than 0")
        if not self.loss < 1:
            raise ValueError(f"loss = {self.loss} must be under 1, or nothing would ever arrive: that is a cut")
        if self.slice_variation_bytes and self.slice_variation_bytes >= self.slice_bytes:
            raise ValueError(f"slice_variation_bytes = {self.slice_variation_bytes} must be under slice_bytes")

    def __bool__(self) -> bool:
        return self != HEALTHY


HEALTHY = Toxics()
CUT = Toxics(cut=True)


def both(one: Toxics, other: Toxics) -> Toxics:
    """A link with the toxics of two faults at once: delays add up, of limits the tighter holds."""
    if not one or not other:
        return one or other
    slicing = min((one, other), key=lambda toxics: toxics.slice_bytes or float("inf"))
    resetting = min((one, other), key=lambda toxics: _or_never(toxics.reset_after_ms))
    return Toxics(
        cut=one.cut or other.cut,
        cut_closes_after_ms=_tighter(one.cut_closes_after_ms, other.cut_closes_after_ms),
        latency_ms=one.latency_ms + other.latency_ms,
        jitter_ms=one.jitter_ms + other.jitter_ms,
        loss=1 - (1 - one.loss) * (1 - other.loss),
        rate_kb_per_s=_tighter(one.rate_kb_per_s, other.rate_kb_per_s),
        slice_bytes=slicing.slice_bytes,
        slice_variation_bytes=slicing.slice_variation_bytes,
        slice_delay_us=slicing.slice_delay_us,
        limit_bytes=min((x for x in (one.limit_bytes, other.limit_bytes) if x is not None), default=None),
        reset_after_ms=resetting.reset_after_ms,
        reset_spread_ms=resetting.reset_spread_ms,
        close_delay_ms=max(one.close_delay_ms, other.close_delay_ms),
    )


def _tighter(one: float, other: float) -> float:
    """The smaller of two limits, of which 0 is none."""
    return min(one or other, other or one)


def _or_never(time_ms: float | None) -> float:
    return float("inf") if time_ms is None else time_ms
