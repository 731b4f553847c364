"""Bad input of every kind gets its own clear error, and the server lives."""

from __future__ import annotations

from typing import Any

import pytest
from http_caller import Caller

from raftcache.commands.types import TTL_LIMIT_MS, VALUE_LIMIT_BYTES

KEY = "/v1/cache/default/k"
GET, SET = "/v1/cache/batch/get", "/v1/cache/batch/set"
INCR, EXPIRE = "/v1/cache/incr", "/v1/cache/expire"
OCTETS = "application/octet-stream"
ONE = {"namespace": "default", "key": "k"}


def refused(caller: Caller, method: str, path: str, body: Any, *words: str, **headers: str) -> str:
    """The error's code, of an answer 400 whose message has all the words; nothing was executed."""
    answer = caller.call(method, path, body, **headers)
    assert answer.status == 400, answer
    message = answer.error["message"]
    assert all(word in message for word in words), message
    assert caller.backend.commands == []
    assert caller.alive()
    return str(answer.error["code"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ("not JSON", "char 0")),
        (b"{", ("not JSON", "char 1")),
        (b'{"value": }', ("not JSON", "byte 10")),
        (b'{"value": 01}', ("not JSON", "byte 11")),
        (b'{"value": 1} 2', ("not JSON", "trailing characters (byte 1")),
        (b'{"value": "\xff"}', ("byte 11 is not UTF-8",)),
        (b'{"value": "\\ud800"}', ("surrogate",)),
        (b'{"value": "\\q"}', ("not JSON", "byte 12")),
        (b'{"value": NaN}', ("not JSON", "byte 10")),
        (b"\xef\xbb\xbf{}", ("not JSON", "byte 0")),
        (b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ("nested too deeply",)),
        (b'{"foo": 1, "value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ("unknown field", "foo")),
        (b'{"ttlSeconds": "a", nonsense', ("ttlSeconds",)),
    ],
)
def test_malformed_json_is_refused_with_its_position(caller: Caller, body: bytes, words: tuple[str, ...]) -> None:
    assert refused(caller, "PUT", KEY, body, *words) == "bad_request"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([1], ("the body", "object", "array", "[1]")),
        ("text", ("the body", "object")),
        ({}, ("the body", "missing", "value")),
        ({"value": 1, "ttl": 3}, ("unknown field", "ttl")),
        ({"value": 1, "ttlSeconds": -1}, ("ttlSeconds", "> 0", "got -1")),
        ({"value": 1, "ttlSeconds": 0}, ("ttlSeconds", "> 0", "got 0")),
        ({"value": 1, "ttlSeconds": "60"}, ("ttlSeconds", "float", "str", 'got "60"')),
        ({"value": 1, "ttlSeconds": True}, ("ttlSeconds", "bool")),
        ({"value": 1, "ttlSeconds": TTL_LIMIT_MS}, ("ttlSeconds", str(TTL_LIMIT_MS // 1000), str(TTL_LIMIT_MS))),
        ({"value": 1, "ifAbsent": 1}, ("ifAbsent", "bool")),
        ({"value": 1, "ifVersion": 7}, ("ifVersion", "str")),
        ({"value": 1, "ifVersion": "7"}, ("ifVersion", 'got "7"')),
        ({"value": 1, "ifVersion": "v7c1.3"}, ("ifVersion", "v7c1.3")),
        ({"value": 1, "ifVersion": "v7c1.3.4\n"}, ("ifVersion",)),
        ({"value": 1, "ifVersion": "v7c1.3." + "9" * 30}, ("ifVersion", "9999")),
        ({"value": 1, "durability": "sure"}, ("durability", "primary, quorum, durable", 'got "sure"')),
        ({"value": 1, "durability": "QUORUM"}, ("durability", "primary, quorum")),
        ({"value": 1, "durability": 2}, ("durability", "got 2")),
    ],
)
def test_a_body_that_does_not_fit_names_field_limit_and_value(
    caller: Caller, body: Any, words: tuple[str, ...]
) -> None:
    assert refused(caller, "PUT", KEY, body, *words) == "bad_request"


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (INCR, {**ONE, "delta": "1"}, ("delta", "int", 'got "1"')),
        (INCR, {**ONE, "delta": 1.5}, ("delta", "int", "got 1.5")),
        (INCR, {**ONE, "delta": 1 << 63}, ("delta", str((1 << 63) - 1), str(1 << 63))),
        (INCR, {**ONE, "delta": -(1 << 63) - 1}, ("delta", str(-(1 << 63)))),
        (INCR, {**ONE, "delta": 10**400}, ("delta",)),
        (INCR, {**ONE, "delta": None}, ("delta", "null")),
        (INCR, {"namespace": "default"}, ("missing", "key")),
        (INCR, {"key": "k"}, ("missing", "namespace")),
        (INCR, {**ONE, "key": 7}, ("key", "str", "got 7")),
        (INCR, {**ONE, "by": 7}, ("unknown field", "by")),
        (EXPIRE, ONE, ("missing", "ttlSeconds")),
        (EXPIRE, {**ONE, "ttlSeconds": -5}, ("ttlSeconds", "got -5")),
        (GET, {"namespace": "default", "keys": "k"}, ("keys", "array", 'got "k"')),
        (GET, {"namespace": "default", "keys": ["a", 1]}, ("keys[1]", "str", "got 1")),
        (GET, {"namespace": "default"}, ("missing", "keys")),
        (SET, {"namespace": "default", "items": [{"key": "a"}]}, ("items[0]", "missing", "value")),
        (
            SET,
            {"namespace": "default", "items": [{"key": "a", "value": 1, "ttlSeconds": -1}]},
            ("items[0].ttlSeconds",),
        ),
        (SET, {"namespace": "default", "items": [{"key": "a", "value": 1, "x": 1}]}, ("items[0]", "unknown", "x")),
    ],
)
def test_the_posted_bodies_are_held_as_strictly(caller: Caller, path: str, body: Any, words: tuple[str, ...]) -> None:
    assert refused(caller, "POST", path, body, *words) == "bad_request"


def test_a_number_of_endless_digits(caller: Caller) -> None:
    body = b'{"namespace": "default", "key": "k", "delta": ' + b"9" * 10_000 + b"}"
    assert refused(caller, "POST", INCR, body, "delta") == "bad_request"


@pytest.mark.parametrize(
    ("method", "parameters", "words"),
    [
        ("GET", "consistency=replica", ("consistency", "latest, committed, linearizable", "replica")),
        ("GET", "readPreference=any", ("readPreference", "leader, replica", "any")),
        ("GET", "minVersion=7", ("minVersion", "7")),
        ("GET", "maxStalenessMs=-1", ("maxStalenessMs", "0", "-1")),
        ("GET", "consistency=", ("consistency",)),
        ("GET", "consistent=latest", ("'consistent'", "known: consistency")),
        ("GET", "consistency=latest&consistency=latest", ("'consistency'", "more than once")),
        ("GET", "consistency=%zz", ("query", "hexadecimal")),
        ("GET", "consistency=%ff", ("query", "UTF-8")),
        ("GET", "&".join(f"a{n}=1" for n in range(40)), ("query", "16")),
        ("DELETE", "ifVersion=7", ("ifVersion", "7")),
        ("DELETE", "ifVersion=v7c1.3.4&ttlSeconds=1", ("'ttlSeconds'", "ifVersion")),
        ("PUT", "ttlSeconds=-1", ("ttlSeconds", "> 0", "-1")),
        ("PUT", "ttlSeconds=soon", ("ttlSeconds", "soon")),
        ("PUT", "ttlSeconds=NaN", ("ttlSeconds", "NaN")),
        ("PUT", "ttlSeconds=1e999", ("ttlSeconds", "1e999")),
        ("PUT", "ttlSeconds=null", ("ttlSeconds", "null")),
        ("PUT", "ifAbsent=1", ("ifAbsent", "1")),
        ("PUT", "ifAbsent", ("ifAbsent",)),
        ("PUT", "ifVersion=x", ("ifVersion", "x")),
        ("PUT", "durability=sure", ("durability", "primary, quorum, durable", "sure")),
        ("PUT", "value=1", ("'value'",)),
    ],
)
def test_query_parameters(caller: Caller, method: str, parameters: str, words: tuple[str, ...]) -> None:
    headers = {"Content_Type": OCTETS} if method == "PUT" else {}
    body = b"value" if method == "PUT" else None
    assert refused(caller, method, f"{KEY}?{parameters}", body, *words, **headers) == "bad_request"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", KEY, {"value": 1}),
        ("POST", GET, {"namespace": "default", "keys": []}),
        ("POST", INCR, ONE),
        ("GET", "/v1/namespaces", None),
        ("PUT", "/v1/namespaces/a", {}),
        ("GET", "/v1/cluster", None),
        ("GET", "/readyz", None),
    ],
)
def test_calls_without_query_parameters_refuse_them(caller: Caller, method: str, path: str, body: Any) -> None:
    assert refused(caller, method, path + "?ttlSeconds=1", body, "'ttlSeconds'", "none") == "bad_request"


@pytest.mark.parametrize("name", ["a%20b", "a:b", "%C3%A9", "%FF", "a" * 65])
def test_a_namespace_name_that_cannot_be(caller: Caller, name: str) -> None:
    assert refused(caller, "GET", f"/v1/cache/{name}/k", None, "namespace", "64") == "invalid_name"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/cache/nobody/k", None),
        ("PUT", "/v1/cache/nobody/k", {"value": 1}),
        ("DELETE", "/v1/cache/nobody/k", None),
        ("POST", GET, {"namespace": "nobody", "keys": []}),
        ("POST", SET, {"namespace": "nobody", "items": [{"key": "k", "value": 1}]}),
        ("POST", "/v1/cache/batch/delete", {"namespace": "nobody", "keys": ["k"]}),
        ("POST", INCR, {"namespace": "nobody", "key": "k"}),
        ("POST", EXPIRE, {"namespace": "nobody", "key": "k", "ttlSeconds": 1}),
    ],
)
def test_an_unknown_namespace(caller: Caller, method: str, path: str, body: Any) -> None:
    answer = caller.call(method, path, body)
    assert (answer.status, answer.error["code"]) == (404, "unknown_namespace")
    assert "'nobody'" in answer.error["message"]


def test_a_durability_below_the_policy_s(caller: Caller) -> None:
    answer = caller.call("PUT", "/v1/cache/safe/k", {"value": 1, "durability": "primary"})
    assert (answer.status, answer.error["code"]) == (400, "level_too_low")
    assert caller.call("GET", "/v1/cache/safe/k").status == 404


@pytest.mark.parametrize("value", ["0", "60001", "-5", "1.5", "soon", "", "+5", "1" * 40, "٣"])
def test_a_time_limit_that_cannot_be(caller: Caller, value: str) -> None:
    sent = value.encode("utf-8").decode("latin-1")
    assert (
        refused(caller, "GET", KEY, None, "Raftcache-Timeout-Ms", "60000", Raftcache_Timeout_Ms=sent) == "bad_request"
    )


def test_a_value_over_its_namespace_s_limit(caller: Caller) -> None:
    answer = caller.call("PUT", "/v1/cache/brief/k", {"value": "x" * 99})
    assert (answer.status, answer.error["code"]) == (413, "value_too_large")


def test_the_largest_value_and_one_byte_more(caller: Caller) -> None:
    assert caller.call("PUT", KEY, b"x" * VALUE_LIMIT_BYTES, Content_Type=OCTETS).status == 201
    assert caller.call("PUT", KEY, {"value": "x" * (VALUE_LIMIT_BYTES - 2)}).status == 201
    for body, headers in (
        (b"x" * (VALUE_LIMIT_BYTES + 1), {"Content_Type": OCTETS}),
        ({"value": "x" * (VALUE_LIMIT_BYTES - 1)}, {}),
    ):
        answer = caller.call("PUT", KEY, body, **headers)
        assert (answer.status, answer.error["code"]) == (413, "value_too_large")
        assert all(str(VALUE_LIMIT_BYTES + extra) in answer.error["message"] for extra in (0, 1))
    assert caller.alive()


def test_a_defect_is_an_error_of_its_own(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    caller.backend.cluster = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    answer = caller.call("GET", "/v1/cluster")
    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert "ZeroDivisionError" in caplog.text
    assert "division" not in answer.error["message"]
    assert caller.alive()
