"""INFO: what the port knows of itself, in the sections and the names of Redis's, so that redis_exporter reads it. What
this process does not know is left out rather than made up, but for what exporters cannot do without.

How many keys there are is for shards to say: those that DBSIZE asks. Where one of them does not answer soon, the line
is left out, as it is where there are none. `avg_ttl`, of which Redis takes a sample, is always 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raftcache import __version__
from raftcache.compiled import is_compiled
from raftcache.frontends.resp.encoding import Verbatim, encode
from raftcache.frontends.resp.scanning import COUNT_TIMEOUT_S, Done, count
from raftcache.frontends.resp.spec import Args
from raftcache.frontends.resp.state import REDIS_VERSION, Client, Front

Fields = dict[str, object]
_ALL = (b"ALL", b"EVERYTHING")
_DEFAULT = b"DEFAULT"
_EXTRA = ("Commandstats", "Errorstats")
"""Sections that are not shown unless asked for."""
_KEYSPACE = "Keyspace"


def info(front: Front, client: Client, args: Args, done: Done) -> None:
    """INFO [section ...]."""
    names, resp3 = _chosen(args), client.resp3
    if _KEYSPACE not in names:
        return done(_shown(front, names, {}, resp3))
    count(
        front,
        lambda keys, expiring: done(_shown(front, names, _keys(keys, expiring), resp3)),
        lambda _failure: done(_shown(front, names, {}, resp3)),
        COUNT_TIMEOUT_S,
    )


def info_at_once(front: Front, client: Client, args: Args) -> bytes:
    """INFO [section ...] in a block, where no shard is asked: without the keys."""
    return _shown(front, _chosen(args), {}, client.resp3)


def _keys(keys: int, expiring: int) -> Fields:
    return {"db0": f"keys={keys},expires={expiring},avg_ttl=0"} if keys else {}


def _chosen(args: Args) -> list[str]:
    asked = [word.upper() for word in args[1:]] or [_DEFAULT]
    return [
        name
        for name in SECTIONS
        if name.upper().encode() in asked
        or any(word in _ALL for word in asked)
        or (_DEFAULT in asked and name not in _EXTRA)
    ]


def _shown(front: Front, names: Iterable[str], keyspace: Fields, resp3: bool) -> bytes:
    sections = [_section(name, keyspace if name == _KEYSPACE else SECTIONS[name](front)) for name in names]
    return encode(Verbatim("\r\n".join(sections)), resp3)


def _section(name: str, fields: Fields) -> str:
    return f"# {name}\r\n" + "".join([f"{field}:{value}\r\n" for field, value in fields.items()])


def _server(front: Front) -> Fields:
    standing, uptime_s = front.standing, int(front.runtime.now() - front.started_s)
    return {
        "redis_version": REDIS_VERSION,
        "redis_mode": "cluster" if front.is_cluster else "standalone",
        "raftcache_version": __version__,
        "raftcache_compiled": int(is_compiled()),
        "raftcache_node": standing.node_id,
        "arch_bits": 64,
        "process_id": standing.process_id,
        "run_id": standing.run_id,
        "tcp_port": standing.tcp_port,
        "server_time_usec": front.runtime.wall_ms() * 1000,
        "uptime_in_seconds": uptime_s,
        "uptime_in_days": uptime_s // 86_400,
    }


def _clients(front: Front) -> Fields:
    limit = front.standing.connections_limit
    return {"connected_clients": len(front.clients), "maxclients": limit, "blocked_clients": 0}


def _memory(front: Front) -> Fields:
    used = front.standing.used_bytes()
    return {
        "used_memory": used,
        "used_memory_rss": used,
        "maxmemory": front.standing.memory_limit_bytes,
        "maxmemory_policy": "allkeys-lru",
    }


def _persistence(front: Front) -> Fields:
    return {"loading": 0}


def _stats(front: Front) -> Fields:
    metrics = front.metrics
    return {
        "total_connections_received": metrics.accepted,
        "total_commands_processed": sum(metrics.calls.values()),
        "total_net_input_bytes": metrics.received_bytes,
        "total_net_output_bytes": metrics.sent_bytes,
        "rejected_connections": metrics.turned_away,
        "total_error_replies": sum(metrics.errors.values()),
    }


def _replication(front: Front) -> Fields:
    return {"role": "master", "connected_slaves": 0, "master_replid": front.standing.run_id, "master_repl_offset": 0}


def _commandstats(front: Front) -> Fields:
    """Calls are counted and not timed: `usec` is there because exporters want the field."""
    calls, rejected = front.metrics.calls, front.metrics.rejected
    untimed = "usec=0,usec_per_call=0.00"
    return {
        f"cmdstat_{name}": f"calls={calls[name]},{untimed},rejected_calls={rejected[name]},failed_calls=0"
        for name in sorted(calls)
    }


def _errorstats(front: Front) -> Fields:
    return {f"errorstat_{prefix}": f"count={count}" for prefix, count in sorted(front.metrics.errors.items())}


def _cluster(front: Front) -> Fields:
    return {"cluster_enabled": int(front.is_cluster)}


def _keyspace(front: Front) -> Fields:
    """What shards said comes in its place."""
    return {}


SECTIONS: dict[str, Callable[[Front], Fields]] = {
    "Server": _server,
    "Clients": _clients,
    "Memory": _memory,
    "Persistence": _persistence,
    "Stats": _stats,
    "Replication": _replication,
    "Commandstats": _commandstats,
    "Errorstats": _errorstats,
    "Cluster": _cluster,
    _KEYSPACE: _keyspace,
}


def role(front: Front, client: Client, args: Args) -> bytes:
    """ROLE: a standalone server without replicas of its own, as far as a client is concerned."""
    return encode(["master", 0, []], client.resp3)


def matching(patterns: Iterable[bytes], settings: dict[str, str], fits: Callable[[str, str], bool]) -> dict[str, str]:
    """The settings that any of the patterns fits."""
    wanted = [pattern.decode(errors="replace").lower() for pattern in patterns]
    return {name: value for name, value in settings.items() if any(fits(name, each) for each in wanted)}
