"""Validation, as front ends and shards share it: every refusal names field, limit and value."""

from __future__ import annotations

from typing import get_args

import pytest
from shard_harness import POLICIES, Bench

from raftcache.commands import types as t
from raftcache.commands.policy import Namespace
from raftcache.commands.table import BY_NAME, TABLE, validate
from raftcache.commands.types import AckLevel, Delete, Expire, Get, Incr, MultiDelete, MultiGet, ReadLevel, Set
from raftcache.errors import RaftcacheError
from raftcache.shard.handlers import HANDLERS

BAD = [
    (Get(b""), "invalid_key", ["key", "0 bytes", "1024"]),
    (Get(b"k" * 1025), "invalid_key", ["key", "1025", "1024"]),
    (Set(b"k", b"x" * ((1 << 20) + 1)), "value_too_large", ["value", "1048577", "1048576"]),
    (Set(b"brief:k", b"x" * 101), "value_too_large", ["value", "101", "100", "brief"]),
    (Set(b"k", b"", flag=7), "bad_request", ["flag", "7"]),
    (Set(b"k", b"", ttl_ms=0), "bad_request", ["ttl", "0 ms"]),
    (Set(b"k", b"", ttl_ms=t.TTL_LIMIT_MS + 1), "bad_request", ["ttl", str(t.TTL_LIMIT_MS + 1), str(t.TTL_LIMIT_MS)]),
    (Set(b"k", b"", if_absent=True, if_version=t.Version("a", 1, 1)), "bad_request", ["if_absent", "if_version"]),
    (Incr(b"k", ttl_ms=-1), "bad_request", ["ttl", "-1"]),
    (Incr(b"k", 1 << 63), "bad_request", ["delta", str(1 << 63), str((1 << 63) - 1)]),
    (Expire(b"k", -5), "bad_request", ["ttl", "-5"]),
    (Delete(b"safe:k", ack=AckLevel.PRIMARY), "level_too_low", ["durability", "primary", "quorum", "safe"]),
    (Get(b"safe:k", ReadLevel.LATEST), "level_too_low", ["consistency", "latest", "linearizable", "safe"]),
    (Get(b"safe:k", ReadLevel.COMMITTED), "level_too_low", ["consistency", "committed", "linearizable", "safe"]),
    (Get(b"k", ReadLevel.REPLICA), "level_too_low", ["consistency", "replica", "latest"]),
    (Get(b"safe:k", replica=True), "bad_request", ["readPreference", "replica", "safe", "allowReplicaReads"]),
    (Get(b"k", ReadLevel.LATEST, True), "bad_request", ["consistency", "latest", "readPreference"]),
    (Get(b"k", min_version=t.Version("7c1f", 1, 1)), "bad_request", ["minVersion", "readPreference"]),
    (Get(b"k", max_staleness_ms=5), "bad_request", ["maxStalenessMs", "readPreference"]),
    (Get(b"k", replica=True, max_staleness_ms=-1), "bad_request", ["maxStalenessMs", "-1", str(t.STALENESS_LIMIT_MS)]),
    (t.Persist(b""), "invalid_key", ["key"]),
    (t.Usage(b""), "invalid_key", ["key"]),
    (MultiGet((Get(b"k"),) * 1001), "too_many_keys", ["keys", "1001", "1000"]),
    (t.Script(b"", (b"k",) * 1001), "too_many_keys", ["keys", "1001", "1000"]),
    (t.Script(b" " * (128 * 1024 + 1)), "bad_request", ["script", "131073", "131072"]),
    (t.Script(b"", (), (b"x" * (4 << 20), b"y")), "bad_request", ["script", "4194305", "4194304"]),
    (t.Transaction((t.Script(b" " * (128 * 1024 + 1)),)), "bad_request", ["script", "131073", "131072"]),
    (t.Transaction((t.Script(b" " * (128 * 1024)),) * 33), "bad_request", ["transaction", "4325376", "4194304"]),
    (t.Transaction((t.Script(b"x", (b"k",), (b"y" * (4 << 20),)),)), "bad_request", ["transaction", "4194306"]),
]


@pytest.mark.parametrize(("command", "code", "words"), BAD, ids=lambda value: None)
def test_bad_input_is_refused_alike_by_front_end_and_shard(command: t.Command, code: str, words: list[str]) -> None:
    with pytest.raises(RaftcacheError) as caught:
        validate(command, POLICIES)
    assert caught.value.code == code
    bench = Bench().lead()
    (answer,) = bench.send(command)
    assert isinstance(answer, t.Failure)
    assert (answer.code, answer.message) == (code, caught.value.message)
    assert [word for word in words if word not in answer.message] == []
    assert len(bench.replica.keyspace) == 0 and bench.replica.stats.rejected == {code: 1}


GOOD = [
    Get(b"k" * 1024, ReadLevel.LINEARIZABLE),
    Set(b"k", b"x" * (1 << 20), ttl_ms=t.TTL_LIMIT_MS, ack=AckLevel.QUORUM),
    Set(b"brief:k", b"x" * 100),
    Incr(b"k", -(1 << 63)),
    MultiDelete((Delete(b"k"),) * 1000),
]


@pytest.mark.parametrize("command", GOOD, ids=lambda value: None)
def test_the_limits_themselves_are_allowed(command: t.Command) -> None:
    validate(command, POLICIES)


def test_replica_reads_are_allowed_by_the_policy_or_by_its_acks() -> None:
    assert [Namespace("x", 1, ack=ack).replica_reads for ack in AckLevel] == [True, False, False]
    assert Namespace("x", 1, ack=AckLevel.QUORUM, allow_replica_reads=True).replica_reads
    assert not Namespace("x", 1, allow_replica_reads=False).replica_reads


def test_every_command_has_a_row_and_every_single_one_a_function() -> None:
    assert set(TABLE) == set(get_args(t.Command))
    assert {row.struct for row in TABLE.values() if row.check} == set(get_args(t.Single))
    assert set(HANDLERS) == {*get_args(t.Single), t.Transaction, t.Script, t.Minted}
    assert {name: row.struct.__struct_config__.tag for name, row in BY_NAME.items()} == {name: name for name in BY_NAME}


def test_rows_tell_keys_and_writes() -> None:
    assert TABLE[Get].keys(Get(b"a")) == (b"a",)
    assert TABLE[MultiGet].keys(MultiGet((Get(b"a"), Get(b"b")))) == (b"a", b"b")
    mixed = t.Transaction((t.Script(b""), t.Script(b"", (b"a", b"b")), Get(b"c")), ((b"d", None),))
    assert TABLE[t.Transaction].keys(mixed) == (b"a", b"b", b"c", b"d")
    assert {row.name for row in TABLE.values() if not row.is_write} == {"get", "multi_get", "scan", "usage"}
