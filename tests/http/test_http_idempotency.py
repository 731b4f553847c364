"""The header Idempotency-Key: passed on where a single key is written, refused elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from http_caller import DOCUMENT, Caller

from raftcache.commands.types import Delete, Expire, Incr, Persist, Set
from raftcache.errors import IdempotencyMismatch, RepliesFull

KEY = "/v1/cache/default/k"
INCR, EXPIRE = "/v1/cache/incr", "/v1/cache/expire"
N: dict[str, Any] = {"namespace": "default", "key": "n"}
WRITES: list[tuple[str, str, Any, dict[str, str], Any]] = [
    ("PUT", KEY, {"value": 1}, {}, Set(b"k", b"1", 1, idempotency=b"a-1")),
    ("PUT", KEY, b"raw", {"Content_Type": "application/octet-stream"}, Set(b"k", b"raw", idempotency=b"a-1")),
    ("DELETE", KEY, None, {}, Delete(b"k", idempotency=b"a-1")),
    ("POST", INCR, N, {}, Incr(b"n", idempotency=b"a-1")),
    ("POST", EXPIRE, {**N, "ttlSeconds": 2}, {}, Expire(b"n", 2000, idempotency=b"a-1")),
    ("POST", EXPIRE, {**N, "ttlSeconds": None}, {}, Persist(b"n", idempotency=b"a-1")),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "command"), WRITES)
def test_writes_of_a_single_key_pass_it_on(
    caller: Caller, method: str, path: str, body: Any, headers: dict[str, str], command: Any
) -> None:
    assert caller.call(method, path, body, Idempotency_Key="a-1", **headers).status < 300
    assert caller.backend.commands[-1][0] == command


@pytest.mark.parametrize("key", ["", "x" * 129, "caf\xe9"])
def test_what_is_no_key_is_refused_with_the_limit(caller: Caller, key: str) -> None:
    answer = caller.call("POST", INCR, N, Idempotency_Key=key)
    assert (answer.status, answer.error["code"]) == (400, "bad_request")
    assert "Idempotency-Key" in answer.error["message"] and "1 to 128" in answer.error["message"]
    assert caller.backend.commands == []


def test_the_longest_key_is_fine(caller: Caller) -> None:
    assert caller.call("POST", INCR, N, Idempotency_Key="x ~!" * 32).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/cache/batch/set", {"namespace": "default", "items": [{"key": "k", "value": 1}]}),
        ("/v1/cache/batch/delete", {"namespace": "default", "keys": ["k"]}),
    ],
)
def test_batches_refuse_it(caller: Caller, path: str, body: Any) -> None:
    answer = caller.call("POST", path, body, Idempotency_Key="a-1")
    assert answer.status == 400 and "Idempotency-Key: 'a-1'" in answer.error["message"]
    assert caller.backend.commands == []


def test_reads_pass_over_it(caller: Caller) -> None:
    caller.call("PUT", KEY, {"value": 1})
    assert caller.call("GET", KEY, Idempotency_Key="a-1").status == 200


def test_another_body_under_the_same_key_is_a_422(caller: Caller) -> None:
    caller.backend.failing = IdempotencyMismatch("used")
    answer = caller.call("POST", INCR, N, Idempotency_Key="a-1")
    assert (answer.status, answer.error["code"]) == (422, "idempotency_mismatch")


def test_a_full_table_is_a_429_to_be_tried_again(caller: Caller) -> None:
    caller.backend.failing = RepliesFull("full")
    answer = caller.call("PUT", KEY, {"value": 1}, Idempotency_Key="a-1")
    assert (answer.status, answer.error["code"]) == (429, "replies_full")
    assert answer.headers["retry-after"] == "1"


def test_it_is_documented_where_it_is_taken() -> None:
    taken = {
        (path, method)
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation["parameters"])
    }
    cache = "/v1/cache/{namespace}/{key}"
    assert taken == {(cache, "put"), (cache, "delete"), (INCR, "post"), (EXPIRE, "post")}
    for path, method in taken:
        assert {"422", "429"} <= DOCUMENT["paths"][path][method]["responses"].keys()
