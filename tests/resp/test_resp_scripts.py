"""EVAL and its kin against a real shard, in the bytes that clients get: what a script is given and what it answers."""

from __future__ import annotations

from hashlib import sha1

import pytest
from shard_backend import ShardBackend
from talk import NOTHING, Talk

from raftcache.commands.types import Script
from raftcache.errors import NoLeader
from raftcache.frontends.resp.scripts import cache, sandbox
from raftcache.frontends.resp.scripts.cache import ScriptCache

OK = b"+OK\r\n"
NO_SCRIPT = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"


@pytest.fixture
def talk() -> Talk:
    return Talk(ShardBackend())


def sha_of(source: str) -> str:
    return sha1(source.encode()).hexdigest()


def ran(talk: Talk, source: str, *keys_and_args: bytes | str | int, keys: int = 0) -> bytes:
    return talk.say("EVAL", source, keys, *keys_and_args)


def failed_at(source: str, text: str, line: int = 1) -> bytes:
    return f"-{text} script: {sha_of(source)}, on @user_script:{line}.\r\n".encode()


RESULTS = {
    "return 3.99": b":3\r\n",
    "return -3.99": b":-3\r\n",
    "return '3.99'": b"$4\r\n3.99\r\n",
    "return 9007199254740993": b":9007199254740992\r\n",
    "return -9223372036854775808": b":-9223372036854775808\r\n",
    "return -2147483649": b":-2147483649\r\n",
    "return 2147483648": b":2147483648\r\n",
    "return 0/0": b":-9223372036854775808\r\n",
    "return true": b":1\r\n",
    "return false": NOTHING,
    "return nil": NOTHING,
    "return": NOTHING,
    "return print": b"-",
    "return tostring": NOTHING,
    "return {1, 2, nil, 4}": b"*2\r\n:1\r\n:2\r\n",
    "return {1, {2, {'x', false}}, {}}": b"*3\r\n:1\r\n*2\r\n:2\r\n*2\r\n$1\r\nx\r\n$-1\r\n*0\r\n",
    "return {a = 1, 5}": b"*1\r\n:5\r\n",
    "return {ok = 'fine\\nreally'}": b"+fine really\r\n",
    "return {err = 'MINE went wrong'}": b"-MINE went wrong\r\n",
    "return {1, {err = 'MINE inside'}, {ok = 'yes'}}": b"*3\r\n:1\r\n-MINE inside\r\n+yes\r\n",
    "return redis.error_reply('MINE went wrong')": b"-MINE went wrong\r\n",
    "return redis.error_reply('-MINE went wrong')": b"-MINE went wrong\r\n",
    "return redis.error_reply('wrong')": b"-ERR wrong\r\n",
    "return redis.status_reply('FINE')": b"+FINE\r\n",
    "return redis.sha1hex('')": b"$40\r\nda39a3ee5e6b4b0d3255bfef95601890afd80709\r\n",
    "return '\\0\\255'": b"$2\r\n\x00\xff\r\n",
    "local t = {} t[1] = t return t": b"-ERR reached lua stack limit\r\n",
    "return redis.REDIS_VERSION": b"$5\r\n7.4.0\r\n",
    "return {redis.LOG_WARNING, redis.log(redis.LOG_WARNING, 'x')}": b"*1\r\n:3\r\n",
    "return {redis.replicate_commands(), redis.setresp(2)}": b"*1\r\n:1\r\n",
    "return {bit.band(0xff, 0x0f, 3), bit.bnot(0), bit.lshift(1, 31)}": b"*3\r\n:3\r\n:-1\r\n:-2147483648\r\n",
    "return {bit.tohex(255), bit.bswap(1), bit.rol(3, 31)}": b"*3\r\n$8\r\n000000ff\r\n:16777216\r\n:-2147483647\r\n",
    "return type(os.clock())": b"$6\r\nnumber\r\n",
    "return {('a,b'):find(',', 1, true), ('%d'):format(7)}": b"*2\r\n:2\r\n$1\r\n7\r\n",
}


@pytest.mark.parametrize(("source", "reply"), RESULTS.items(), ids=RESULTS)
def test_results_become_replies_as_redis_makes_them(talk: Talk, source: str, reply: bytes) -> None:
    assert ran(talk, source).startswith(reply)


CALLS = {
    "return redis.call('SET', KEYS[1], ARGV[1])": OK,
    "return redis.call('set', KEYS[1], 'b', 'NX')": NOTHING,
    "return redis.call('get', KEYS[1])": b"$1\r\na\r\n",
    "return tostring(redis.call('get', 'none'))": b"$5\r\nfalse\r\n",
    "return redis.call('set', KEYS[1], 'x').ok": b"$2\r\nOK\r\n",
    "return {redis.call('mget', KEYS[1], 'none', KEYS[1])}": b"*1\r\n*3\r\n$1\r\nx\r\n$-1\r\n$1\r\nx\r\n",
    "return redis.call('incrby', 'n', 5) + 0.5": b":5\r\n",
    "return redis.call('set', 'n', 2 ^ 53)": OK,
    "return redis.call('get', 'n')": b"$16\r\n9007199254740992\r\n",
    "return redis.call('set', 'n', 1.5)": OK,
    "return redis.call('getdel', 'n')": b"$3\r\n1.5\r\n",
    "return redis.call('mset', '{t}a', 1, '{t}b', 2)": OK,
    "return redis.call('msetnx', '{t}b', 1, '{t}c', 2)": b":0\r\n",
    "return redis.call('msetnx', '{t}c', 1, '{t}d', 2)": b":1\r\n",
    "return redis.call('del', '{t}a', '{t}b', 'none')": b":2\r\n",
    "return redis.call('exists', KEYS[1])": b":1\r\n",
    "return {redis.call('pexpire', KEYS[1], 5000), redis.call('pttl', KEYS[1])}": b"*2\r\n:1\r\n:5000\r\n",
    "return redis.call('time')": b"*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n",
    "return redis.call('type', KEYS[1]).ok": b"$6\r\nstring\r\n",
    "return #redis.call('rc.version', KEYS[1]) > 5": b":1\r\n",
}


def test_commands_within_a_script_are_those_of_the_table(talk: Talk) -> None:
    for source, reply in CALLS.items():
        assert ran(talk, source, "k", "a", keys=1) == reply, source
    assert talk.say("GET", "k") == b"$1\r\nx\r\n"


REFUSED = {
    "local r = redis.call('nope') return r": "ERR Unknown Redis command called from script",
    "local r = redis.call('get') return r": "ERR Wrong number of args calling Redis command from script",
    "local r = redis.call('eval', 'return 1', 0) return r": "ERR This Redis command is not allowed from script",
    "local r = redis.call('multi') return r": "ERR This Redis command is not allowed from script",
    "local r = redis.call('wait', 1, 1) return r": "ERR This Redis command is not allowed from script",
    "local r = redis.call('set', 'a', 'b', 'c') return r": "ERR syntax error",
    "local r = redis.call() return r": "ERR Please specify at least one argument for this redis.call() call",
    "local r = redis.call('get', {}) return r": "ERR Lua redis lib command arguments must be strings or integers",
    "error('mine')": "ERR user_script:1: mine",
    "error({err = 'MINE own'})": "MINE own",
    "return nope": "ERR user_script:1: Script attempted to access nonexistent global variable 'nope'",
    "nope = 1": "ERR user_script:1: Attempt to modify a readonly table",
}


@pytest.mark.parametrize(("source", "text"), REFUSED.items(), ids=REFUSED)
def test_errors_are_told_as_redis_tells_them(talk: Talk, source: str, text: str) -> None:
    assert ran(talk, source) == failed_at(source, text)
    assert ran(talk, "\n\n" + source) == failed_at("\n\n" + source, text.replace("script:1", "script:3"), 3)


def test_what_is_no_lua_is_refused(talk: Talk) -> None:
    line = b"-ERR Error compiling script (new function): user_script:1: "
    assert ran(talk, "return return") == line + b"unexpected symbol near 'return'\r\n"
    assert talk.say("SCRIPT", "LOAD", "return return") == line + b"unexpected symbol near 'return'\r\n"
    assert ran(talk, "\x1bLua").startswith(line) and ran(talk, "#!perl\nreturn 1").startswith(line[:42])
    assert ran(talk, "return " + " " * (128 << 10)).startswith(b"-ERR script: 131079 bytes are over the limit")


def test_pcall_gets_errors_and_what_was_done_before_one_remains(talk: Talk) -> None:
    talk.say("SET", "k", "text")
    assert ran(talk, "return redis.pcall('incr', 'k').err").startswith(
        b"$96\r\nERR value is not an integer or out of ra"
    )
    assert ran(talk, "local ok, e = pcall(redis.call, 'nope') return {ok, e.err}").startswith(
        b"*2\r\n$-1\r\n$44\r\nERR U"
    )
    assert ran(talk, "return redis.pcall('nope')") == b"-ERR Unknown Redis command called from script\r\n"
    assert ran(talk, "redis.call('set', 'k', 'new') local r = redis.call('incr', 'k')").startswith(
        b"-ERR value is not an"
    )
    assert talk.say("GET", "k") == b"$3\r\nnew\r\n"


def test_keys_and_arguments(talk: Talk) -> None:
    assert ran(talk, "return {#KEYS, #ARGV, KEYS[1], ARGV[2]}", "{a}1", "{a}2", "x", "\xff", keys=2).startswith(
        b"*4\r\n:2"
    )
    assert ran(talk, "return #KEYS + #ARGV") == b":0\r\n"
    assert ran(talk, "return 1", "a", "b", keys=2) == b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
    assert ran(talk, "return 1", "a", keys=2) == b"-ERR Number of keys can't be greater than number of args\r\n"
    assert ran(talk, "return 1", "a", keys=-1) == b"-ERR Number of keys can't be negative\r\n"
    assert talk.say("EVAL", "return 1", "one", "a") == b"-ERR value is not an integer or out of range\r\n"
    assert talk.say("EVAL", "return 1") == b"-ERR wrong number of arguments for 'eval' command\r\n"
    assert talk.say("COMMAND", "GETKEYS", "EVAL", "return 1", 2, "a", "b", "c") == b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"


def test_a_key_of_another_shard_is_refused(talk: Talk) -> None:
    assert isinstance(talk.backend, ShardBackend)
    talk.backend.bench.foreign_keys = {b"far"}
    source = "local r = redis.call('get', 'far') return r"
    assert ran(talk, source) == failed_at(source, "ERR Script attempted to access a non local key in a cluster node")


def test_scripts_are_found_by_their_sha_where_they_were_sent(talk: Talk) -> None:
    sha = sha_of("return 1")
    assert talk.say("EVALSHA", sha, 0) == NO_SCRIPT
    assert talk.say("SCRIPT", "LOAD", "return 1") == f"$40\r\n{sha}\r\n".encode()
    assert talk.say("EVALSHA", sha.upper(), 0) == b":1\r\n"
    assert talk.say("EVALSHA_RO", sha, 0) == b":1\r\n"
    ran(talk, "return 2")
    asked = talk.say("SCRIPT", "EXISTS", sha, sha_of("return 2"), "nonsense")
    assert asked == b"*3\r\n:1\r\n:1\r\n:0\r\n"
    assert talk.say("SCRIPT", "FLUSH", "NOW") == b"-ERR syntax error\r\n"
    assert talk.say("SCRIPT", "FLUSH", "ASYNC") == OK and talk.say("EVALSHA", sha, 0) == NO_SCRIPT
    assert talk.say("SCRIPT", "KILL").startswith(b"-NOTBUSY")


def test_read_only_scripts_may_not_write(talk: Talk) -> None:
    talk.say("SET", "k", "v")
    source = "local r = redis.call(ARGV[1], KEYS[1]) return r"
    refusal = failed_at(source, "ERR Write commands are not allowed from read-only scripts.")
    assert talk.say("EVAL_RO", source, 1, "k", "get") == b"$1\r\nv\r\n"
    assert talk.say("EVAL_RO", source, 1, "k", "del") == refusal
    flagged = "#!lua flags=no-writes\n" + source
    assert ran(talk, flagged, "k", "get", keys=1) == b"$1\r\nv\r\n"
    assert ran(talk, flagged, "k", "del", keys=1).startswith(b"-ERR Write commands are not allowed")
    assert ran(talk, "#!lua flags=what\nreturn 1").startswith(
        b"-ERR Error compiling script (new function): Unexpected f"
    )
    assert ran(talk, "#!lua\n" + source, "k", "del", keys=1) == b":1\r\n"


def test_resp3_has_its_own_nothing(talk: Talk) -> None:
    talk.say("HELLO", 3)
    assert ran(talk, "return {false, 1}") == b"*2\r\n_\r\n:1\r\n"


def test_what_it_wrote_is_what_wait_waits_for(talk: Talk) -> None:
    ran(talk, "return redis.call('get', KEYS[1])", "k", keys=1)
    assert not talk.client.unproved
    ran(talk, "return redis.call('set', KEYS[1], 1)", "k", keys=1)
    assert [key for key, _ in talk.client.unproved.values()] == [b"k"]


def test_a_shard_without_a_leader_is_an_error_like_any_other(talk: Talk) -> None:
    talk.backend.failing = NoLeader("nobody leads")
    talk.backend._reply = lambda command: super(ShardBackend, talk.backend)._reply(command)  # type: ignore[method-assign]
    assert ran(talk, "return 1").startswith(b"-LOADING")


def test_without_lua_only_scripts_are_refused(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "lua51", None)
    for said in (ran(talk, "return 1"), talk.say("SCRIPT", "LOAD", "return 1")):
        assert said.startswith(b"-ERR ") and b"it comes with the extra raftcache[lua]" in said
    assert talk.say("SET", "k", "v") == OK


def test_outcomes_are_counted(talk: Talk) -> None:
    for source in ("return 1", "return 1", "error('x')", "return return"):
        ran(talk, source)
    assert isinstance(talk.backend, ShardBackend)
    assert talk.backend.scripts.outcomes == {"done": 2, "failed": 1, "does_not_compile": 1}


def test_the_cache_lets_go_what_was_unused_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SCRIPTS_LIMIT", 3)
    monkeypatch.setattr(cache, "SCRIPTS_LIMIT_BYTES", 10)
    kept = ScriptCache()
    first, second, third = (kept.add(source) for source in (b"a", b"bb", b"cc"))
    assert kept.find(first) == b"a" and kept.add(b"bb") == second
    kept.add(b"d")
    assert third not in kept and first in kept and (len(kept), kept.size_bytes, kept.evicted) == (3, 4, 1)
    kept.add(b"x" * 8)
    assert (len(kept), kept.size_bytes, kept.evicted) == (2, 9, 3)


def test_the_whole_of_a_script_travels_to_the_leader(talk: Talk) -> None:
    ran(talk, "return 1", "k", "x", keys=1)
    assert talk.backend.commands[-1][0] == Script(b"return 1", (b"k",), (b"x",))
