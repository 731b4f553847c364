"""What the drill's client makes of answers: every answer to a write is one of three outcomes, or a defect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from jepsen_like.client import CONFLICT, Answer, Client, Health, health
from jepsen_like.ledger import Outcome
from raftcache.commands.types import Version

T = TypeVar("T")

CLOSED = "127.0.0.1:1"
"""Nobody listens there."""


def put(status: int, document: object, *more: str) -> tuple[Answer, int]:
    """The outcome of a write at a server that answers so, and how often it was asked."""

    async def play() -> tuple[Answer, int]:
        asked = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            await reader.readuntil(b"}")
            asked += 1
            if status:
                body = json.dumps(document).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            writer.close()

        return await _with_server(serve, lambda address: _put([*more, address])), asked

    return asyncio.run(play())


async def _put(addresses: list[str]) -> Answer:
    client = Client(addresses)
    try:
        return await client.put("/v1/cache/safe/k", {"value": 1})
    finally:
        client.close()


async def _with_server(serve: Callable[..., Awaitable[None]], then: Callable[[str], Awaitable[T]]) -> T:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await then(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")


def error(code: str) -> dict[str, object]:
    return {"error": {"code": code, "message": ""}}


def test_an_acknowledgement_carries_its_version() -> None:
    answer, _ = put(201, {"written": True, "version": "va1.2.3", "expiresAt": None, "durability": "quorum"})
    assert answer == Answer(Outcome.ACKNOWLEDGED, Version("a1", 2, 3), durability="quorum")


def test_an_acknowledged_policy_has_no_version() -> None:
    assert put(200, {"ack": "quorum"})[0] == Answer(Outcome.ACKNOWLEDGED, None)


@pytest.mark.parametrize(
    ("status", "code", "outcome", "expected"),
    [
        (503, "no_leader", Outcome.REFUSED, True),
        (504, "outcome_unknown", Outcome.UNKNOWN, True),
        (500, "internal", Outcome.UNKNOWN, False),
        (404, "unknown_namespace", Outcome.REFUSED, False),
        (400, "bad_request", Outcome.REFUSED, False),
    ],
)
def test_errors_are_definite_or_not_and_expected_or_not(
    status: int, code: str, outcome: Outcome, expected: bool
) -> None:
    answer, _ = put(status, error(code))
    assert (answer.outcome, answer.expected, code in answer.code) == (outcome, expected, True)


def test_a_write_whose_connection_is_lost_is_unknown_and_is_not_sent_again() -> None:
    answer, asked = put(0, None)
    assert (answer, asked) == (Answer(Outcome.UNKNOWN, code="disconnected"), 1)


def test_a_node_that_cannot_be_reached_is_passed_over() -> None:
    answer, asked = put(200, {}, CLOSED)
    assert (answer.outcome, asked) == (Outcome.ACKNOWLEDGED, 1)


def test_where_no_node_can_be_reached_nothing_was_written() -> None:
    assert asyncio.run(_put([CLOSED, CLOSED])) == Answer(Outcome.REFUSED, code="unreachable")


def batch(results: list[dict[str, object]], status: int = 200) -> list[Answer]:
    """The outcomes of a request for so many writes."""

    async def write(address: str) -> list[Answer]:
        client = Client([address])
        try:
            return await client.write_many(b"POST", "/v1/cache/batch/set", {}, 3)
        finally:
            client.close()

    return asyncio.run(_with_server(answering(status, {"results": results} if results else error("x")), write))


def answering(status: int, document: object) -> Callable[..., Awaitable[None]]:
    """A server that answers every request so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(document).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        writer.close()

    return serve


def test_each_item_of_a_batch_has_an_outcome_of_its_own() -> None:
    done = {"version": "va1.2.3", "durability": "quorum", "existed": False}
    answers = batch([done, error("outcome_unknown"), error("no_leader")])
    assert [each.outcome for each in answers] == [Outcome.ACKNOWLEDGED, Outcome.UNKNOWN, Outcome.REFUSED]
    assert answers[0] == Answer(Outcome.ACKNOWLEDGED, Version("a1", 2, 3), durability="quorum", existed=False)


@pytest.mark.parametrize(("status", "outcome"), [(503, Outcome.REFUSED), (504, Outcome.UNKNOWN)])
def test_what_is_said_of_a_batch_holds_for_each_item(status: int, outcome: Outcome) -> None:
    assert [each.outcome for each in batch([], status)] == [outcome] * 3


def test_an_increment_tells_the_count() -> None:
    answer, _ = put(200, {"value": 7, "version": "va1.2.3", "durability": "quorum"})
    assert answer == Answer(Outcome.ACKNOWLEDGED, Version("a1", 2, 3), counted=7, durability="quorum")


@pytest.mark.parametrize(("text", "version"), [("va1.2.3", Version("a1", 2, 3)), (None, None)])
def test_a_condition_that_does_not_hold_is_an_answer_that_names_what_stands_there(
    text: str | None, version: Version | None
) -> None:
    assert put(409, {"written": False, "currentVersion": text})[0] == Answer(Outcome.REFUSED, version, CONFLICT)


@pytest.mark.parametrize(("status", "said"), [(200, Health(True, "")), (503, Health(False, "the disk"))])
def test_health_is_the_status_and_the_reason(status: int, said: Health) -> None:
    served = answering(status, {"ok": said.ready, "reason": said.reason})
    assert asyncio.run(_with_server(served, health)) == said


def test_a_node_that_does_not_answer_has_no_health() -> None:
    assert asyncio.run(health(CLOSED)) is None
