"""The operations of `asking` as requests of the HTTP interface, and its answers as completions. Pure.

The status says which class an answer is of, the code in it which error; what an error means for the outcome stands in
the one table of `raftcache.errors`, and nowhere here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from jepsen_like.asking import Completion, Request
from jepsen_like.history import CONDITION
from jepsen_like.targets.commands import failed
from raftcache.cli.api import key_path
from raftcache.cli.keepalive import Response
from raftcache.errors import class_of
from raftcache.frontends.http.cache import CONSISTENCY_HEADER, DURABILITY_HEADER, VERSION_HEADER
from raftcache.frontends.http.intake import IDEMPOTENCY_HEADER, TIMEOUT_HEADER

READ_OPTIONS = ("readPreference", "minVersion", "maxStalenessMs")
BATCH = "/v1/cache/batch"
MESSAGE_CHARACTERS = 200


Encoded = tuple[bytes, bytes, bytes, bytes]
"""Method, path, header lines and body."""


class Asked(NamedTuple):
    """One request: the body's document, or None for no body."""

    method: bytes
    path: str
    document: Any = None
    headers: Mapping[str, str] = {}

    def encoded(self, timeout_ms: int) -> Encoded:
        """As it is sent."""
        headers = {"Content-Type": "application/json", TIMEOUT_HEADER: str(timeout_ms), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body = b"" if self.document is None else msgspec.json.encode(self.document)
        return self.method, self.path.encode(), lines.encode(), body


def asked_of(request: Request) -> Asked:
    """Raises KeyError where there is no such operation."""
    return _REQUESTS[request.name](request)


def wait_ms(request: Request) -> int:
    """For how long the answer may be held back, on top of the time limit that a request names."""
    return int(request.details.get("waitMs", 0)) if request.name == "receipt" else 0


def completion_of(request: Request, response: Response) -> Completion:
    """How the operation ended."""
    try:
        document = msgspec.json.decode(response.body) if response.body else {}
    except msgspec.DecodeError:
        return failed("malformed_answer", f"{response.status}: {response.body[:MESSAGE_CHARACTERS]!r}")
    if "error" in document:
        return _error(document["error"])
    if response.status == 409:
        return _condition(response, document)
    return _ANSWERS[request.name](request, response, document)


def _error(error: Mapping[str, Any]) -> Completion:
    known = failed(str(error.get("code", "")), str(error.get("message", ""))[:MESSAGE_CHARACTERS])
    return msgspec.structs.replace(known, version=str(error.get("version") or ""))


def _condition(response: Response, document: Mapping[str, Any]) -> Completion:
    details, level = {"current": document["currentVersion"] or ""}, response.header(DURABILITY_HEADER)
    return Completion(kind="fail", error=CONDITION, level=level, details=details)


# -- requests ----------------------------------------------------------------------------------------


def split(key: str) -> tuple[str, str]:
    """Namespace and key."""
    namespace, _, name = key.partition(":")
    return namespace, name


def _path(request: Request) -> str:
    namespace, name = split(request.key)
    return key_path(namespace, name.encode())


def _query(path: str, **values: Any) -> str:
    given = {name: value for name, value in values.items() if value is not None and value != ""}
    return f"{path}?{urlencode(given)}" if given else path


def _read_options(request: Request) -> dict[str, Any]:
    options = {name: request.details[name] for name in READ_OPTIONS if request.details.get(name) is not None}
    return options | ({"consistency": request.level} if request.level else {})


def _durability(request: Request) -> dict[str, Any]:
    return {"durability": request.level} if request.level else {}


def _keyed(request: Request) -> dict[str, str]:
    key = request.details.get("idempotencyKey")
    return {} if key is None else {IDEMPOTENCY_HEADER: key}


def _read(request: Request) -> Asked:
    return Asked(b"GET", _query(_path(request), **_read_options(request)))


def _put(request: Request) -> Asked:
    named = ("ttlSeconds", "ifVersion", "ifAbsent", "tags")
    options = {name: request.details[name] for name in named if request.details.get(name)}
    value = request.value[1] if request.name == "cas" else request.value
    return Asked(b"PUT", _path(request), {"value": value, **options, **_durability(request)}, _keyed(request))


def _post(path: str, request: Request, **fields: Any) -> Asked:
    namespace, key = split(request.key)
    document = {"namespace": namespace, "key": key, **fields, **_durability(request)}
    return Asked(b"POST", path, document, _keyed(request))


def _delete(request: Request) -> Asked:
    """As a batch of one, whose answer says whether anything was there; that takes neither condition nor key."""
    if_version, headers = request.details.get("ifVersion"), _keyed(request)
    if if_version or headers:
        path = _query(_path(request), ifVersion=if_version, durability=request.level)
        return Asked(b"DELETE", path, None, headers)
    namespace, key = split(request.key)
    return Asked(b"POST", f"{BATCH}/delete", {"namespace": namespace, "keys": [key], **_durability(request)})


def _read_many(request: Request) -> Asked:
    namespace = split(request.value[0])[0]
    keys = [split(key)[1] for key in request.value]
    return Asked(b"POST", f"{BATCH}/get", {"namespace": namespace, "keys": keys, **_read_options(request)})


def _write_many(request: Request) -> Asked:
    namespace = split(request.value[0][0])[0]
    items = [{"key": split(key)[1], "value": value} for key, value in request.value]
    return Asked(b"POST", f"{BATCH}/set", {"namespace": namespace, "items": items, **_durability(request)})


def _receipt(request: Request) -> Asked:
    namespace, key = (quote(part, safe="") for part in split(request.key))
    path = f"/v1/receipts/{namespace}/{key}/{request.value}"
    return Asked(b"GET", _query(path, waitMs=wait_ms(request) or None))


def _invalidate(request: Request) -> Asked:
    name = quote(request.key, safe="")
    if request.value is None:
        return Asked(b"POST", f"/v1/namespaces/{name}/invalidate")
    return Asked(b"POST", f"/v1/cache/{name}/tags/{quote(request.value, safe='')}/invalidate")


_REQUESTS: dict[str, Callable[[Request], Asked]] = {
    "read": _read,
    "write": _put,
    "cas": _put,
    "incr": lambda request: _post("/v1/cache/incr", request, delta=request.value),
    "delete": _delete,
    "expire": lambda request: _post("/v1/cache/expire", request, ttlSeconds=request.value),
    "read-many": _read_many,
    "write-many": _write_many,
    "receipt": _receipt,
    "lost-writes": lambda request: Asked(b"GET", _query("/v1/lost-writes", namespace=request.value)),
    "set-namespace": lambda request: Asked(b"PUT", f"/v1/namespaces/{quote(request.key, safe='')}", request.value),
    "delete-namespace": lambda request: Asked(b"DELETE", f"/v1/namespaces/{quote(request.key, safe='')}"),
    "invalidate": _invalidate,
}


# -- answers -----------------------------------------------------------------------------------------


def _ok(value: Any, document: Mapping[str, Any], level: str, changed: bool = True, **details: Any) -> Completion:
    """Where nothing is there or was changed, the version is the shard's newest and no key's."""
    version = str(document.get("version") or "")
    told = {name: each for name, each in details.items() if each is not None}
    if not changed and version:
        told["newestVersion"] = version
    return Completion(kind="ok", value=value, version=version if changed else "", level=level, details=told)


def _found(request: Request, response: Response, document: Mapping[str, Any]) -> Completion:
    ttl, staleness_ms = document.get("ttlRemainingSeconds"), document.get("stalenessMs")
    level, hit = response.header(CONSISTENCY_HEADER), document["hit"]
    return _ok(document.get("value"), document, level, hit, ttlSeconds=ttl, stalenessMs=staleness_ms)


def _stored(request: Request, response: Response, document: Mapping[str, Any]) -> Completion:
    return _ok(None, document, document["durability"])


def _counted(request: Request, response: Response, document: Mapping[str, Any]) -> Completion:
    return _ok(document["value"], document, document["durability"])


def _applied(request: Request, response: Response, document: Mapping[str, Any]) -> Completion:
    return _ok(document["applied"], document, document["durability"], document["applied"])


def _deleted(request: Request, response: Response, document: Mapping[str, Any]) -> Completion:
    """Of a DELETE it is not told whether anything was there, but where a condition held, something was."""
    if response.status == 204:
        existed, level = True if request.details.get("ifVersion") else None, response.header(DURABILITY_HEADER)
        return _ok(existed, {"version": response.header(VERSION_HEADER)}, level, existed is True)
    [item] = document["results"]
    if "error" in item:
        return _error(item["error"])
    return _ok(item["existed"], item, item["durability"], item["existed"])


def _many(request: Request, response: Response, document: Mapping[str, Any]) -> Completion:
    """What is known of every item. Where the outcome of one is unknown, so is that of the operation."""
    results = document["results"]
    unknown = any("error" in each and not class_of(each["error"]["code"]).definite for each in results)
    levels = {each["durability"] for each in results if "durability" in each}
    level = levels.pop() if len(levels) == 1 else ""
    return Completion(kind="info" if unknown else "ok", value=[_item(each) for each in results], level=level)


def _item(result: Mapping[str, Any]) -> Any:
    if "error" in result:
        return f"error {result['error']['code']}"
    if "hit" not in result:
        return result["version"]
    return [result["value"], result["version"]] if result["hit"] else [None, ""]


def _fate(request: Request, response: Response, document: Mapping[str, Any]) -> Completion:
    return Completion(kind="ok", value=document["state"], details={"durable": document["durable"]})


def _losses(request: Request, response: Response, document: Mapping[str, Any]) -> Completion:
    details = {name: document[name] for name in ("total", "truncated", "unreachable")}
    return Completion(kind="ok", value=[row["version"] for row in document["lost"]], details=details)


def _done(request: Request, response: Response, document: Mapping[str, Any]) -> Completion:
    return Completion(kind="ok")


_ANSWERS: dict[str, Callable[[Request, Response, Mapping[str, Any]], Completion]] = {
    "read": _found,
    "write": _stored,
    "cas": _stored,
    "incr": _counted,
    "delete": _deleted,
    "expire": _applied,
    "read-many": _many,
    "write-many": _many,
    "receipt": _fate,
    "lost-writes": _losses,
    "set-namespace": _done,
    "delete-namespace": _done,
    "invalidate": _done,
}
