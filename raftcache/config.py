"""Configuration: what a TOML file may say about a node or a front end, and how it is checked.

A file is read whole and refused whole: an unknown field, a wrong type or a value out of bounds is a `ConfigError`
that names the file, the field, the limit and the value. Relative paths in a file count from the file's folder,
so a data folder may be moved. `configs/` has a commented example of each kind.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta

from raftcache import toml
from raftcache.errors import BadRequest

Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
"""A node id, a cluster id or an incarnation."""
Milliseconds = Annotated[int, Meta(ge=1, le=600_000)]
Bytes = Annotated[int, Meta(ge=4096, le=1 << 50)]
BytesPerSecond = Annotated[int, Meta(ge=0, le=1 << 50)]
"""0: no limit."""

Fsync = Literal["interval", "always", "never"]
LinearizableReads = Literal["lease", "barrier"]
Drift = Annotated[float, Meta(ge=0, le=25)]
"""In percent. Over the limit, with `election_min_ms` barely over three heartbeats, a lease would not reach from one
heartbeat to the answer of the next."""

SECRET_MIN_BYTES = 16
"""A shorter cluster secret could be guessed from one recorded handshake."""
_PATH = re.compile(r" - at `\$\.?(.*)`\Z")


class ConfigError(BadRequest):
    """A configuration that cannot be used. The message names file, field, limit and value."""

    code = "bad_config"


class _Checked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class PeerConfig(_Checked, frozen=True, kw_only=True):
    """Another node's addresses, each `host:port`. `incarnation` is the one it started with, where known."""

    http: str
    rpc: str
    peer: str
    incarnation: str = ""


class DialConfig(_Checked, frozen=True, kw_only=True):
    """Where this node dials another one, each `host:port`; "" dials the address that the cluster knows."""

    rpc: str = ""
    peer: str = ""


class BootstrapConfig(_Checked, frozen=True, kw_only=True):
    """The members that may start the metadata group from nothing, as `<node>.<incarnation>.<replica>`.

    A node starts the group only if its own incarnation is among them; so one whose disk was emptied never does.
    """

    metadata_members: tuple[str, ...] = ()


class _Process(_Checked, frozen=True, kw_only=True):
    """What nodes and front ends share. An empty secret is allowed on loopback addresses only. `redis_router` "": the
    Redis protocol is not spoken."""

    cluster_id: Name
    http: str
    redis_router: str = ""
    cluster_secret: str = ""
    cluster_secret_file: str = ""

    _addresses: ClassVar[tuple[str, ...]] = ("http",)
    _optional_addresses: ClassVar[tuple[str, ...]] = ("redis_router",)
    _paths: ClassVar[tuple[str, ...]] = ("cluster_secret_file",)

    def problems(self) -> list[str]:
        """What the types cannot say, one sentence a problem."""
        given = [name for name in self._optional_addresses if getattr(self, name)]
        names = (*self._addresses, *given)
        found = [problem for name in names if (problem := _bad_address(name, getattr(self, name)))]
        if self.cluster_secret and self.cluster_secret_file:
            found.append("cluster_secret and cluster_secret_file are both given; give one")
        return found

    def secret(self) -> bytes:
        """The cluster secret, from the field or from its file; empty where neither is given. Raises ConfigError."""
        if self.cluster_secret_file:
            return read_secret(Path(self.cluster_secret_file))
        return _long_enough("cluster_secret", self.cluster_secret.encode()) if self.cluster_secret else b""


class NodeConfig(_Process, frozen=True, kw_only=True):
    """One node. `data_dir` "" keeps everything in memory; see `configs/node.toml` for every field."""

    node_id: Name
    rpc: str
    peer: str
    data_dir: str
    redis_cluster: str = ""
    zone: Annotated[str, Meta(max_length=64)] = ""
    memory_limit_bytes: Bytes = 4 << 30
    heartbeat_ms: Milliseconds = 100
    election_min_ms: Milliseconds = 400
    election_max_ms: Milliseconds = 800
    fallback_ms: Milliseconds = 1000
    tick_ms: Milliseconds = 20
    fsync: Fsync = "interval"
    fsync_interval_ms: Milliseconds = 1000
    linearizable_reads: LinearizableReads = "lease"
    max_clock_drift_percent: Drift = 10.0
    snapshot_log_bytes: Bytes = 64 << 20
    log_tail_bytes: Bytes = 16 << 20
    snapshot_rate_bytes_per_s: BytesPerSecond = 64 << 20
    segment_bytes: Bytes = 16 << 20
    metadata_nodes: tuple[Name, ...] = ()
    bootstrap: BootstrapConfig = BootstrapConfig()
    peers: dict[Name, PeerConfig] = {}
    dial: dict[Name, DialConfig] = {}

    _addresses: ClassVar[tuple[str, ...]] = ("http", "rpc", "peer")
    _optional_addresses: ClassVar[tuple[str, ...]] = ("redis_router", "redis_cluster")
    _paths: ClassVar[tuple[str, ...]] = ("cluster_secret_file", "data_dir")

    def problems(self) -> list[str]:
        """What the types cannot say, one sentence a problem."""
        return [*super().problems(), *self._bad_peers(), *self._bad_dials(), *self._bad_timings()]

    def peer_address(self, node_id: str, known: str) -> str:
        """Where this node dials the peer port of another, which the cluster knows as `known`."""
        dial = self.dial.get(node_id)
        return dial.peer if dial is not None and dial.peer else known

    def rpc_overrides(self) -> dict[str, str]:
        """Where this node dials the RPC ports of others, of those for which that is not what the cluster knows."""
        return {node_id: dial.rpc for node_id, dial in self.dial.items() if dial.rpc}

    def _bad_dials(self) -> list[str]:
        named = [
            (f"dial.{node}.{kind}", address)
            for node, dial in self.dial.items()
            for kind, address in (("rpc", dial.rpc), ("peer", dial.peer))
            if address
        ]
        return [problem for field, address in named if (problem := _bad_address(field, address))]

    def _bad_peers(self) -> list[str]:
        named = [
            (f"peers.{node}.{kind}", getattr(peer, kind))
            for node, peer in self.peers.items()
            for kind in ("http", "rpc", "peer")
        ]
        found = [problem for field, address in named if (problem := _bad_address(field, address))]
        unknown = sorted(set(self.metadata_nodes) - {self.node_id, *self.peers})
        return found + [f"metadata_nodes names {node!r}, which is not in [peers]" for node in unknown]

    def _bad_timings(self) -> list[str]:
        """Raft's timings among each other: an election must not start because one heartbeat came late."""
        rules = (
            ("election_min_ms", self.election_min_ms, "over three times heartbeat_ms", 3 * self.heartbeat_ms + 1),
            ("election_max_ms", self.election_max_ms, "over election_min_ms", self.election_min_ms + 1),
            ("fallback_ms", self.fallback_ms, "at least election_min_ms", self.election_min_ms),
            ("heartbeat_ms", self.heartbeat_ms, "at least tick_ms", self.tick_ms),
            ("snapshot_log_bytes", self.snapshot_log_bytes, "over log_tail_bytes", self.log_tail_bytes + 1),
        )
        return [
            f"{field} = {value} must be {rule}: at least {least}"
            for field, value, rule, least in rules
            if value < least
        ]


class FrontendConfig(_Process, frozen=True, kw_only=True):
    """A front end that holds no data. `nodes` are RPC addresses of nodes to learn the cluster from."""

    nodes: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1000)]

    def problems(self) -> list[str]:
        """What the types cannot say, one sentence a problem."""
        bad = [problem for i, node in enumerate(self.nodes) if (problem := _bad_address(f"nodes[{i}]", node))]
        return super().problems() + bad


C = TypeVar("C", bound=_Process)


def load_config(kind: type[C], path: Path) -> C:
    """The configuration in the TOML file at `path`, its relative paths made absolute. Raises ConfigError."""
    try:
        config = parse_config(kind, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from error
    folder = path.absolute().parent
    moved = {name: str(folder / value) for name in config._paths if (value := getattr(config, name))}
    return msgspec.structs.replace(config, **moved)


def parse_config(kind: type[C], text: str) -> C:
    """The configuration that TOML `text` says. Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from error
    try:
        config = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), document)) from error
    problems = config.problems()
    if problems:
        raise ConfigError("; ".join(problems))
    return config


def dump_config(config: _Process) -> str:
    """The TOML text of a configuration; `parse_config` reads it back to an equal one."""
    return toml.dumps(msgspec.to_builtins(config))


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 host stands in brackets. Port 0 lets the system choose.

    Raises ValueError.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 host must stand in brackets: {text!r}")
    if not colon or not host or not (port.isascii() and port.isdigit()) or not int(port[:6]) <= 65_535:
        raise ValueError(f"not host:port with a port from 0 to 65535: {text!r:.80}")
    return host, int(port)


def read_secret(path: Path) -> bytes:
    """The cluster secret kept in the file at `path`, without surrounding white space. Raises ConfigError."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"cluster_secret_file = {str(path)!r}: cannot be read: {error.strerror}") from error
    return _long_enough(f"the secret in {str(path)!r}", secret)


def _long_enough(field: str, secret: bytes) -> bytes:
    if len(secret) < SECRET_MIN_BYTES:
        raise ConfigError(f"{field} has {len(secret)} bytes; it must have at least {SECRET_MIN_BYTES}")
    return secret


def _bad_address(field: str, text: str) -> str | None:
    try:
        parse_address(text)
    except ValueError as error:
        return f"{field}: {error}"
    return None


def _explain(message: str, document: dict[str, Any]) -> str:
    """The decoder's message with the field first and the value last, where its path leads to one."""
    match = _PATH.search(message)
    if match is None:
        return message
    value: Any = document
    for step in match[1].split("."):
        value = value.get(step, msgspec.UNSET) if isinstance(value, dict) else msgspec.UNSET
    shown = "" if value is msgspec.UNSET or isinstance(value, dict) else f", got {value!r:.80}"
    return f"{match[1]}: {message[: match.start()]}{shown}"
