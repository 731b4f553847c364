"""What the drill's client makes of answers: every answer to a write is one of three outcomes, or a defect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from jepsen_like.client import Answer, Client
from jepsen_like.ledger import Outcome
from raftcache.commands.types import Version

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


async def _with_server(serve: Callable[..., Awaitable[None]], then: Callable[[str], Awaitable[Answer]]) -> Answer:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await then(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")


def error(code: str) -> dict[str, object]:
    return {"error": {"code": code, "message": ""}}


def test_an_acknowledgement_carries_its_version() -> None:
    answer, _ = put(201, {"written": True, "version": "va1.2.3", "expiresAt": None, "durability": "quorum"})
    assert answer == Answer(Outcome.ACKNOWLEDGED, Version("a1", 2, 3))


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
