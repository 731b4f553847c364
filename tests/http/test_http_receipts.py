"""`/v1/receipts/…` and `/v1/lost-writes`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from http_caller import Caller

from raftcache.commands.types import Version
from raftcache.errors import NoLeader, OutcomeUnknown, Overloaded, RaftcacheError, UnknownVersion
from raftcache.frontends.backend import LostRow

BATCH = "/v1/receipts/batch"


def written(caller: Caller, key: str = "k") -> str:
    answer = caller.call("PUT", f"/v1/cache/default/{quote(key, safe='')}", {"value": 1})
    assert answer.status == 201
    version: str = answer.json["version"]
    return version


def test_the_fate_of_a_version(caller: Caller) -> None:
    version = written(caller)
    assert caller.call("GET", f"/v1/receipts/default/k/{version}").json == {
        "state": "committed", "durable": True, "shard": "7c1f", "term": 3,
    }  # fmt: skip
    pending = caller.call("GET", "/v1/receipts/default/k/v7c1f.3.99").json
    lost = caller.call("GET", "/v1/receipts/default/k/v7c1f.2.1").json
    assert (pending["state"], pending["durable"], lost["state"], lost["term"]) == ("pending", False, "lost", 2)


@pytest.mark.parametrize(
    ("path", "key"),
    [("a/b", b"a/b"), ("a%2Fb", b"a/b"), ("v1.2.3", b"v1.2.3"), ("%FF%00", b"\xff\x00"), ("a%0Ab", b"a\nb")],
)
def test_a_key_may_hold_anything(caller: Caller, path: str, key: bytes) -> None:
    assert caller.call("GET", f"/v1/receipts/safe/{path}/v7c1f.3.1").status == 200
    assert caller.backend.asked[-1][0] == [(b"safe:" + key, Version("7c1f", 3, 1))]


def test_the_wait_comes_on_top_of_the_time_limit(caller: Caller) -> None:
    caller.call("GET", "/v1/receipts/default/k/v7c1f.3.1?waitMs=1500", **{"Raftcache-Timeout-Ms": "2000"})
    _, wait_ms, deadline = caller.backend.asked[-1]
    assert wait_ms == 1500 and deadline == 1000.0 + 2.0 + 1.5


@pytest.mark.parametrize(
    ("path", "status", "code", "words"),
    [
        ("default/k/7c1f.3.1", 400, "bad_request", "version"),
        ("default/k/v7c1f.3", 400, "bad_request", "v7c1f.3"),
        ("default/k/v7c1f.3.9999999999999999999999", 400, "bad_request", "version"),
        ("default/k/v7c1f.-3.1", 400, "bad_request", "version"),
        ("nowhere/k/v7c1f.3.1", 404, "unknown_namespace", "nowhere"),
        ("no!where/k/v7c1f.3.1", 400, "invalid_name", "no!where"),
        ("default/%GG/v7c1f.3.1", 400, "bad_request", "%GG"),
        (f"default/{'k' * 1025}/v7c1f.3.1", 400, "invalid_key", "1025"),
        ("default/k/vffff.3.1", 404, "unknown_version", "no such shard"),
        ("default/k/v7c1f.3.1?waitMs=30001", 400, "bad_request", "30000"),
        ("default/k/v7c1f.3.1?waitMs=-1", 400, "bad_request", "waitMs"),
        ("default/k/v7c1f.3.1?wait=1", 400, "bad_request", "waitMs"),
    ],
)
def test_what_makes_no_sense_is_refused(caller: Caller, path: str, status: int, code: str, words: str) -> None:
    answer = caller.call("GET", f"/v1/receipts/{path}")
    assert (answer.status, answer.error["code"]) == (status, code) and words in answer.error["message"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoLeader("no leader of shard 7c1f answered within the deadline: not executed"), 503),
        (Overloaded("receipts waiting"), 503),
        (UnknownVersion("version v7c1f.3.1: shard 7c1f was lost and replaced by 0b0b"), 404),
        (OutcomeUnknown("x"), 504),
    ],
)
def test_what_the_shard_cannot_tell_is_its_error(caller: Caller, error: RaftcacheError, status: int) -> None:
    caller.backend.failing = error
    answer = caller.call("GET", "/v1/receipts/default/k/v7c1f.3.1")
    assert (answer.status, answer.error["code"], answer.error["message"]) == (status, error.code, error.message)


def test_many_receipts_have_a_result_each(caller: Caller) -> None:
    version = written(caller)
    items = [
        {"key": "k", "version": version},
        {"key": "k", "version": "vffff.1.1"},
        {"key": "", "version": version},
        {"key": "k", "version": "v7c1f.1.7"},
    ]
    answer = caller.call("POST", BATCH, {"namespace": "default", "items": items, "waitMs": 20})
    assert answer.status == 200
    one, unknown, wrong, lost = answer.json["results"]
    assert one == {"key": "k", "version": version, "state": "committed", "durable": True, "shard": "7c1f", "term": 3}
    assert (unknown["error"]["code"], wrong["error"]["code"], lost["state"]) == (
        "unknown_version", "invalid_key", "lost",
    )  # fmt: skip
    assert caller.backend.asked[-1][1] == 20 and len(caller.backend.asked[-1][0]) == 3
    assert caller.call("POST", BATCH, {"namespace": "default", "items": []}).json == {"results": []}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"namespace": "default", "items": [{"key": "k", "version": "v7c1f.1.1"}] * 1001}, "too_many_keys"),
        ({"namespace": "default", "items": [{"key": "k", "version": "x"}]}, "bad_request"),
        ({"namespace": "default", "items": [{"key": "k"}]}, "bad_request"),
        ({"namespace": "nowhere", "items": []}, "unknown_namespace"),
        ({"items": []}, "bad_request"),
    ],
)
def test_a_batch_of_the_wrong_shape_is_refused_whole(caller: Caller, body: Any, code: str) -> None:
    assert caller.call("POST", BATCH, body).error["code"] == code and caller.backend.asked == []


def test_the_lost_writes(caller: Caller) -> None:
    assert caller.call("GET", "/v1/lost-writes").json == {
        "lost": [], "total": 0, "truncated": False, "unreachable": [],
    }  # fmt: skip
    caller.backend.lost = [
        LostRow("default", "b", "v7c1f.3.8", 1_700_000_000_250),
        LostRow("brief", "a", "v7c1f.3.7", 1_700_000_000_000),
    ]
    caller.backend.unreachable = ["n2"]
    answer = caller.call("GET", "/v1/lost-writes").json
    assert answer["lost"][0] == {
        "namespace": "default", "key": "b", "version": "v7c1f.3.8", "ackedAt": "2023-11-14T22:13:20.250Z",
    }  # fmt: skip
    assert (answer["total"], answer["truncated"], answer["unreachable"]) == (2, False, ["n2"])
    caller.backend.lost_beyond = 7
    brief = caller.call("GET", "/v1/lost-writes?namespace=brief").json
    assert [row["key"] for row in brief["lost"]] == ["a"] and (brief["total"], brief["truncated"]) == (8, True)
    gone = caller.call("GET", "/v1/lost-writes?namespace=deleted-long-ago")
    assert gone.status == 200 and gone.json["lost"] == []
    assert caller.call("GET", "/v1/lost-writes?namespace=a!").error["code"] == "invalid_name"
