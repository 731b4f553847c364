"""The table of the Redis protocol's commands. Flags, arities and key positions are Redis's own (`COMMAND INFO`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.frontends.resp import (
    admin,
    clients,
    clustering,
    connection,
    describing,
    expiry,
    info,
    keys,
    own,
    scanning,
    scripting,
    strings,
    transactions,
)
from raftcache.frontends.resp.expiry import MILLISECOND, SECOND_MS
from raftcache.frontends.resp.spec import Args, Later, Local, Plan, Quick, Run, Spec, Together

_READ, _FAST_READ = ("readonly",), ("readonly", "fast")
_WRITE, _FAST_WRITE = ("write", "denyoom"), ("write", "denyoom", "fast")
_CHANGE = ("write", "fast")
_ANY = ("loading", "stale", "fast")
_ADMIN = ("admin", "noscript", "loading", "stale")
Places = tuple[int, int, int]
_ONE, _ALL, _PAIRS = (1, 1, 1), (1, -1, 1), (1, -1, 2)


def _string(
    name: str,
    arity: int,
    flags: tuple[str, ...],
    since: str,
    plan: Plan,
    summary: str,
    keys: Places = _ONE,
    quick: Quick | None = None,
    run: Run | None = None,
    together: Together | None = None,
) -> Spec:
    return Spec(
        name, arity, flags, summary, "string", since, keys, plan=plan, quick=quick, run=run, together=together
    )


def _counter(name: str, arity: int, delta_of: Callable[[Args], int], summary: str) -> Spec:
    plan, run = strings.incr(delta_of), strings.incr_run(delta_of)
    return _string(name, arity, _FAST_WRITE, "1.0.0", plan, summary, run=run)


def _key(
    name: str, arity: int, flags: tuple[str, ...], since: str, plan: Plan, summary: str, keys: Places = _ONE
) -> Spec:
    return Spec(name, arity, flags, summary, "generic", since, keys, plan=plan)


def _own(
    name: str, arity: int, flags: tuple[str, ...], summary: str, plan: Plan | None = None, later: Later | None = None
) -> Spec:
    return Spec(name, arity, flags, summary, "string", "7.4.0", _ONE, plan=plan, later=later)


def _local(name: str, arity: int, flags: tuple[str, ...], since: str, local: Local, summary: str) -> Spec:
    at_once = name in ("quit", "reset")
    group = "server" if "admin" in flags or name in ("command", "time", "role") else "connection"
    return Spec(name, arity, flags, summary, group, since, local=local, at_once=at_once)


def _container(name: str, since: str, summary: str, rows: tuple[Spec, ...], group: str = "connection") -> Spec:
    rows = (*rows, describing.help_row(name, rows))
    inner = {row.name.partition("|")[2].upper().encode(): row for row in rows}
    return Spec(name, -2, (), summary, group, since, subcommands=inner)


_STRINGS = (
    _string(
        "get", 2, _FAST_READ, "1.0.0", strings.get, "The value of a key.",
        run=strings.get_run, together=strings.gets_together,
    ),
    _string(
        "set", -3, _WRITE, "1.0.0", strings.set_, "Write a key.", run=strings.set_run, together=strings.sets_together
    ),
    _string("setex", 4, _WRITE, "2.0.0", strings.setex("setex", SECOND_MS), "Write a key that lives some seconds."),
    _string("psetex", 4, _WRITE, "2.6.0", strings.setex("psetex", MILLISECOND), "The same in milliseconds."),
    _string("setnx", 3, _FAST_WRITE, "1.0.0", strings.setnx, "Write a key that is not there."),
    _string("getset", 3, _FAST_WRITE, "1.0.0", strings.getset, "Write a key, and say what it held."),
    _string("getdel", 2, _CHANGE, "6.2.0", strings.getdel, "Remove a key, and say what it held."),
    _string("getex", -2, _CHANGE, "6.2.0", strings.getex, "The value of a key, and another time to live for it."),
    _string("append", 3, _FAST_WRITE, "2.0.0", strings.append, "Add to the end of a value."),
    _string("mget", -2, _FAST_READ, "1.0.0", strings.mget, "The values of keys.", _ALL, strings.mget_now),
    _string("mset", -3, _WRITE, "1.0.1", strings.mset, "Write keys, each by itself.", _PAIRS),
    _string("msetnx", -3, _WRITE, "1.0.1", transactions.msetnx, "Write keys of one slot, if none is there.", _PAIRS),
    _string("strlen", 2, _FAST_READ, "2.2.0", strings.strlen, "The length of a value."),
    _string("getrange", 4, _READ, "2.4.0", strings.getrange, "A part of a value."),
    _counter("incr", 2, strings.incr_delta, "Add one to a counter."),
    _counter("decr", 2, strings.decr_delta, "Take one from a counter."),
    _counter("incrby", 3, strings.incrby_delta, "Add to a counter."),
    _counter("decrby", 3, strings.decrby_delta, "Take from a counter."),
)

_KEYS = (
    _key("del", -2, ("write",), "1.0.0", keys.delete, "Remove keys.", _ALL),
    _key("unlink", -2, _CHANGE, "4.0.0", keys.delete, "Remove keys.", _ALL),
    _key("exists", -2, _FAST_READ, "1.0.0", keys.exists, "How many of the keys are there.", _ALL),
    _key("touch", -2, _FAST_READ, "3.2.1", keys.exists, "The same: a look counts as a use.", _ALL),
    _key("type", 2, _FAST_READ, "1.0.0", keys.type_, "string, or none."),
    _key("expire", -3, _CHANGE, "1.0.0", expiry.expire("expire", SECOND_MS, False), "Let a key live some seconds."),
    _key("pexpire", -3, _CHANGE, "2.6.0", expiry.expire("pexpire", MILLISECOND, False), "Some milliseconds."),
    _key("expireat", -3, _CHANGE, "1.2.0", expiry.expire("expireat", SECOND_MS, True), "Up to a Unix time."),
    _key("pexpireat", -3, _CHANGE, "2.6.0", expiry.expire("pexpireat", MILLISECOND, True), "The same in milliseconds."),
    _key("ttl", 2, _FAST_READ, "1.0.0", expiry.ttl(SECOND_MS), "How many seconds a key has left."),
    _key("pttl", 2, _FAST_READ, "2.6.0", expiry.ttl(MILLISECOND), "How many milliseconds."),
    _key("expiretime", 2, _FAST_READ, "7.0.0", expiry.expire_time(SECOND_MS), "The Unix time at which a key expires."),
    _key("pexpiretime", 2, _FAST_READ, "7.0.0", expiry.expire_time(MILLISECOND), "The same in milliseconds."),
    _key("persist", 2, _CHANGE, "2.2.0", expiry.persist, "Take a key's time to live away."),
)

_OWN = (
    _own("rc.set", -3, _WRITE, "Write a key, at an ack level, and say all about it.", own.set_),
    _own("rc.version", 2, _FAST_READ, "The version of what a key holds.", own.version),
    _own("rc.receipt", -3, _READ, "What became of a write.", later=own.receipt),
)

_CLIENT = _container(
    "client",
    "2.4.0",
    "About connections.",
    (
        _local("client|setname", 3, _ANY, "2.6.9", clients.setname, "Name this connection."),
        _local("client|getname", 2, _ANY, "2.6.9", clients.getname, "The name of this connection."),
        _local("client|setinfo", 4, _ANY, "7.2.0", clients.setinfo, "Say which library this is."),
        _local("client|id", 2, _ANY, "5.0.0", clients.id_, "The number of this connection."),
        _local("client|info", 2, _ANY, "6.2.0", clients.info, "All about this connection."),
        _local("client|list", -2, _ADMIN, "2.4.0", clients.list_, "All about all connections of this port."),
        _local("client|no-evict", 3, _ADMIN, "7.0.0", clients.no_evict, "Without effect."),
    ),
)
_CONFIG = _container(
    "config",
    "2.0.0",
    "Settings.",
    (_local("config|get", -3, _ADMIN, "2.0.0", admin.config_get, "Settings that tools ask for."),),
    "server",
)



def _about(name: str, arity: int, since: str, plan: Plan, summary: str) -> Spec:
    return _key(name, arity, ("readonly",), since, plan, summary, (2, 2, 1))


_MEMORY = _container(
    "memory",
    "4.0.0",
    "About memory.",
    (_about("memory|usage", -3, "4.0.0", keys.memory_usage, "What a key is charged."),),
    "server",
)
_OBJECT = _container(
    "object",
    "2.2.3",
    "About values.",
    (
        _about("object|encoding", 3, "2.2.3", keys.object_encoding, "int, embstr or raw."),
        _about("object|refcount", 3, "2.2.3", keys.object_refcount, "1."),
        _about("object|freq", 3, "4.0.0", keys.object_freq, "How often a key is used."),
        _about("object|idletime", 3, "2.2.3", keys.object_idletime, "For how many seconds it was not used."),
    ),
    "generic",
)

_INFO = Spec(
    "info",
    -1,
    ("loading", "stale"),
    "About this port, in sections.",
    "server",
    "1.0.0",
    local=info.info_at_once,
    later=info.info,
)

_CONNECTION = (
    _local("ping", -1, ("fast",), "1.0.0", connection.ping, "PONG, or what is sent."),
    _local("echo", 2, _ANY, "1.0.0", connection.echo, "What is sent."),
    _local("select", 2, _ANY, "1.0.0", connection.select, "Choose database 0, the only one."),
    _local("quit", -1, _ANY, "1.0.0", connection.quit_, "Close the connection."),
    _local("reset", 1, _ANY, "6.2.0", connection.reset, "Be as a new connection."),
    _local("auth", -2, _ANY, "1.0.0", connection.auth, "Log in."),
    _local("hello", -1, _ANY, "6.0.0", connection.hello, "Choose the protocol."),
    _local("time", 1, _ANY, "2.6.0", connection.time_, "This process's clock."),
    _local("role", 1, _ANY, "2.8.12", info.role, "master."),
    _INFO,
    _local("debug", -2, _ADMIN, "1.0.0", admin.debug, "Refused."),
    _local("shutdown", -1, _ADMIN, "1.0.0", admin.shutdown, "Refused."),
)


def _all(name: str, arity: int, flags: tuple[str, ...], since: str, later: Later, summary: str) -> Spec:
    return Spec(name, arity, flags, summary, "generic", since, later=later)


_KEYSPACE = (
    _all("scan", -2, ("readonly",), "2.8.0", scanning.scan, "Some keys, and where to go on."),
    _all("keys", 2, ("readonly",), "1.0.0", scanning.keys, "All keys that are like a pattern."),
    _all("dbsize", 1, _FAST_READ, "1.0.0", scanning.dbsize, "How many keys there are."),
    _all("randomkey", 1, ("readonly",), "1.0.0", scanning.randomkey, "Some key."),
    _all("flushdb", -1, ("write",), "1.0.0", scanning.flush, "Drop all keys."),
    _all("flushall", -1, ("write",), "1.0.0", scanning.flush, "Drop all keys."),
)


def _cluster(name: str, arity: int, since: str, summary: str, **how: Any) -> Spec:
    return Spec(f"cluster|{name}", arity, ("loading", "stale"), summary, "cluster", since, **how)


_CLUSTER = _container(
    "cluster",
    "3.0.0",
    "About the cluster.",
    (
        _cluster("slots", 2, "3.0.0", "Which node serves which slots.", local=clustering.slots),
        _cluster("shards", 2, "7.0.0", "The nodes with their slots.", local=clustering.shards),
        _cluster("nodes", 2, "3.0.0", "The same, a line a node.", local=clustering.nodes),
        _cluster("info", 2, "3.0.0", "Whether all slots are served.", local=clustering.info),
        _cluster("myid", 2, "3.0.0", "This node's id.", local=clustering.myid),
        _cluster("keyslot", 3, "3.0.0", "The slot of a key.", local=clustering.keyslot),
        _cluster("countkeysinslot", 3, "3.0.0", "How many keys a slot has.", later=clustering.countkeysinslot),
        _cluster("getkeysinslot", 4, "3.0.0", "Some keys of a slot.", later=clustering.getkeysinslot),
        _cluster("count-failure-reports", 3, "3.0.0", "0.", local=clustering.failure_reports),
    ),
    "cluster",
)
_OF_CLUSTERS = tuple(
    Spec(name, 1, ("loading", "stale", "fast"), summary, "cluster", "3.0.0", local=local, at_once=True)
    for name, summary, local in (
        ("readonly", "Let this node's replicas answer reads.", clustering.readonly),
        ("readwrite", "Take that back.", clustering.readwrite),
        ("asking", "Without effect.", clustering.asking),
    )
)
_TRANSACTION = ("noscript", "loading", "stale", "fast")


def _block(name: str, arity: int, since: str, summary: str, **how: Any) -> Spec:
    return Spec(name, arity, _TRANSACTION, summary, "transactions", since, at_once=True, **how)


_BLOCKS = (
    _block("multi", 1, "1.2.0", "Put off what follows, to EXEC.", local=transactions.multi),
    _block("exec", 1, "1.2.0", "Execute what was put off.", later=transactions.exec_, alone=True),
    _block("discard", 1, "2.0.0", "Forget what was put off.", local=transactions.discard),
    _block(
        "watch", -2, "2.2.0", "Let EXEC do nothing where keys change.", later=transactions.watch, alone=True, keys=_ALL
    ),
    _block("unwatch", 1, "2.2.0", "Watch no key any more.", local=transactions.unwatch),
)


def _eval(name: str, since: str, by_sha: bool, read_only: bool, summary: str) -> Spec:
    flags = ("noscript", "movablekeys", *(("readonly",) if read_only else ()))
    plan = scripting.script_of(by_sha, read_only)
    return Spec(name, -3, flags, summary, "scripting", since, later=scripting.eval_(plan), count_at=2, script=plan)


def _script(name: str, arity: int, since: str, local: Local, summary: str) -> Spec:
    return Spec(f"script|{name}", arity, ("noscript",), summary, "scripting", since, local=local)


_SCRIPTS = (
    _eval("eval", "2.6.0", False, False, "Run a script."),
    _eval("evalsha", "2.6.0", True, False, "Run a script that was sent before."),
    _eval("eval_ro", "7.0.0", False, True, "Run a script that may not write."),
    _eval("evalsha_ro", "7.0.0", True, True, "Run one that was sent before and may not write."),
    _container(
        "script",
        "2.6.0",
        "About scripts.",
        (
            _script("load", 3, "2.6.0", scripting.load, "Keep a script for EVALSHA."),
            _script("exists", -3, "2.6.0", scripting.exists, "Whether EVALSHA would find scripts."),
            _script("flush", -2, "2.6.0", scripting.flush, "Forget all scripts."),
            _script("kill", 2, "2.6.0", scripting.kill, "Refused: none runs."),
        ),
        "scripting",
    ),
)
_WAITING = "Wait until this connection's writes are committed."
_WAIT = Spec("wait", 3, (), _WAITING, "generic", "3.0.0", later=admin.wait, alone=True)

TABLE: dict[bytes, Spec] = {}
"""By name, in capitals and without: in what other way it is written costs one more look."""


def _fill() -> None:
    command = Spec(
        "command",
        -1,
        ("loading", "stale"),
        "This table.",
        "server",
        "2.8.13",
        local=describing.whole(TABLE),
        subcommands=describing.subcommands(TABLE),
    )
    containers = (_CLIENT, _CLUSTER, _CONFIG, _MEMORY, _OBJECT, _WAIT, command)
    for spec in (*_STRINGS, *_KEYS, *_KEYSPACE, *_OWN, *_CONNECTION, *_BLOCKS, *_OF_CLUSTERS, *_SCRIPTS, *containers):
        TABLE[spec.name.encode()] = TABLE[spec.name.upper().encode()] = spec


_fill()
