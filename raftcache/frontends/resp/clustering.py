"""CLUSTER and what clients of a Redis Cluster say besides: READONLY, READWRITE, ASKING.

Every node is shown as a master of the slots of the shards that it leads, and of those that nobody within its reach
does: who asks there waits for a leader, and is not sent to one that is gone. Followers are not shown as replicas: a
node is both, and clients that read from replicas would take leaders for those. READONLY lets a node answer reads of any
slot, by asking its leader where need be.

Shapes and texts: redis.io/docs/latest/commands/cluster-slots, cluster-shards, cluster-nodes, cluster-info.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.commands.types import SCAN_LIMIT, SLOT_LIMIT, Scanned
from raftcache.frontends.resp.encoding import OK, Verbatim, encode, integer
from raftcache.frontends.resp.scanning import Walk
from raftcache.frontends.resp.spec import Args, Refused
from raftcache.frontends.resp.spec import integer as number
from raftcache.frontends.resp.state import Client, Front
from raftcache.frontends.resp.topology import Served, Topology, identity_of
from raftcache.routing.slots import SLOTS, slot_of

DISABLED = "ERR This instance has cluster support disabled"
BUS_PORT_OFFSET = 10_000
"""What Redis adds to a port for its cluster bus; there is none here, but lists of nodes have a place for it."""


def _topology(front: Front) -> Topology:
    if front.topology is None:
        raise Refused(DISABLED)
    return front.topology


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port or 0)


def _led(topology: Topology) -> list[Served]:
    """The ranges of nodes whose port is known."""
    return [served for served in topology.ranges() if topology.address_of(served.node)]


def slots(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER SLOTS."""
    topology = _topology(front)
    rows = []
    for first, last, node, _ in _led(topology):
        host, port = _place(topology.address_of(node))
        rows.append([first, last, [host, port, identity_of(node), []]])
    return encode(rows, client.resp3)


def shards(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER SHARDS: an item a node, with all slots that it leads."""
    topology = _topology(front)
    led = _led(topology)
    return encode([_shard(topology, node, led) for node in topology.nodes()], client.resp3)


def _shard(topology: Topology, node: str, led: list[Served]) -> dict[str, Any]:
    host, port = _place(topology.address_of(node))
    bounds = [bound for first, last, of, _ in led if of == node for bound in (first, last)]
    about = {"id": identity_of(node), "port": port, "ip": host, "endpoint": host, "role": "master"}
    return {"slots": bounds, "nodes": [about | {"replication-offset": 0, "health": "online"}]}


def nodes(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER NODES."""
    topology = _topology(front)
    led = _led(topology)
    lines = [_node_line(topology, node, led) for node in topology.nodes()]
    return encode(Verbatim("".join(line + "\n" for line in lines)), client.resp3)


def _node_line(topology: Topology, node: str, led: list[Served]) -> str:
    host, port = _place(topology.address_of(node))
    flags = "myself,master" if node == topology.node_id else "master"
    ranges = [str(first) if first == last else f"{first}-{last}" for first, last, of, _ in led if of == node]
    place = f"{host}:{port}@{port + BUS_PORT_OFFSET}"
    return " ".join([identity_of(node), place, flags, "-", "0", "0", "1", "connected", *ranges])


def info(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER INFO."""
    topology = _topology(front)
    ranges = topology.ranges()
    owned = sum(last - first + 1 for first, last, _, _ in ranges)
    served = sum(last - first + 1 for first, last, _, is_led in ranges if is_led)
    fields = {
        "cluster_enabled": 1,
        "cluster_state": "ok" if served == SLOTS else "fail",
        "cluster_slots_assigned": owned,
        "cluster_slots_ok": served,
        "cluster_slots_pfail": owned - served,
        "cluster_slots_fail": 0,
        "cluster_known_nodes": len(topology.nodes()),
        "cluster_size": len({node for _, _, node, is_led in ranges if is_led}),
    }
    return encode(Verbatim("".join(f"{name}:{value}\r\n" for name, value in fields.items())), client.resp3)


def myid(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER MYID."""
    return encode(identity_of(_topology(front).node_id), client.resp3)


def keyslot(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER KEYSLOT key."""
    return integer(slot_of(args[2]))


def countkeysinslot(front: Front, client: Client, args: Args, done: Callable[[bytes], None]) -> None:
    """CLUSTER COUNTKEYSINSLOT slot: all keys of the slot's shard are looked at, some of them a turn."""
    _topology(front)
    slot = number(args[2])
    if not 0 <= slot <= SLOT_LIMIT:
        raise Refused("ERR Invalid slot")
    walk, count = Walk(front, done), 0

    def told(some: Scanned, cursor: int | None) -> None:
        nonlocal count
        count += sum(slot_of(key) == slot for key in some.keys)
        if cursor is None:
            return done(integer(count))
        front.runtime.call_soon(lambda: walk.step(cursor, SCAN_LIMIT, told))

    walk.step(0, SCAN_LIMIT, told)


def readonly(front: Front, client: Client, args: Args) -> bytes:
    """READONLY."""
    _topology(front)
    client.readonly = True
    return OK


def readwrite(front: Front, client: Client, args: Args) -> bytes:
    """READWRITE."""
    _topology(front)
    client.readonly = False
    return OK


def asking(front: Front, client: Client, args: Args) -> bytes:
    """ASKING: no slot is ever on its way from one node to another here, so nobody is sent with that word."""
    _topology(front)
    return OK
