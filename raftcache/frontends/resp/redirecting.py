"""Where a command belongs, on a cluster port: here, or at the node that its slot's leader is.

The keys of one command must be of one slot. A command for a slot that this node leads is executed here; for one that
another node leads, the client is told where that is, and will ask there from now on. Where nobody within reach leads,
the command is executed all the same: it waits for a leader as on the router port, and goes to whichever that is. So
being wrong about a leader costs a hop and nothing else, and who has lost a leader is not sent back to it.

After READONLY, reads of slots that this node follows stay here as well. Its replica answers them where the policy of
the keys' namespaces allows that (`allowReplicaReads`), so they may be stale, as with a Redis Cluster; for others this
node asks the leader. It does not send the client there: redis-py, told to read from replicas, comes back and back.

Source: redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec, "MOVED redirection".
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from raftcache.commands.types import Command, Get, MultiGet
from raftcache.frontends.resp.describing import keys_of
from raftcache.frontends.resp.spec import Args, Spec
from raftcache.frontends.resp.state import Client, Front
from raftcache.frontends.resp.topology import Topology, host_and_port
from raftcache.routing.slots import slot_of

CROSS_SLOT: Final = "CROSSSLOT Keys in request don't hash to the same slot"


def redirection(topology: Topology, client: Client, spec: Spec, args: Args) -> str:
    """The error line for a command that does not belong here; "" for one that does."""
    keys = keys_of(spec, args)
    if not keys:
        return ""
    slot = slot_of(keys[0])
    if len(keys) > 1 and any(slot_of(key) != slot for key in keys):
        return CROSS_SLOT
    leader = topology.leader_of(slot)
    stays = client.readonly and "readonly" in spec.flags and topology.follows(slot)
    if leader == topology.node_id or stays:
        return ""
    address = topology.address_of(leader)
    if not address:
        return ""
    host, port = host_and_port(address)
    return f"MOVED {slot} {host}:{port}"


def as_replica_read(front: Front, topology: Topology, command: Command) -> Command:
    """The command of a client that said READONLY, so that this node's replica answers it where it may. Where that is
    too old, the leader does."""
    items = command.items if type(command) is MultiGet else (command,) if type(command) is Get else ()
    resolve = front.backend.namespaces().resolve
    if not items or not all(topology.follows(slot_of(item.key)) and resolve(item.key).replica_reads for item in items):
        return command
    reads = tuple([replace(item, replica=True) for item in items])
    return MultiGet(reads) if type(command) is MultiGet else reads[0]
