"""Every command against the fake backend, in the bytes that clients get."""

from __future__ import annotations

import hiredis
import pytest
from http_backend import SHARD, TERM, WALL_MS
from shard_backend import ShardBackend
from talk import NOTHING, Talk

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Admission, Eviction, Limits, Namespace
from raftcache.commands.types import AckLevel, Delete, Expire, Get, Incr, MultiGet, MultiSet, Set, Version
from raftcache.frontends.resp.table import TABLE
from raftcache.store.entry import Entry

OK = b"+OK\r\n"
WRONG = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
SOON_S, PAST_S = WALL_MS // 1000 + 100, WALL_MS // 1000 - 1
NO_LFU = "An LFU maxmemory policy is not selected"
NAMED = "the eviction of the key's namespace"
COUNTING = "lfu, or another with admission tinylfu, or see /v1/hotkeys"
DATING = "lru, or lrm for the time since the last write"
FROM_HALF_ON = "use is tracked from half of a namespace's quota, or of the node's memory, on"


def bulk(text: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text.encode()), text.encode())


def err(text: str) -> bytes:
    return b"-ERR " + text.encode() + b"\r\n"


STORIES: dict[str, list[tuple[str, bytes]]] = {
    "get and set": [
        *(("SET k v", OK), ("GET k", bulk("v")), ("GET none", NOTHING), ("get k", bulk("v")), ("GeT k", bulk("v"))),
    ],
    "set if absent": [("SET k v NX", OK), ("SET k w nx", NOTHING), ("SETNX k w", b":0\r\n"), ("SETNX j w", b":1\r\n")],
    "set over something": [
        *(("SET k v XX", NOTHING), ("GET k", NOTHING), ("SET k v", OK), ("SET k w XX", OK), ("GET k", bulk("w"))),
        *((f"SET k x EXAT {PAST_S} XX", OK), ("PTTL k", b":1\r\n"), ("SET none x PX 5 XX", NOTHING)),
    ],
    "set that keeps the time": [
        *(("SET k v PX 70", OK), ("SET k w KEEPTTL", OK), ("PTTL k", b":70\r\n"), ("SET k w", OK)),
        *(("PTTL k", b":-1\r\n"), ("SET k x keepttl xx", OK), ("PTTL k", b":-1\r\n")),
    ],
    "set that tells": [
        *(("SET k v GET", NOTHING), ("SET k w GET", bulk("v")), ("SET k x NX GET", bulk("w")), ("GET k", bulk("w"))),
        *(("SET none x XX GET", NOTHING), ("SET none x NX GET", NOTHING), ("GET none", bulk("x"))),
        *((f"SET k y GET EXAT {PAST_S}", bulk("w")), ("GET k", NOTHING)),
        *(("GETSET k v", NOTHING), ("GETSET k w", bulk("v")), ("GETDEL k", bulk("w")), ("GETDEL k", NOTHING)),
    ],
    "get and another time": [
        *(("GETEX k", NOTHING), ("GETEX k EX 5", NOTHING), ("SET k v", OK), ("GETEX k", bulk("v"))),
        *(("PTTL k", b":-1\r\n"), ("GETEX k PX 50", bulk("v")), ("PTTL k", b":50\r\n"), ("GETEX k", bulk("v"))),
        *(("PTTL k", b":50\r\n"), ("GETEX k PERSIST", bulk("v")), ("PTTL k", b":-1\r\n")),
        *(("GETEX k persist", bulk("v")), ("GETEX k EX 1 PERSIST", err("syntax error"))),
        *(("GETEX k NX", err("syntax error")), ("GETEX k HA", err("syntax error"))),
        *(("GETEX k EX 0", err("invalid expire time in 'getex' command")), ("GETEX k PX", err("syntax error"))),
        *((f"GETEX k PXAT {WALL_MS - 1}", bulk("v")), ("GET k", NOTHING)),
    ],
    "about one key": [
        *(("MEMORY USAGE k", NOTHING), ("SET k v", OK), ("MEMORY USAGE k", b":172\r\n"), ("EXPIRE k 9", b":1\r\n")),
        *(("MEMORY USAGE k SAMPLES 5", b":222\r\n"), ("MEMORY USAGE k WHAT 5", err("syntax error"))),
        *(("OBJECT ENCODING k", bulk("embstr")), ("SET k 12", OK), ("OBJECT ENCODING k", bulk("int"))),
        *((f"SET k {'x' * 45}", OK), ("OBJECT ENCODING k", bulk("raw")), ("OBJECT REFCOUNT k", b":1\r\n")),
        ("OBJECT REFCOUNT none", NOTHING),
        *(("OBJECT IDLETIME none", NOTHING), ("OBJECT FREQ none", NOTHING)),
        ("OBJECT IDLETIME k", err(f"idle time not tracked yet: {FROM_HALF_ON}")),
        ("OBJECT FREQ k", err(f"{NO_LFU}, access frequency not tracked: {NAMED} is lru; give it {COUNTING}")),
    ],
    "append": [
        *(("APPEND k ab", b":2\r\n"), ("EXPIRE k 9", b":1\r\n"), ("APPEND k cd", b":4\r\n"), ("TTL k", b":9\r\n")),
        ("GET k", bulk("abcd")),
    ],
    "expire on a condition": [
        *(("SET k v", OK), ("EXPIRE k 9 XX", b":0\r\n"), ("EXPIRE k 9 GT", b":0\r\n"), ("TTL k", b":-1\r\n")),
        *(("EXPIRE k 9 XX LT", b":0\r\n"), ("EXPIRE k 9 LT", b":1\r\n"), ("EXPIRE k 8 NX", b":0\r\n")),
        *(("EXPIRE k 8 GT", b":0\r\n"), ("EXPIRE k 10 gt xx", b":1\r\n"), ("EXPIRE k 11 LT", b":0\r\n")),
        *(("TTL k", b":10\r\n"), ("EXPIRE k -1 GT", b":0\r\n"), ("EXPIRE k -1 LT", b":1\r\n"), ("PTTL k", b":1\r\n")),
        ("EXPIRE k 9 NX XX", err("NX and XX, GT or LT options at the same time are not compatible")),
        ("EXPIRE k 9 GT LT", err("GT and LT options at the same time are not compatible")),
        *(("PERSIST k", b":1\r\n"), ("PEXPIRE k 90 NX", b":1\r\n"), ("PTTL k", b":90\r\n")),
    ],
    "set with a time": [
        *(("SET k v EX 10", OK), ("TTL k", b":10\r\n"), ("SET k v PX 1499", OK), ("TTL k", b":1\r\n")),
        *(("PTTL k", b":1499\r\n"), (f"SET k v EXAT {SOON_S}", OK), ("TTL k", b":100\r\n")),
        *((f"SET k v PXAT {WALL_MS + 5}", OK), ("PTTL k", b":5\r\n"), ("SETEX k 7 v", OK), ("TTL k", b":7\r\n")),
        *(("PSETEX k 70 v", OK), ("PTTL k", b":70\r\n"), (f"SET k v EXAT {PAST_S}", OK), ("GET k", NOTHING)),
    ],
    "set refused": [
        *(("SET k v EX 0", err("invalid expire time in 'set' command")), ("SET k v EX", err("syntax error"))),
        *(("SET k v EX 1 PX 1", err("syntax error")), ("SET k v WHAT", err("syntax error"))),
        ("SET k v EX a", err("value is not an integer or out of range")),
        ("SETEX k -1 v", err("invalid expire time in 'setex' command")),
        *((f"SET k v {each}", err("syntax error")) for each in ("NX XX", "EX 1 KEEPTTL", "XX NX GET")),
        ("SET k v EX 9223372036854775807", err("invalid expire time in 'set' command")),
        ("SET k v ACK quorum", err("syntax error")),
    ],
    "many": [
        *(("MSET a 1 b 2", OK), ("MGET a none b", b"*3\r\n" + bulk("1") + NOTHING + bulk("2"))),
        *(("EXISTS a a none", b":2\r\n"), ("EXISTS a", b":1\r\n")),
        *(("EXISTS none", b":0\r\n"), ("TOUCH a b", b":2\r\n")),
        *(("DEL a none", b":1\r\n"), ("UNLINK b", b":1\r\n")),
        *(("DEL b", b":0\r\n"), ("MSET a 1", OK), ("GET a", bulk("1"))),
        ("MSET a 1 b", err("wrong number of arguments for 'mset' command")),
    ],
    "counters": [
        *(("INCR c", b":1\r\n"), ("INCRBY c 10", b":11\r\n"), ("DECR c", b":10\r\n"), ("DECRBY c 3", b":7\r\n")),
        *(("SET k v", OK), ("INCRBY c 1.5", err("value is not an integer or out of range"))),
        ("INCR k", err("value is not an integer or out of range (value: b'v' is not an integer in decimal digits)")),
        ("DECRBY c -9223372036854775808", err("decrement would overflow")),
    ],
    "parts": [
        *(("SET k Hello", OK), ("STRLEN k", b":5\r\n"), ("STRLEN none", b":0\r\n"), ("GETRANGE k 1 2", bulk("el"))),
        *(("GETRANGE k -3 -1", bulk("llo")), ("GETRANGE k 3 99", bulk("lo")), ("GETRANGE k 3 1", bulk(""))),
        *(("GETRANGE k -99 1", bulk("He")), ("GETRANGE none 0 -1", bulk("")), ("GETRANGE k -1 -3", bulk(""))),
        *(("GETRANGE k -9 -8", bulk("H")), ("TYPE k", b"+string\r\n"), ("TYPE none", b"+none\r\n")),
    ],
    "times to live": [
        *(("TTL none", b":-2\r\n"), ("SET k v", OK), ("TTL k", b":-1\r\n"), ("PTTL none", b":-2\r\n")),
        *(("EXPIRE k 9", b":1\r\n"), ("TTL k", b":9\r\n"), ("PEXPIRE k 90", b":1\r\n"), ("PTTL k", b":90\r\n")),
        *((f"EXPIREAT k {SOON_S}", b":1\r\n"), ("EXPIRETIME k", b":%d\r\n" % SOON_S), ("EXPIRE none 9", b":0\r\n")),
        *((f"PEXPIREAT k {WALL_MS + 8}", b":1\r\n"), ("PEXPIRETIME k", b":%d\r\n" % (WALL_MS + 8))),
        *(("PERSIST k", b":1\r\n"), ("EXPIRETIME k", b":-1\r\n"), ("PERSIST none", b":0\r\n")),
        ("EXPIRE k 9 HA", err("Unsupported option HA")),
        *(("EXPIRE k 0", b":1\r\n"), ("GET k", NOTHING), ("EXPIRE k -1", b":0\r\n")),
        ("EXPIRE k 9223372036854775", err("ttl: 9223372036854775000 ms is not within 1 to 315360000000 ms")),
        ("EXPIRE k 9223372036854776", err("invalid expire time in 'expire' command")),
    ],
    "connection": [
        *(("PING", b"+PONG\r\n"), ("PING hi", bulk("hi")), ("ECHO hi", bulk("hi")), ("SELECT 0", OK)),
        *(("SELECT 1", err("DB index is out of range")), ("SELECT a", err("value is not an integer or out of range"))),
        *(("RESET", b"+RESET\r\n"), ("TIME", b"*2\r\n" + bulk("1700000000") + bulk("0")), ("CLIENT ID", b":1\r\n")),
        ("AUTH default any", OK),
        ("AUTH bob any", WRONG),
        *(("CLIENT SETNAME me", OK), ("CLIENT GETNAME", bulk("me")), ("CLIENT SETINFO LIB-NAME redis-py", OK)),
        ("CLIENT SETINFO LIB-VER 5.0", OK),
        *(("CLIENT NO-EVICT on", OK), ("ROLE", b"*3\r\n" + bulk("master") + b":0\r\n*0\r\n")),
        ("CLIENT SETINFO COLOUR red", err("Unrecognized option 'COLOUR'")),
        ("CLIENT NO-EVICT maybe", err("syntax error")),
        *(("WAIT 1 100", b":0\r\n"), ("WAIT -1 0", err("value is out of range, must be positive"))),
        ("PING a b", err("wrong number of arguments for 'ping' command")),
    ],
    "refused": [
        ("DEBUG SLEEP 1", err("DEBUG command not allowed")),
        ("GET", err("wrong number of arguments for 'get' command")),
        ("SHUTDOWN NOSAVE", err("SHUTDOWN is not allowed: a node is stopped by whoever runs it")),
        ("LPUSH a b", err("unknown command 'LPUSH', with args beginning with: 'a' 'b' ")),
        ("CLIENT KILL a", err("unknown subcommand 'KILL'. Try CLIENT HELP.")),
        ("CLIENT", err("wrong number of arguments for 'client' command")),
        ("CLIENT ID 7", err("wrong number of arguments for 'client|id' command")),
        ("CONFIG SET a b", err("unknown subcommand 'SET'. Try CONFIG HELP.")),
    ],
    "settings": [
        *(("CONFIG GET databases", b"*2\r\n" + bulk("databases") + bulk("1")), ("CONFIG GET nothing", b"*0\r\n")),
        ("CONFIG GET sav* append*", b"*4\r\n" + bulk("save") + bulk("") + bulk("appendonly") + bulk("no")),
        ("COMMAND GETKEYS MSET a 1 b 2", b"*2\r\n" + bulk("a") + bulk("b")),
        ("COMMAND GETKEYS GET k", b"*1\r\n" + bulk("k")),
        ("COMMAND GETKEYS PING", err("The command has no key arguments")),
        ("COMMAND GETKEYS WHAT", err("Invalid command specified")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_replies_in_bytes(story: list[tuple[str, bytes]]) -> None:
    talk = Talk(ShardBackend())
    for line, reply in story:
        assert talk.say(*line.split()) == reply, line


def test_a_story_is_the_same_in_one_write() -> None:
    """Pipelined, the bytes are those of one command after the other."""
    for name, story in STORIES.items():
        stream = b"".join(line.encode() + b"\r\n" for line, _ in story)
        assert Talk(ShardBackend()).raw(stream) == b"".join(reply for _, reply in story), name


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("GET k", Get(b"k")),
        ("SET k v", Set(b"k", b"v")),
        ("SET k v NX PX 5", Set(b"k", b"v", ttl_ms=5, if_absent=True)),
        (f"SET k v NX EXAT {PAST_S}", Set(b"k", b"v", ttl_ms=1, if_absent=True)),
        (f"SET k v EXAT {PAST_S}", Delete(b"k")),
        ("MSET a 1 b 2", MultiSet((Set(b"a", b"1"), Set(b"b", b"2")))),
        ("DECRBY k 5", Incr(b"k", -5)),
        ("EXPIREAT k 1", Delete(b"k")),
        ("PEXPIRE k 5", Expire(b"k", 5)),
        ("RC.SET k v ACK durable", Set(b"k", b"v", ack=AckLevel.DURABLE)),
        ("RC.SET k v EX 1 IFVERSION v7.1.2 ACK QUORUM",
         Set(b"k", b"v", ttl_ms=1000, if_version=Version("7", 1, 2), ack=AckLevel.QUORUM)),
    ],
)  # fmt: skip
def test_what_shards_are_asked(line: str, command: object) -> None:
    talk = Talk()
    talk.say(*line.split())
    assert talk.backend.commands == [(command, 1002.0)]


def test_versions_and_receipts() -> None:
    talk = Talk()
    version = f"v{SHARD}.{TERM}.1"
    told = b"*8\r\n" + bulk("written") + b":1\r\n" + bulk("version") + bulk(version)
    told += bulk("durability") + bulk("quorum") + bulk("expiresAtMs") + NOTHING
    assert talk.say("RC.SET", "k", "v", "ACK", "quorum") == told
    assert talk.say("RC.VERSION", "k") == bulk(version)
    assert talk.say("RC.VERSION", "none") == NOTHING
    assert (
        talk.say("RC.RECEIPT", "k", version)
        == b"*4\r\n" + bulk("state") + bulk("committed") + bulk("durable") + b":1\r\n"
    )
    assert talk.say("RC.RECEIPT", "k", f"v{SHARD}.{TERM}.9", "WAIT", 500) == (
        b"*4\r\n" + bulk("state") + bulk("pending") + bulk("durable") + b":0\r\n"
    )
    assert [asked[1:] for asked in talk.backend.asked] == [(0, 1002.0), (500, 1002.5)]
    assert talk.say("RC.RECEIPT", "k", "what") == err("version must look like v<shard>.<term>.<seq>, got 'what'")
    assert talk.say("RC.RECEIPT", "k", "vx.1.1") == err("version vx.1.1: this cluster has no such shard")
    assert talk.say("RC.SET", "k", "v", "ACK", "never") == err(
        "ACK must be one of primary, quorum, durable, got 'never'"
    )
    refused = talk.say("RC.SET", "k", "v", "IFVERSION", f"v{SHARD}.{TERM}.9")
    assert refused.startswith(b"*10\r\n" + bulk("written") + b":0\r\n")
    assert refused.endswith(bulk("currentVersion") + bulk(version))


def test_the_other_protocol() -> None:
    talk = Talk()
    greeting = talk.say("HELLO", 3, "AUTH", "default", "x", "SETNAME", "me")
    assert greeting.startswith(b"%7\r\n" + bulk("server") + bulk("redis") + bulk("version") + bulk("7.4.0"))
    assert talk.say("CLIENT", "GETNAME") == bulk("me")
    assert talk.say("GET", "none") == b"_\r\n"
    assert talk.say("MGET", "none") == b"*1\r\n_\r\n"
    assert talk.say("CONFIG", "GET", "databases") == b"%1\r\n" + bulk("databases") + bulk("1")
    assert talk.say("INFO", "server").startswith(b"=")
    assert talk.say("HELLO", 4) == b"-NOPROTO unsupported protocol version\r\n"
    assert talk.say("HELLO", "x") == err("Protocol version is not an integer or out of range")
    assert talk.say("HELLO", 2, "SETNAME") == err("Syntax error in HELLO option 'SETNAME'")
    assert talk.say("HELLO", 2, "SETNAME", "other", "AUTH", "bob", "x").startswith(b"-WRONGPASS")
    assert talk.say("GET", "none") == b"_\r\n", "what was refused changed nothing"
    assert talk.say("RESET") == b"+RESET\r\n"
    assert talk.say("GET", "none") == NOTHING


def test_info_is_what_clients_and_exporters_read() -> None:
    talk = Talk()
    talk.say("GET", "k")
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(talk.say("INFO"))
    text = reader.gets()
    for line in ("redis_version:7.4.0", "raftcache_version:0.1.0", "redis_mode:standalone", "role:master",
                 "connected_clients:1", "used_memory:77", "tcp_port:7103", "cluster_enabled:0"):  # fmt: skip
        assert f"\r\n{line}\r\n" in text
    assert "cmdstat_get" not in text
    assert b"cmdstat_get:calls=1," in talk.say("INFO", "ALL")
    assert talk.say("INFO", "clients").count(b"# ") == 1


def uncounted(eviction: str) -> bytes:
    return err(f"{NO_LFU}, access frequency not tracked: {NAMED} is {eviction}; give it {COUNTING}")


def undated(eviction: str) -> bytes:
    lfu = "An LFU maxmemory policy is selected, " if eviction == "lfu" else ""
    return err(f"{lfu}idle time not tracked: {NAMED} is {eviction}; give it {DATING}")


USES = [
    ("lru", "all", uncounted("lru"), b":7\r\n"),
    ("lrm", "tinylfu", b":1\r\n", b":27\r\n"),
    ("lfu", "all", b":6\r\n", undated("lfu")),
    ("ttl", "tinylfu", b":1\r\n", undated("ttl")),
    ("none", "tinylfu", uncounted("none"), undated("none")),
]


@pytest.mark.parametrize(("eviction", "admission", "frequency", "idle"), USES, ids=lambda value: None)
def test_how_a_key_is_used(eviction: str, admission: str, frequency: bytes, idle: bytes) -> None:
    talk = Talk(ShardBackend())
    limits = Limits(quota_items=2)
    space = Namespace("default", 1, limits=limits, eviction=Eviction(eviction), admission=Admission(admission))
    bench = talk.backend.bench
    bench.follow(Namespaces(bench.policies.epoch + 1, (space,)))
    bench.settle()
    assert talk.say("SET", "k", 1) == OK
    bench.runtime.advance(20)
    assert talk.say("GET", "k") == bulk("1")
    bench.runtime.advance(7)
    assert (talk.say("OBJECT", "FREQ", "k"), talk.say("OBJECT", "IDLETIME", "k")) == (frequency, idle)
    assert [talk.say("MULTI"), talk.say("OBJECT", "FREQ", "k"), talk.say("EXEC")][2] == b"*1\r\n" + frequency
    assert talk.say("HELLO", 3) and talk.say("OBJECT", "FREQ", "none") == b"_\r\n"


def test_client_list_has_everyone() -> None:
    one = Talk()
    two = Talk(one.backend, one.front)
    two.say("CLIENT", "SETNAME", "two")
    listed = one.say("CLIENT", "LIST").decode()
    assert "id=1 " in listed and "id=2 " in listed and "name=two" in listed
    assert b"id=1 " not in two.say("CLIENT", "LIST", "ID", "2")
    assert two.say("CLIENT", "LIST", "TYPE", "pubsub") == b"$0\r\n\r\n"
    assert two.say("CLIENT", "INFO").count(b"id=2 ") == 1
    assert two.say("CLIENT", "SETNAME", "a" * 129) == err("Client names have at most 128 bytes, got 129")
    assert two.say("HELLO", 3, "SETNAME", "a" * 129).startswith(b"-ERR Client names have at most 128")
    assert two.say("CLIENT", "SETINFO", "LIB-VER", "1\n2").startswith(b"-ERR lib-ver cannot contain spaces")
    assert two.say("CLIENT", "SETNAME", "a b").startswith(b"-ERR Client names cannot contain spaces")


def test_the_table_tells_of_itself() -> None:
    talk = Talk()
    reader = hiredis.Reader(encoding="utf-8")
    for words in (("COMMAND",), ("COMMAND", "COUNT"), ("COMMAND", "DOCS"), ("COMMAND", "INFO", "get", "none")):
        reader.feed(talk.say(*words))
    whole, count, docs, some = (reader.gets() for _ in range(4))
    assert len(whole) == count == len(docs) // 2 == len({spec.name for spec in TABLE.values()})
    assert some[0][:6] == ["get", 2, ["readonly", "fast"], 1, 1, 1] and some[1] is None
    assert {row[0] for row in whole} >= {"get", "set", "client", "rc.receipt"}


def test_the_examples_use_every_command() -> None:
    """A command without an example here is one that nobody has looked at."""
    used = {line.split()[0].lower() for story in STORIES.values() for line, _ in story}
    others = {"multi", "exec", "discard", "watch", "unwatch", "msetnx"}  # test_resp_transactions
    others |= {"scan", "keys", "dbsize", "randomkey", "flushdb", "flushall"}  # test_resp_scanning
    others |= {"cluster", "readonly", "readwrite", "asking"}  # test_resp_cluster
    others |= {"eval", "evalsha", "eval_ro", "evalsha_ro", "script"}  # test_resp_scripts
    others |= {"hello", "info", "command", "rc.set", "rc.version", "rc.receipt", "quit"}
    assert {spec.name for spec in TABLE.values()} == used - {"lpush"} | others


def test_mget_asks_only_for_what_a_look_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk()
    talk.say("MSET", "b", 2, "c", 3)
    looked = {b"a": Entry(b"1", 0, 0, 1, TERM, 1), b"n": False, b"e": Entry(b"5", 0, 0, 1, TERM, 2)}
    monkeypatch.setattr(talk.backend, "look", lambda key, now_s: looked.get(key))
    talk.backend.commands.clear()
    one, two, three, five = map(bulk, "1235")
    assert talk.say("MGET", "a", "b", "n", "c", "e", "a") == b"*6\r\n" + one + two + NOTHING + three + five + one
    assert [command for command, _ in talk.backend.commands] == [MultiGet((Get(b"b"), Get(b"c")))]
    assert talk.say("GET", "e") + talk.say("GET", "n") + talk.say("MGET", "e") == five + NOTHING + b"*1\r\n" + five
    assert len(talk.backend.commands) == 1


def test_a_look_is_answered_behind_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk()
    monkeypatch.setattr(talk.backend, "look", lambda key, now_s: Entry(b"7", 0, 0, 1, TERM, 1))
    talk.backend.held = []
    assert talk.say("SET", "a", 1) + talk.say("GET", "b") + talk.say("MGET", "b", "c") == b""
    talk.backend.release()
    assert talk.rest() == OK + bulk("7") + b"*2\r\n" + bulk("7") * 2
