"""`/v1/shards/replace`."""

from __future__ import annotations

from typing import Any

import pytest
from http_caller import Caller

from raftcache.errors import BadRequest, NoLeader, OutcomeUnknown, RaftcacheError

PATH = "/v1/shards/replace"


@pytest.mark.parametrize("source", ["n2", None])
def test_a_shard_is_replaced_from_a_survivor_or_empty(caller: Caller, source: str | None) -> None:
    answer = caller.call("POST", PATH, {"shard": "7c1f", "from": source})
    assert (answer.status, answer.json) == (200, {"shard": "0b0b", "replaces": "7c1f", "from": source})
    assert caller.backend.replaced == [("7c1f", source)]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"shard": "7c1f"}, "from"),
        ({"from": None}, "shard"),
        ({"shard": "7c1f", "from": 1}, "from"),
        ({"shard": "7c1f", "from": None, "empty": True}, "empty"),
        ([], "object"),
    ],
)
def test_the_start_has_to_be_named(caller: Caller, body: Any, words: str) -> None:
    answer = caller.call("POST", PATH, body)
    assert (answer.status, answer.error["code"]) == (400, "bad_request") and words in answer.error["message"]
    assert caller.backend.replaced == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequest("shard 7c1f must be declared lost before it is replaced, it is active"), 400),
        (NoLeader("no metadata leader answered within the deadline: not executed"), 503),
        (OutcomeUnknown("the metadata leader changed"), 504),
    ],
)
def test_what_the_cluster_refuses(caller: Caller, error: RaftcacheError, status: int) -> None:
    caller.backend.failing = error
    answer = caller.call("POST", PATH, {"shard": "7c1f", "from": "n2"})
    assert (answer.status, answer.error["code"], answer.error["message"]) == (status, error.code, error.message)
