"""`raftcache namespace`: policies."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from raftcache.cli.api import Api
from raftcache.cli.output import add_api_command, add_command, print_json

SET_EXAMPLES = """\
  raftcache namespace set sessions --ack quorum --default-ttl 3600
  raftcache namespace set pictures --max-item-bytes 65536 --max-ttl 86400 --ttl-jitter 10
  raftcache namespace set thumbs --quota-bytes 2147483648 --eviction s3fifo --operations-per-second 5000
  raftcache namespace set carts --window-ms 200 --window-writes 500 --window-bytes none --on-exceeded wait
The whole policy is replaced: an option that is left out takes its default."""

NONE = "none"
WINDOW_HELP = {
    "ms": "loss window: age that the oldest write acknowledged and not committed may reach (default: 1000)",
    "writes": "loss window: how many such writes, over all shards (default: 10000)",
    "bytes": "loss window: their bytes, over all shards (default: 16 MiB)",
}

LIMIT_HELP = {
    "quota_bytes": "bytes that it may keep, over the cluster (default: no bound)",
    "quota_items": "keys that it may keep, over the cluster (default: no bound)",
    "weight": "its share of a node whose memory is full, beside other namespaces' weights (default: 100)",
    "operations_per_second": "over the cluster; more is answered 429 (default: no bound)",
    "bytes_per_second": "keys and values, both ways, over the cluster (default: no bound)",
    "burst_ms": "as much as is allowed in that time may come at once (default: 1000)",
}
EVICTIONS = ("lru", "lfu", "lrm", "ttl", "random", "s3fifo", "none")


def add_commands(commands: Any) -> None:
    """Add `namespace` and its commands to the parser."""
    parser = add_command(commands, "namespace", "list, set and delete namespace policies")
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    add_api_command(group, "list", list_all, "show all policies", "  raftcache namespace list -o json")
    setting = add_api_command(group, "set", set_, "create a namespace, or give it another policy", SET_EXAMPLES)
    setting.add_argument("name")
    acks = ("primary", "quorum", "durable")
    setting.add_argument("--ack", choices=acks, help="when writes are acknowledged (default: primary)")
    levels = ("latest", "committed", "linearizable")
    setting.add_argument("--read-level", choices=levels, help="default: what fits --ack")
    setting.add_argument("--replica-reads", choices=("allow", "refuse"), help="default: allow where --ack is primary")
    setting.add_argument("--default-ttl", type=float, metavar="SECONDS", help="default: keys do not expire")
    setting.add_argument("--max-ttl", type=float, metavar="SECONDS", help="no key lives longer (default: no bound)")
    jitter = "take up to so much off each time to live, so that keys do not expire together (default: 0)"
    setting.add_argument("--ttl-jitter", type=int, metavar="PERCENT", help=jitter)
    setting.add_argument("--max-item-bytes", type=int, metavar="N", help="default: 1 MiB")
    for bound, text in WINDOW_HELP.items():
        setting.add_argument(f"--window-{bound}", type=_bound, metavar="N|none", help=text)
    then = "a write without room in the window waits for its commit, waits for room, or is refused (default: quorum)"
    setting.add_argument("--on-exceeded", choices=("quorum", "wait", "reject"), help=then)
    for limit, text in LIMIT_HELP.items():
        setting.add_argument(f"--{limit.replace('_', '-')}", type=int, metavar="N", help=text)
    which = "which key goes where there is too much; none: writes are refused (default: lru)"
    setting.add_argument("--eviction", choices=EVICTIONS, help=which)
    worth = "all: every new key; tinylfu: one that is asked for more often than who would go for it (default: all)"
    setting.add_argument("--admission", choices=("all", "tinylfu"), help=worth)
    deleting = add_api_command(
        group, "delete", delete, "delete a namespace and all its keys", "  raftcache namespace delete old"
    )
    deleting.add_argument("name")
    invalidating = add_api_command(
        group, "invalidate", invalidate, "drop all keys of a namespace", "  raftcache namespace invalidate sessions"
    )
    invalidating.add_argument("name")


def list_all(args: argparse.Namespace) -> int:
    """Show every policy."""
    answer = Api(args.url).send("GET", "/v1/namespaces")
    if args.output == "json":
        print_json(answer)
    else:
        _print_table(answer["namespaces"])
    return 0


def _print_table(policies: list[dict[str, Any]]) -> None:
    from raftcache.supervisor.report import make_console, new_table

    console = make_console()
    columns = ("ack", "read level", "replica reads", "ttl", "max item bytes", "loss window", "on exceeded", "limits")
    table = new_table(console, "namespace", *columns)
    for policy in policies:
        replica_reads = "allowed" if policy["allowReplicaReads"] else "refused"
        levels = (policy["ack"], policy["readLevel"], replica_reads)
        sizes = (_shown_ttl(policy), str(policy["maxItemBytes"]))
        table.add_row(policy["name"], *levels, *sizes, *_shown_window(policy), _shown_limits(policy))
    console.print(table)


def _shown_limits(policy: dict[str, Any]) -> str:
    """Quotas and rates, where there are any, and what goes where there is too much."""
    units = {"quotaBytes": "bytes", "quotaItems": "keys", "operationsPerSecond": "ops/s", "bytesPerSecond": "bytes/s"}
    parts = [f"{policy[field]} {unit}" for field, unit in units.items() if policy[field] is not None]
    evicting = policy["eviction"] if policy["admission"] == "all" else f"{policy['eviction']} + {policy['admission']}"
    return ", ".join([*parts, evicting])


def _shown_ttl(policy: dict[str, Any]) -> str:
    """The default, the longest, and what jitter takes off."""
    default, longest, percent = (policy[name] for name in ("defaultTtlSeconds", "maxTtlSeconds", "ttlJitterPercent"))
    parts = [f"{default:g} s"] if default is not None else []
    parts += [f"at most {longest:g} s"] if longest is not None else []
    parts += [f"less up to {percent} %"] if percent else []
    return ", ".join(parts) or "-"


def _shown_window(policy: dict[str, Any]) -> tuple[str, str]:
    """The loss window and what follows where it is full; neither means anything unless writes are lost at all."""
    if policy["ack"] != "primary":
        return "-", "-"
    bounds = ", ".join(f"{value} {bound}" for bound, value in policy["lossWindow"].items() if value is not None)
    return bounds or "no bound", policy["onExceeded"] if bounds else "-"


def set_(args: argparse.Namespace) -> int:
    """Create a namespace or replace its policy."""
    given = {
        "ack": args.ack,
        "readLevel": args.read_level,
        "allowReplicaReads": None if args.replica_reads is None else args.replica_reads == "allow",
        "defaultTtlSeconds": args.default_ttl,
        "maxTtlSeconds": args.max_ttl,
        "ttlJitterPercent": args.ttl_jitter,
        "maxItemBytes": args.max_item_bytes,
        "lossWindow": _window(args),
        "onExceeded": args.on_exceeded,
        "eviction": args.eviction,
        "admission": args.admission,
        **{_camel(limit): getattr(args, limit) for limit in LIMIT_HELP},
    }
    policy = {field: value for field, value in given.items() if value is not None}
    answer = Api(args.url).send("PUT", _path(args.name), policy, expect=(200, 201))
    if args.output == "json":
        print_json(answer)
    else:
        window = {f"lossWindow.{bound}": value for bound, value in answer.pop("lossWindow").items()}
        shown = ", ".join(f"{field} {value}" for field, value in (answer | window).items() if field != "name")
        print(f"{args.name}: {shown}")
    return 0


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _bound(text: str) -> int | str:
    """An option of the loss window: a number, or the word that lifts the bound."""
    if text == NONE:
        return NONE
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or {NONE}, got {text!r}") from None


def _window(args: argparse.Namespace) -> dict[str, int | None] | None:
    """The bounds that were given; None where none was."""
    given = {bound: getattr(args, f"window_{bound}") for bound in WINDOW_HELP}
    return {bound: None if value == NONE else value for bound, value in given.items() if value is not None} or None


def delete(args: argparse.Namespace) -> int:
    """Delete a namespace."""
    Api(args.url).send("DELETE", _path(args.name), expect=(204,))
    if args.output == "json":
        print_json({"deleted": args.name})
    else:
        print(f"{args.name}: deleted, with all its keys")
    return 0


def invalidate(args: argparse.Namespace) -> int:
    """Drop all keys of a namespace."""
    answer = Api(args.url).send("POST", f"{_path(args.name)}/invalidate")
    if args.output == "json":
        print_json(answer)
    else:
        print(f"{args.name}: all its keys are dropped")
    return 0


def _path(name: str) -> str:
    return f"/v1/namespaces/{quote(name, safe='')}"
