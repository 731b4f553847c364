"""`readPreference=replica`: what is asked, and what the answer says of its age."""

from __future__ import annotations

from http_backend import STALENESS_MS
from http_caller import Caller

from raftcache.commands.types import Get, MultiGet, Version
from raftcache.errors import TooStale, VersionLost

KEY = "/v1/cache/default/k"
ASKED = {"readPreference": "replica", "minVersion": "v7c1f.3.1", "maxStalenessMs": 250}
READ = Get(b"k", None, True, Version("7c1f", 3, 1), 250)


def test_a_hit_says_its_version_and_age(caller: Caller) -> None:
    caller.call("PUT", KEY, {"value": 1})
    answer = caller.call("GET", KEY + "?" + "&".join(f"{name}={value}" for name, value in ASKED.items()))
    assert caller.backend.commands[-1][0] == READ
    assert answer.json == {
        "hit": True,
        "value": 1,
        "version": "v7c1f.3.1",
        "ttlRemainingSeconds": None,
        "stalenessMs": STALENESS_MS,
    }
    assert answer.headers["raftcache-consistency"] == "replica"
    assert answer.headers["raftcache-staleness-ms"] == str(STALENESS_MS)


def test_a_miss_says_them_too_and_other_misses_do_not(caller: Caller) -> None:
    answer = caller.call("GET", KEY + "?readPreference=replica")
    assert (answer.status, answer.json) == (404, {"hit": False, "version": "v7c1f.3.0", "stalenessMs": STALENESS_MS})
    answer = caller.call("GET", KEY + "?readPreference=leader")
    assert answer.json == {"hit": False} and "raftcache-staleness-ms" not in answer.headers


def test_many_keys(caller: Caller) -> None:
    caller.call("PUT", KEY, {"value": 1})
    body = {"namespace": "default", "keys": ["k", "none"], **ASKED}
    hit, miss = caller.call("POST", "/v1/cache/batch/get", body).json["results"]
    assert caller.backend.commands[-1][0] == MultiGet((READ, Get(b"none", None, True, Version("7c1f", 3, 1), 250)))
    assert hit["stalenessMs"] == miss["stalenessMs"] == STALENESS_MS
    assert hit["version"] == miss["version"] == "v7c1f.3.1"


def test_what_can_not_be_had_is_a_conflict_or_unavailable(caller: Caller) -> None:
    for error, status in ((VersionLost("lost", version="v7c1f.3.1"), 409), (TooStale("old"), 503)):
        caller.backend.failing = error
        answer = caller.call("GET", KEY + "?readPreference=replica")
        assert (answer.status, answer.error["code"]) == (status, error.code)
