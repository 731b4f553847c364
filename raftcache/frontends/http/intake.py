"""What a request says: its key, its query parameters, its body, its time limit.

The path is taken raw, as it came over the wire: a key may hold any bytes, slashes and percent signs too, and
what a URL library makes of them for display is not the key. Percent-encoding is therefore decoded here, once.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar, get_type_hints
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from aiohttp import web

from raftcache.commands.types import IDEMPOTENCY_KEY_LIMIT_BYTES
from raftcache.errors import BadRequest
from raftcache.frontends.http.errors import explain
from raftcache.frontends.http.types import TIMEOUT_DEFAULT_MS, TIMEOUT_LIMIT_MS, Input

Q = TypeVar("Q", bound=Input)

TIMEOUT_HEADER, IDEMPOTENCY_HEADER = "Raftcache-Timeout-Ms", "Idempotency-Key"
OCTETS = "application/octet-stream"
QUERY_FIELDS_LIMIT = 16
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def path_key(request: web.Request) -> tuple[str, bytes]:
    """Namespace and key of `/v1/cache/{namespace}/{key}`. Raises BadRequest."""
    _, _, _, namespace, key = request.rel_url.raw_path.split("/", 4)
    return _text(namespace), percent_decoded(key)


def path_receipt(request: web.Request) -> tuple[str, bytes, str]:
    """Namespace, key and version of `/v1/receipts/{namespace}/{key}/{version}`. Raises BadRequest."""
    _, _, _, namespace, rest = request.rel_url.raw_path.split("/", 4)
    key, _, version = rest.rpartition("/")
    return _text(namespace), percent_decoded(key), _text(version)


def path_namespace(request: web.Request) -> str:
    """The namespace of `/v1/namespaces/{namespace}`. Raises BadRequest."""
    return _text(request.rel_url.raw_path.split("/", 3)[3])


def path_verb_namespace(request: web.Request) -> str:
    """The namespace of `/v1/namespaces/{namespace}/<verb>`. Raises BadRequest."""
    return _text(request.rel_url.raw_path.split("/", 4)[3])


def path_tag(request: web.Request) -> tuple[str, str]:
    """Namespace and tag of `/v1/cache/{namespace}/tags/{tag}/invalidate`. Raises BadRequest."""
    _, _, _, namespace, _, tag, *_ = request.rel_url.raw_path.split("/")
    return _text(namespace), _text(tag)


def _text(piece: str) -> str:
    return percent_decoded(piece).decode("utf-8", "backslashreplace")


def percent_decoded(text: str) -> bytes:
    """The bytes behind a percent-encoded piece of a path. Raises BadRequest."""
    if "%" not in text and text.isascii():
        return text.encode()
    bad = _BAD_PERCENT.search(text)
    if bad is not None:
        raise BadRequest(f"path: {text[bad.start() : bad.start() + 3]!r} is not a percent-encoded byte")
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def query(request: web.Request, kind: type[Q]) -> Q:
    """The query parameters as a `kind`. Raises BadRequest naming a parameter that is unknown, doubled or wrong."""
    text = request.rel_url.raw_query_string
    if not text:
        return kind()
    values: dict[str, Any] = {}
    for name, value in _pairs(text):
        if name in values:
            raise BadRequest(f"query parameter {name!r:.80} is given more than once")
        values[name] = value
    return _typed(values, kind)


def _pairs(text: str) -> list[tuple[str, str]]:
    if _BAD_PERCENT.search(text):
        raise BadRequest("query: a '%' is not followed by two hexadecimal digits")
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_LIMIT)
    except UnicodeError:
        raise BadRequest("query: not UTF-8 behind the percent-encoding") from None
    except ValueError:
        raise BadRequest(f"query: more than {QUERY_FIELDS_LIMIT} parameters") from None


def _typed(values: dict[str, str], kind: type[Q]) -> Q:
    """Numbers and booleans are written as in JSON; anything else is text."""
    texts = text_fields(kind)
    unknown = sorted(values.keys() - texts.keys())
    if unknown:
        raise BadRequest(f"unknown query parameter {unknown[0]!r:.80}; known: {', '.join(texts) or 'none'}")
    document = {name: value if texts[name] else _scalar(value) for name, value in values.items()}
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"query parameter {explain(error, document)}") from None


def text_fields(kind: type[Input]) -> dict[str, bool]:
    """The wire names of a query type's fields, and whether each is text."""
    known = _TEXT_FIELDS.get(kind)
    if known is None:
        hints = get_type_hints(kind)
        known = {f.encode_name: not _is_scalar(hints[f.name]) for f in msgspec.structs.fields(kind)}
        _TEXT_FIELDS[kind] = known
    return known


_TEXT_FIELDS: dict[type[Input], dict[str, bool]] = {}


def _is_scalar(hint: Any) -> bool:
    return any(part in (bool, int, float) for part in (hint, *getattr(hint, "__args__", ())))


def _scalar(text: str) -> Any:
    """A number or a boolean in JSON's words; else the text, which validation then refuses."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return text
    return value if isinstance(value, (bool, int, float)) else text


def timeout_seconds(request: web.Request) -> float:
    """How long this request may take. Raises BadRequest."""
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return TIMEOUT_DEFAULT_MS / 1000
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= TIMEOUT_LIMIT_MS):
        raise BadRequest(f"header {TIMEOUT_HEADER}: {text!r:.80} is not a whole number from 1 to {TIMEOUT_LIMIT_MS}")
    return int(text) / 1000


def idempotency_key(request: web.Request) -> bytes | None:
    """The key in the header Idempotency-Key. Raises BadRequest."""
    texts = request.headers.getall(IDEMPOTENCY_HEADER, ())
    if not texts:
        return None
    if len(texts) > 1:
        raise BadRequest(f"header {IDEMPOTENCY_HEADER} is given more than once")
    text = texts[0]
    if not (text.isascii() and text.isprintable() and 1 <= len(text) <= IDEMPOTENCY_KEY_LIMIT_BYTES):
        raise BadRequest(
            f"header {IDEMPOTENCY_HEADER}: {text!r:.80} has {len(text)} characters: it must be 1 to "
            f"{IDEMPOTENCY_KEY_LIMIT_BYTES} printable ASCII characters"
        )
    return text.encode()


def no_idempotency_key(request: web.Request) -> None:
    """Refuse what only single-key writes take. Raises BadRequest."""
    text = request.headers.get(IDEMPOTENCY_HEADER)
    if text is not None:
        raise BadRequest(f"header {IDEMPOTENCY_HEADER}: {text!r:.80} was given; only writes of a single key take one")


def wants_octets(request: web.Request) -> bool:
    """Whether the answer should be the bytes: `Accept` names octet-stream and does not name JSON."""
    accept = request.headers.get("Accept")
    return accept is not None and OCTETS in accept and "application/json" not in accept


def brings_octets(request: web.Request) -> bool:
    """Whether the body is the value itself. Any other body is read as JSON, whatever it calls itself."""
    content_type = request.headers.get("Content-Type")
    return content_type is not None and content_type.partition(";")[0].strip().lower() == OCTETS
