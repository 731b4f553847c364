"""A real HTTP server on loopback, and a client that says exactly what a test wants said.

Every call is held against the OpenAPI document: an answer whose status is not documented fails the test.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from http_backend import FakeBackend

from raftcache.frontends.http.app import OPENAPI
from raftcache.frontends.http.context import HttpSettings
from raftcache.frontends.http.server import HttpServer

T = TypeVar("T")
DOCUMENT = json.loads(OPENAPI)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TIMEOUT_SECONDS = 20


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must say that it is JSON."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which must have a code and a message."""
        error: dict[str, Any] = self.json["error"]
        assert error["code"] and error["message"], self
        return error


class LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_TIMEOUT_SECONDS)

    def close(self) -> None:
        self.run(_last_turns())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_TIMEOUT_SECONDS)
        self.loop.close()


async def _last_turns() -> None:
    """Connections that a server has closed end their tasks in the turns after it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Caller:
    """One server with its backend, and calls to it."""

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self.backend = FakeBackend()
        self._thread = LoopThread()
        self.server = HttpServer(self.backend, "127.0.0.1", 0, settings)
        self.run(self.server.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(work)

    def on_loop(self, work: Callable[[], T]) -> T:
        async def turn() -> T:
            return work()

        return self.run(turn())

    def close(self) -> None:
        self.run(self.server.stop())
        self._thread.close()

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=_TIMEOUT_SECONDS)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Bytes are sent as they are, anything else as JSON. Underscores in header names become hyphens."""
        connection = self.connection()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, named, response.read())
        finally:
            connection.close()
        check_documented(method, path, answer.status)
        return answer

    def exchange(self, sent: bytes, break_off: bool = False) -> bytes:
        """Send raw bytes and read one whole response, what 100 Continue precedes it included.

        `break_off` closes the sending side at once and reads until the server closes too.
        """
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=_TIMEOUT_SECONDS) as connection:
            connection.sendall(sent)
            if break_off:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while break_off or not _whole(received):
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        return received

    def alive(self) -> bool:
        """Whether a plain write and read still work."""
        written = self.call("PUT", "/v1/cache/default/alive", {"value": 1}).status
        return (written, self.call("GET", "/v1/cache/default/alive").status) == (201, 200)


def _whole(received: bytes) -> bool:
    head, end, body = received.removeprefix(CONTINUE).partition(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def check_documented(method: str, path: str, status: int) -> None:
    """The route and the status stand in the OpenAPI document. Stray paths and methods are outside it."""
    for template, operations in DOCUMENT["paths"].items():
        pattern = re.escape(template).replace(r"\{namespace\}", "[^/]+").replace(r"\{key\}", ".+")
        pattern = pattern.replace(r"\{version\}", "[^/]+").replace(r"\{tag\}", "[^/]+")
        if re.fullmatch(pattern, path.partition("?")[0]) and method.lower() in operations:
            documented = operations[method.lower()]["responses"]
            assert str(status) in documented, (
                f"{method} {template} answered {status}: documented are {list(documented)}"
            )
            return
    assert status in (404, 405), f"{method} {path} is not documented and answered {status}"
