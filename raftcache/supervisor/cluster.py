"""A cluster on this machine, as it is created: its id, its first nodes and members, their addresses. Pure.

The cluster id and the first members are chosen here once, when a data folder is new, and never again.
"""

from __future__ import annotations

import os
import secrets
from typing import Annotated, Literal

import msgspec

from raftcache.config import BootstrapConfig, ConfigError, DialConfig, Name, NodeConfig, PeerConfig, parse_address
from raftcache.consensus.api import MemberId
from raftcache.identity import new_incarnation

NODE_LIMIT, SHARD_LIMIT = 32, 1024
METADATA_MEMBERS = 3
"""How many nodes, at most, hold the metadata group at first."""
PORTS_PER_NODE = 10
KINDS = ("http", "rpc", "peer", "redis_router", "redis_cluster")
"""What a node listens for, in the order of its ports."""
HOST = "127.0.0.1"
SECRET_FILE = "secret"


class LocalNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node as it was created: its first incarnation, and where it listens, each `host:port`. `redis_router`
    and `redis_cluster` are "" where the cluster is older than those ports."""

    id: Name
    incarnation: Name
    http: str
    rpc: str
    peer: str
    redis_router: str = ""
    redis_cluster: str = ""


class LocalCluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contents of `cluster.json`. `initialised` is set once the metadata group holds the cluster; `memory` says
    that its nodes keep nothing on disk. `dial` is each node's view of the others, by node id, where it is to reach them
    elsewhere than where they listen: through proxies that break links on purpose."""

    cluster_id: Name
    nodes: tuple[LocalNode, ...]
    shards: Annotated[int, msgspec.Meta(ge=1, le=SHARD_LIMIT)]
    replicas: Annotated[int, msgspec.Meta(ge=1, le=NODE_LIMIT)]
    base_port: int
    metadata_members: tuple[str, ...]
    secret_file: str = SECRET_FILE
    memory: bool = False
    initialised: bool = False
    dial: dict[Name, dict[Name, DialConfig]] = {}
    format: Literal[1] = 1

    def node(self, node_id: str) -> LocalNode:
        """The node of that id. Raises ConfigError."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise ConfigError(f"no node {node_id!r}; this cluster has {', '.join(n.id for n in self.nodes)}")


def plan_cluster(nodes: int, shards: int, replicas: int, base_port: int, memory: bool = False) -> LocalCluster:
    """A new cluster of nodes `n0`, `n1`, … on this machine. Raises ConfigError."""
    highest_offset = PORTS_PER_NODE * (nodes - 1) + len(KINDS) - 1
    for field, value, low, high in (
        ("--nodes", nodes, 1, NODE_LIMIT),
        ("--shards", shards, 1, SHARD_LIMIT),
        ("--replicas", replicas, 1, nodes),
        ("--base-port", base_port, 1, 65_535 - highest_offset),
    ):
        if not low <= value <= high:
            raise ConfigError(f"{field} must be from {low} to {high}, got {value}")
    planned = tuple(_plan_node(number, base_port) for number in range(nodes))
    return LocalCluster(
        cluster_id=secrets.token_hex(8),
        nodes=planned,
        shards=shards,
        replicas=replicas,
        base_port=base_port,
        metadata_members=tuple(str(MemberId(n.id, n.incarnation)) for n in planned[:METADATA_MEMBERS]),
        memory=memory,
    )


def _plan_node(number: int, base_port: int) -> LocalNode:
    first = base_port + PORTS_PER_NODE * number
    addresses = {kind: f"{HOST}:{first + offset}" for offset, kind in enumerate(KINDS)}
    return LocalNode(id=f"n{number}", incarnation=new_incarnation(), **addresses)


def node_config(cluster: LocalCluster, node: LocalNode) -> NodeConfig:
    """The `node.toml` of one node, its paths relative to its own folder."""
    peers = {
        other.id: PeerConfig(http=other.http, rpc=other.rpc, peer=other.peer, incarnation=other.incarnation)
        for other in cluster.nodes
        if other.id != node.id
    }
    return NodeConfig(
        node_id=node.id,
        cluster_id=cluster.cluster_id,
        cluster_secret_file=os.path.join("..", cluster.secret_file),
        data_dir="" if cluster.memory else ".",
        http=node.http,
        rpc=node.rpc,
        peer=node.peer,
        redis_router=node.redis_router,
        redis_cluster=node.redis_cluster,
        metadata_nodes=tuple(MemberId.parse(member).node for member in cluster.metadata_members),
        bootstrap=BootstrapConfig(metadata_members=cluster.metadata_members),
        peers=peers,
        dial=cluster.dial.get(node.id, {}),
    )


def ports(cluster: LocalCluster) -> list[tuple[str, str, int]]:
    """Every port of the cluster as `(field, host, port)`."""
    return [
        (f"{node.id}.{kind}", *parse_address(getattr(node, kind)))
        for node in cluster.nodes
        for kind in KINDS
        if getattr(node, kind)
    ]
