"""Keys: any bytes in a path, any text in JSON, and the same key by either way."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from http_caller import Caller

from raftcache.commands.types import KEY_LIMIT_BYTES


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a/b", b"a/b"),
        ("a%2Fb", b"a/b"),
        ("/a//b/", b"/a//b/"),
        ("%00", b"\x00"),
        ("%FF%FE", b"\xff\xfe"),
        ("%0A%0D", b"\n\r"),
        ("%C3%A9", "é".encode()),
        ("%c3%a9", "é".encode()),
        ("a+b", b"a+b"),
        ("a%20b", b"a b"),
        ("%2525", b"%25"),
        ("%3F%23", b"?#"),
        ("{tag}:1", b"{tag}:1"),
        ("%2E%2E", b".."),
        ("x;y=1,z:@!$&'()*", b"x;y=1,z:@!$&'()*"),
        ("k?consistency=latest", b"k"),
    ],
)
def test_the_key_behind_a_path(caller: Caller, path: str, key: bytes) -> None:
    caller.call("GET", f"/v1/cache/default/{path}")
    assert caller.backend.commands[-1][0].key == key  # type: ignore[union-attr]


def test_every_byte_of_a_key_arrives(caller: Caller) -> None:
    key = bytes(range(256))
    assert caller.call("PUT", "/v1/cache/safe/" + quote(key, safe=""), {"value": 1}).status == 201
    assert list(caller.backend.entries) == [b"safe:" + key]
    assert caller.call("DELETE", "/v1/cache/safe/" + quote(key)).status == 204
    assert caller.backend.entries == {}


def test_an_encoded_prefix_is_the_same_path(caller: Caller) -> None:
    assert caller.call("PUT", "/v1/cache/de%66ault/k", {"value": 1}).status == 201
    assert list(caller.backend.entries) == [b"k"]


@pytest.mark.parametrize("key", ["a/b", "é\U0001f600", "\x00\n", "{t}x", "safe:k"])
def test_a_key_in_json_is_the_same_key(caller: Caller, key: str) -> None:
    caller.call("POST", "/v1/cache/incr", {"namespace": "default", "key": key})
    assert caller.call("GET", "/v1/cache/default/" + quote(key, safe="")).json["value"] == 1


def test_a_key_of_default_may_resolve_into_another_namespace(caller: Caller) -> None:
    caller.call("PUT", "/v1/cache/default/safe:k", {"value": 1})
    assert caller.call("GET", "/v1/cache/safe/k").json["value"] == 1


def test_the_key_named_like_a_batch_call(caller: Caller) -> None:
    caller.call("PUT", "/v1/namespaces/batch", {})
    assert caller.call("PUT", "/v1/cache/batch/get", {"value": 1}).status == 201
    assert caller.call("GET", "/v1/cache/batch/get").json["value"] == 1


@pytest.mark.parametrize(("namespace", "room"), [("default", KEY_LIMIT_BYTES), ("safe", KEY_LIMIT_BYTES - 5)])
def test_the_longest_key_and_one_byte_more(caller: Caller, namespace: str, room: int) -> None:
    assert caller.call("PUT", f"/v1/cache/{namespace}/" + "%FF" * room, {"value": 1}).status == 201
    answer = caller.call("PUT", f"/v1/cache/{namespace}/" + "k" * (room + 1), {"value": 1})
    assert (answer.status, answer.error["code"]) == (400, "invalid_key")
    assert str(KEY_LIMIT_BYTES) in answer.error["message"]
    assert str(KEY_LIMIT_BYTES + 1) in answer.error["message"]


@pytest.mark.parametrize("body", [{"key": ""}, {"key": "é" * 513}])
def test_a_key_in_json_has_the_same_limits(caller: Caller, body: dict[str, Any]) -> None:
    answer = caller.call("POST", "/v1/cache/incr", {"namespace": "default", **body})
    assert (answer.status, answer.error["code"]) == (400, "invalid_key")


@pytest.mark.parametrize("path", ["%", "%f", "%zz", "a%2", "%%41"])
def test_bad_percent_encoding(caller: Caller, path: str) -> None:
    answer = caller.call("GET", f"/v1/cache/default/{path}")
    assert (answer.status, answer.error["code"]) == (400, "bad_request")
    assert "percent-encoded" in answer.error["message"]
    assert caller.alive()
