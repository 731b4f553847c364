"""CLUSTER and what clients of a Redis Cluster say besides: READONLY, READWRITE, ASKING.

A shard's master is its leader; where nobody within reach leads, it is the node that is asked: who asks there waits for
a leader, and is not sent to one that is gone. The other nodes that hold the shard are its replicas. So, unlike in a
Redis Cluster, a node is a master of some slots and a replica of others. Where a list has one role for each node
(`CLUSTER NODES`), whoever has slots is a master. Where it has one for each mention (`CLUSTER SLOTS`), some clients, as
redis-py and node-redis, take a node for good to be what it is at first: masters are mentioned first.

Shapes and texts: redis.io/docs/latest/commands/cluster-slots, cluster-shards, cluster-nodes, cluster-info.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from raftcache.commands.types import SCAN_LIMIT, SLOT_LIMIT, Scanned
from raftcache.frontends.resp.encoding import OK, Verbatim, array_head, bulk, encode, integer
from raftcache.frontends.resp.scanning import Done, Walk, cursor_of, place_of, refusing
from raftcache.frontends.resp.spec import Args, Refused
from raftcache.frontends.resp.spec import integer as number
from raftcache.frontends.resp.state import Client, Front
from raftcache.frontends.resp.topology import Served, Topology, host_and_port, identity_of
from raftcache.routing.slots import SLOTS, joined, slot_of

DISABLED = "ERR This instance has cluster support disabled"
INVALID_SLOT = "ERR Invalid slot"
BUS_PORT_OFFSET = 10_000
"""What Redis adds to a port for its cluster bus; there is none here, but lists of nodes have a place for it."""
GETKEYS_LIMIT = SCAN_LIMIT
"""Keys that GETKEYSINSLOT tells of at most."""


class Row(NamedTuple):
    """A range of slots, as CLUSTER SLOTS tells of it."""

    first: int
    last: int
    node: str
    replicas: tuple[str, ...] = ()


def _topology(front: Front) -> Topology:
    if front.topology is None:
        raise Refused(DISABLED)
    return front.topology


def _shards(topology: Topology) -> list[Served]:
    """The shards with the nodes that clients can be sent to: a leader without a cluster port is asked through this
    node."""
    found = []
    for served in topology.shards():
        node = served.node if topology.address_of(served.node) else topology.node_id
        others = [each for each in served.replicas if each != node and topology.address_of(each)]
        found.append(served._replace(node=node, replicas=tuple(others)))
    return found


# -- lists of nodes --------------------------------------------------------------------------------


def slots(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER SLOTS: of replicas those within reach."""
    topology = _topology(front)
    rows = [
        Row(first, last, served.node, tuple(filter(topology.is_within_reach, served.replicas)))
        for served in _shards(topology)
        for first, last in served.slots
    ]
    told = [
        [row.first, row.last, *(_endpoint(topology, node) for node in (row.node, *row.replicas))]
        for row in masters_first(rows)
    ]
    return encode(told, client.resp3)


def masters_first(rows: list[Row]) -> list[Row]:
    """The same slots, of which the first of each master stands before all others, without replicas."""
    heads: dict[str, Row] = {}
    for row in rows:
        heads.setdefault(row.node, row)
    alone = [Row(row.first, row.first, row.node) for row in heads.values()]
    others = [row._replace(first=row.first + 1) if heads[row.node] is row else row for row in rows]
    return [*alone, *(row for row in others if row.first <= row.last)]


def _endpoint(topology: Topology, node: str) -> list[Any]:
    host, port = host_and_port(topology.address_of(node))
    return [host, port, identity_of(node), []]


def shards(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER SHARDS; a node that holds none stands alone at the end."""
    topology = _topology(front)
    held = _shards(topology)
    busy = {node for served in held for node in (served.node, *served.replicas)}
    idle = [Served((), node) for node in topology.nodes() if node not in busy]
    return encode([_shard(topology, served) for served in (*held, *idle)], client.resp3)


def _shard(topology: Topology, served: Served) -> dict[str, Any]:
    members = [_member(topology, served.node, "master")]
    members += [_member(topology, node, "replica") for node in served.replicas]
    return {"slots": [bound for bounds in served.slots for bound in bounds], "nodes": members}


def _member(topology: Topology, node: str, role: str) -> dict[str, Any]:
    host, port = host_and_port(topology.address_of(node))
    health = "online" if topology.is_within_reach(node) else "failed"
    about = {"id": identity_of(node), "port": port, "ip": host, "endpoint": host, "role": role}
    return about | {"replication-offset": 0, "health": health}


def nodes(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER NODES."""
    topology = _topology(front)
    held = _shards(topology)
    lines = [_node_line(topology, node, held) for node in topology.nodes()]
    return encode(Verbatim("".join(line + "\n" for line in lines)), client.resp3)


def _node_line(topology: Topology, node: str, held: list[Served]) -> str:
    host, port = host_and_port(topology.address_of(node))
    led = joined(bounds for served in held if served.node == node for bounds in served.slots)
    master = "" if led else next((served.node for served in held if node in served.replicas), "")
    reached = topology.is_within_reach(node)
    flags = [
        *(["myself"] if node == topology.node_id else []), "slave" if master else "master",
        *([] if reached else ["fail"]),
    ]  # fmt: skip
    parts = [identity_of(node), f"{host}:{port}@{port + BUS_PORT_OFFSET}", ",".join(flags)]
    parts += [identity_of(master) if master else "-", "0", "0", str(topology.epoch)]
    parts.append("connected" if reached else "disconnected")
    return " ".join([*parts, *(str(first) if first == last else f"{first}-{last}" for first, last in led)])


# -- about all of it, and about this node ----------------------------------------------------------


def info(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER INFO."""
    topology = _topology(front)
    held = topology.shards()
    owned = sum(map(_size, held))
    served = sum(_size(each) for each in held if each.is_led)
    fields = {
        "cluster_enabled": 1,
        "cluster_state": "ok" if served == SLOTS else "fail",
        "cluster_slots_assigned": owned,
        "cluster_slots_ok": served,
        "cluster_slots_pfail": owned - served,
        "cluster_slots_fail": 0,
        "cluster_known_nodes": len(topology.nodes()),
        "cluster_size": len({each.node for each in held if each.is_led}),
        "cluster_current_epoch": topology.epoch,
        "cluster_my_epoch": topology.epoch,
    }
    return encode(Verbatim("".join(f"{name}:{value}\r\n" for name, value in fields.items())), client.resp3)


def _size(served: Served) -> int:
    return sum(last - first + 1 for first, last in served.slots)


def myid(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER MYID."""
    return encode(identity_of(_topology(front).node_id), client.resp3)


def failure_reports(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER COUNT-FAILURE-REPORTS node-id: nodes do not report others; who is within reach each sees for itself."""
    topology = _topology(front)
    if args[2] not in {identity_of(node).encode() for node in topology.nodes()}:
        raise Refused(f"ERR Unknown node {args[2][:64].decode(errors='replace')}")
    return integer(0)


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


# -- keys of slots ---------------------------------------------------------------------------------


def keyslot(front: Front, client: Client, args: Args) -> bytes:
    """CLUSTER KEYSLOT key."""
    return integer(slot_of(args[2]))


def countkeysinslot(front: Front, client: Client, args: Args, done: Done) -> None:
    """CLUSTER COUNTKEYSINSLOT slot: exact, for a slot that this node leads; 0 for any other, as in Redis."""
    slot, count = _slot(front, args[2]), 0

    def counted(some: list[bytes]) -> bool:
        nonlocal count
        count += len(some)
        return False

    _keys_of_slot(front, slot, counted, lambda: done(integer(count)), done)


def getkeysinslot(front: Front, client: Client, args: Args, done: Done) -> None:
    """CLUSTER GETKEYSINSLOT slot count: at most `GETKEYS_LIMIT`."""
    slot, limit, found = _slot(front, args[2]), min(number(args[3]), GETKEYS_LIMIT), list[bytes]()
    if limit < 0:
        raise Refused("ERR Invalid number of keys")

    def seen(some: list[bytes]) -> bool:
        found.extend(some)
        return len(found) >= limit

    def told() -> None:
        done(b"".join([array_head(len(found[:limit])), *map(bulk, found[:limit])]))

    _keys_of_slot(front, slot, seen, told, done)


def _slot(front: Front, argument: bytes) -> int:
    _topology(front)
    slot = number(argument)
    if not 0 <= slot <= SLOT_LIMIT:
        raise Refused(INVALID_SLOT)
    return slot


def _keys_of_slot(
    front: Front, slot: int, see: Callable[[list[bytes]], bool], end: Callable[[], None], failed: Done
) -> None:
    """Show `see` all keys of the slot, until it has enough, then call `end`. Keys are not kept by slots, so all of the
    slot's shard are looked at, `SCAN_LIMIT` or a page of them a turn of the loop."""
    topology = _topology(front)
    mine = [each for each in topology.shards() if each.owns(slot) and each.is_led and each.node == topology.node_id]
    if not mine:
        return end()
    first, walk = mine[0].slots[0][0], Walk(front, refusing(front, failed))

    def told(some: Scanned, cursor: int | None) -> None:
        enough = see([key for key in some.keys if slot_of(key) == slot])
        if enough or cursor is None or place_of(cursor)[0] != first:
            return end()
        front.runtime.call_soon(lambda: walk.step(cursor, SCAN_LIMIT, told))

    walk.step(cursor_of(first, 0), SCAN_LIMIT, told)
