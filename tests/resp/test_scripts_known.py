"""Scripts that clients send, in their own words: redis-py's Lock, django-redis, aiocache, cashews. All run unchanged.

Sources: redis-py 8.1 (MIT), read from the package; django-redis 7.0 (BSD), client/default.py; aiocache 0.12 (BSD),
backends/redis.py; cashews 7.6 (MIT), backends/redis/backend.py, which sends them on one line.
"""

from __future__ import annotations

import pytest
from redis.lock import Lock
from shard_backend import ShardBackend
from talk import NOTHING, Talk

DJANGO_INCR = """
                    local exists = redis.call('EXISTS', KEYS[1])
                    if (exists == 1) then
                        return redis.call('INCRBY', KEYS[1], ARGV[1])
                    else return false end
                    """
DJANGO_INCR_UNCHECKED = """
                    return redis.call('INCRBY', KEYS[1], ARGV[1])
                    """
AIOCACHE_RELEASE = "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end"
AIOCACHE_CAS = (
    "if redis.call('get',KEYS[1]) == ARGV[2] then"
    "  if #ARGV == 4 then"
    "   return redis.call('set', KEYS[1], ARGV[1], ARGV[3], ARGV[4])"
    "  else"
    "   return redis.call('set', KEYS[1], ARGV[1])"
    "  end"
    " else"
    " return 0"
    " end"
)
CASHEWS_UNLOCK = """
if redis.call("GET", KEYS[1]) == ARGV[1] then
    return redis.call("DEL", KEYS[1])
else
    return 0
end
""".replace("\n", " ")
CASHEWS_INCR_EXPIRE = """
local current_count = redis.call("INCRBY", KEYS[1], ARGV[1])
if current_count == 1 then
    redis.call("PEXPIRE", KEYS[1], ARGV[2])
end
return current_count
""".replace("\n", " ")
ZERO, ONE, OK = b":0\r\n", b":1\r\n", b"+OK\r\n"


@pytest.fixture
def talk() -> Talk:
    return Talk(ShardBackend())


def ran(talk: Talk, source: str, key: str, *args: str | int) -> bytes:
    return talk.say("EVAL", source, 1, key, *args)


def test_a_lock_of_redis_py_is_released_by_its_owner_only(talk: Talk) -> None:
    assert ran(talk, Lock.LUA_RELEASE_SCRIPT, "lock", "me") == ZERO
    talk.say("SET", "lock", "me", "NX", "PX", 5000)
    assert ran(talk, Lock.LUA_RELEASE_SCRIPT, "lock", "you") == ZERO
    assert ran(talk, Lock.LUA_RELEASE_SCRIPT, "lock", "me") == ONE
    assert talk.say("GET", "lock") == NOTHING


def test_it_is_extended(talk: Talk) -> None:
    assert ran(talk, Lock.LUA_EXTEND_SCRIPT, "lock", "me", 1000, "0") == ZERO
    talk.say("SET", "lock", "me", "PX", 5000)
    assert ran(talk, Lock.LUA_EXTEND_SCRIPT, "lock", "me", 1000, "0") == ONE
    assert talk.say("PTTL", "lock") == b":6000\r\n"
    assert ran(talk, Lock.LUA_EXTEND_SCRIPT, "lock", "me", 1000, "1") == ONE
    assert talk.say("PTTL", "lock") == b":1000\r\n"
    assert ran(talk, Lock.LUA_EXTEND_SCRIPT, "lock", "you", 9000, "1") == ZERO
    talk.say("PERSIST", "lock")
    assert ran(talk, Lock.LUA_EXTEND_SCRIPT, "lock", "me", 1000, "0") == ZERO


def test_it_is_reacquired(talk: Talk) -> None:
    talk.say("SET", "lock", "me", "PX", 100)
    assert ran(talk, Lock.LUA_REACQUIRE_SCRIPT, "lock", "you", 5000) == ZERO
    assert ran(talk, Lock.LUA_REACQUIRE_SCRIPT, "lock", "me", 5000) == ONE
    assert talk.say("PTTL", "lock") == b":5000\r\n"


def test_django_redis_adds_to_a_key_that_is_there(talk: Talk) -> None:
    assert ran(talk, DJANGO_INCR, "n", 5) == NOTHING and talk.say("EXISTS", "n") == ZERO
    talk.say("SET", "n", 1, "PX", 5000)
    assert ran(talk, DJANGO_INCR, "n", 5) == b":6\r\n" and talk.say("PTTL", "n") == b":5000\r\n"
    assert ran(talk, DJANGO_INCR_UNCHECKED, "fresh", -2) == b":-2\r\n"
    talk.say("SET", "n", "pickled")
    said = ran(talk, DJANGO_INCR, "n", 5)
    assert said.startswith(b"-ERR value is not an integer or out of range"), "what makes django-redis go another way"


def test_aiocache_compares_and_sets_and_releases(talk: Talk) -> None:
    talk.say("SET", "k", "old")
    assert ran(talk, AIOCACHE_CAS, "k", "new", "other") == ZERO
    assert ran(talk, AIOCACHE_CAS, "k", "new", "old") == OK
    assert ran(talk, AIOCACHE_CAS, "k", "newer", "new", "PX", 5000) == OK
    assert (talk.say("GET", "k"), talk.say("PTTL", "k")) == (b"$5\r\nnewer\r\n", b":5000\r\n")
    assert (ran(talk, AIOCACHE_RELEASE, "k", "old"), ran(talk, AIOCACHE_RELEASE, "k", "newer")) == (ZERO, ONE)


def test_cashews_unlocks_and_counts_within_a_window(talk: Talk) -> None:
    talk.say("SET", "k", "me")
    assert (ran(talk, CASHEWS_UNLOCK, "k", "you"), ran(talk, CASHEWS_UNLOCK, "k", "me")) == (ZERO, ONE)
    assert [ran(talk, CASHEWS_INCR_EXPIRE, "hits", 1, 7000) for _ in range(2)] == [ONE, b":2\r\n"]
    assert talk.say("PTTL", "hits") == b":7000\r\n"


SLIDING_WINDOW = """
local state = redis.call('GET', KEYS[1])
local bucket = state and cjson.decode(state) or {tokens = tonumber(ARGV[1]), at = 0}
local now = tonumber(redis.call('TIME')[1])
bucket.tokens = math.min(tonumber(ARGV[1]), bucket.tokens + (now - bucket.at) * tonumber(ARGV[2]))
bucket.at = now
local allowed = bucket.tokens >= 1
if allowed then bucket.tokens = bucket.tokens - 1 end
redis.call('SET', KEYS[1], cjson.encode(bucket), 'EX', 60)
return {allowed and 1 or 0, tostring(bucket.tokens)}
"""


def test_a_token_bucket_as_many_write_it(talk: Talk) -> None:
    said = [ran(talk, SLIDING_WINDOW, "bucket", 2, 1) for _ in range(3)]
    assert said == [b"*2\r\n:1\r\n$1\r\n1\r\n", b"*2\r\n:1\r\n$1\r\n0\r\n", b"*2\r\n:0\r\n$1\r\n0\r\n"]
