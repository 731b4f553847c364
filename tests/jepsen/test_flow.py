"""Toxics on one direction of one connection, on a clock that the tests turn."""

from __future__ import annotations

import random
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepsen_like.proxy.flow import HELD_LIMIT_BYTES, End, Flow
from jepsen_like.proxy.toxics import CUT, HEALTHY, LOSSES_LIMIT, RTO_MS, Toxics

START = 100.0


class Link:
    """A flow, and everything that came out of it with the time at which it was due."""

    def __init__(self, toxics: Toxics = HEALTHY, seed: int = 0) -> None:
        self.flow, self.now = Flow(random.Random(seed), START, toxics), START
        self.out: list[tuple[float, bytes]] = []
        self.end: tuple[float, End] | None = None

    def send(self, data: bytes) -> None:
        self.flow.receive_data(data, self.now)
        self.pump()

    def pump(self) -> None:
        self.out += [(round(self.now - START, 6), piece) for piece in self.flow.take(self.now)]
        how = self.flow.ended(self.now)
        if how is not None and self.end is None:
            self.end = round(self.now - START, 6), how

    def run(self, seconds: float) -> None:
        """Let time pass, waking at every moment that the flow asks for."""
        until = self.now + seconds
        while self.end is None and (due := self.flow.due()) <= until:
            self.now = max(self.now, due)
            self.pump()
        self.now = until
        self.pump()

    @property
    def data(self) -> bytes:
        return b"".join(piece for _, piece in self.out)


def test_a_healthy_link_passes_everything_at_once() -> None:
    link = Link()
    link.send(b"ab")
    link.send(b"c")
    assert link.out == [(0, b"ab"), (0, b"c")] and link.flow.due() == inf and link.end is None


def test_latency_delays_each_piece_by_itself() -> None:
    link = Link(Toxics(latency_ms=50))
    link.send(b"a")
    link.run(0.03)
    link.send(b"b")
    assert link.out == []
    link.run(1)
    assert link.out == [(0.05, b"a"), (0.08, b"b")]


def test_jitter_varies_the_latency_and_keeps_the_order() -> None:
    link = Link(Toxics(latency_ms=50, jitter_ms=40))
    for number in range(200):
        link.send(bytes([number]))
        link.run(0.1 if number < 100 else 0.001)
    link.run(1)
    delays = [at - number * 0.1 for number, (at, _) in enumerate(link.out[:100])]
    assert link.data == bytes(range(200))
    assert 0.01 <= min(delays) < 0.02 < 0.08 < max(delays) <= 0.09 + 1e-6


def test_a_rate_takes_its_time_for_every_byte() -> None:
    link = Link(Toxics(rate_kb_per_s=10))
    link.send(bytes(2500))
    link.run(0.2)
    assert [(at, len(piece)) for at, piece in link.out] == [(0.1, 1000), (0.2, 1000)]
    link.run(1)
    assert (link.out[-1][0], len(link.out[-1][1])) == (0.25, 500)
    link.send(bytes(10))
    link.run(1)
    assert link.out[-1][0] == pytest.approx(1.2 + 0.001), "an idle link saves nothing up"


def test_a_rate_that_is_looked_at_late_is_kept_nonetheless() -> None:
    link = Link(Toxics(rate_kb_per_s=10))
    link.send(bytes(3000))
    link.now += 0.25
    link.pump()
    assert len(link.data) == 2000
    link.run(0.05)
    assert len(link.data) == 3000


def test_slices_are_small_and_apart() -> None:
    link = Link(Toxics(slice_bytes=10, slice_variation_bytes=4, slice_delay_us=1000))
    sent = bytes(range(250)) * 8
    link.send(sent)
    link.run(1)
    sizes = [len(piece) for _, piece in link.out[:-1]]
    assert link.data == sent and set(sizes) == set(range(6, 15))
    assert [at for at, _ in link.out] == pytest.approx([number * 0.001 for number in range(len(link.out))])


def test_a_limit_lets_so_many_bytes_through_and_closes() -> None:
    link = Link(Toxics(limit_bytes=5))
    link.send(b"abc")
    assert link.end is None
    link.send(b"defg")
    assert link.data == b"abcde" and link.end == (0, End.CLOSE)


def test_a_cut_holds_everything_and_a_heal_lets_it_go() -> None:
    link = Link(CUT)
    link.send(b"ab")
    link.flow.receive_end(End.EOF, link.now)
    link.run(60)
    assert link.out == [] and link.end is None and link.flow.due() == inf
    link.flow.set_toxics(HEALTHY, link.now)
    link.run(0)
    assert link.out == [(60, b"ab")] and link.end == (60, End.EOF)


def test_a_cut_may_close_after_a_time() -> None:
    link = Link(Toxics(cut=True, cut_closes_after_ms=300))
    link.send(b"ab")
    link.run(0.29)
    assert link.end is None
    link.run(1)
    assert link.out == [] and link.end == (0.3, End.CLOSE)


def test_a_toxic_that_is_taken_away_frees_what_it_held_and_one_that_is_put_on_holds_it() -> None:
    link = Link(Toxics(latency_ms=1000, rate_kb_per_s=0.001))
    link.send(b"ab")
    link.run(0.1)
    link.flow.set_toxics(HEALTHY, link.now)
    link.run(0)
    assert link.out == [(0.1, b"ab")]
    link.flow.set_toxics(Toxics(latency_ms=10), link.now)
    link.send(b"c")
    link.flow.set_toxics(Toxics(latency_ms=500), link.now)
    link.run(1)
    assert link.out[1:] == [(0.6, b"c")]


def test_a_reset_comes_after_its_time_within_its_spread() -> None:
    ends = []
    for seed in range(50):
        link = Link(Toxics(reset_after_ms=100, reset_spread_ms=400), seed)
        link.run(1)
        assert link.end is not None and link.end[1] is End.RESET
        ends.append(link.end[0])
    assert 0.1 <= min(ends) < 0.2 and 0.4 < max(ends) <= 0.5


def test_a_reset_does_not_wait_for_a_reader() -> None:
    flow = Flow(random.Random(0), START, Toxics(reset_after_ms=0))
    flow.receive_data(b"ab", START)
    assert flow.due(blocked=True) == START and flow.ended(START) is End.RESET


def test_the_end_comes_behind_the_data_and_slow_close_delays_it() -> None:
    link = Link(Toxics(latency_ms=20, close_delay_ms=100))
    link.send(b"ab")
    link.flow.receive_end(End.EOF, link.now)
    link.run(0.119)
    assert link.data == b"ab" and link.end is None and not link.flow.told_eof
    link.run(1)
    assert link.end == (0.12, End.EOF) and link.flow.told_eof and link.flow.due() == inf


def test_a_reset_of_the_sender_is_a_reset_behind_what_it_sent() -> None:
    link = Link(Toxics(latency_ms=20))
    link.send(b"ab")
    link.flow.receive_end(End.EOF, link.now)
    link.flow.receive_end(End.RESET, link.now)
    link.run(1)
    assert link.out == [(0.02, b"ab")] and link.end == (0.02, End.RESET)


def test_a_reset_may_follow_the_end_of_the_data() -> None:
    flow = Flow(random.Random(0), START)
    flow.receive_end(End.EOF, START)
    assert flow.ended(START) is End.EOF and flow.ended(START) is None
    flow.receive_end(End.RESET, START)
    assert flow.due() <= START and flow.ended(START) is End.RESET


def test_losses_stall_what_is_lost_and_everything_behind_it() -> None:
    link = Link(Toxics(loss=0.03), seed=3)
    for number in range(2000):
        link.send(bytes([number % 256]))
        link.run(0.01)
    link.run(60)
    stalls = [at - number * 0.01 for number, (at, _) in enumerate(link.out)]
    assert link.data == bytes(number % 256 for number in range(2000))
    assert max(stalls) <= RTO_MS / 1000 * (2**LOSSES_LIMIT - 1) + 1e-6
    started = [stall for before, stall in zip([0.0, *stalls], stalls, strict=False) if stall > before + 1e-6]
    assert {round(stall / RTO_MS * 1000) for stall in started} >= {1, 3}, "one loss costs 200 ms, two 600"
    assert 0.0 in stalls and len(started) > 20


def test_as_many_are_lost_as_asked_for() -> None:
    stalled = 0
    for seed in range(2000):
        link = Link(Toxics(loss=0.1), seed)
        link.send(b"a")
        stalled += link.out == []
    assert 140 < stalled < 260


def test_what_is_held_has_a_limit_that_is_told() -> None:
    flow = Flow(random.Random(0), START, CUT)
    flow.receive_data(bytes(HELD_LIMIT_BYTES - 1), START)
    assert not flow.full
    flow.receive_data(b"a", START)
    assert flow.full
    flow.set_toxics(HEALTHY, START)
    assert sum(map(len, flow.take(START))) == HELD_LIMIT_BYTES and not flow.full and flow.held_bytes == 0


toxics = st.builds(
    Toxics,
    cut=st.booleans(),
    latency_ms=st.sampled_from([0.0, 20.0]),
    jitter_ms=st.sampled_from([0.0, 20.0]),
    loss=st.sampled_from([0.0, 0.4]),
    rate_kb_per_s=st.sampled_from([0.0, 1.0, 100.0]),
    slice_bytes=st.sampled_from([0, 3, 50]),
    slice_delay_us=st.sampled_from([0.0, 500.0]),
    close_delay_ms=st.sampled_from([0.0, 50.0]),
)
steps = st.lists(st.one_of(st.binary(min_size=1, max_size=300), toxics, st.floats(0, 0.3)), max_size=40)


@given(steps, st.integers(0, 1000))
@settings(max_examples=200, deadline=None)
def test_no_byte_is_lost_doubled_or_overtaken_whatever_befalls_the_link(
    steps: list[bytes | Toxics | float], seed: int
) -> None:
    link, sent = Link(seed=seed), b""
    for step in steps:
        if isinstance(step, bytes):
            sent += step
            link.send(step)
        elif isinstance(step, Toxics):
            link.flow.set_toxics(step, link.now)
        else:
            link.run(step)
        assert sent.startswith(link.data)
        assert link.flow.held_bytes == len(sent) - len(link.data)
    link.flow.receive_end(End.EOF, link.now)
    link.flow.set_toxics(HEALTHY, link.now)
    link.run(0)
    assert link.data == sent and link.end is not None and link.end[1] is End.EOF
