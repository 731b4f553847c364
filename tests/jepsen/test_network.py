"""All the links of a cluster: who dials what, and what is wrong between whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from jepsen_like.ports import Ports
from jepsen_like.proxy.network import Network
from jepsen_like.proxy.partitions import CLIENTS
from jepsen_like.proxy.toxics import CUT, HEALTHY, Toxics
from raftcache.config import parse_address
from raftcache.supervisor.cluster import LocalNode, plan_cluster

NODES = plan_cluster(3, 1, 3, 7100).nodes


def play(scene: Callable[[Network], Awaitable[None]], nodes: tuple[LocalNode, ...] = NODES) -> None:
    async def run() -> None:
        network = Network(nodes)
        await network.start()
        try:
            await scene(network)
        finally:
            await network.stop()

    asyncio.run(run())


def test_every_node_dials_ports_that_nobody_else_was_given() -> None:
    async def scene(network: Network) -> None:
        views = network.dial()
        given = [each for view in views.values() for dial in view.values() for each in (dial.rpc, dial.peer) if each]
        given += network.http().values()
        assert len(given) == len(set(given)) == len(network.forwarders) == 6 + 3 + 3
        assert {node: sorted(view) for node, view in views.items()} == {
            "n0": ["n1", "n2"],
            "n1": ["n0", "n2"],
            "n2": ["n0", "n1"],
        }
        assert [bool(views[one][other].peer) for one, other in (("n0", "n1"), ("n1", "n0"))] == [True, False]

    play(scene)


def test_each_port_leads_to_the_right_one() -> None:
    async def scene(network: Network) -> None:
        by_port = {forwarder.port: forwarder for forwarder in network.forwarders}
        dial = network.dial()["n2"]["n1"]
        found = by_port[parse_address(dial.rpc)[1]]
        assert (found.dialler, found.listener, found.target) == ("n2", "n1", parse_address(NODES[1].rpc))
        found = by_port[parse_address(network.dial()["n0"]["n2"].peer)[1]]
        assert (found.dialler, found.listener, found.target) == ("n0", "n2", parse_address(NODES[2].peer))
        found = by_port[parse_address(network.http()["n1"])[1]]
        assert (found.dialler, found.listener, found.target) == (CLIENTS, "n1", parse_address(NODES[1].http))

    play(scene)


def test_faults_lie_over_each_other_and_each_takes_its_own_away() -> None:
    network = Network(NODES)
    network.lay("one", [("n0", "n1"), ("n1", "n0")], CUT)
    network.lay("other", [("n0", "n1")], Toxics(latency_ms=5))
    assert network.toxics("n0", "n1") == Toxics(cut=True, latency_ms=5)
    assert (network.toxics("n1", "n0"), network.toxics("n0", "n2")) == (CUT, HEALTHY)
    network.lift("one")
    assert (network.toxics("n0", "n1"), network.toxics("n1", "n0")) == (Toxics(latency_ms=5), HEALTHY)
    network.lay("other", [("n2", "n1")], CUT)
    assert (network.toxics("n0", "n1"), network.toxics("n2", "n1")) == (HEALTHY, CUT)
    network.lift("never laid")


@pytest.mark.parametrize("pair", [("n0", "n9"), ("n0", "n0"), ("nobody", CLIENTS)])
def test_a_link_that_there_is_not_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="there is no link"):
        Network(NODES).lay("x", [pair], CUT)


def test_toxics_and_resets_hit_connections_that_are_open() -> None:
    """In either direction, whoever dialled: n1's answers to n0 are bytes from n1 to n0."""

    async def scene(network: Network) -> None:
        echoes = asyncio.Event()
        address = parse_address(network.dial()["n0"]["n1"].rpc)
        [rpc] = [each.target for each in network.forwarders if each.port == address[1]]

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
                echoes.set()

        async with await asyncio.start_server(echo, *rpc):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"1")
            assert await reader.readexactly(1) == b"1"
            network.lay("mute", [("n1", "n0")], CUT)
            echoes.clear()
            writer.write(b"2")
            await echoes.wait()
            answer = asyncio.ensure_future(reader.readexactly(1))
            await asyncio.sleep(0)
            assert not answer.done()
            network.reset([("n2", "n1")])
            network.lift("mute")
            assert await answer == b"2"
            network.reset([("n1", "n0")])
            with pytest.raises(ConnectionResetError):
                await reader.read()

    with Ports(3) as ports:
        play(scene, plan_cluster(3, 1, 3, ports.base).nodes)
