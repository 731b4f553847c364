"""`/v1/namespaces`: policies are written and read whole."""

from __future__ import annotations

from typing import Any

import pytest
from http_caller import Caller

from raftcache.commands.types import VALUE_LIMIT_BYTES
from raftcache.errors import NoLeader, NotFollowing, OutcomeUnknown, RaftcacheError, UnknownNamespace

DEFAULTS = {
    "ack": "primary",
    "readLevel": None,
    "allowReplicaReads": None,
    "defaultTtlSeconds": None,
    "maxTtlSeconds": None,
    "ttlJitterPercent": 0,
    "maxItemBytes": VALUE_LIMIT_BYTES,
    "lossWindow": {"ms": 1000, "writes": 10_000, "bytes": 16 << 20},
    "onExceeded": "quorum",
    "eviction": "lru",
    "admission": "all",
    "quotaBytes": None,
    "quotaItems": None,
    "weight": 100,
    "operationsPerSecond": None,
    "bytesPerSecond": None,
    "burstMs": 1000,
}


def test_put_is_201_when_new_else_200(caller: Caller) -> None:
    answer = caller.call("PUT", "/v1/namespaces/users", {})
    assert (answer.status, answer.json) == (201, DEFAULTS)
    policy = {**DEFAULTS, "ack": "quorum", "readLevel": "committed", "defaultTtlSeconds": 1.5, "maxItemBytes": 10}
    policy |= {"maxTtlSeconds": 7.5, "ttlJitterPercent": 20}
    policy |= {"eviction": "none", "quotaBytes": 1 << 30, "operationsPerSecond": 500, "weight": 3}
    policy |= {"lossWindow": {"ms": None, "writes": 5, "bytes": 1}, "onExceeded": "wait"}
    answer = caller.call("PUT", "/v1/namespaces/users", policy)
    assert (answer.status, answer.json) == (200, policy)
    assert caller.call("GET", "/v1/namespaces/users").json == policy
    assert caller.call("PUT", "/v1/namespaces/users", {"ack": "quorum"}).json == {**DEFAULTS, "ack": "quorum"}


def test_what_is_read_can_be_written_back(caller: Caller) -> None:
    document = caller.call("GET", "/v1/namespaces/brief").json
    assert caller.call("PUT", "/v1/namespaces/brief", document).json == document


def test_a_bound_left_out_takes_its_default_and_null_lifts_it(caller: Caller) -> None:
    answer = caller.call("PUT", "/v1/namespaces/users", {"lossWindow": {"ms": None, "writes": 5}})
    assert answer.json["lossWindow"] == {"ms": None, "writes": 5, "bytes": 16 << 20}


def test_list(caller: Caller) -> None:
    answer = caller.call("GET", "/v1/namespaces")
    assert answer.status == 200
    assert [policy["name"] for policy in answer.json["namespaces"]] == ["brief", "default", "safe"]
    assert answer.json["namespaces"][1] == {"name": "default", **DEFAULTS}


def test_a_new_namespace_can_be_used(caller: Caller) -> None:
    assert caller.call("PUT", "/v1/cache/users/k", {"value": 1}).error["code"] == "unknown_namespace"
    caller.call("PUT", "/v1/namespaces/users", {"ack": "quorum"})
    assert caller.call("PUT", "/v1/cache/users/k", {"value": 1}).json["durability"] == "quorum"


def test_delete(caller: Caller) -> None:
    answer = caller.call("DELETE", "/v1/namespaces/brief")
    assert (answer.status, answer.body) == (204, b"")
    for method in ("GET", "DELETE"):
        answer = caller.call(method, "/v1/namespaces/brief")
        assert (answer.status, answer.error["code"]) == (404, "unknown_namespace")
    assert caller.call("DELETE", "/v1/namespaces/default").status == 400


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ({"ack": "sure"}, ("ack", '"sure"', "primary, quorum, durable")),
        ({"readLevel": "replica"}, ("readLevel", '"replica"', "latest, committed, linearizable")),
        ({"allowReplicaReads": "yes"}, ("allowReplicaReads", "yes")),
        ({"evictionPolicy": "lru"}, ("unknown field", "evictionPolicy")),
        ({"maxTtlSeconds": -1}, ("maxTtlSeconds", "-1")),
        ({"ttlJitterPercent": 91}, ("ttlJitterPercent", "90")),
        ({"defaultTtlSeconds": -1}, ("defaultTtlSeconds", "-1")),
        ({"defaultTtlSeconds": "1"}, ("defaultTtlSeconds", '"1"')),
        ({"maxItemBytes": 0}, ("maxItemBytes", "1", "0")),
        ({"maxItemBytes": VALUE_LIMIT_BYTES + 1}, ("maxItemBytes", str(VALUE_LIMIT_BYTES), str(VALUE_LIMIT_BYTES + 1))),
        ({"lossWindow": None}, ("lossWindow", "object", "null")),
        ({"lossWindow": {"ms": 0}}, ("lossWindow.ms", "1", "0")),
        ({"lossWindow": {"writes": 1.5}}, ("lossWindow.writes", "1.5")),
        ({"lossWindow": {"bytes": (1 << 40) + 1}}, ("lossWindow.bytes", str(1 << 40), str((1 << 40) + 1))),
        ({"lossWindow": {"seconds": 1}}, ("unknown field", "seconds", "lossWindow")),
        ({"eviction": "fifo"}, ("eviction", '"fifo"', "lru, lfu")),
        ({"quotaBytes": 5}, ("quotaBytes", "1048576")),
        ({"quotaItems": 1.5}, ("quotaItems", "1.5")),
        ({"weight": 0}, ("weight", "1")),
        ({"onExceeded": "drop"}, ("onExceeded", '"drop"', "quorum, wait, reject")),
        ([], ("the body", "object")),
    ],
)
def test_a_policy_that_cannot_be(caller: Caller, policy: Any, named: tuple[str, ...]) -> None:
    answer = caller.call("PUT", "/v1/namespaces/users", policy)
    assert (answer.status, answer.error["code"]) == (400, "invalid_policy")
    assert all(word in answer.error["message"] for word in named), answer.error
    assert caller.call("GET", "/v1/namespaces/users").status == 404


@pytest.mark.parametrize("name", ["a%20b", "a:b", "%C3%A9", "%FF", "a" * 65, "a%2Fb", "%0A"])
def test_a_name_that_cannot_be(caller: Caller, name: str) -> None:
    for method, body in (("PUT", {}), ("GET", None), ("DELETE", None)):
        answer = caller.call(method, f"/v1/namespaces/{name}", body)
        assert (answer.status, answer.error["code"]) == (400, "invalid_name")


def test_a_change_whose_outcome_is_unknown(caller: Caller) -> None:
    caller.backend.failing = OutcomeUnknown("the controller finishes it")
    answer = caller.call("PUT", "/v1/namespaces/users", {})
    assert (answer.status, answer.error["code"]) == (504, "outcome_unknown")


def test_a_namespace_created_elsewhere_is_asked_for_before_it_is_unknown(caller: Caller) -> None:
    caller.backend.unheard_of = ["new"]
    assert caller.call("PUT", "/v1/cache/new/k", {"value": 1}).status == 201
    assert caller.backend.refreshed == 1
    assert caller.call("GET", "/v1/cache/new/k").json["value"] == 1 and caller.backend.refreshed == 1
    for path in ("/v1/cache/other/k", "/v1/namespaces/other"):
        assert caller.call("GET", path).status == 404
    assert caller.backend.refreshed == 3


def test_a_body_is_still_there_for_a_namespace_that_turns_out_to_exist(caller: Caller) -> None:
    caller.backend.unheard_of = ["new"]
    answer = caller.call("POST", "/v1/cache/incr", {"namespace": "new", "key": "n", "delta": 3})
    assert answer.status == 200 and answer.json["value"] == 3 and caller.backend.refreshed == 1


def test_a_namespace_is_not_called_unknown_where_nobody_can_be_asked(caller: Caller) -> None:
    caller.backend.refresh_error = NoLeader("nobody")
    assert caller.call("GET", "/v1/cache/other/k").status == 503
    assert caller.call("GET", "/v1/cache/bad%20name/k").status == 400


REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/cache/{}/k", None),
    ("PUT", "/v1/cache/{}/k", {"value": 1}),
    ("DELETE", "/v1/cache/{}/k", None),
    ("POST", "/v1/cache/incr", {"key": "n"}),
    ("POST", "/v1/cache/expire", {"key": "k", "ttlSeconds": 5}),
    ("POST", "/v1/cache/expire", {"key": "k", "ttlSeconds": None}),
    ("POST", "/v1/cache/batch/get", {"keys": ["k"]}),
    ("POST", "/v1/cache/batch/set", {"items": [{"key": "k", "value": 1}]}),
    ("POST", "/v1/cache/batch/delete", {"keys": ["k"]}),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
@pytest.mark.parametrize("namespace", ["brief", "default"])
def test_every_command_says_that_its_namespace_is_named(
    caller: Caller, method: str, path: str, body: Any, namespace: str
) -> None:
    if method == "POST":
        body = {"namespace": namespace, **body}
    caller.call(method, path.format(namespace), body)
    command = caller.backend.commands[-1][0]
    (single,) = getattr(command, "items", (command,))
    epoch = caller.backend.namespaces().epoch
    assert single.named_at == (epoch if namespace == "brief" else 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [(UnknownNamespace("namespace 'brief' does not exist"), 404), (NotFollowing("7c1f does not know it yet"), 503)],
)
def test_what_a_shard_says_of_a_namespace_is_the_answer(caller: Caller, error: RaftcacheError, status: int) -> None:
    caller.backend.failing = error
    answer = caller.call("PUT", "/v1/cache/brief/k", {"value": 1})
    assert (answer.status, answer.error["code"]) == (status, error.code)
