"""The OpenAPI document, made from the table of routes and from the types that validate."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from raftcache import __version__
from raftcache.commands.types import IDEMPOTENCY_KEY_LIMIT_BYTES
from raftcache.errors import BY_CODE
from raftcache.frontends.http.errors import JSON_TYPE
from raftcache.frontends.http.intake import IDEMPOTENCY_HEADER, OCTETS, TIMEOUT_HEADER
from raftcache.frontends.http.routes import Answered, Route
from raftcache.frontends.http.types import (
    TIMEOUT_DEFAULT_MS,
    TIMEOUT_LIMIT_MS,
    ErrorAnswer,
    Input,
    NamespaceName,
    Tag,
    VersionText,
)
from raftcache.store.replies import REPLY_TTL_MS

_REFERENCE = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"{(\w+)}")
_HTTP_ONLY = {408: "The body did not arrive in time.", 417: "An Expect header that is not 100-continue."}
_TIMEOUT_PARAMETER = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Milliseconds that this request may take.",
    "schema": {"type": "integer", "minimum": 1, "maximum": TIMEOUT_LIMIT_MS, "default": TIMEOUT_DEFAULT_MS},
}
_IDEMPOTENCY_PARAMETER = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "required": False,
    "description": "Of several writes with the same key, within a namespace, only the first is executed, and all are "
    f"answered as it was; kept for {REPLY_TTL_MS // 60_000} minutes. Another write under the same key is an error.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": IDEMPOTENCY_KEY_LIMIT_BYTES,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
}
_KEY_PARAMETER = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "All that follows the namespace, percent-decoded: 1 to 1024 bytes, any bytes, slashes too.",
    "schema": {"type": "string", "minLength": 1},
}

_PATH_PARAMETERS = {
    "key": _KEY_PARAMETER,
    "namespace": {"name": "namespace", "in": "path", "required": True, "schema": msgspec.json.schema(NamespaceName)},
    "tag": {"name": "tag", "in": "path", "required": True, "schema": msgspec.json.schema(Tag)},
    "version": {"name": "version", "in": "path", "required": True, "schema": msgspec.json.schema(VersionText)},
}


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The whole document, OpenAPI 3.1."""
    kinds = _kinds(routes)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "raftcache", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _kinds(routes: tuple[Route, ...]) -> list[Any]:
    """Every type of the table, each once, in the table's order."""
    kinds: dict[Any, None] = {ErrorAnswer: None}
    for route in routes:
        named = [route.query, route.octets_query, route.body, *(answer.body for answer in route.answers.values())]
        kinds.update(dict.fromkeys(kind for kind in named if kind is not None))
    return list(kinds)


def _operation(route: Route, schema_of: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.operation_id,
        "parameters": _parameters(route, components),
        "responses": {str(status): _response(route, status, schema_of) for status in sorted(route.statuses)},
    }
    if route.body is not None:
        operation["requestBody"] = _request_body(route, schema_of)
    return operation


def _parameters(route: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    names = _PARAMETER.findall(route.path)
    parameters = [_PATH_PARAMETERS[name] for name in names]
    for kind, note in ((route.query, ""), (route.octets_query, f"Only beside a body of {OCTETS}.")):
        parameters += _query_parameters(kind, components, note)
    if route.timed:
        parameters.append(_TIMEOUT_PARAMETER)
    if route.keyed:
        parameters.append(_IDEMPOTENCY_PARAMETER)
    return parameters


def _query_parameters(kind: type[Input] | None, components: dict[str, Any], note: str) -> list[dict[str, Any]]:
    if kind is None:
        return []
    properties = components[kind.__name__]["properties"]
    extra = {"description": note} if note else {}
    return [
        {"name": name, "in": "query", "required": False, "schema": _not_null(schema), **extra}
        for name, schema in properties.items()
    ]


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is left out; it has no null."""
    rest = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    return rest[0] if len(rest) == 1 else schema


def _request_body(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {JSON_TYPE: {"schema": schema_of[route.body]}}
    if route.octets_query is not None:
        content[OCTETS] = {"schema": {"type": "string", "format": "binary"}}
    note = f"At most {route.body_limit_bytes} bytes."
    return {"required": True, "description": note, "content": content}


def _response(route: Route, status: int, schema_of: dict[Any, Any]) -> dict[str, Any]:
    answer = route.answers.get(status)
    codes = sorted({e.code for e in route.errors if e.http_status == status})
    error = schema_of[ErrorAnswer]
    if answer is None:
        response: dict[str, Any] = {"description": _error_description(status, codes), "content": _json(error)}
    else:
        response = _answer(answer, schema_of, [error] if codes else [])
    if any(BY_CODE[code].retry_after_ms is not None for code in codes):
        response.setdefault("headers", {})["Retry-After"] = {"required": False, "schema": {"type": "integer"}}
    return response


def _answer(answer: Answered, schema_of: dict[Any, Any], others: list[Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.description}
    if answer.headers:
        response["headers"] = {name: {"required": False, "schema": {"type": "string"}} for name in answer.headers}
    if answer.text:
        response["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif answer.body is not None:
        schemas = [schema_of[answer.body], *others]
        response["content"] = _json(schemas[0] if len(schemas) == 1 else {"anyOf": schemas})
    if answer.octets:
        response["content"][OCTETS] = {"schema": {"type": "string", "format": "binary"}}
    return response


def _error_description(status: int, codes: list[str]) -> str:
    return _HTTP_ONLY.get(status) or ", ".join(codes)


def _json(schema: Any) -> dict[str, Any]:
    return {JSON_TYPE: {"schema": schema}}
