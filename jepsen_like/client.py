"""One client of the HTTP interface, which never sends a write twice.

It uses the project's lean HTTP client, for two reasons. A general one resends a PUT by itself when a kept connection
turns out to be closed, and the ledger would take the second execution for a defect of the cluster. And it costs
several times the CPU, which on a machine that also runs the cluster would be measured in the cluster's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from jepsen_like.ledger import Found, Outcome
from raftcache.cli.api import split_url
from raftcache.cli.keepalive import KeepAlive, Response
from raftcache.commands.types import Version
from raftcache.errors import class_of

REQUEST_TIMEOUT_S = 30.0
"""Longer than any request may take in a node, pauses included, so that the server's answer decides and not ours."""
JSON_HEADERS = b"Content-Type: application/json\r\n"
BATCH_KEYS = 500
READ_ATTEMPTS, READ_PAUSE_S = 50, 0.2
HEALTH_TIMEOUT_S = 2.0


CONFLICT = "conflict"


class Answer(NamedTuple):
    """How a write ended. `code` names the error or is ""; `expected` is false for what no client should ever get.

    `counted` is what a counter stood at after an increment, `existed` whether there was anything to remove. With the
    code `CONFLICT`, a compare-and-set found `version`.
    """

    outcome: Outcome
    version: Version | None = None
    code: str = ""
    expected: bool = True
    counted: int | None = None
    durability: str = ""
    existed: bool = True


class Health(NamedTuple):
    """What a node's `/readyz` says; `reason` is "" where it is ready."""

    ready: bool
    reason: str


class ReadFailed(Exception):
    """A node could not be read after the drill; the text says what it answered."""


class Client:
    """Talks to one node until that is lost, then to the next, as behind a load balancer."""

    def __init__(self, addresses: Sequence[str], first: int = 0) -> None:
        self._connections = [KeepAlive(*split_url(f"http://{address}"), REQUEST_TIMEOUT_S) for address in addresses]
        self._current = first % len(addresses)

    async def put(self, path: str, document: Any) -> Answer:
        """A `PUT`, as `write`."""
        return await self.write(b"PUT", path, document)

    async def write(self, method: bytes, path: str, document: Any) -> Answer:
        """Send one write, to another node if the first cannot be reached; nothing that was sent is sent again."""
        (answer,) = await self.write_many(method, path, document, 1)
        return answer

    async def write_many(self, method: bytes, path: str, document: Any, count: int) -> list[Answer]:
        """The same for a request of `count` writes: an answer for each."""
        for _ in self._connections:
            try:
                return _all_judged(await self._ask(method, path, document), count)
            except ConnectionRefusedError:
                self._turn()
            except OSError as error:
                self._turn()
                code = "timeout" if isinstance(error, TimeoutError) else "disconnected"
                return [Answer(Outcome.UNKNOWN, code=code)] * count
        return [Answer(Outcome.REFUSED, code="unreachable")] * count

    async def _ask(self, method: bytes, path: str, document: Any) -> Response:
        body = b"" if document is None else msgspec.json.encode(document)
        return await self._connections[self._current].ask(method, path.encode(), JSON_HEADERS, body)

    def _turn(self) -> None:
        self._current = (self._current + 1) % len(self._connections)

    async def read(
        self, namespace: str, keys: Sequence[str], number_of: Callable[[Any], int] = int
    ) -> dict[str, Found]:
        """What a linearizable read shows of each key that is there. Raises ReadFailed.

        `number_of` is the ledger's number of a value.
        """
        found: dict[str, Found] = {}
        for start in range(0, len(keys), BATCH_KEYS):
            asked = {"namespace": namespace, "keys": keys[start : start + BATCH_KEYS], "consistency": "linearizable"}
            results = (await self._until_answered(b"POST", "/v1/cache/batch/get", asked))["results"]
            found.update((each["key"], _found(each, number_of)) for each in results if each["hit"])
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


async def read_all(
    address: str, namespace: str, keys: Sequence[str], number_of: Callable[[Any], int] = int
) -> dict[str, Found]:
    """`Client.read` through one node. Raises ReadFailed."""
    client = Client([address])
    try:
        return await client.read(namespace, keys, number_of)
    finally:
        client.close()


async def health(address: str) -> Health | None:
    """`/readyz` of one node, asked once; None where it does not answer."""
    connection = KeepAlive(*split_url(f"http://{address}"), HEALTH_TIMEOUT_S)
    try:
        response = await connection.ask(b"GET", b"/readyz", JSON_HEADERS, b"")
    except OSError:
        return None
    finally:
        connection.close()
    return Health(response.status == 200, str(msgspec.json.decode(response.body)["reason"]))


async def cluster_body(addresses: Sequence[str]) -> dict[str, Any]:
    """`Client.cluster` of one of these nodes. Raises ReadFailed."""
    client = Client(addresses)
    try:
        return await client.cluster()
    finally:
        client.close()


def _all_judged(response: Response, count: int) -> list[Answer]:
    """An answer for each of `count` writes; what is said of the whole request holds for each."""
    document = msgspec.json.decode(response.body)
    results = document.get("results")
    if results is None:
        return [_judged(response.status, document)] * count
    return [_judged(200, each) if "error" not in each else _item_judged(each["error"]["code"]) for each in results]


def _item_judged(code: str) -> Answer:
    """An item's error has no status of its own: it is what the tree of errors says."""
    return _judged(class_of(code).http_status, {"error": {"code": code}})


def _judged(status: int, document: Any) -> Answer:
    """What an answer to a write says of its outcome.

    503 is the one status that a healthy client may get from a cluster that is being broken, beside 504. A condition
    that did not hold is no error, and names the version that stands there.
    """
    if status in (200, 201):
        version, level = _version(document.get("version")), str(document.get("durability", ""))
        counted, existed = document.get("value"), document.get("existed", True)
        return Answer(Outcome.ACKNOWLEDGED, version, counted=counted, durability=level, existed=existed)
    if status == 409 and "currentVersion" in document:
        return Answer(Outcome.REFUSED, _version(document["currentVersion"]), CONFLICT)
    code = document["error"]["code"]
    if status == 504:
        return Answer(Outcome.UNKNOWN, code=code)
    if status == 503:
        return Answer(Outcome.REFUSED, code=code)
    outcome = Outcome.UNKNOWN if status == 500 else Outcome.REFUSED
    return Answer(outcome, code=f"{status} {code}", expected=False)


def _version(text: str | None) -> Version | None:
    return None if text is None else Version.parse(text)


def _found(result: dict[str, Any], number_of: Callable[[Any], int]) -> Found:
    return Found(number_of(result["value"]), Version.parse(result["version"]))
