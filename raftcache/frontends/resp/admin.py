"""CONFIG GET, WAIT, and what is refused: DEBUG, SHUTDOWN."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from raftcache.commands.types import RECEIPT_WAIT_LIMIT_MS, Failure, Fate, Receipt, Version
from raftcache.frontends.resp.encoding import encode, integer
from raftcache.frontends.resp.info import matching
from raftcache.frontends.resp.parsing import BULK_LIMIT_BYTES
from raftcache.frontends.resp.spec import Args, Refused
from raftcache.frontends.resp.spec import integer as number
from raftcache.frontends.resp.state import UNPROVED_LIMIT, Client, Front

PATTERN_LIMIT_BYTES = 64
"""Of a pattern for the names of settings; none of those is half as long."""
WAIT_GRACE_S = 0.1
"""For the answer's way from the shard, beyond the time that WAIT names."""


def config_get(front: Front, client: Client, args: Args) -> bytes:
    """CONFIG GET pattern [pattern ...]: the few settings that tools ask a Redis for."""
    for pattern in args[2:]:
        if len(pattern) > PATTERN_LIMIT_BYTES:
            raise Refused(f"ERR pattern: {len(pattern)} bytes, the limit is {PATTERN_LIMIT_BYTES}")
    return encode(matching(args[2:], _settings(front), fnmatchcase), client.resp3)


def _settings(front: Front) -> dict[str, str]:
    standing = front.standing
    return {
        "databases": "1",
        "maxclients": str(standing.connections_limit),
        "maxmemory": str(standing.memory_limit_bytes),
        "maxmemory-policy": "allkeys-lru",
        "port": str(standing.tcp_port),
        "proto-max-bulk-len": str(BULK_LIMIT_BYTES),
        "save": "",
        "appendonly": "no",
        "timeout": "0",
    }


def debug(front: Front, client: Client, args: Args) -> bytes:
    """DEBUG: nobody may hold up or crash a process that serves others."""
    raise Refused("ERR DEBUG command not allowed")


def shutdown(front: Front, client: Client, args: Args) -> bytes:
    """SHUTDOWN."""
    raise Refused("ERR SHUTDOWN is not allowed: a node is stopped by whoever runs it")


def wait(front: Front, client: Client, args: Args, done: Callable[[bytes], None]) -> None:
    """WAIT numreplicas timeout: answered when all that this client wrote is committed, or is known to be lost, or the
    time is over (0: the longest there is, 30 s). The answer is the number of replicas, besides the leader, that are
    certain to have it: those that a majority needs, or 0. More are never waited for."""
    if number(args[1]) < 0:
        raise Refused("ERR value is out of range, must be positive")
    timeout_ms = number(args[2], "ERR timeout is not an integer or out of range")
    if timeout_ms < 0:
        raise Refused("ERR timeout is negative")
    asked = list(client.unproved.values())
    if client.forgot_writes:
        raise Refused(f"ERR this connection has writes of over {UNPROVED_LIMIT} shards and terms to wait for")
    certain = replicas_of_a_majority(front.backend.cluster())
    if not asked:
        return done(integer(certain))
    wait_ms = min(timeout_ms or RECEIPT_WAIT_LIMIT_MS, RECEIPT_WAIT_LIMIT_MS)

    def answered(found: list[Receipt | Failure]) -> None:
        fates = [each.fate if isinstance(each, Receipt) else Fate.PENDING for each in found]
        _strike_out(client, [each for each, fate in zip(asked, fates, strict=True) if fate != Fate.PENDING])
        done(integer(certain if all(fate == Fate.COMMITTED for fate in fates) else 0))

    front.backend.receipts(asked, wait_ms, front.runtime.now() + wait_ms / 1000 + WAIT_GRACE_S, answered)


def _strike_out(client: Client, decided: list[tuple[bytes, Version]]) -> None:
    """What is committed is proved, and what is lost has been told."""
    for asked in decided:
        client.unproved.pop((asked[1].shard, asked[1].term), None)


def replicas_of_a_majority(document: dict[str, Any]) -> int:
    """Of `GET /v1/cluster`: in the smallest shard, how many replicas make a majority with the leader."""
    return min([len(shard["replicas"]) // 2 for shard in document["shards"]], default=0)
