"""Rates: buckets that never grant more than they may, shares that add up, and what a shard makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_harness import Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Limits, Namespace
from raftcache.commands.types import Get, MultiGet, Script, Set, Transaction
from raftcache.errors import RateLimited
from raftcache.shard.rates import DEMAND_AGE_S, LEAST_PART, NodeRates

REPORT_S = 0.5


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def space(**limits: int) -> Namespace:
    return Namespace("q", 2, limits=Limits(**limits))


def granted(rates: NodeRates, namespace: Namespace, size_bytes: int = 0) -> bool:
    try:
        rates.take(namespace, size_bytes)
    except RateLimited:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 300)), max_size=40), st.integers(1, 500), st.integers(10, 3000)
)
def test_never_more_is_granted_than_comes_in(steps: list[tuple[float, int]], rate: int, burst_ms: int) -> None:
    clock = Clock()
    rates, namespace = NodeRates(clock, lambda: 1), space(operations_per_second=rate, burst_ms=burst_ms)
    count, asked = 0, 0
    for passed_s, tries in steps:
        clock.now_s += passed_s
        asked += tries
        count += sum(granted(rates, namespace) for _ in range(tries))
    room = max(1.0, rate * burst_ms / 1000) + rate * (clock.now_s - Clock.now_s)
    assert count <= room + 1e-6
    assert count == asked or count >= 1


def test_a_rate_is_kept_to_and_said_when_there_is_room_again() -> None:
    clock = Clock()
    rates, namespace = NodeRates(clock, lambda: 1), space(operations_per_second=100, burst_ms=100)
    assert sum(granted(rates, namespace) for _ in range(50)) == 10
    with pytest.raises(RateLimited, match="operationsPerSecond of namespace 'q': the limit of 100") as caught:
        rates.take(namespace, 0)
    assert caught.value.details["retry_after_ms"] == 10
    clock.now_s += 0.01
    assert granted(rates, namespace) and not granted(rates, namespace)
    assert rates.refused == {("q", "operationsPerSecond"): 42}


def test_bytes_of_replies_are_paid_off() -> None:
    clock = Clock()
    rates, namespace = NodeRates(clock, lambda: 1), space(bytes_per_second=1024, burst_ms=1000)
    rates.take(namespace, 24)
    rates.spend(namespace, 3000)
    with pytest.raises(RateLimited) as caught:
        rates.take(namespace, 24)
    assert caught.value.details["bound"] == "bytesPerSecond" and caught.value.details["retry_after_ms"] == 1954
    clock.now_s += 1.96
    assert granted(rates, namespace, 24)


class Nodes:
    """Some nodes that report to each other twice a second."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.rates = [NodeRates(self.clock, lambda: count) for _ in range(count)]
        self.up = [True] * count

    def run(self, namespace: Namespace, loads: list[float], seconds: float) -> list[int]:
        """Ask so many operations a second of each; returns what each granted."""
        counts, due = [0] * len(loads), [0.0] * len(loads)
        for step in range(round(seconds / 0.05)):
            self.clock.now_s += 0.05
            for node, load in enumerate(loads):
                due[node] += load * 0.05 if self.up[node] else 0.0
                while due[node] >= 1:
                    due[node] -= 1
                    counts[node] += granted(self.rates[node], namespace)
            if step % round(REPORT_S / 0.05) == 0:
                self._report()
        return counts

    def _report(self) -> None:
        told = [rates.tell() if up else () for rates, up in zip(self.rates, self.up, strict=True)]
        for node, demands in enumerate(told):
            for other, rates in enumerate(self.rates):
                if other != node and self.up[node] and self.up[other]:
                    rates.hear(f"n{node}", demands)


@pytest.mark.parametrize("loads", [[500, 500, 500], [1500, 0, 0], [900, 90, 10], [60, 0, 0]])
def test_the_cluster_grants_the_rate_however_load_is_spread(loads: list[float]) -> None:
    nodes, namespace = Nodes(3), space(operations_per_second=300, burst_ms=100)
    nodes.run(namespace, loads, 3)
    counts = nodes.run(namespace, loads, 20)
    wanted = min(300.0, sum(loads)) * 20
    assert 0.9 * wanted <= sum(counts) <= 1.02 * wanted, counts


def test_shares_follow_load_and_a_node_that_is_down_leaves_its_share() -> None:
    nodes, namespace = Nodes(3), space(operations_per_second=300, burst_ms=100)
    nodes.run(namespace, [600, 600, 600], 5)
    nodes.up[2] = False
    nodes.run(namespace, [600, 600, 600], DEMAND_AGE_S + 1)
    counts = nodes.run(namespace, [600, 600, 600], 20)
    assert counts[2] == 0 and 0.9 * 6000 <= sum(counts) <= 1.02 * 6000


@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=8))
def test_shares_add_up_to_one(demands: list[float]) -> None:
    clock = Clock()
    nodes = [NodeRates(clock, lambda: len(demands)) for _ in demands]
    namespace = space(operations_per_second=1000)
    for node, demand in zip(nodes, demands, strict=True):
        node._meters.clear()
        granted(node, namespace)
        node._meters["q"].told = demand
    for number, demand in enumerate(demands):
        for node in nodes:
            if node is not nodes[number]:
                node.hear(f"n{number}", [("q", demand)])
    shares = [node.share("q") for node in nodes]
    assert abs(sum(shares) - 1) < 1e-6 and min(shares) >= LEAST_PART / len(demands)


def test_a_shard_refuses_what_is_over_the_rate_and_nobody_else() -> None:
    spaces = (Namespace("default", 1), space(operations_per_second=10, burst_ms=1000))
    bench = Bench(policies=Namespaces(1, spaces)).lead()
    answers = [bench.ask(Set(b"q:%d" % n, b"v")) for n in range(15)]
    assert [getattr(answer, "code", "") for answer in answers] == [""] * 10 + ["rate_limited"] * 5
    assert bench.ask(Set(b"other", b"v")).written
    assert bench.replica.stats.rejected["rate_limited"] == 5
    bench.runtime.advance(0.5)
    many = bench.ask(MultiGet(tuple(Get(b"q:%d" % n) for n in range(8))))
    assert [getattr(item, "code", "") for item in many.items] == [""] * 5 + ["rate_limited"] * 3
    assert bench.ask(Get(b"other")).value == b"v"


def test_a_script_in_a_transaction_is_charged_once_a_key_as_it_is_alone() -> None:
    spaces = (Namespace("default", 1), space(operations_per_second=10, burst_ms=1000))
    bench = Bench(policies=Namespaces(1, spaces), interpreter=lambda: lambda _command, _execute: None).lead()
    block = Transaction((Set(b"q:a", b"v"), Script(b"", (b"q:a", b"q:b")), Script(b"")))
    assert [getattr(bench.ask(block), "code", "") for _ in range(4)] == ["", "", "", "rate_limited"]


def test_a_rate_may_be_lifted() -> None:
    spaces = (Namespace("default", 1), space(operations_per_second=1))
    bench = Bench(policies=Namespaces(1, spaces)).lead()
    bench.ask(Set(b"q:a", b"v"))
    assert bench.ask(Get(b"q:a")).code == "rate_limited"
    bench.follow(Namespaces(2, (spaces[0], Namespace("q", 2))))
    bench.settle()
    assert bench.ask(Get(b"q:a")).value == b"v"
