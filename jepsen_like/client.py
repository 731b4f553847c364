"""One client of the HTTP interface, which never sends a write twice.

It uses the project's lean HTTP client, for two reasons. A general one resends a PUT by itself when a kept connection
turns out to be closed, and the ledger would take the second execution for a defect of the cluster. And it costs
several times the CPU, which on a machine that also runs the cluster would be measured in the cluster's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from jepsen_like.ledger import Found, Outcome
from raftcache.cli.api import split_url
from raftcache.cli.keepalive import KeepAlive, Response
from raftcache.commands.types import Version

REQUEST_TIMEOUT_S = 30.0
"""Longer than any request may take in a node, pauses included, so that the server's answer decides and not ours."""
JSON_HEADERS = b"Content-Type: application/json\r\n"
BATCH_KEYS = 500
READ_ATTEMPTS, READ_PAUSE_S = 50, 0.2


class Answer(NamedTuple):
    """How a write ended. `code` names the error or is ""; `expected` is false for what no client should ever get."""

    outcome: Outcome
    version: Version | None = None
    code: str = ""
    expected: bool = True


class ReadFailed(Exception):
    """A node could not be read after the drill; the text says what it answered."""


class Client:
    """Talks to one node until that is lost, then to the next, as behind a load balancer."""

    def __init__(self, addresses: Sequence[str], first: int = 0) -> None:
        self._connections = [KeepAlive(*split_url(f"http://{address}"), REQUEST_TIMEOUT_S) for address in addresses]
        self._current = first % len(addresses)

    async def put(self, path: str, document: Any) -> Answer:
        """Send one write, to another node if the first cannot be reached; nothing that was sent is sent again."""
        for _ in self._connections:
            try:
                return _judged(await self._ask(b"PUT", path, document))
            except ConnectionRefusedError:
                self._turn()
            except OSError as error:
                self._turn()
                return Answer(Outcome.UNKNOWN, code="timeout" if isinstance(error, TimeoutError) else "disconnected")
        return Answer(Outcome.REFUSED, code="unreachable")

    async def _ask(self, method: bytes, path: str, document: Any) -> Response:
        body = b"" if document is None else msgspec.json.encode(document)
        return await self._connections[self._current].ask(method, path.encode(), JSON_HEADERS, body)

    def _turn(self) -> None:
        self._current = (self._current + 1) % len(self._connections)

    async def read(self, namespace: str, keys: Sequence[str]) -> dict[str, Found]:
        """What a linearizable read shows of each key that is there. Raises ReadFailed."""
        found: dict[str, Found] = {}
        for start in range(0, len(keys), BATCH_KEYS):
            asked = {"namespace": namespace, "keys": keys[start : start + BATCH_KEYS], "consistency": "linearizable"}
            results = (await self._until_answered(b"POST", "/v1/cache/batch/get", asked))["results"]
            found.update((each["key"], _found(each)) for each in results if each["hit"])
        return found

    async def policies(self, field: str) -> dict[str, Found]:
        """One integer field of every namespace's policy. Raises ReadFailed."""
        listed = await self._until_answered(b"GET", "/v1/namespaces", None)
        return {each["name"]: Found(each[field], None) for each in listed["namespaces"]}

    async def cluster(self) -> dict[str, Any]:
        """The body of `/v1/cluster`. Raises ReadFailed."""
        body: dict[str, Any] = await self._until_answered(b"GET", "/v1/cluster", None)
        return body

    async def _until_answered(self, method: bytes, path: str, document: Any) -> Any:
        """Reads may be repeated, and are while a leader is missing."""
        last = ""
        for _ in range(READ_ATTEMPTS):
            try:
                response = await self._ask(method, path, document)
                answer = msgspec.json.decode(response.body)
                if response.status == 200 and not any("error" in each for each in answer.get("results", ())):
                    return answer
                last = f"{response.status} {response.body[:300].decode(errors='replace')}"
            except OSError as error:
                last = f"{type(error).__name__}: {error}"
            await asyncio.sleep(READ_PAUSE_S)
        raise ReadFailed(f"{path} was answered, {READ_ATTEMPTS} times, in the end by {last}")

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()


def _judged(response: Response) -> Answer:
    """What an answer to a write says of its outcome.

    503 is the one status that a healthy client may get from a cluster that is being broken, beside 504.
    """
    document = msgspec.json.decode(response.body)
    if response.status in (200, 201):
        version = document.get("version")
        return Answer(Outcome.ACKNOWLEDGED, None if version is None else Version.parse(version))
    code = document["error"]["code"]
    if response.status == 504:
        return Answer(Outcome.UNKNOWN, code=code)
    if response.status == 503:
        return Answer(Outcome.REFUSED, code=code)
    outcome = Outcome.UNKNOWN if response.status == 500 else Outcome.REFUSED
    return Answer(outcome, code=f"{response.status} {code}", expected=False)


def _found(result: dict[str, Any]) -> Found:
    return Found(result["value"], Version.parse(result["version"]))
