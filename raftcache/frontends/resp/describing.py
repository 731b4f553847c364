"""COMMAND: the table, told to clients. Redis's own shapes: redis.io/docs/latest/commands/command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from raftcache.frontends.resp.encoding import Group, Status, encode, integer
from raftcache.frontends.resp.spec import Args, Local, Refused, Spec
from raftcache.frontends.resp.state import Client, Front

Table = Mapping[bytes, Spec]
_GROUP_CATEGORIES: Final = {
    "string": "@string",
    "generic": "@keyspace",
    "connection": "@connection",
    "server": "@admin",
    "transactions": "@transaction",
    "cluster": "@slow",
    "scripting": "@scripting",
}


_ALL_SHARDS: Final = "request_policy:all_shards"
_MULTI_SHARD: Final = "request_policy:multi_shard"
_SUM: Final = "response_policy:agg_sum"
_ALL_SUCCEEDED: Final = "response_policy:all_succeeded"
TIPS: Final = {
    "dbsize": (_ALL_SHARDS, _SUM),
    "del": (_MULTI_SHARD, _SUM),
    "exists": (_MULTI_SHARD, _SUM),
    "flushall": (_ALL_SHARDS, _ALL_SUCCEEDED),
    "flushdb": (_ALL_SHARDS, _ALL_SUCCEEDED),
    "info": (_ALL_SHARDS, "response_policy:special"),
    "keys": (_ALL_SHARDS,),
    "mget": (_MULTI_SHARD,),
    "mset": (_MULTI_SHARD, _ALL_SUCCEEDED),
    "ping": (_ALL_SHARDS, _ALL_SUCCEEDED),
    "randomkey": (_ALL_SHARDS, "response_policy:special"),
    "scan": ("request_policy:special", "response_policy:special"),
    "script|exists": (_ALL_SHARDS, "response_policy:agg_logical_and"),
    "script|flush": (_ALL_SHARDS, _ALL_SUCCEEDED),
    "script|load": (_ALL_SHARDS, _ALL_SUCCEEDED),
    "touch": (_MULTI_SHARD, _SUM),
    "unlink": (_MULTI_SHARD, _SUM),
    "wait": (_ALL_SHARDS, "response_policy:agg_min"),
}
"""How a cluster's client is to ask, and to put answers together. Source:
redis.io/docs/latest/develop/reference/command-tips."""


def find(table: Table, args: Args) -> Spec:
    """The row of a command, or of its subcommand. Raises Refused where there is none or the arity is wrong."""
    spec = table.get(args[0]) or table.get(args[0].upper())
    if spec is None:
        raise Refused(_unknown(args))
    if spec.subcommands and len(args) > 1:
        found = spec.subcommands.get(args[1].upper())
        if found is None:
            name = args[1][:128].decode(errors="replace")
            raise Refused(f"ERR unknown subcommand '{name}'. Try {spec.name.upper()} HELP.")
        spec = found
    if not spec.fits(len(args)):
        raise Refused(f"ERR wrong number of arguments for '{spec.name}' command")
    return spec


def _unknown(args: Args) -> str:
    """As `rejectCommandUnknown...` in Redis's server.c: the name, and arguments as long as they are short."""
    shown = ""
    for argument in args[1:]:
        if len(shown) >= 128:
            break
        shown += f"'{argument[: 128 - len(shown)].decode(errors='replace')}' "
    return f"ERR unknown command '{args[0][:128].decode(errors='replace')}', with args beginning with: {shown}"


def keys_of(spec: Spec, args: Args) -> list[bytes]:
    """The keys among a command's arguments."""
    if spec.count_at:
        count = args[spec.count_at]
        return args[spec.count_at + 1 :][: int(count) if count.isdigit() else 0]
    first, last, step = spec.keys
    if not first:
        return []
    return args[first : (len(args) + last if last < 0 else last) + 1 : step]


def rows(table: Table) -> list[Spec]:
    """Each command once, by name."""
    return sorted({spec.name: spec for spec in table.values()}.values(), key=lambda spec: spec.name)


def subcommands(table: Table) -> dict[bytes, Spec]:
    """What stands behind COMMAND; `table` is looked at only when somebody asks."""

    def listed(front: Front, client: Client, args: Args) -> bytes:
        return encode([spec.name for spec in rows(table)], client.resp3)

    def count(front: Front, client: Client, args: Args) -> bytes:
        return integer(len(rows(table)))

    def info(front: Front, client: Client, args: Args) -> bytes:
        return encode([_entry(spec) if spec else None for spec in _named(table, args[2:])], client.resp3)

    def docs(front: Front, client: Client, args: Args) -> bytes:
        return encode({spec.name: _docs(spec) for spec in _named(table, args[2:]) if spec}, client.resp3)

    def getkeys(front: Front, client: Client, args: Args) -> bytes:
        return encode(_getkeys(table, args[2:]), client.resp3)

    return {
        b"COUNT": _row("count", 2, "How many commands there are.", count),
        b"LIST": _row("list", 2, "The names of all commands.", listed),
        b"INFO": _row("info", -2, "The rows of some commands, or of all.", info),
        b"DOCS": _row("docs", -2, "What some commands do, or all.", docs),
        b"GETKEYS": _row("getkeys", -3, "The keys in a command's arguments.", getkeys),
    }


def whole(table: Table) -> Local:
    """COMMAND by itself: every row."""

    def command(front: Front, client: Client, args: Args) -> bytes:
        return encode([_entry(spec) for spec in rows(table)], client.resp3)

    return command


def help_row(container: str, rows: Iterable[Spec]) -> Spec:
    """HELP among the subcommands of a command: the others, each with what it does."""
    lines = [f"{container.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for row in rows:
        lines += [row.name.partition("|")[2].upper(), f"    {row.summary}"]
    lines += ["HELP", "    Print this help."]

    def help_(front: Front, client: Client, args: Args) -> bytes:
        return encode([Status(line) for line in lines], client.resp3)

    flags = ("loading", "stale")
    return Spec(f"{container}|help", 2, flags, "What the subcommands are.", "server", "5.0.0", local=help_)


def _row(name: str, arity: int, summary: str, local: Local) -> Spec:
    return Spec(f"command|{name}", arity, ("loading", "stale"), summary, "server", "2.8.13", local=local)


def _named(table: Table, names: Args) -> list[Spec | None]:
    return [table.get(name.upper()) for name in names] if names else list(rows(table))


def _getkeys(table: Table, args: Args) -> list[bytes]:
    spec = table.get(args[0].upper())
    if spec is None:
        raise Refused("ERR Invalid command specified")
    if not spec.keys[0] and not spec.count_at:
        raise Refused("ERR The command has no key arguments")
    if not spec.fits(len(args)):
        raise Refused("ERR Invalid number of arguments specified for command")
    return keys_of(spec, args)


def _entry(spec: Spec) -> list[object]:
    """Name, arity, flags, first key, last key, step, categories, tips, key specifications, subcommands."""
    flags, categories = Group([Status(flag) for flag in spec.flags]), Group([Status(c) for c in _categories(spec)])
    inner = [_entry(each) for each in _sorted(spec.subcommands.values())]
    tips = [Status(tip) for tip in TIPS.get(spec.name, ())]
    return [spec.name, spec.arity, flags, *spec.keys, categories, tips, [], inner]


def _sorted(specs: Iterable[Spec]) -> list[Spec]:
    return sorted(specs, key=lambda spec: spec.name)


def _categories(spec: Spec) -> list[str]:
    speed = "@fast" if "fast" in spec.flags else "@slow"
    access = [f"@{kind}" for kind, flag in (("write", "write"), ("read", "readonly")) if flag in spec.flags]
    return [*access, _GROUP_CATEGORIES[spec.group], speed]


def _docs(spec: Spec) -> dict[str, object]:
    told: dict[str, object] = {"summary": spec.summary, "since": spec.since, "group": spec.group}
    if spec.subcommands:
        told["subcommands"] = {each.name: _docs(each) for each in _sorted(spec.subcommands.values())}
    return told
