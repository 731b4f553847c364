"""Dropping a namespace's keys or a tag's, setting tags, and `/v1/hotkeys`."""

from __future__ import annotations

from typing import Any

import pytest
from http_caller import Caller

from raftcache.commands.types import Set
from raftcache.errors import NoLeader, OutcomeUnknown, RaftcacheError

PATHS = ("/v1/namespaces/safe/invalidate", "/v1/cache/safe/tags/user:7/invalidate")


def test_all_of_a_namespace_or_of_a_tag(caller: Caller) -> None:
    answers = [caller.call("POST", path) for path in PATHS]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].json["namespace"] == "safe" and answers[1].json["tag"] == "user:7"
    assert caller.backend.invalidated == [("safe", None), ("safe", "user:7")]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("error", "status"), [(OutcomeUnknown("some had not"), 504), (NoLeader("nobody"), 503)])
def test_what_the_cluster_says(caller: Caller, path: str, error: RaftcacheError, status: int) -> None:
    caller.backend.failing = error
    answer = caller.call("POST", path)
    assert (answer.status, answer.error["code"]) == (status, error.code)


def test_a_namespace_that_is_none(caller: Caller) -> None:
    for path in ("/v1/namespaces/none/invalidate", "/v1/cache/none/tags/t/invalidate"):
        answer = caller.call("POST", path)
        assert (answer.status, answer.error["code"]) == (404, "unknown_namespace")


@pytest.mark.parametrize("tag", ["a%20b", "x" * 65, "%C3%A4", "a%2Fb"])
def test_a_tag_that_cannot_be(caller: Caller, tag: str) -> None:
    answer = caller.call("POST", f"/v1/cache/safe/tags/{tag}/invalidate")
    assert answer.status == 400 and "tag" in answer.error["message"]
    assert not caller.backend.invalidated


def test_tags_are_set_with_a_value(caller: Caller) -> None:
    assert caller.call("PUT", "/v1/cache/safe/k", {"value": 1, "tags": ["a", "b:2"]}).status == 201
    command = caller.backend.commands[-1][0]
    assert isinstance(command, Set) and command.tags == ("a", "b:2")


@pytest.mark.parametrize("tags", [["a b"], [""], [str(n) for n in range(9)], "a", [1]])
def test_tags_that_cannot_be(caller: Caller, tags: Any) -> None:
    answer = caller.call("PUT", "/v1/cache/safe/k", {"value": 1, "tags": tags})
    assert answer.status == 400 and "tags" in answer.error["message"]
    assert not caller.backend.commands


# -- hot keys ------------------------------------------------------------------------------------


def test_hot_keys_with_all_that_is_known_of_them(caller: Caller) -> None:
    answer = caller.call("GET", "/v1/hotkeys")
    assert answer.status == 200 and caller.backend.hot_asked == [(None, 10, 10)]
    assert answer.json == {
        "bucketSeconds": 10,
        "nodesAsked": 3,
        "unreachable": [],
        "buckets": [
            {
                "start": "2023-11-14T22:13:20Z",
                "seconds": 4.0,
                "operations": 100,
                "keys": [
                    {
                        "namespace": "safe", "key": "k", "shard": "7c1f", "qps": 12.5, "qpsError": 0.25,
                        "hitRate": 0.75, "bytes": 900, "shareOfShard": 0.5, "fanoutCount": 3,
                    },
                    {
                        "namespace": "safe", "key": "w", "shard": "7c1f", "qps": 1, "qpsError": 0,
                        "hitRate": None, "bytes": 9, "shareOfShard": 0.1, "fanoutCount": 1,
                    },
                ],
            }
        ],
    }  # fmt: skip


def test_hot_keys_of_one_namespace_and_a_node_that_is_silent(caller: Caller) -> None:
    caller.backend.unreachable = ["n2"]
    answer = caller.call("GET", "/v1/hotkeys?namespace=safe&limit=1&bucketSeconds=60")
    assert caller.backend.hot_asked == [("safe", 1, 60)]
    assert answer.json["unreachable"] == ["n2"] and len(answer.json["buckets"][0]["keys"]) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "bucketSeconds=0", "bucketSeconds=61", "namespace=a%20b"])
def test_hot_keys_that_cannot_be_asked_for(caller: Caller, query: str) -> None:
    answer = caller.call("GET", f"/v1/hotkeys?{query}")
    assert answer.status == 400 and query.partition("=")[0] in answer.error["message"]
