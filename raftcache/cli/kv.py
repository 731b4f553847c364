"""`raftcache kv`: read and write single keys over HTTP, and drop those that carry a tag."""

from __future__ import annotations

import argparse
import sys
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from raftcache.cli.api import JSON_TYPE, OCTETS, Answer, Api, checked, key_path
from raftcache.cli.output import Failed, add_api_command, add_command, print_json

DURABILITIES, CONSISTENCIES = ("primary", "quorum", "durable"), ("latest", "committed", "linearizable")

SET_EXAMPLES = """\
  raftcache kv set greeting '"hello"'
  raftcache kv set user:7 '{"name": "Ada"}' --ttl 300
  raftcache kv set --namespace safe balance 100 --if-absent
  raftcache kv set picture --raw - < picture.png
  raftcache kv set page:7 '"<html>"' --tag user:7 --tag front-page
A VALUE that is no JSON is stored as a JSON string. With --raw it is stored byte by byte; "-" reads standard input."""


def add_commands(commands: Any) -> None:
    """Add `kv` and its commands to the parser."""
    group = add_command(commands, "kv", "read and write keys").add_subparsers(metavar="COMMAND", required=True)
    _add_get(group)
    _add_set(group)
    _add_del(group)
    _add_incr(group)
    _add_expire(group)
    _add_mget(group)
    _add_invalidate_tag(group)


def _add(group: Any, name: str, run: Any, summary: str, examples: str, *, writes: bool) -> argparse.ArgumentParser:
    parser = add_api_command(group, name, run, summary, examples)
    parser.add_argument("--namespace", default="default", metavar="NAME", help="default: default")
    if writes:
        parser.add_argument("--durability", choices=DURABILITIES, help="at least the namespace's own, which is default")
        parser.add_argument(
            "--idempotency-key", type=_printable, metavar="KEY", help="a retry with the same KEY is executed only once"
        )
    else:
        parser.add_argument("--consistency", choices=CONSISTENCIES, help="at least the namespace's own, the default")
        parser.add_argument("--replica", action="store_true", help="any replica may answer")
        parser.add_argument("--min-version", metavar="VERSION", help="with --replica: a state that holds this version")
        parser.add_argument("--max-staleness", type=int, metavar="MS", help="with --replica: no state older than this")
    return parser


def _add_get(group: Any) -> None:
    examples = (
        "  raftcache kv get greeting\n  raftcache kv get picture --raw > picture.png\n"
        "  raftcache kv get greeting --replica --max-staleness 500"
    )
    parser = _add(group, "get", get, "read one key; exit code 1 on a miss", examples, writes=False)
    parser.add_argument("key")
    parser.add_argument("--raw", action="store_true", help="write the bytes as they are stored")


def _add_set(group: Any) -> None:
    parser = _add(group, "set", set_, "write one key", SET_EXAMPLES, writes=True)
    parser.add_argument("key")
    parser.add_argument("value")
    parser.add_argument("--raw", action="store_true", help="store VALUE byte by byte")
    parser.add_argument("--ttl", type=float, metavar="SECONDS", help="default: the namespace's")
    parser.add_argument(
        "--tag", action="append", dest="tags", metavar="TAG", help="a family to be dropped with; may be repeated"
    )
    parser.add_argument("--if-version", metavar="VERSION", help="write only over this version")
    parser.add_argument("--if-absent", action="store_true", help="write only where nothing is")


def _add_del(group: Any) -> None:
    parser = _add(group, "del", delete, "delete one key", "  raftcache kv del greeting", writes=True)
    parser.add_argument("key")
    parser.add_argument("--if-version", metavar="VERSION", help="delete only this version")


def _add_incr(group: Any) -> None:
    examples = "  raftcache kv incr visits\n  raftcache kv incr visits -- -3"
    parser = _add(group, "incr", incr, "add to a counter", examples, writes=True)
    parser.add_argument("key")
    parser.add_argument("delta", type=int, nargs="?", default=1, help="default: 1")
    parser.add_argument("--ttl", type=float, metavar="SECONDS", help="for a new counter")


def _add_expire(group: Any) -> None:
    examples = "  raftcache kv expire greeting 60\n  raftcache kv expire greeting never"
    parser = _add(group, "expire", expire, "change a key's time to live", examples, writes=True)
    parser.add_argument("key")
    parser.add_argument("ttl", type=_seconds_or_never, metavar="SECONDS|never")


def _add_mget(group: Any) -> None:
    parser = _add(group, "mget", mget, "read many keys", "  raftcache kv mget a b c", writes=False)
    parser.add_argument("keys", nargs="+", metavar="key")


def _add_invalidate_tag(group: Any) -> None:
    examples = "  raftcache kv invalidate-tag user:7\n  raftcache kv invalidate-tag --namespace pages front-page"
    summary = "drop the keys that were set with a tag"
    parser = add_api_command(group, "invalidate-tag", invalidate_tag, summary, examples)
    parser.add_argument("--namespace", default="default", metavar="NAME", help="default: default")
    parser.add_argument("tag")


def _seconds_or_never(text: str) -> float | None:
    return None if text == "never" else float(text)


def _printable(text: str) -> str:
    if not (text.isascii() and text.isprintable() and text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not of printable ASCII characters")
    return text


def get(args: argparse.Namespace) -> int:
    """Print a value, or fail on a miss."""
    raw = args.raw and args.output == "text"
    path = _with_query(_path(args), **_read_options(args))
    answer = Api(args.url).call("GET", path, headers={"Accept": OCTETS if raw else JSON_TYPE})
    if is_miss(answer):
        if args.output == "json":
            print_json(answer.json())
            return 1
        raise Failed(f"miss: {args.namespace}/{args.key}")
    checked(answer, (200,))
    if raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(answer.body)
        sys.stdout.buffer.flush()
    else:
        print_json(answer.json() if args.output == "json" else answer.json()["value"])
    return 0


def is_miss(answer: Answer) -> bool:
    """Whether a 404 says that the key is not there, rather than that its namespace is not."""
    return answer.status == 404 and answer.json().get("hit") is False


def set_(args: argparse.Namespace) -> int:
    """Write a value; a condition that did not hold is a failure."""
    options = {
        "ttlSeconds": args.ttl,
        "ifVersion": args.if_version,
        "ifAbsent": True if args.if_absent else None,
        "durability": args.durability,
    }
    if args.raw:
        options["tags"] = ",".join(args.tags) if args.tags else None
        body, headers = _raw_value(args.value), {"Content-Type": OCTETS, **_idempotency(args)}
        answer = Api(args.url).call("PUT", _with_query(_path(args), **options), body, headers)
    else:
        document = {"value": json_value(args.value), **_given({**options, "tags": args.tags})}
        answer = Api(args.url).call(
            "PUT", _path(args), msgspec.json.encode(document), {"Content-Type": JSON_TYPE, **_idempotency(args)}
        )
    return _written(args, answer, 201)


def json_value(text: str) -> Any:
    """VALUE as JSON where it is JSON, else as a JSON string."""
    try:
        return msgspec.Raw(text.encode()) if _is_json(text) else text
    except UnicodeEncodeError as error:
        raise Failed(f"VALUE is not UTF-8: use --raw ({error})") from error


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return False
    return True


def _raw_value(text: str) -> bytes:
    return sys.stdin.buffer.read() if text == "-" else _bytes(text)


def delete(args: argparse.Namespace) -> int:
    """Delete a key, whether it was there or not."""
    path = _with_query(_path(args), ifVersion=args.if_version, durability=args.durability)
    return _written(args, Api(args.url).call("DELETE", path, headers=_idempotency(args)), 204)


def _written(args: argparse.Namespace, answer: Answer, expect: int) -> int:
    """Show a write's answer; 409 means that its condition did not hold."""
    checked(answer, (expect, 409))
    document = answer.json()
    if document is None:
        headers = ("raftcache-version", "raftcache-durability")
        document = dict(zip(("version", "durability"), (answer.headers.get(name) for name in headers), strict=True))
    if args.output == "json":
        print_json(document)
    elif answer.status == 409 and "error" not in document:
        raise Failed(f"not written: the key is at {document.get('currentVersion') or 'no version: it is not there'}")
    else:
        checked(answer, (expect,))
        print(f"{document['version']} ({document['durability']})")
    return 0 if answer.status == expect else 1


def incr(args: argparse.Namespace) -> int:
    """Print the counter after the addition."""
    return _post(args, "incr", {"delta": args.delta, "ttlSeconds": args.ttl}, "value")


def expire(args: argparse.Namespace) -> int:
    """Change the time to live; exit code 1 where the key is not there."""
    return _post(args, "expire", {}, "applied", ttlSeconds=args.ttl)


def _post(args: argparse.Namespace, call: str, options: dict[str, Any], show: str, **always: Any) -> int:
    given = _given({**options, "durability": args.durability})
    body = {"namespace": args.namespace, "key": args.key, **given, **always}
    answer = Api(args.url).send("POST", f"/v1/cache/{call}", body, headers=_idempotency(args))
    if args.output == "json":
        print_json(answer)
    elif answer[show] is False:
        raise Failed(f"not there: {args.namespace}/{args.key}")
    else:
        print(f"{'applied' if answer[show] is True else answer[show]} {answer['version']} ({answer['durability']})")
    return 1 if answer[show] is False else 0


def _idempotency(args: argparse.Namespace) -> dict[str, str]:
    """The header that makes a retry harmless, where the command line names a key."""
    return {} if args.idempotency_key is None else {"Idempotency-Key": args.idempotency_key}


def mget(args: argparse.Namespace) -> int:
    """Print one line a key: the key, a tab, and its value as JSON, or nothing on a miss."""
    body = {"namespace": args.namespace, "keys": args.keys, **_given(_read_options(args))}
    answer = Api(args.url).send("POST", "/v1/cache/batch/get", body)
    if args.output == "json":
        print_json(answer)
        return 0
    failed = False
    for result in answer["results"]:
        failed = failed or "error" in result
        print(f"{result['key']}\t{_shown(result)}")
    return 1 if failed else 0


def invalidate_tag(args: argparse.Namespace) -> int:
    """Drop a family."""
    path = f"/v1/cache/{quote(args.namespace, safe='')}/tags/{quote(args.tag, safe='')}/invalidate"
    answer = Api(args.url).send("POST", path)
    if args.output == "json":
        print_json(answer)
    else:
        print(f"{args.namespace}: all keys with the tag {args.tag} are dropped")
    return 0


def _shown(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"error: {result['error'].get('message')}"
    return msgspec.json.encode(result["value"]).decode() if result["hit"] else ""


def _path(args: argparse.Namespace) -> str:
    return key_path(args.namespace, _bytes(args.key))


def _bytes(argument: str) -> bytes:
    """The bytes of a command-line argument, also where they are no UTF-8."""
    return argument.encode(errors="surrogateescape")


def _read_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "consistency": args.consistency,
        "readPreference": "replica" if args.replica else None,
        "minVersion": args.min_version,
        "maxStalenessMs": args.max_staleness,
    }


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _with_query(path: str, **options: Any) -> str:
    given = {name: str(value).lower() if value is True else value for name, value in _given(options).items()}
    return f"{path}?{urlencode(given)}" if given else path
