"""`/v1/cache/{namespace}/{key}`: every documented call and answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from http_backend import TERM
from http_caller import Caller

from raftcache.commands.types import RAW, AckLevel, Get, ReadLevel, Set, Version
from raftcache.errors import MemoryFull, NoLeader, OutcomeUnknown

KEY = "/v1/cache/default/k"
OCTETS = "application/octet-stream"


def test_put_answers_version_and_durability(caller: Caller) -> None:
    answer = caller.call("PUT", KEY, {"value": {"a": 1}})
    assert answer.status == 201
    assert answer.json == {"written": True, "version": "v7c1f.3.1", "expiresAt": None, "durability": "primary"}


def test_put_reports_the_instant_of_expiry(caller: Caller) -> None:
    assert caller.call("PUT", KEY, {"value": 1, "ttlSeconds": 300}).json["expiresAt"] == "2023-11-14T22:18:20Z"
    assert caller.call("PUT", KEY, {"value": 1, "ttlSeconds": 0.25}).json["expiresAt"] == "2023-11-14T22:13:20.250Z"


def test_put_takes_the_default_ttl_where_none_or_null_is_given(caller: Caller) -> None:
    for body in ({"value": 1}, {"value": 1, "ttlSeconds": None}):
        assert caller.call("PUT", "/v1/cache/brief/k", body).json["expiresAt"] == "2023-11-14T22:14:50Z"


def test_put_passes_on_what_is_asked(caller: Caller) -> None:
    options = {"ttlSeconds": 2, "ifVersion": "v7c1f.3.1", "ifAbsent": True, "durability": "quorum"}
    caller.call("PUT", "/v1/cache/safe/k", {"value": [1, 2], **options}, Raftcache_Timeout_Ms="250")
    command, deadline = caller.backend.commands[-1]
    version = Version("7c1f", 3, 1)
    assert command == Set(b"safe:k", b"[1,2]", 1, 2000, version, True, AckLevel.QUORUM, named_at=1)
    assert deadline == 1000.25


def test_the_deadline_has_a_default(caller: Caller) -> None:
    caller.call("GET", KEY)
    assert caller.backend.commands[-1] == (Get(b"k"), 1005.0)


def test_put_if_absent(caller: Caller) -> None:
    assert caller.call("PUT", KEY, {"value": 1, "ifAbsent": True}).status == 201
    refused = caller.call("PUT", KEY, {"value": 2, "ifAbsent": True})
    assert refused.status == 409
    assert refused.json == {"written": False, "currentVersion": "v7c1f.3.1"}
    assert refused.headers["raftcache-durability"] == "primary"


def test_put_if_version(caller: Caller) -> None:
    missing = caller.call("PUT", KEY, {"value": 1, "ifVersion": "v7c1f.3.9"})
    assert (missing.status, missing.json) == (409, {"written": False, "currentVersion": None})
    version = caller.call("PUT", KEY, {"value": 1}).json["version"]
    assert caller.call("PUT", KEY, {"value": 2, "ifVersion": version}).status == 201
    assert caller.call("PUT", KEY, {"value": 3, "ifVersion": version}).json["currentVersion"] == f"v7c1f.{TERM}.2"


def test_put_raw_with_query_parameters(caller: Caller) -> None:
    path = KEY + "?ttlSeconds=2.5&ifAbsent=true&durability=quorum"
    answer = caller.call("PUT", path, b"\x00\xff", Content_Type=OCTETS)
    assert (answer.status, answer.json["durability"]) == (201, "quorum")
    assert caller.backend.commands[-1][0] == Set(b"k", b"\x00\xff", RAW, 2500, None, True, AckLevel.QUORUM)
    refused = caller.call("PUT", KEY + "?ifVersion=v7c1f.3.9", b"", Content_Type=OCTETS + "; charset=binary")
    assert refused.json == {"written": False, "currentVersion": "v7c1f.3.1"}


def test_an_empty_raw_value_is_a_value(caller: Caller) -> None:
    assert caller.call("PUT", KEY, b"", Content_Type=OCTETS).status == 201
    assert caller.call("GET", KEY).json["value"] == {"encoding": "base64", "value": ""}


@pytest.mark.parametrize("value", [None, True, 7, -1.5, "é\u0000\U0001f600", [], {"hit": False}, [{"a": [None]}]])
def test_any_json_comes_back(caller: Caller, value: Any) -> None:
    caller.call("PUT", KEY, {"value": value})
    answer = caller.call("GET", KEY)
    assert answer.status == 200
    expected = {"hit": True, "value": value, "version": "v7c1f.3.1", "ttlRemainingSeconds": None}
    assert answer.json == expected
    assert answer.headers["raftcache-consistency"] == "latest"


def test_numbers_keep_every_digit_and_spaces_go(caller: Caller) -> None:
    caller.call("PUT", KEY, b'{"value": [ 0.1000, 123456789012345678901234567890, 1e400, "a  b" ] }')
    assert caller.backend.entries[b"k"][0] == b'[0.1000,123456789012345678901234567890,1e400,"a  b"]'


def test_a_json_integer_is_an_ascii_integer(caller: Caller) -> None:
    caller.call("PUT", KEY, {"value": 41})
    assert caller.backend.entries[b"k"][0] == b"41"
    caller.call("POST", "/v1/cache/incr", {"namespace": "default", "key": "k"})
    assert caller.call("GET", KEY).json["value"] == 42


def test_get_miss(caller: Caller) -> None:
    answer = caller.call("GET", KEY)
    assert (answer.status, answer.json) == (404, {"hit": False})
    assert caller.call("GET", KEY, Accept=OCTETS).json == {"hit": False}


def test_get_shows_whole_seconds_that_remain(caller: Caller) -> None:
    caller.call("PUT", KEY, {"value": 1, "ttlSeconds": 246.001})
    assert caller.call("GET", KEY).json["ttlRemainingSeconds"] == 247


def test_get_as_octets(caller: Caller) -> None:
    caller.call("PUT", KEY + "?ttlSeconds=60", b"\x00\xff\n", Content_Type=OCTETS)
    answer = caller.call("GET", KEY, Accept=OCTETS)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"\x00\xff\n", OCTETS)
    assert (answer.headers["raftcache-version"], answer.headers["raftcache-ttl-remaining"]) == ("v7c1f.3.1", "60")
    caller.call("PUT", KEY, {"value": {"a": [1]}})
    answer = caller.call("GET", KEY, Accept=OCTETS)
    assert answer.body == b'{"a":[1]}'
    assert "raftcache-ttl-remaining" not in answer.headers


def test_a_raw_value_asked_for_as_json(caller: Caller) -> None:
    caller.call("PUT", KEY, b"\x00\xff", Content_Type=OCTETS)
    for accept in ("application/json", "*/*", "application/json, application/octet-stream"):
        assert caller.call("GET", KEY, Accept=accept).json["value"] == {"encoding": "base64", "value": "AP8="}


@pytest.mark.parametrize(("name", "level"), [("latest", ReadLevel.LATEST), ("linearizable", ReadLevel.LINEARIZABLE)])
def test_get_consistency(caller: Caller, name: str, level: ReadLevel) -> None:
    answer = caller.call("GET", f"{KEY}?consistency={name}")
    assert caller.backend.commands[-1][0] == Get(b"k", level)
    assert answer.headers["raftcache-consistency"] == name


def test_delete(caller: Caller) -> None:
    for namespace, durability in (("default", "primary"), ("safe", "quorum")):
        path = f"/v1/cache/{namespace}/k"
        written = caller.call("PUT", path, {"value": 1}).json["version"]
        for _ in ("there", "gone"):
            answer = caller.call("DELETE", path)
            assert (answer.status, answer.body) == (204, b"")
            assert answer.headers["raftcache-version"] > written
            assert answer.headers["raftcache-durability"] == durability
        assert caller.call("GET", path).status == 404


def test_delete_if_version(caller: Caller) -> None:
    nothing = caller.call("DELETE", KEY + "?ifVersion=v7c1f.3.1")
    assert (nothing.status, nothing.json) == (409, {"written": False, "currentVersion": None})
    version = caller.call("PUT", KEY, {"value": 1}).json["version"]
    refused = caller.call("DELETE", KEY + "?ifVersion=v7c1f.3.7")
    assert (refused.status, refused.json) == (409, {"written": False, "currentVersion": version})
    assert caller.call("DELETE", f"{KEY}?ifVersion={version}&durability=quorum").status == 204


def test_replies_that_come_later(caller: Caller) -> None:
    caller.backend.later = True
    assert caller.call("PUT", KEY, {"value": 1}).status == 201
    assert caller.call("GET", KEY).json["value"] == 1


def test_errors_of_the_cluster(caller: Caller) -> None:
    caller.backend.failing = NoLeader("shard 7c1f has no leader", shard="7c1f")
    answer = caller.call("GET", KEY)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.error == {"code": "no_leader", "message": "shard 7c1f has no leader", "shard": "7c1f"}
    caller.backend.failing = OutcomeUnknown("leadership was lost", version=Version("7c1f", 3, 9), code="hidden")
    answer = caller.call("PUT", KEY, {"value": 1})
    assert answer.status == 504
    assert answer.error == {"code": "outcome_unknown", "message": "leadership was lost", "version": "v7c1f.3.9"}
    caller.backend.failing = MemoryFull("no room")
    assert (answer := caller.call("PUT", KEY, {"value": 1})).status == 507
    assert answer.error["code"] == "memory_full"


def test_many_requests_on_one_connection(caller: Caller) -> None:
    connection = caller.connection()
    for number in range(50):
        connection.request("PUT", KEY, json.dumps({"value": number}))
        assert json.loads(connection.getresponse().read())["version"] == f"v7c1f.3.{number + 1}"
    connection.close()
