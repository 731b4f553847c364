"""Simulated faults: what they break, what stands on record of them, and that mending ends them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from jepsen_like.history import Kind
from jepsen_like.nemeses.plan import LEADER, METADATA_LEADER, Planned
from jepsen_like.simulated.director import SimDirector
from jepsen_like.simulated.fault import Victims
from jepsen_like.simulated.faults import FAULTS, parse_faults
from jepsen_like.simulated.ground import SimGround
from jepsen_like.simulated.invariants import Invariants
from jepsen_like.simulated.majority import MAJORITY_HEALED, leave_broken
from jepsen_like.targets.simulated import SimTarget
from raftcache.commands.policy import Namespace
from raftcache.testing.cluster import ClusterSettings, SimCluster

Told = list[tuple[str, Kind, dict[str, Any]]]


@pytest.fixture
def ground() -> SimGround:
    invariants = Invariants()
    cluster = SimCluster(5, ClusterSettings(shards=1), invariants)
    invariants.watch(cluster)
    cluster.create((Namespace("default", 0),))
    cluster.loop.run_until(cluster.loop.time + 3)
    return SimGround(cluster, SimTarget(cluster), invariants)


def victims(*order: str) -> Victims:
    return Victims(order or ("n0", "n1", "n2"), random.Random(1))


def directed(ground: SimGround, *plan: Planned) -> tuple[SimDirector, Told, Callable[[float], None]]:
    told: Told = []
    director = SimDirector(ground, plan, lambda name, kind, **details: told.append((name, kind, details)))
    director.begin()
    loop = ground.cluster.loop
    return director, told, lambda seconds: loop.run_until(loop.time + seconds)


def planned(name: str, at_s: float = 0.1, hold_s: float = 2.0) -> Planned:
    return Planned(name, "any", ("n0", "n1", "n2"), 0, at_s, hold_s, 1)


def test_leaders_of_shards_are_aimed_at_most_unless_a_target_is_named() -> None:
    [mostly], [one] = parse_faults("partition-leader"), parse_faults("partition-leader:metadata-leader")
    assert mostly.targets.count(LEADER) == 3 and mostly.targets.count(METADATA_LEADER) == 1
    assert one.targets == (METADATA_LEADER,)
    assert parse_faults("kill-all")[0].targets == ("any",)


def test_a_rolling_restart_ends_when_it_is_mended(ground: SimGround) -> None:
    director, told, run = directed(ground, planned("rolling-restart", hold_s=60.0))
    run(0.2)
    assert len(ground.cluster.processes) == 2
    director.heal(lambda: None)
    processes = dict(ground.cluster.processes)
    run(10)
    assert ground.cluster.processes == processes and len(processes) == 3
    assert [kind for _, kind, _ in told] == ["invoke", "info"]


def test_a_rest_that_is_down_is_on_record_as_stopped(ground: SimGround) -> None:
    stopped = set()
    for seed in range(20):
        details, heal = leave_broken(ground, Victims(("n0", "n1", "n2"), random.Random(seed)))
        stopped.add((details["left"], details.get("stops", False)))
        heal()
        ground.cluster.run_until_ready(10)
        ground.cluster.loop.run_till(lambda: not ground.missing(), 10, 0.1)
    assert stopped == {("down", True), ("paused", False), ("cut off", False), ("deaf", False), ("mute", False)}


def test_nothing_more_is_left_broken_while_a_replica_is_missing(ground: SimGround) -> None:
    """Found by register seed 11: the majority counted on a node whose disk had just been lost."""
    ground.cluster.empty_disk("n1")
    ground.cluster.start("n1")
    assert ground.missing() == ["n1"]
    _, told, run = directed(ground, planned(MAJORITY_HEALED, hold_s=5.0))
    run(0.2)
    assert not told
    run(20)
    assert [(name, kind) for name, kind, _ in told] == [(MAJORITY_HEALED, "invoke"), (MAJORITY_HEALED, "info")]


def test_a_group_that_nobody_has_opened_yet_is_missing(ground: SimGround) -> None:
    """Found by quota seed 133: all had just been started, one of them a suspect of a shard not opened yet."""
    shard = next(group for group in ground.replicas() if group != "meta")
    for node in ("n0", "n1", "n2"):
        ground.cluster.kill(node)
        ground.cluster.start(node)
    assert not ground.replicas().get(shard)
    assert ground.missing() == ["n0", "n1", "n2"]
    ground.cluster.run_until_ready(20)
    assert ground.cluster.loop.run_till(lambda: not ground.missing(), 20, 0.1)


def test_a_suspect_cannot_stand_in_for_another(ground: SimGround) -> None:
    """Found by register seed 9: it has lost power, and does not vote until a leader has told it what is committed."""
    ground.lose_power(["n2"])
    ground.cluster.network.isolate("n2")
    ground.cluster.start("n2")
    ground.cluster.loop.run_until(ground.cluster.loop.time + 1)
    assert ground.missing() == ["n2"]
    ground.cluster.network.heal()
    assert ground.cluster.loop.run_till(lambda: not ground.missing(), 20, 0.1)


def test_who_lost_power_together_may_have_forgotten_and_says_so(ground: SimGround) -> None:
    _, told, run = directed(ground, planned("power-all", hold_s=0.5))
    run(8)
    [(_, _, _), (name, kind, details)] = told
    shard = next(group for group in ground.replicas() if group != "meta")
    assert (name, kind, details) == ("power-all", "info", {"forgets": [shard]})


def test_late_answers_are_followed_by_silence_unless_mended_before(ground: SimGround) -> None:
    heal = FAULTS["late-answers"].strike(ground, victims())
    run_until = ground.cluster.loop.run_until
    run_until(ground.cluster.loop.time + 0.5)
    assert set(ground.cluster.network.slow) == {("n1", "n0"), ("n2", "n0")}
    assert ground.cluster.network.can_reach("n0", "n1")
    run_until(ground.cluster.loop.time + 0.2)
    assert not ground.cluster.network.can_reach("n0", "n1") and ground.cluster.network.can_reach("n1", "n0")
    heal()
    FAULTS["late-answers"].strike(ground, victims())()
    run_until(ground.cluster.loop.time + 2)
    assert ground.cluster.network.can_reach("n0", "n1") and not ground.cluster.network.slow and not ground.layers


def test_a_leader_that_is_cut_off_keeps_its_state_and_is_killed(ground: SimGround) -> None:
    leader = next(node for name, node in ground.leaders().items() if name != "meta")
    assert leader is not None
    others = [node for node in ground.cluster.ids if node != leader]
    heal = FAULTS["kill-cut-off"].strike(ground, victims(leader, *others))
    ground.cluster.loop.run_until(ground.cluster.loop.time + 0.8)
    assert ground.process(leader) is None
    heal()
    ground.cluster.run_until_ready(10)


def test_a_fault_that_is_mended_early_kills_nobody(ground: SimGround) -> None:
    processes = dict(ground.cluster.processes)
    FAULTS["kill-cut-off"].strike(ground, victims())()
    ground.cluster.loop.run_until(ground.cluster.loop.time + 3)
    assert ground.cluster.processes == processes


def test_what_consensus_breaks_is_noted_and_the_run_goes_on(ground: SimGround) -> None:
    invariants = Invariants()
    for node in ("n0", "n1"):
        invariants.led("g", node, 3)
    assert [complaint.text for complaint in invariants.verdict().complaints] == ["g: n0 and n1 both lead term 3"]
    assert not Invariants().verdict().complaints
