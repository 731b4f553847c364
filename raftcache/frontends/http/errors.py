"""Every error as `{"error": {"code", "message", …}}`, and what msgspec says put into words that name the field.

The status and the code come from the one table in `raftcache.errors`; HTTP adds only what HTTP alone knows
(no such path, no such method, a body that does not arrive).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from raftcache.commands.types import Failure, Version
from raftcache.errors import BadRequest, RaftcacheError, class_of
from raftcache.frontends.http.types import CHOICES

T = TypeVar("T")
JSON_TYPE = "application/json"
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 408: "request_timeout", 417: "expectation_failed"}
_VALIDATION = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?\Z", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z]+)|\[(\d+)\]")
_SHOWN_CHARACTERS = 80


def error_response(error: RaftcacheError) -> web.Response:
    """The response for `error`, with Retry-After where waiting helps."""
    headers = {"Content-Type": JSON_TYPE}
    wait_ms = error.details.get("retry_after_ms", error.retry_after_ms)
    if wait_ms is not None:
        headers["Retry-After"] = str(math.ceil(wait_ms / 1000))
    body = _encode({"error": error_detail(error.code, error.message, error.details)})
    return web.Response(status=error.http_status, body=body, headers=headers)


def http_error_response(error: web.HTTPException) -> web.Response:
    """The response for an error that aiohttp raised, or that has a meaning in HTTP alone."""
    headers = {"Content-Type": JSON_TYPE}
    if "Allow" in error.headers:
        headers["Allow"] = error.headers["Allow"]
    code = _HTTP_CODES.get(error.status, "bad_request" if error.status < 500 else "internal")
    body = _encode({"error": error_detail(code, error.text or error.reason, {})})
    return web.Response(status=error.status, body=body, headers=headers)


def error_detail(code: str, message: str, details: dict[str, Any]) -> dict[str, Any]:
    """What stands under `error`. Details never hide the code or the message."""
    return {"code": code, "message": message, **{k: v for k, v in details.items() if k not in ("code", "message")}}


def failure_error(failure: Failure) -> RaftcacheError:
    """The error that a `Failure` reply carries."""
    error = class_of(failure.code)(failure.message)
    error.details = failure.details
    return error


def decode_json(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode and validate a JSON body. Raises BadRequest naming the position, or the field, limit and value."""
    try:
        body.decode()
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error, _loosely(body))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {_malformed(error, body)}") from None


def explain(error: msgspec.ValidationError, document: Any) -> str:
    """`field: what is wrong, got value`, from msgspec's message and the document that it is about."""
    match = _VALIDATION.match(str(error))
    assert match is not None, "the pattern matches any text"
    path, what = match["path"] or "", match["what"]
    if what.startswith("Object "):
        return f"{path.lstrip('.') or 'the body'}: {what[len('Object ') :]}"
    choices = CHOICES.get(path.rpartition(".")[2])
    if choices is not None:
        what = f"must be one of {', '.join(choices)}"
    return f"{path.lstrip('.') or 'the body'}: {what}{_got(document, path)}"


def _loosely(body: bytes) -> Any:
    """The document that msgspec found fault with, to quote from. None where what follows the fault is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _got(document: Any, path: str) -> str:
    """`, got <value>` for the value at a msgspec path such as `.items[3].ttlSeconds`, where it can be found."""
    try:
        for name, index in _STEP.findall(path):
            document = document[name] if name else document[int(index)]
        return f", got {json.dumps(document):.{_SHOWN_CHARACTERS}}"
    except (LookupError, TypeError, ValueError, RecursionError):
        return ""


def _malformed(error: Exception, body: bytes) -> str:
    """What is wrong with a text that is not JSON, with its position."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if "(byte" in str(error):
        return str(error)
    try:
        json.loads(body)
    except json.JSONDecodeError as better:
        return f"it ends too early: {better}"
    return "an escape names half of a surrogate pair"


def _shown(value: Any) -> Any:
    return str(value) if isinstance(value, Version) else repr(value)


def _encode(document: dict[str, Any]) -> bytes:
    return msgspec.json.encode(_plain(document), enc_hook=_shown)


def _plain(value: Any) -> Any:
    """Versions as clients know them, wherever they stand in the details."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, Version) else value
