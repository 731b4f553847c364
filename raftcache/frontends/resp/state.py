"""What the commands of the Redis protocol know: the port, and the client that asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from raftcache.commands.types import MULTI_KEY_LIMIT, Version
from raftcache.frontends.backend import Backend
from raftcache.frontends.resp.metrics import RespMetrics
from raftcache.frontends.resp.parsing import Room
from raftcache.frontends.resp.scripts.cache import ScriptCache
from raftcache.frontends.resp.scripts.sandbox import Sandbox
from raftcache.frontends.resp.topology import Topology
from raftcache.shard.joint import Joint

REDIS_VERSION: Final = "7.4.0"
"""The version whose behaviour clients are told to expect."""
USER: Final = b"default"
"""The only user, until there are access tokens. It has no password."""
UNPROVED_LIMIT: Final = MULTI_KEY_LIMIT
"""Versions that WAIT can ask about at once. There is one for each shard, and more only after changes of leaders."""
REQUEST_TIMEOUT_S: Final = 2.0
"""How long a command is held while its shard has no leader, and the longest that one waits for a commit."""


@dataclass(frozen=True)
class Standing:
    """What the port says about itself. `used_bytes` is read when asked for."""

    node_id: str = ""
    run_id: str = ""
    tcp_port: int = 0
    process_id: int = 0
    memory_limit_bytes: int = 0
    used_bytes: Callable[[], int] = lambda: 0
    connections_limit: int = 0


@dataclass(slots=True)
class Block:
    """What stands between MULTI and EXEC. `broken`: a command of it was refused, so that none is executed."""

    commands: list[tuple[Any, list[bytes]]] = field(default_factory=list)
    size_bytes: int = 0
    broken: bool = False


@dataclass(slots=True)
class Client:
    """One connection. Times are seconds on `runtime.now()`.

    `unproved` has, for each shard and term, the newest write of this client that was acknowledged at `primary`, with
    its key: what WAIT waits for. `forgot_writes`: there were more than that holds. `leaving` says that the connection
    is to be closed once all replies are out.
    """

    id: int
    address: str = "?"
    local_address: str = "?"
    connected_s: float = 0.0
    seen_s: float = 0.0
    resp3: bool = False
    name: bytes = b""
    lib_name: bytes = b""
    lib_ver: bytes = b""
    last_command: str = ""
    leaving: bool = False
    unproved: dict[tuple[str, int], tuple[bytes, Version]] = field(default_factory=dict)
    forgot_writes: bool = False
    block: Block | None = None
    readonly: bool = False
    """READONLY was said: this node answers reads of slots that it does not lead."""
    watched: dict[bytes, Version | None] = field(default_factory=dict)
    """What WATCH found, for EXEC."""

    joint: Joint = field(default_factory=lambda: Joint(REQUEST_TIMEOUT_S))
    """What its writes are joined by that wait for a quorum."""

    def note_write(self, key: bytes, version: Version) -> None:
        """A write was acknowledged and is not committed yet, as far as is known here."""
        place = version.shard, version.term
        known = self.unproved.get(place)
        if known is not None and known[1].seq > version.seq:
            return  # One that was sent again may be answered after one that is newer.
        if len(self.unproved) < UNPROVED_LIMIT or known is not None:
            self.unproved[place] = key, version
        else:
            self.forgot_writes = True

    def forget_settings(self) -> None:
        """Be as a new connection is (RESET)."""
        self.resp3, self.name, self.block, self.readonly = False, b"", None, False
        self.watched.clear()


class Front:
    """The state of one port. `shedding` says that the process is late and takes no new requests."""

    def __init__(
        self,
        backend: Backend,
        standing: Standing | None = None,
        shedding: Callable[[], bool] = lambda: False,
        topology: Topology | None = None,
        beside: Front | None = None,
    ) -> None:
        """`topology`: this is a cluster port. `beside`: another port of this process, which counts with this one."""
        self.backend = backend
        self.runtime = backend.runtime
        self.shedding = shedding
        self.topology, self.is_cluster = topology, topology is not None
        self.standing = standing or Standing()
        self.started_s = backend.runtime.now()
        self.clients: dict[int, Client] = {}
        self.last_id = 0
        self.room: Room = Room() if beside is None else beside.room
        self.scripts: ScriptCache = ScriptCache() if beside is None else beside.scripts
        self.sandbox: Sandbox = Sandbox(lambda: 0.0) if beside is None else beside.sandbox
        """Only ever looks whether scripts are any: they run at leaders."""
        self.metrics: RespMetrics = RespMetrics(self.room, self.scripts) if beside is None else beside.metrics
        self.metrics.connected.append(lambda: len(self.clients))

    def new_client(self) -> Client:
        """A client just connected."""
        self.last_id += 1
        now = self.runtime.now()
        client = self.clients[self.last_id] = Client(self.last_id, connected_s=now, seen_s=now)
        return client
