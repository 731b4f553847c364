"""Carrying a plan out, with nemeses and a ground that only take notes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jepsen_like.cluster import DriverError, RealCluster
from jepsen_like.history import Event, Header, History
from jepsen_like.nemeses.api import Details, Ground, Nemesis, Skipped, Victims
from jepsen_like.nemeses.director import Director, from_table
from jepsen_like.nemeses.files import group_to_hit
from jepsen_like.nemeses.links import Links, at_one
from jepsen_like.nemeses.majority import CUTS, MAJORITY_HEALED, PAUSED, MajorityHealed
from jepsen_like.nemeses.plan import ANY, LEADER, Planned
from jepsen_like.nemeses.table import NEMESES
from jepsen_like.proxy.network import Network
from jepsen_like.proxy.partitions import CLIENTS
from jepsen_like.proxy.toxics import CUT, HEALTHY
from raftcache.supervisor.cluster import plan_cluster

NODES = ("n0", "n1", "n2")
BODY: dict[str, Any] = {
    "shards": [
        {"id": "s1", "slots": [[0, 9]], "leader": "n2", "term": 1, "replicas": [{"node": node} for node in NODES]}
    ],
    "metadata": {"leader": "n0", "term": 1, "replicas": [{"node": node} for node in NODES]},
}
LONG_S = 3600.0


class PaperGround(Ground):
    """No cluster stands on it."""

    async def bodies(self) -> dict[str, dict[str, Any]]:
        return {"n0": BODY}


class Noted:
    """A nemesis that takes notes."""

    def __init__(self, name: str, notes: list[str], trouble: Exception | None = None) -> None:
        self.name, self.notes, self.trouble = name, notes, trouble

    async def strike(self, ground: Ground, victims: Victims) -> Details:
        self.notes.append(f"{self.name} strikes {victims.node}")
        if self.trouble is not None:
            raise self.trouble
        return {"nodes": [victims.node]}

    async def heal(self, ground: Ground) -> Details:
        self.notes.append(f"{self.name} heals")
        return {"back": True}


class Stage:
    """A director, its clock, its events and its notes."""

    def __init__(self, trouble: Exception | None = None, network: Network | None = None) -> None:
        self.events: list[Event] = []
        self.notes: list[str] = []
        self.trouble = trouble
        self.ground = PaperGround(RealCluster.__new__(RealCluster), network)

    def now_ms(self) -> float:
        return float(len(self.events))

    def wall_ms(self) -> int:
        return 1

    def record(self, event: Event) -> None:
        self.events.append(event)
        self.notes.append(f"{event.kind} {event.name}")

    def make(self, name: str) -> Nemesis:
        return Noted(name, self.notes, self.trouble)

    def director(self, make: Callable[[str], Nemesis] | None = None) -> Director:
        return Director(self.ground, self, self.record, make or self.make)

    def play(self, plan: Sequence[Planned]) -> None:
        asyncio.run(self.director().play(plan))

    async def until(self, note: str) -> None:
        async with asyncio.timeout(20):
            while note not in self.notes:
                await asyncio.sleep(0)


def planned(name: str, target: str = ANY, at_s: float = 0.0, hold_s: float = 0.0) -> Planned:
    return Planned(name, target, NODES, 0, at_s, hold_s, 0)


def test_a_fault_is_a_pair_of_events_around_what_is_done() -> None:
    stage = Stage()
    stage.play([planned("kill", LEADER)])
    assert stage.notes == ["invoke kill", "kill strikes n2", "kill heals", "info kill"]
    [fault] = History(Header(), stage.events).faults()
    assert fault.details == {"target": LEADER, "node": "n2", "nodes": ["n2"], "back": True}
    assert (fault.began_ms, fault.ended_ms) == (0.0, 1.0)


@pytest.mark.parametrize("trouble", [Skipped("not now"), DriverError("not now"), ConnectionError("not now")])
def test_a_strike_that_cannot_be_is_healed_and_says_why(trouble: Exception) -> None:
    stage = Stage(trouble)
    stage.play([planned("kill", hold_s=LONG_S)])
    assert stage.notes[-2:] == ["kill heals", "info kill"]
    assert "not now" in stage.events[-1].details["skipped"]


def test_a_defect_of_a_nemesis_ends_the_run_and_everything_is_healed() -> None:
    stage = Stage(ZeroDivisionError())
    with pytest.raises(ExceptionGroup):
        stage.play([planned("kill")])
    assert stage.notes[-2:] == ["kill heals", "info kill"]


def test_faults_of_two_names_overlap_and_two_of_one_do_not() -> None:
    async def scene() -> list[str]:
        stage = Stage()
        plan = [planned("pause", hold_s=LONG_S), planned("slow", hold_s=LONG_S), planned("pause", hold_s=LONG_S)]
        task = asyncio.create_task(stage.director().play(plan))
        await stage.until("slow strikes n0")
        await stage.until("pause strikes n0")
        for _ in range(20):
            await asyncio.sleep(0)
        seen = list(stage.notes)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert stage.notes.count("pause heals") == stage.notes.count("slow heals") == 1
        return seen

    assert sorted(asyncio.run(scene())) == sorted(
        ["invoke pause", "invoke slow", "pause strikes n0", "slow strikes n0"]
    )


def test_a_run_that_is_given_up_heals_what_is_broken() -> None:
    async def scene() -> list[str]:
        stage = Stage()
        task = asyncio.create_task(stage.director().play([planned("kill", hold_s=LONG_S)]))
        await stage.until("kill strikes n0")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return stage.notes

    assert asyncio.run(scene())[-2:] == ["kill heals", "info kill"]


def test_before_the_majority_is_healed_everything_is_and_nothing_strikes_meanwhile() -> None:
    async def scene() -> list[str]:
        stage = Stage()
        plan = [planned("pause", hold_s=LONG_S), planned(MAJORITY_HEALED, at_s=0.01, hold_s=0.05)]
        plan.append(planned("slow", at_s=0.02, hold_s=LONG_S))
        task = asyncio.create_task(stage.director().play(plan))
        await stage.until("slow strikes n0")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return stage.notes

    assert asyncio.run(scene())[:10] == [
        "invoke pause",
        "pause strikes n0",
        "pause heals",
        "info pause",
        f"{MAJORITY_HEALED} strikes n0",
        f"invoke {MAJORITY_HEALED}",
        f"info {MAJORITY_HEALED}",
        f"{MAJORITY_HEALED} heals",
        "invoke slow",
        "slow strikes n0",
    ]


def test_every_name_makes_something_that_strikes_and_heals() -> None:
    assert all(callable(from_table(name).strike) and callable(from_table(name).heal) for name in NEMESES)


def network() -> Network:
    return Network(plan_cluster(3, 1, 3, 7100).nodes)


@pytest.mark.parametrize("name", [name for name, entry in NEMESES.items() if entry.kind == "links"])
def test_every_fault_on_links_breaks_some_and_heals_all(name: str) -> None:
    stage, broken = Stage(network=network()), []
    assert stage.ground.network is not None
    ends = [*NODES, CLIENTS]

    class Look(Noted):
        async def strike(self, ground: Ground, victims: Victims) -> Details:
            broken.extend((a, b) for a in ends for b in ends if a != b and ground.links.toxics(a, b))
            return {}

    def make(each: str) -> Nemesis:
        return Look(each, []) if each == "look" else from_table(each)

    async def scene() -> None:
        director = stage.director(make)
        task = asyncio.create_task(director.play([planned(name, LEADER, hold_s=LONG_S)]))
        while not (stage.events and any(stage.ground.links.toxics(a, b) for a in ends for b in ends if a != b)):
            await asyncio.sleep(0)
        await director.play([planned("look")])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scene())
    assert broken and all("n2" in pair or name in ("partition-ring", "partition-halves") for pair in broken)
    assert not any(stage.ground.network.toxics(a, b) for a in ends for b in ends if a != b)
    [fault] = [each for each in History(Header(), stage.events).faults() if each.name == name]
    assert sorted(fault.details["links"]) == sorted(f"{a}>{b}" for a, b in broken)


def test_without_proxies_faults_on_links_are_skipped() -> None:
    stage = Stage()
    asyncio.run(stage.director(from_table).play([planned("partition-one", hold_s=LONG_S)]))
    assert "without proxies" in stage.events[-1].details["skipped"]


def test_two_faults_of_one_kind_are_healed_each_by_itself() -> None:
    async def scene() -> None:
        stage = Stage(network=network())
        one, other = Links("slow", at_one), Links("slow", at_one)
        for links, order in ((one, NODES), (other, NODES[::-1])):
            await links.strike(stage.ground, Victims(order, "s1", random.Random(0)))
        await one.heal(stage.ground)
        assert (stage.ground.links.toxics("n0", "n1"), stage.ground.links.toxics("n2", "n1")) == (HEALTHY, CUT)

    asyncio.run(scene())


@pytest.mark.parametrize("left", sorted(CUTS))
def test_the_rest_stays_broken_and_the_majority_does_not(left: str) -> None:
    async def scene() -> None:
        stage = Stage(network=network())
        for seed in range(100):
            nemesis = MajorityHealed()
            choice = random.Random(seed).choice([PAUSED, *CUTS])
            if choice != left:
                continue
            told = await nemesis.strike(stage.ground, Victims(NODES, "s1", random.Random(seed)))
            assert told == {"majority": ["n1", "n2"], "rest": ["n0"], "left": left}
            toxics = stage.ground.links.toxics
            assert not any(toxics(a, b) for a in ("n1", "n2", CLIENTS) for b in ("n1", "n2", CLIENTS) if a != b)
            cut = [bool(toxics(a, b)) for a, b in (("n0", "n1"), ("n1", "n0"), (CLIENTS, "n0"))]
            assert cut == {"cut off": [True] * 3, "deaf": [False, True, False], "mute": [True, False, False]}[left]
            await nemesis.heal(stage.ground)
            assert not toxics("n0", "n1") and not toxics("n1", "n0")
            return

    asyncio.run(scene())


def test_a_cluster_that_can_do_without_nobody_is_not_judged() -> None:
    class Two(PaperGround):
        async def bodies(self) -> dict[str, dict[str, Any]]:
            replicas = [{"node": "n0"}, {"node": "n1"}]
            return {"n0": {"shards": [], "metadata": {"leader": "n0", "term": 1, "replicas": replicas}}}

    ground = Two(RealCluster.__new__(RealCluster), network())
    with pytest.raises(Skipped, match="cannot do without"):
        asyncio.run(MajorityHealed().strike(ground, Victims(("n0", "n1"), "meta", random.Random(0))))


def test_a_node_without_a_group_has_no_file_to_damage() -> None:
    """Found by `suite long`: of four nodes one has no replica where there is one shard."""
    assert group_to_hit("n0", {"s1": 1}, random.Random(0)) == "s1"
    with pytest.raises(Skipped, match="n3 holds no group"):
        group_to_hit("n3", {}, random.Random(0))
