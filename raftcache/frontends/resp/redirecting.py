"""Where a command belongs, on a cluster port: here, or at the node that its slot's leader is.

The keys of one command must be of one slot. A command for a slot that this node leads is executed here; for one that
another node leads, the client is told where that is, and will ask there from now on. Where nobody within reach leads,
the command is executed all the same: it waits for a leader as on the router port, and goes to whichever that is. So
being wrong about a leader costs a hop and nothing else, and who has lost a leader is not sent back to it.

Source: redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec, "MOVED redirection".
"""

from __future__ import annotations

from raftcache.frontends.resp.describing import keys_of
from raftcache.frontends.resp.spec import Args, Spec
from raftcache.frontends.resp.state import Client
from raftcache.frontends.resp.topology import Topology
from raftcache.routing.slots import slot_of

CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot"


def redirection(topology: Topology, client: Client, spec: Spec, args: Args) -> str:
    """The error line for a command that does not belong here; "" for one that does."""
    keys = keys_of(spec, args)
    if not keys:
        return ""
    slot = slot_of(keys[0])
    if len(keys) > 1 and any(slot_of(key) != slot for key in keys):
        return CROSS_SLOT
    leader = topology.leader_of(slot)
    if leader == topology.node_id or (client.readonly and "readonly" in spec.flags):
        return ""
    address = topology.address_of(leader)
    return f"MOVED {slot} {address}" if address else ""
