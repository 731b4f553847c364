"""`/v1/cache/batch/…`: results in the order asked, an error for its item alone."""

from __future__ import annotations

from http_caller import Caller

from raftcache.commands.types import VALUE_LIMIT_BYTES, AckLevel, Get, MultiDelete, MultiGet, MultiSet, ReadLevel, Set
from raftcache.errors import NoLeader

GET, SET, DELETE = (f"/v1/cache/batch/{name}" for name in ("get", "set", "delete"))


def test_set_get_delete(caller: Caller) -> None:
    items = [{"key": "a", "value": 1}, {"key": "b/é", "value": {"x": []}, "ttlSeconds": 60}]
    answer = caller.call("POST", SET, {"namespace": "safe", "items": items, "durability": "quorum"})
    assert answer.status == 200
    assert answer.json["results"] == [
        {"key": "a", "written": True, "version": "v7c1f.3.1", "expiresAt": None, "durability": "quorum"},
        {
            "key": "b/é",
            "written": True,
            "version": "v7c1f.3.2",
            "expiresAt": "2023-11-14T22:14:20Z",
            "durability": "quorum",
        },
    ]
    got = caller.call("POST", GET, {"namespace": "safe", "keys": ["b/é", "none", "a", "a"]})
    hit = {"key": "a", "hit": True, "value": 1, "version": "v7c1f.3.1", "ttlRemainingSeconds": None}
    assert got.json["results"] == [
        {"key": "b/é", "hit": True, "value": {"x": []}, "version": "v7c1f.3.2", "ttlRemainingSeconds": 60},
        {"key": "none", "hit": False},
        hit,
        hit,
    ]
    deleted = caller.call("POST", DELETE, {"namespace": "safe", "keys": ["a", "none"]})
    assert deleted.json["results"] == [
        {"key": "a", "existed": True, "version": "v7c1f.3.3", "durability": "quorum"},
        {"key": "none", "existed": False, "version": "v7c1f.3.3", "durability": "quorum"},
    ]


def test_what_is_asked_of_the_shards(caller: Caller) -> None:
    caller.call("POST", GET, {"namespace": "default", "keys": ["a"], "consistency": "linearizable"})
    assert caller.backend.commands[0][0] == MultiGet((Get(b"a", ReadLevel.LINEARIZABLE),))
    caller.call("POST", SET, {"namespace": "safe", "items": [{"key": "a", "value": "x", "ttlSeconds": 0.0001}]})
    assert caller.backend.commands[1][0] == MultiSet((Set(b"safe:a", b'"x"', 1, 1, named_at=1),))
    caller.call("POST", DELETE, {"namespace": "default", "keys": ["a"], "durability": "quorum"})
    command = caller.backend.commands[-1][0]
    assert isinstance(command, MultiDelete)
    assert command.items[0].ack == AckLevel.QUORUM


def test_a_raw_value_in_a_batch(caller: Caller) -> None:
    caller.call("PUT", "/v1/cache/default/a", b"\xff", Content_Type="application/octet-stream")
    results = caller.call("POST", GET, {"namespace": "default", "keys": ["a"]}).json["results"]
    assert results[0]["value"] == {"encoding": "base64", "value": "/w=="}


def test_an_item_over_its_limit_is_that_item_s_error(caller: Caller) -> None:
    large = "x" * VALUE_LIMIT_BYTES
    items = [{"key": "a", "value": 1}, {"key": "b", "value": large}, {"key": "", "value": 1}, {"key": "c", "value": 2}]
    results = caller.call("POST", SET, {"namespace": "default", "items": items}).json["results"]
    assert [result.get("written") for result in results] == [True, None, None, True]
    assert [results[i]["error"]["code"] for i in (1, 2)] == ["value_too_large", "invalid_key"]
    assert str(VALUE_LIMIT_BYTES) in results[1]["error"]["message"]
    results = caller.call("POST", GET, {"namespace": "default", "keys": ["k" * 1025, "a"]}).json["results"]
    assert results[0]["error"]["code"] == "invalid_key"
    assert results[1]["value"] == 1
    results = caller.call("POST", DELETE, {"namespace": "default", "keys": ["a", "é" * 513]}).json["results"]
    assert [("error" in result) for result in results] == [False, True]


def test_a_shard_s_failure_is_its_item_s_error(caller: Caller) -> None:
    items = [{"key": "a", "value": "x" * 200}, {"key": "b", "value": 1}]
    results = caller.call("POST", SET, {"namespace": "brief", "items": items}).json["results"]
    assert results[0] == {"key": "a", "error": results[0]["error"]}
    assert (results[0]["error"]["code"], results[1]["written"]) == ("value_too_large", True)


def test_a_batch_of_nothing_is_answered_by_nothing(caller: Caller) -> None:
    for path, field in ((GET, "keys"), (SET, "items"), (DELETE, "keys")):
        answer = caller.call("POST", path, {"namespace": "default", field: []})
        assert (answer.status, answer.json) == (200, {"results": []})
    assert caller.backend.commands == []


def test_only_bad_keys_ask_nothing_of_the_shards(caller: Caller) -> None:
    assert "error" in caller.call("POST", GET, {"namespace": "default", "keys": [""]}).json["results"][0]
    assert caller.backend.commands == []


def test_exactly_a_thousand_keys_and_one_more(caller: Caller) -> None:
    keys = [f"k{number}" for number in range(1001)]
    assert len(caller.call("POST", GET, {"namespace": "default", "keys": keys[:1000]}).json["results"]) == 1000
    items = [{"key": key, "value": 1} for key in keys]
    for path, field, content in ((GET, "keys", keys), (SET, "items", items), (DELETE, "keys", keys)):
        answer = caller.call("POST", path, {"namespace": "default", field: content})
        assert (answer.status, answer.error["code"]) == (400, "too_many_keys")
        assert answer.error["message"] == f"{field} has 1001 entries: the limit is 1000"


def test_a_failure_of_the_whole(caller: Caller) -> None:
    caller.backend.failing = NoLeader("nobody")
    answer = caller.call("POST", GET, {"namespace": "default", "keys": ["a"]})
    assert (answer.status, answer.error["code"]) == (503, "no_leader")
