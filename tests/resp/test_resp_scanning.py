"""SCAN, KEYS, DBSIZE, RANDOMKEY, FLUSHDB: cursors, patterns, and what the words mean."""

from __future__ import annotations

import re
from fnmatch import translate

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_backend import ShardBackend
from talk import NOTHING, Talk

from raftcache.commands.policy import Namespace
from raftcache.commands.types import SCAN_PAGES, SLOT_LIMIT, Delete, Scan, Set
from raftcache.errors import NoLeader
from raftcache.frontends.resp import scanning
from raftcache.frontends.resp.glob import matcher
from raftcache.frontends.resp.scanning import COUNT_TIMEOUT_S, cursor_of, place_of
from raftcache.frontends.resp.spec import Refused


@pytest.fixture
def talk() -> Talk:
    return Talk(ShardBackend())


def ask(talk: Talk, *words: str | int) -> object:
    reader = hiredis.Reader()
    reader.feed(talk.say(*words))
    return reader.gets()


def whole_scan(talk: Talk, *options: str | int) -> list[bytes]:
    found, cursor = list[bytes](), 0
    while True:
        answer = ask(talk, "SCAN", cursor, *options)
        assert isinstance(answer, list)
        found += answer[1]
        cursor = int(answer[0])
        if not cursor:
            return found


def test_a_scan_tells_of_every_key_once(talk: Talk) -> None:
    assert whole_scan(talk) == []
    keys = sorted(b"key:%d" % n for n in range(3000))
    for key in keys:
        talk.backend.bench.send(Set(key, b"v"))
    assert sorted(whole_scan(talk)) == keys
    assert sorted(whole_scan(talk, "COUNT", 100)) == keys
    assert sorted(whole_scan(talk, "MATCH", "key:1?")) == [b"key:%d" % n for n in range(10, 20)]
    assert whole_scan(talk, "type", "LIST") == [] and len(whole_scan(talk, "TYPE", "string")) == 3000
    answer = ask(talk, "SCAN", 0, "COUNT", 50)
    assert isinstance(answer, list) and 50 <= len(answer[1]) < 70, "a page has three or so"


def test_keys_that_stay_are_told_of_while_others_come_and_go(talk: Talk) -> None:
    bench, stay = talk.backend.bench, {b"stay:%d" % n for n in range(500)}
    for key in stay:
        bench.send(Set(key, b"v"))
    found, cursor, turn = list[bytes](), 0, 0
    while True:
        answer = ask(talk, "SCAN", cursor, "COUNT", 20)
        assert isinstance(answer, list)
        found += answer[1]
        for n in range(10):
            bench.send(Set(b"come:%d:%d" % (turn, n), b"v"))
            bench.send(Delete(b"come:%d:%d" % (turn - 3, n)))
        if turn % 5 == 4:
            bench.settle()
            bench.group.lose()
            bench.lead()
        cursor, turn = int(answer[0]), turn + 1
        if not cursor:
            break
    assert stay <= set(found) and len(found) == len(set(found)) and turn > 10


@pytest.mark.parametrize("line", ["SCAN -1", "SCAN x", "SCAN 99999999999", "SCAN 123456789012345678901"])
def test_a_cursor_that_is_none(talk: Talk, line: str) -> None:
    assert talk.say(*line.split()) == b"-ERR invalid cursor\r\n"


@pytest.mark.parametrize("line", ["SCAN 0 MATCH", "SCAN 0 COUNT 0", "SCAN 0 WHAT 1", "FLUSHDB NOW"])
def test_a_wrong_option(talk: Talk, line: str) -> None:
    assert talk.say(*line.split()) == b"-ERR syntax error\r\n"


@given(st.integers(0, SLOT_LIMIT), st.integers(0, SCAN_PAGES - 1))
def test_a_cursor_is_a_place_and_never_0(slot: int, page: int) -> None:
    cursor = cursor_of(slot, page)
    assert place_of(cursor) == (slot, page) and 0 < cursor < 1 << 64


def test_keys_dbsize_and_a_random_key(talk: Talk) -> None:
    assert (ask(talk, "KEYS", "*"), ask(talk, "DBSIZE"), talk.say("RANDOMKEY")) == ([], 0, NOTHING)
    ask(talk, "MSET", "a", 1, "ab", 2, "b", 3)
    assert sorted(ask(talk, "KEYS", "a*")) == [b"a", b"ab"]  # type: ignore[type-var]
    assert ask(talk, "DBSIZE") == 3
    assert {ask(talk, "RANDOMKEY") for _ in range(200)} == {b"a", b"ab", b"b"}
    ask(talk, "SET", "gone", 1, "PX", 10)
    talk.backend.bench.runtime.now_s += 1
    assert sorted(ask(talk, "KEYS", "*")) == [b"a", b"ab", b"b"]  # type: ignore[type-var]


def keyspace_of(talk: Talk) -> str:
    info = ask(talk, "INFO", "keyspace")
    assert isinstance(info, bytes)
    return info.decode().removeprefix("# Keyspace\r\n")


def test_info_counts_the_keys_and_those_that_expire(talk: Talk) -> None:
    assert keyspace_of(talk) == "", "Redis has no line for nothing"
    ask(talk, "MSET", "a", 1, "b", 2, "safe:c", 3)
    ask(talk, "SET", "d", 4, "EX", 100)
    ask(talk, "EXPIRE", "a", 100)
    assert keyspace_of(talk) == "db0:keys=4,expires=2,avg_ttl=0\r\n" and ask(talk, "DBSIZE") == 4
    ask(talk, "PERSIST", "a")
    ask(talk, "DEL", "d")
    assert keyspace_of(talk) == "db0:keys=3,expires=0,avg_ttl=0\r\n"
    assert b"# Keyspace\r\ndb0:keys=3," in talk.say("INFO") and b"db0:keys=3," in talk.say("INFO", "ALL")
    asked, now_s = talk.backend.commands, talk.backend.runtime.now()
    deadlines = [deadline - now_s for command, deadline in asked if type(command) is Scan]
    assert deadlines[-1] == COUNT_TIMEOUT_S < max(deadlines), "DBSIZE may take its time"


def test_info_asks_nobody_for_sections_without_keys(talk: Talk) -> None:
    talk.say("SET", "a", 1)
    before = len(talk.backend.commands)
    assert b"# Server\r\n" in talk.say("INFO", "server", "memory")
    assert [talk.say("MULTI"), talk.say("INFO")] == [b"+OK\r\n", b"+QUEUED\r\n"]
    assert talk.say("EXEC").endswith(b"# Keyspace\r\n\r\n"), "a block does not wait for shards"
    assert len(talk.backend.commands) == before


def test_info_leaves_the_keys_out_where_nobody_leads(talk: Talk) -> None:
    talk.say("SET", "a", 1)
    talk.backend.bench.group.lose()
    assert keyspace_of(talk) == "" and b"redis_version:" in talk.say("INFO")
    assert not talk.front.metrics.errors, "no client saw an error"


def test_info_that_waits_holds_its_place_and_its_protocol(talk: Talk) -> None:
    talk.say("SET", "a", 1)
    talk.backend.held = []
    assert talk.say("INFO", "keyspace") + talk.say("PING") + talk.say("HELLO", 3) == b""
    talk.backend.release()
    line = b"# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"
    assert talk.rest().startswith(b"$%d\r\n%b\r\n+PONG\r\n%%" % (len(line), line))


def test_keys_is_bounded(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "KEYS_LIMIT", 2)
    ask(talk, "MSET", "a", 1, "b", 2, "c", 3)
    assert talk.say("KEYS", "*").startswith(b"-ERR KEYS: more than the limit of 2 keys")
    assert ask(talk, "KEYS", "a") == [b"a"]


def test_flushing_drops_every_namespace(talk: Talk) -> None:
    talk.backend._know(Namespace("safe", 7))
    names = set(talk.backend.namespaces().by_name)
    assert talk.say("FLUSHALL", "ASYNC") == b"+OK\r\n" and talk.say("flushdb") == b"+OK\r\n"
    assert {name for name, _ in talk.backend.invalidated} == names and "safe" in names
    talk.backend.failing = NoLeader("nobody leads")
    assert talk.say("FLUSHDB").startswith(b"-LOADING")


def test_what_is_not_answered_is_an_error(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    talk.backend.bench.group.lose()
    for line in ("SCAN 0", "KEYS *", "DBSIZE", "RANDOMKEY"):
        assert talk.say(*line.split()).startswith(b"-"), line


PATTERNS = st.text(alphabet="ab*?", max_size=8)


@given(PATTERNS, st.text(alphabet="ab", max_size=10))
def test_patterns_without_classes_are_those_of_fnmatch(pattern: str, key: str) -> None:
    expected = re.match(translate(pattern), key, re.DOTALL) is not None
    assert matcher(pattern.encode())(key.encode()) is expected


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("h[ae]llo", ("hello", "hallo"), ("hillo", "hllo")),
        ("h[^e]llo", ("hallo", "hbllo"), ("hello",)),
        ("h[a-c]llo", ("hallo", "hcllo"), ("hdllo",)),
        ("h[c-a]llo", ("hallo", "hcllo"), ("hdllo",)),
        ("a\\*b", ("a*b",), ("axb",)),
        ("[\\]]", ("]",), ("\\",)),
        ("[ab", ("a", "b"), ("c", "")),
        ("a\\", ("a\\",), ("a",)),
        ("*a*b*c*", ("abc", "xaxbxc"), ("acb",)),
        ("", ("",), ("a",)),
    ],
)
def test_patterns_with_classes_and_escapes(pattern: str, yes: tuple[str, ...], no: tuple[str, ...]) -> None:
    matches = matcher(pattern.encode())
    assert [matches(key.encode()) for key in (*yes, *no)] == [True] * len(yes) + [False] * len(no)


def test_a_pattern_takes_no_longer_than_its_length_times_the_keys() -> None:
    """With one star after the other, a matcher that goes back to each of them would not come to an end."""
    assert not matcher(b"a*" * 500 + b"b")(b"a" * 1000)
    with pytest.raises(Refused):
        matcher(b"x" * 1025)
