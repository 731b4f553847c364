"""Operations as HTTP requests, answers as completions, and what becomes of requests that are not answered."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jepsen_like.asking import Completion, Request
from jepsen_like.history import CONDITION
from jepsen_like.proxy.forwarder import Forwarder
from jepsen_like.proxy.toxics import HEALTHY
from jepsen_like.targets.over_http import Asked, asked_of, completion_of, wait_ms
from jepsen_like.targets.processes import GRACE_S, RealTarget
from raftcache.cli.keepalive import Response

V, W = "v7c1.3.42", "v7c1.3.43"
KEYED = {"Idempotency-Key": "k1"}


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (Request(name="read", key="safe:a/b c"), Asked(b"GET", "/v1/cache/safe/a%2Fb%20c")),
        (
            Request(
                name="read",
                key="d:a",
                level="committed",
                details={"readPreference": "replica", "minVersion": V, "maxStalenessMs": 0},
            ),
            Asked(
                b"GET",
                f"/v1/cache/d/a?readPreference=replica&minVersion={V}&maxStalenessMs=0&consistency=committed",
            ),
        ),
        (Request(name="write", key="safe:a:b", value=1), Asked(b"PUT", "/v1/cache/safe/a%3Ab", {"value": 1})),
        (
            Request(
                name="write",
                key="d:a",
                value="x",
                level="durable",
                details={"ttlSeconds": 2.5, "idempotencyKey": "k1"},
            ),
            Asked(b"PUT", "/v1/cache/d/a", {"value": "x", "ttlSeconds": 2.5, "durability": "durable"}, KEYED),
        ),
        (
            Request(name="cas", key="d:a", value=[1, 2], details={"ifVersion": V}),
            Asked(b"PUT", "/v1/cache/d/a", {"value": 2, "ifVersion": V}),
        ),
        (
            Request(name="cas", key="d:a", value=[None, 2], details={"ifAbsent": True}),
            Asked(b"PUT", "/v1/cache/d/a", {"value": 2, "ifAbsent": True}),
        ),
        (
            Request(name="incr", key="d:a", value=3, details={"idempotencyKey": "k1"}),
            Asked(b"POST", "/v1/cache/incr", {"namespace": "d", "key": "a", "delta": 3}, KEYED),
        ),
        (
            Request(name="delete", key="d:a", level="quorum"),
            Asked(b"POST", "/v1/cache/batch/delete", {"namespace": "d", "keys": ["a"], "durability": "quorum"}),
        ),
        (
            Request(name="delete", key="d:a", level="quorum", details={"ifVersion": V, "idempotencyKey": "k1"}),
            Asked(b"DELETE", f"/v1/cache/d/a?ifVersion={V}&durability=quorum", None, KEYED),
        ),
        (
            Request(name="expire", key="d:a", value=2),
            Asked(b"POST", "/v1/cache/expire", {"namespace": "d", "key": "a", "ttlSeconds": 2}),
        ),
        (
            Request(name="read-many", value=["d:a", "d:b"], level="latest"),
            Asked(b"POST", "/v1/cache/batch/get", {"namespace": "d", "keys": ["a", "b"], "consistency": "latest"}),
        ),
        (
            Request(name="write-many", value=[["d:a", 1], ["d:b", "x"]]),
            Asked(
                b"POST",
                "/v1/cache/batch/set",
                {"namespace": "d", "items": [{"key": "a", "value": 1}, {"key": "b", "value": "x"}]},
            ),
        ),
        (
            Request(name="receipt", key="d:a/b", value=V, details={"waitMs": 100}),
            Asked(b"GET", f"/v1/receipts/d/a%2Fb/{V}?waitMs=100"),
        ),
        (Request(name="lost-writes", value="d"), Asked(b"GET", "/v1/lost-writes?namespace=d")),
        (
            Request(name="set-namespace", key="d", value={"ack": "quorum"}),
            Asked(b"PUT", "/v1/namespaces/d", {"ack": "quorum"}),
        ),
        (Request(name="delete-namespace", key="d"), Asked(b"DELETE", "/v1/namespaces/d")),
        (Request(name="invalidate", key="d"), Asked(b"POST", "/v1/namespaces/d/invalidate")),
        (Request(name="invalidate", key="d", value="a:b"), Asked(b"POST", "/v1/cache/d/tags/a%3Ab/invalidate")),
    ],
)
def test_an_operation_is_one_request(request_: Request, asked: Asked) -> None:
    assert asked_of(request_) == asked


def test_a_request_names_its_time_limit_and_its_idempotency_key() -> None:
    asked = asked_of(Request(name="write", key="d:a", value=1, details={"idempotencyKey": "k1"}))
    method, path, headers, body = asked.encoded(1500)
    assert (method, path, body) == (b"PUT", b"/v1/cache/d/a", b'{"value":1}')
    assert b"Raftcache-Timeout-Ms: 1500\r\n" in headers and headers.endswith(b"Idempotency-Key: k1\r\n")
    assert wait_ms(Request(name="receipt", details={"waitMs": 70})) == 70 and wait_ms(Request(name="read")) == 0


def told(name: str, status: int, document: object, headers: str = "", **asked: Any) -> Completion:
    """What an answer means."""
    body = b"" if document is None else json.dumps(document).encode()
    head = f"HTTP/1.1 {status} X\r\n{headers}\r\n".encode()
    return completion_of(Request(name=name, **asked), Response(status, body, False, head))


def ok(value: Any = None, version: str = "", level: str = "", **details: Any) -> Completion:
    return Completion(kind="ok", value=value, version=version, level=level, details=details)


LINEARIZABLE = "Raftcache-Consistency: linearizable\r\n"


def test_reads() -> None:
    hit = {"hit": True, "value": [1], "version": V, "ttlRemainingSeconds": None}
    assert told("read", 200, hit, LINEARIZABLE) == ok([1], V, "linearizable")
    fresh = {**hit, "ttlRemainingSeconds": 7, "stalenessMs": 0}
    assert told("read", 200, fresh) == ok([1], V, ttlSeconds=7, stalenessMs=0)
    assert told("read", 404, {"hit": False}, LINEARIZABLE) == ok(None, "", "linearizable")
    miss = {"hit": False, "version": V, "stalenessMs": 9}
    assert told("read", 404, miss) == ok(None, "", stalenessMs=9, newestVersion=V)


def test_writes() -> None:
    stored = {"written": True, "version": V, "expiresAt": None, "durability": "quorum"}
    assert told("write", 201, stored) == told("cas", 201, stored) == ok(None, V, "quorum")
    assert told("incr", 200, {"value": 5, "version": V, "durability": "primary"}) == ok(5, V, "primary")
    assert told("expire", 200, {"applied": True, "version": V, "durability": "primary"}) == ok(True, V, "primary")
    missed = {"applied": False, "version": V, "durability": "primary"}
    assert told("expire", 200, missed) == ok(False, "", "primary", newestVersion=V)


def test_a_condition_that_did_not_hold_says_what_stood_there() -> None:
    headers = "Raftcache-Durability: quorum\r\n"
    expected = Completion(kind="fail", error=CONDITION, level="quorum", details={"current": W})
    assert told("cas", 409, {"written": False, "currentVersion": W}, headers) == expected
    assert told("delete", 409, {"written": False, "currentVersion": None}).details == {"current": ""}


def test_deletes() -> None:
    item = {"key": "a", "existed": True, "version": V, "durability": "quorum"}
    assert told("delete", 200, {"results": [item]}) == ok(True, V, "quorum")
    assert told("delete", 200, {"results": [{**item, "existed": False}]}) == ok(False, "", "quorum", newestVersion=V)
    headers = f"Raftcache-Version: {V}\r\nRaftcache-Durability: quorum\r\n"
    assert told("delete", 204, None, headers, details={"ifVersion": W}) == ok(True, V, "quorum")
    assert told("delete", 204, None, headers) == ok(None, "", "quorum", newestVersion=V)
    refused = told("delete", 200, {"results": [{"key": "a", "error": {"code": "no_leader", "message": ""}}]})
    assert (refused.kind, refused.error) == ("fail", "no_leader")


def test_batches() -> None:
    read = [{"key": "a", "hit": True, "value": 1, "version": V}, {"key": "b", "hit": False}]
    assert told("read-many", 200, {"results": read}) == ok([[1, V], [None, ""]])
    refused = {"key": "c", "error": {"code": "no_leader", "message": ""}}
    assert told("read-many", 200, {"results": [*read, refused]}).value[2] == "error no_leader"
    stored = {"key": "a", "written": True, "version": V, "durability": "quorum"}
    assert told("write-many", 200, {"results": [stored, refused]}) == ok([V, "error no_leader"], "", "quorum")
    unknown = {"key": "c", "error": {"code": "outcome_unknown", "message": ""}}
    mixed = told("write-many", 200, {"results": [stored, {**stored, "durability": "durable"}, unknown]})
    assert (mixed.kind, mixed.value, mixed.level) == ("info", [V, V, "error outcome_unknown"], "")


def test_fates_losses_and_policies() -> None:
    receipt = {"state": "committed", "durable": True, "shard": "7c1", "term": 3}
    assert told("receipt", 200, receipt) == ok("committed", durable=True)
    report = {"lost": [{"version": V}], "total": 2, "truncated": True, "unreachable": ["n1"]}
    assert told("lost-writes", 200, report) == ok([V], total=2, truncated=True, unreachable=["n1"])
    assert told("set-namespace", 201, {"ack": "quorum"}) == told("delete-namespace", 204, None) == ok()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "no_leader", "fail"),
        (429, "replies_full", "fail"),
        (409, "version_lost", "fail"),
        (404, "unknown_namespace", "fail"),
        (504, "outcome_unknown", "info"),
        (500, "internal", "info"),
        (500, "never_heard_of", "info"),
    ],
)
def test_an_error_is_what_the_table_of_errors_says(status: int, code: str, kind: str) -> None:
    answer = told("write", status, {"error": {"code": code, "message": "why", "version": V}})
    assert answer == Completion(kind=kind, error=code, version=V, details={"message": "why"})  # type: ignore[arg-type]


def test_an_answer_that_is_no_json_leaves_the_outcome_open() -> None:
    answer = completion_of(Request(name="write"), Response(502, b"<html>", False, b""))
    assert answer.kind == "info" and "502" in answer.details["message"]


# -- sockets -----------------------------------------------------------------------------------------

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WRITE = Request(name="write", key="d:a", value=1)
CREATED = b'{"written":true,"version":"%s","durability":"quorum"}' % V.encode()


async def asked_at(target: RealTarget, timeout_s: float = 20.0) -> Completion:
    future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
    target.ask("n0", WRITE, timeout_s, future.set_result)
    return await future


def play(serve: Serve, scene: Callable[[RealTarget], Awaitable[Any]]) -> Any:
    """Play a scene with a target whose one node answers so."""

    async def run() -> Any:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            target = RealTarget({"n0": f"{host}:{port}"})
            try:
                return await scene(target)
            finally:
                await target.close()

    return asyncio.run(run())


class Server:
    """Counts what it was asked. `answers`: how often it answers before it hangs up instead."""

    def __init__(self, answers: int = 1 << 30) -> None:
        self.answers, self.asked, self.connections = answers, 0, 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"}"):
                self.asked += 1
                if self.asked > self.answers:
                    break
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(CREATED), CREATED))
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def test_a_connection_is_kept_from_request_to_request() -> None:
    server = Server()

    async def scene(target: RealTarget) -> list[Completion]:
        return [await asked_at(target) for _ in range(3)]

    assert play(server, scene) == [ok(None, V, "quorum")] * 3
    assert (server.asked, server.connections) == (3, 1)


def test_requests_under_way_at_once_have_connections_of_their_own() -> None:
    server = Server()

    async def scene(target: RealTarget) -> list[Completion]:
        return list(await asyncio.gather(*(asked_at(target) for _ in range(3))))

    assert play(server, scene) == [ok(None, V, "quorum")] * 3
    assert server.connections == 3


def test_a_write_whose_connection_is_lost_is_unknown_and_never_sent_again() -> None:
    server = Server(answers=1)

    async def scene(target: RealTarget) -> list[Completion]:
        return [await asked_at(target), await asked_at(target)]

    _, lost = play(server, scene)
    assert (lost.kind, lost.error) == ("info", "outcome_unknown") and server.asked == 2


def test_no_answer_in_time_is_unknown() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def scene(target: RealTarget) -> tuple[Completion, float]:
        completion = await asked_at(target, 0.01)
        return completion, target.now_ms()

    completion, now_ms = play(silent, scene)
    assert (completion.kind, completion.details["message"]) == ("info", "no answer in time")
    assert now_ms >= (0.01 + GRACE_S) * 1000 - 1


def test_a_refused_connection_is_a_definite_failure() -> None:
    async def scene(target: RealTarget) -> Completion:
        target._addresses["n0"] = ("127.0.0.1", 1)
        return await asked_at(target)

    completion = play(Server(), scene)
    assert (completion.kind, completion.error) == ("fail", "unavailable")


@pytest.mark.parametrize(("known", "kind"), [(True, "fail"), (False, "info")])
def test_so_is_one_that_a_proxy_refused_where_the_proxy_is_ours(known: bool, kind: str) -> None:
    async def run() -> Completion:
        forwarder = Forwarder("clients", "n0", ("127.0.0.1", 1), lambda *_: HEALTHY, random.Random(0))
        await forwarder.start()
        refused = (lambda _, port: forwarder.was_refused(port)) if known else (lambda *_: False)
        target = RealTarget({"n0": forwarder.address}, refused)
        try:
            return await asked_at(target)
        finally:
            await target.close()
            await forwarder.stop()

    assert asyncio.run(run()).kind == kind


def test_whoever_asks_is_told_exactly_once_also_when_the_run_ends_first() -> None:
    answers: list[Completion] = []

    async def run() -> None:
        target = RealTarget({"n0": "127.0.0.1:1"})
        target.ask("n0", WRITE, 1.0, answers.append)
        assert answers == []
        await target.close()

    asyncio.run(run())
    assert [answer.kind for answer in answers] == ["info"]


def test_what_is_not_due_when_the_run_ends_is_not_done() -> None:
    done: list[str] = []

    async def run() -> None:
        target = RealTarget({})
        target.later(0.0, lambda: done.append("now"))
        target.later(3600.0, lambda: done.append("later"))
        while not done:
            await asyncio.sleep(0)
        await target.close()
        assert not target._timers or all(handle.cancelled() for handle in target._timers)

    asyncio.run(run())
    assert done == ["now"]
