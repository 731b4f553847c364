"""`incr` and `expire`."""

from __future__ import annotations

from typing import Any

import pytest
from http_caller import Caller

from raftcache.commands.types import INT64_MAX, INT64_MIN, AckLevel, Expire, Incr, Persist

INCR, EXPIRE = "/v1/cache/incr", "/v1/cache/expire"


def body(**fields: Any) -> dict[str, Any]:
    return {"namespace": "default", "key": "n", **fields}


def test_incr(caller: Caller) -> None:
    answer = caller.call("POST", INCR, body())
    assert (answer.status, answer.json) == (200, {"value": 1, "version": "v7c1f.3.1", "durability": "primary"})
    assert caller.call("POST", INCR, body(delta=-8)).json["value"] == -7


def test_incr_passes_on_what_is_asked(caller: Caller) -> None:
    caller.call("POST", INCR, body(delta=5, ttlSeconds=1.5, durability="quorum"))
    assert caller.backend.commands[-1][0] == Incr(b"n", 5, 1500, AckLevel.QUORUM)


def test_incr_works_on_raw_and_json_integers(caller: Caller) -> None:
    caller.call("PUT", "/v1/cache/default/n", b"41", Content_Type="application/octet-stream")
    assert caller.call("POST", INCR, body()).json["value"] == 42
    caller.call("PUT", "/v1/cache/default/n", {"value": 6})
    assert caller.call("POST", INCR, body()).json["value"] == 7


def test_incr_of_what_is_no_integer(caller: Caller) -> None:
    caller.call("PUT", "/v1/cache/default/n", {"value": "seven"})
    answer = caller.call("POST", INCR, body())
    assert (answer.status, answer.error["code"]) == (409, "not_an_integer")


@pytest.mark.parametrize(("start", "delta"), [(INT64_MAX, 1), (INT64_MIN, -1), (INT64_MAX, INT64_MAX)])
def test_incr_never_leaves_64_bits(caller: Caller, start: int, delta: int) -> None:
    caller.call("PUT", "/v1/cache/default/n", {"value": start})
    answer = caller.call("POST", INCR, body(delta=delta))
    assert (answer.status, answer.error["code"]) == (409, "not_an_integer")
    assert caller.call("GET", "/v1/cache/default/n").json["value"] == start


def test_expire_and_persist(caller: Caller) -> None:
    caller.call("PUT", "/v1/cache/default/n", {"value": 1})
    answer = caller.call("POST", EXPIRE, body(ttlSeconds=60))
    assert (answer.status, answer.json) == (200, {"applied": True, "version": "v7c1f.3.2", "durability": "primary"})
    assert caller.call("GET", "/v1/cache/default/n").json["ttlRemainingSeconds"] == 60
    assert caller.call("POST", EXPIRE, body(ttlSeconds=None)).json["applied"] is True
    assert caller.call("GET", "/v1/cache/default/n").json["ttlRemainingSeconds"] is None
    commands = [command for command, _ in caller.backend.commands]
    assert [commands[1], commands[3]] == [Expire(b"n", 60_000), Persist(b"n")]


def test_expire_of_nothing(caller: Caller) -> None:
    for ttl in (60, None):
        answer = caller.call("POST", EXPIRE, body(ttlSeconds=ttl, durability="quorum"))
        assert (answer.status, answer.json["applied"], answer.json["durability"]) == (200, False, "quorum")
    assert caller.backend.commands[-1][0] == Persist(b"n", AckLevel.QUORUM)
