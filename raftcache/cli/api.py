"""The HTTP interface for commands that make a call or two: synchronous, one connection a call."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, urlsplit

import msgspec

from raftcache.cli.output import Failed

TIMEOUT_SECONDS = 30.0
JSON_TYPE, OCTETS = "application/json", "application/octet-stream"


class Answer(NamedTuple):
    """One HTTP answer, whole. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's document; None where there is no body. Raises Failed."""
        try:
            return msgspec.json.decode(self.body) if self.body else None
        except msgspec.DecodeError as error:
            raise Failed(f"the server answered {self.status} with something that is no JSON: {error}") from error


class Api:
    """A node or front end at `url`, `http://host:port`. Raises Failed where that is no such URL."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.url, self.timeout_seconds = url.rstrip("/"), timeout_seconds
        self.host, self.port = split_url(url)

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make one call. Raises Failed where nobody answers."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_seconds)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())
        except TimeoutError as error:
            raise Failed(f"{self.url} did not answer within {self.timeout_seconds:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"cannot reach {self.url}: {error}") from error
        finally:
            connection.close()

    def send(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        expect: tuple[int, ...] = (200,),
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make one call with a JSON body and return the JSON answer. Raises Failed on any other status."""
        body = None if document is None else msgspec.json.encode(document)
        given = {} if body is None else {"Content-Type": JSON_TYPE}
        return checked(self.call(method, path, body, {**given, **(headers or {})}), expect).json()


def checked(answer: Answer, expect: tuple[int, ...]) -> Answer:
    """`answer`, if its status is expected. Raises Failed with the server's own message."""
    if answer.status in expect:
        return answer
    document = answer.json()
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        raise Failed(f"{error.get('code')}: {error.get('message')}")
    raise Failed(f"the server answered {answer.status}: {answer.body[:200].decode(errors='replace')}")


def split_url(url: str) -> tuple[str, int]:
    """Host and port of `http://host:port`. Raises Failed."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise Failed(f"--url {url!r}: {error}") from error
    if parts.scheme != "http" or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Failed(f"--url {url!r}: not of the form http://host:port")
    return host, port


def key_path(namespace: str, key: bytes) -> str:
    """The path of a key, percent-encoded."""
    return f"/v1/cache/{quote_from_bytes(namespace.encode(), safe='')}/{quote_from_bytes(key, safe='')}"
