"""How a key is used, as far as the eviction of its namespace keeps that.

Orders are kept by the leader and by followers alike, from half of a namespace's quota on (`upkeep`), and only the
leader knows of every read. So the leader is asked. The answer shows whether the key is there, and waits for what a read
of it waits for. It is no use of the key: it moves it in no order, and counts as neither hit nor miss.
"""

from __future__ import annotations

from raftcache.commands.policy import Namespace
from raftcache.commands.table import check_usage
from raftcache.commands.types import Usage, Used
from raftcache.shard.executor import LATEST, LINEARIZABLE, PRIMARY, Answer, Executor


def usage(ex: Executor, command: Usage) -> Answer:
    """Say it. Raises InvalidKey, Overloaded."""
    key = command.key
    namespace = ex.resolve(command)
    level = check_usage(command, namespace)
    if level == LINEARIZABLE:
        ex.pipeline.admit()
    used = _used(ex, key, namespace)
    if level == LATEST:
        return used, PRIMARY
    return used, ex.read_waits(key, level)[0]


def _used(ex: Executor, key: bytes, namespace: Namespace) -> Used:
    eviction, admission = namespace.eviction.value, namespace.admission.value
    if ex.lookup(key, namespace, counts=False) is None:
        return Used(False, eviction, admission)
    order, now_ms = ex.keyspace.tenants.get(namespace.id).order, ex.now_ms()
    if order is None:
        return Used(True, eviction, admission)
    return Used(True, eviction, admission, order.frequency(key, now_ms), order.idle_s(key, now_ms))
