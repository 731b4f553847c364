"""Faults and clients on one real cluster with proxies in its links. What is waited for is waited for with patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jepsen_like.asking import Completion, Request
from jepsen_like.history import CONDITION, Event, Header, History
from jepsen_like.nemeses.api import Ground
from jepsen_like.nemeses.director import Director
from jepsen_like.nemeses.plan import ANY, LEADER, Planned
from jepsen_like.proxied import proxied
from jepsen_like.proxy.partitions import CLIENTS, between, isolate
from jepsen_like.proxy.toxics import CUT, Toxics
from jepsen_like.targets.processes import RealTarget
from jepsen_like.waiting import eventually
from raftcache.config import NodeConfig, load_config
from raftcache.supervisor.layout import CONFIG_FILE

KEY = "safe:a"
LATENCY_MS = 50.0


async def ask(
    target: RealTarget, node: str, name: str, key: str = KEY, value: object = None, **more: object
) -> Completion:
    future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
    level = str(more.pop("level", ""))
    target.ask(node, Request(name=name, key=key, value=value, level=level, details=more), 10.0, future.set_result)
    return await future


async def led_by_another(ground: Ground, group: str, old: str) -> str:
    """The leader that nodes other than `old` know; waited for."""

    async def look() -> str | None:
        bodies = await ground.bodies()
        bodies.pop(old, None)
        known = {shard["leader"] for body in bodies.values() for shard in body["shards"] if shard["id"] == group}
        return next((leader for leader in known if leader not in (None, old)), None)

    found = await eventually(look)
    assert found is not None
    return found


async def whole(ground: Ground) -> None:
    async def look() -> bool | None:
        return True if await ground.is_whole() else None

    assert await eventually(look)


@asynccontextmanager
async def asking(ground: Ground) -> AsyncIterator[RealTarget]:
    target = RealTarget(ground.links.http(), ground.links.was_refused)
    try:
        yield target
    finally:
        await target.close()


def test_faults_on_a_real_cluster(tmp_path: Path) -> None:
    """One cluster for all of it, since starting one takes longer than breaking it."""

    async def run() -> None:
        async with proxied(tmp_path, nodes=3, shards=1) as ground, asking(ground) as target:
            for scene in SCENES:
                await scene(ground, target)
                await whole(ground)
            assert ground.cluster.tracebacks() == []

    asyncio.run(run())


async def all_links_go_through_proxies(ground: Ground, target: RealTarget) -> None:
    carried = {(each.dialler, each.listener) for each in ground.links.forwarders if each.connections}
    assert {("n0", "n1"), ("n0", "n2"), ("n1", "n2")} <= carried


async def the_vocabulary_is_spoken(ground: Ground, target: RealTarget) -> None:
    first = await ask(target, "n0", "write", value=1, level="durable")
    assert (first.kind, first.level) == ("ok", "durable") and first.version
    found = await ask(target, "n1", "read")
    assert (found.value, found.version, found.level) == (1, first.version, "linearizable")
    second = await ask(target, "n2", "cas", value=[1, "two"], ifVersion=first.version)
    assert second.kind == "ok"
    late = await ask(target, "n0", "cas", value=[1, 3], ifVersion=first.version)
    assert (late.kind, late.error, late.details) == ("fail", CONDITION, {"current": second.version})
    assert (await ask(target, "n0", "cas", value=[None, 3], ifAbsent=True)).details == {"current": second.version}
    counted = [await ask(target, "n1", "incr", "safe:n", 5, idempotencyKey="once") for _ in range(2)]
    assert [each.value for each in counted] == [5, 5] and counted[0].version == counted[1].version
    assert (await ask(target, "n2", "expire", value=100)).value is True
    assert (await ask(target, "n2", "expire", "safe:none", 100)).value is False
    assert 90 <= (await ask(target, "n0", "read")).details["ttlSeconds"] <= 100
    wrote = await ask(target, "n0", "write-many", "", [["safe:x", 1], ["safe:y", [2]]])
    assert len(wrote.value) == 2 and wrote.level == "quorum"
    many = await ask(target, "n1", "read-many", "", ["safe:x", "safe:none", "safe:y"])
    assert many.value == [[1, wrote.value[0]], [None, ""], [[2], wrote.value[1]]]
    assert (await ask(target, "n1", "receipt", value=second.version, waitMs=10)).value == "committed"
    assert (await ask(target, "n0", "set-namespace", "more", {"ack": "primary"})).kind == "ok"
    quick = await ask(target, "n1", "write", "more:a", 1)
    assert quick.level == "primary"
    replica = await ask(target, "n2", "read", "more:a", readPreference="replica", minVersion=quick.version)
    assert (replica.value, replica.level) == (1, "replica") and "stalenessMs" in replica.details
    losses = await ask(target, "n2", "lost-writes", value="more")
    assert (losses.value, losses.details) == ([], {"total": 0, "truncated": False, "unreachable": []})
    assert (await ask(target, "n0", "delete-namespace", "more")).kind == "ok"
    gone = await ask(target, "n1", "write", "nowhere:a", 1)
    assert (gone.kind, gone.error) == ("fail", "unknown_namespace")
    removed = [await ask(target, "n0", "delete") for _ in range(2)]
    assert [each.value for each in removed] == [True, False] and removed[0].version and not removed[1].version
    assert (await ask(target, "n0", "delete", "safe:x", ifVersion=wrote.value[0])).value is True


async def latency_shows_in_the_time_of_a_read(ground: Ground, target: RealTarget) -> None:
    ground.links.lay("slow", between([CLIENTS], ["n0"]), Toxics(latency_ms=LATENCY_MS / 2))
    began_ms = target.now_ms()
    assert (await ask(target, "n0", "read")).kind == "ok"
    assert target.now_ms() - began_ms >= LATENCY_MS - 1
    ground.links.lift("slow")


async def served(target: RealTarget, node: str, name: str, **asked: Any) -> Completion:
    """A front end may not have heard of a new leader at once, and a machine may be slow."""

    async def look() -> Completion | None:
        told = await ask(target, node, name, **asked)
        return told if told.kind == "ok" else None

    told = await eventually(look)
    assert told is not None
    return told


async def an_isolated_leader_steps_down_and_another_is_elected(ground: Ground, target: RealTarget) -> None:
    [group, _] = await ground.leaders()
    old = (await ground.leaders())[group]
    assert old is not None
    ground.links.lay("cut", isolate(old, target.nodes()), CUT)
    new = await led_by_another(ground, group, old)

    async def stepped_down() -> bool | None:
        body = (await ground.bodies())[old]
        return True if body["shards"][0]["leader"] is None else None

    assert await eventually(stepped_down)
    await served(target, new, "write", value="after")
    cut_off = await ask(target, old, "read")
    assert cut_off.kind != "ok", "a leader that is cut off cannot prove that it leads"
    ground.links.lift("cut")
    await whole(ground)
    assert (await served(target, old, "read")).value == "after"


async def a_leader_that_is_not_heard_is_replaced(ground: Ground, target: RealTarget) -> None:
    [group, _] = await ground.leaders()
    old = (await ground.leaders())[group]
    assert old is not None
    pairs = {pair for pair in isolate(old, target.nodes()) if pair[0] == old}
    ground.links.lay("mute", pairs, CUT)
    await led_by_another(ground, group, old)
    ground.links.lift("mute")


async def a_killed_node_refuses_and_comes_back(ground: Ground, target: RealTarget) -> None:
    """By way of the director: what it does is in the history."""
    events: list[Event] = []
    seen: list[Completion] = []
    director = Director(ground, target, events.append)
    play = asyncio.create_task(director.play([Planned("kill", LEADER, ("n0", "n1", "n2"), 0, 0.0, 0.0, 0)]))
    while not events:
        await asyncio.sleep(0)
    node = events[0].details["node"]
    while not play.done():
        seen.append(await ask(target, node, "write", value=1))
    await play
    [fault] = History(Header(), events).faults()
    assert fault.details["nodes"] == [node] and fault.details.get("back") is True, fault.details
    assert "fail" in {each.kind for each in seen}, "while nobody listens, nothing is sent"
    await served(target, node, "read")


async def an_emptied_node_is_refilled_and_keeps_its_view(ground: Ground, target: RealTarget) -> None:
    events: list[Event] = []
    path = ground.cluster.data_dir / "n1" / CONFIG_FILE
    before = load_config(NodeConfig, path).dial
    plan = [Planned(name, ANY, ("n1", "n0", "n2"), 0, 0.0, 0.0, 0) for name in ("empty-disk",)]
    await Director(ground, target, events.append).play(plan)
    [fault] = History(Header(), events).faults()
    assert fault.details["back"] is True and load_config(NodeConfig, path).dial == before != {}


Scene = Callable[[Ground, RealTarget], Awaitable[None]]
SCENES: list[Scene] = [
    all_links_go_through_proxies,
    the_vocabulary_is_spoken,
    latency_shows_in_the_time_of_a_read,
    an_isolated_leader_steps_down_and_another_is_elected,
    a_leader_that_is_not_heard_is_replaced,
    a_killed_node_refuses_and_comes_back,
    an_emptied_node_is_refilled_and_keeps_its_view,
]
