"""Policy documents: every mistake named, every policy read back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from raftcache.commands.policy import (
    LIMIT_RANGES,
    WINDOW_LIMITS,
    Admission,
    Eviction,
    Limits,
    LossWindow,
    Namespace,
    OnExceeded,
)
from raftcache.commands.types import TTL_LIMIT_MS, AckLevel, ReadLevel
from raftcache.errors import InvalidName, InvalidPolicy
from raftcache.metadata.checks import check_namespace
from raftcache.metadata.policy import parse_policy, policy_document


def test_an_empty_document_is_the_default_policy():
    assert parse_policy("x", {}, 3) == Namespace("x", 0)
    assert policy_document(Namespace("x", 7)) == {
        "ack": "primary",
        "readLevel": "latest",
        "allowReplicaReads": True,
        "defaultTtlSeconds": None,
        "maxTtlSeconds": None,
        "ttlJitterPercent": 0,
        "maxItemBytes": 1 << 20,
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


def test_a_whole_document():
    document = {
        "ack": "quorum",
        "readLevel": "latest",
        "allowReplicaReads": True,
        "defaultTtlSeconds": 1.5,
        "maxTtlSeconds": 60,
        "ttlJitterPercent": 10,
        "maxItemBytes": 10,
        "lossWindow": {"ms": None, "writes": 5, "bytes": 1 << 40},
        "onExceeded": "wait",
        "eviction": "s3fifo",
        "admission": "tinylfu",
        "quotaBytes": 1 << 30,
        "quotaItems": 5,
        "weight": 7,
        "operationsPerSecond": 1000,
        "bytesPerSecond": 1 << 20,
        "burstMs": 250,
    }
    parsed = parse_policy("x", {**document, "replicationFactor": 3}, 3)
    window = LossWindow(None, 5, 1 << 40)
    limits = Limits(1 << 30, 5, 7, 1000, 1 << 20, 250)
    last = (window, OnExceeded.WAIT, True, 60_000, 10, 0, limits, Eviction.S3FIFO, Admission.TINYLFU)
    assert parsed == Namespace("x", 0, AckLevel.QUORUM, ReadLevel.LATEST, 1500, 10, *last)
    assert policy_document(parsed) == document
    assert parse_policy("x", {"ack": "durable"}, 3) == Namespace("x", 0, AckLevel.DURABLE)


def test_a_bound_left_out_takes_its_default_and_null_lifts_it():
    assert parse_policy("x", {"lossWindow": {"ms": None}}, 3).loss_window == LossWindow(None, 10_000, 16 << 20)
    assert parse_policy("x", {"lossWindow": {"writes": 7}}, 3).loss_window == LossWindow(1000, 7, 16 << 20)


@pytest.mark.parametrize(("bound", "value"), [("ms", 0), ("writes", -1), ("bytes", (1 << 40) + 1)])
def test_a_namespace_struct_is_held_to_the_same_limits(bound, value):
    with pytest.raises(InvalidPolicy, match=rf"lossWindow\.{bound} .*got {value}"):
        check_namespace(Namespace("x", 0, loss_window=LossWindow(**{bound: value})))


@pytest.mark.parametrize("limit", sorted(LIMIT_RANGES))
def test_limits_in_a_struct_are_held_to_their_ranges(limit):
    for value in (LIMIT_RANGES[limit][0] - 1, LIMIT_RANGES[limit][1] + 1):
        with pytest.raises(InvalidPolicy, match=rf"{limit} .*got {value}"):
            check_namespace(Namespace("x", 0, limits=Limits(**{limit: value})))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"allowReplicaReads": "yes"}, ["allowReplicaReads", "true, false or null", "'yes'"]),
        ({"ack": "none"}, ["ack", "'primary' or 'quorum' or 'durable'", "'none'"]),
        ({"ack": 1}, ["ack", "got 1"]),
        ({"ack": ["quorum"]}, ["ack", "['quorum']"]),
        ({"readLevel": "replica"}, ["readLevel", "'latest' or 'committed' or 'linearizable'", "'replica'"]),
        ({"maxTtlSeconds": 0}, ["maxTtlSeconds", "positive", "got 0"]),
        ({"maxTtlSeconds": "1"}, ["maxTtlSeconds", "got '1'"]),
        ({"ttlJitterPercent": 91}, ["ttlJitterPercent", "90", "got 91"]),
        ({"ttlJitterPercent": 0.5}, ["ttlJitterPercent", "integer", "got 0.5"]),
        ({"ttlJitterPercent": True}, ["ttlJitterPercent", "got True"]),
        ({"defaultTtlSeconds": 0}, ["defaultTtlSeconds", "positive", "got 0"]),
        ({"defaultTtlSeconds": -5}, ["defaultTtlSeconds", "got -5"]),
        ({"defaultTtlSeconds": True}, ["defaultTtlSeconds", "got True"]),
        ({"defaultTtlSeconds": "60"}, ["defaultTtlSeconds", "got '60'"]),
        ({"defaultTtlSeconds": float("nan")}, ["defaultTtlSeconds", "got nan"]),
        ({"defaultTtlSeconds": float("inf")}, ["defaultTtlSeconds", "got inf"]),
        ({"defaultTtlSeconds": 0.0001}, ["defaultTtlSeconds", "0.0001"]),
        ({"defaultTtlSeconds": 10**400}, ["defaultTtlSeconds", str(TTL_LIMIT_MS // 1000)]),
        ({"maxItemBytes": 0}, ["maxItemBytes", "1048576", "got 0"]),
        ({"maxItemBytes": 1048577}, ["maxItemBytes", "1048576", "got 1048577"]),
        ({"maxItemBytes": 1.5}, ["maxItemBytes", "got 1.5"]),
        ({"maxItemBytes": True}, ["maxItemBytes", "got True"]),
        ({"maxItemBytes": None}, ["maxItemBytes", "got None"]),
        ({"lossWindow": None}, ["lossWindow", "object of ms, writes, bytes", "got None"]),
        ({"lossWindow": {"seconds": 1}}, ["unknown field 'seconds'", "lossWindow", "ms, writes, bytes"]),
        ({"lossWindow": {"ms": 0}}, ["lossWindow.ms", "3600000", "got 0"]),
        ({"lossWindow": {"ms": 1.5}}, ["lossWindow.ms", "got 1.5"]),
        ({"lossWindow": {"writes": True}}, ["lossWindow.writes", "1000000000", "got True"]),
        ({"lossWindow": {"bytes": (1 << 40) + 1}}, ["lossWindow.bytes", "1099511627776", "got 1099511627777"]),
        ({"onExceeded": "drop"}, ["onExceeded", "'quorum' or 'wait' or 'reject'", "got 'drop'"]),
        ({"eviction": "fifo"}, ["eviction", "'lru' or 'lfu'", "got 'fifo'"]),
        ({"admission": True}, ["admission", "'all' or 'tinylfu'", "got True"]),
        ({"quotaBytes": 1000}, ["quotaBytes", "null or an integer from 1048576", "got 1000"]),
        ({"quotaItems": 1.5}, ["quotaItems", "got 1.5"]),
        ({"weight": None}, ["weight must be an integer from 1 to 10000", "got None"]),
        ({"operationsPerSecond": 0}, ["operationsPerSecond", "got 0"]),
        ({"bytesPerSecond": True}, ["bytesPerSecond", "got True"]),
        ({"burstMs": 60_001}, ["burstMs", "60000", "got 60001"]),
        ({"quota": 1}, ["unknown field", "'quota'", "maxItemBytes"]),
        ({"max_item_bytes": 1}, ["unknown field", "'max_item_bytes'"]),
        ({"replicationFactor": 2}, ["replicationFactor", "must be 3", "got 2", "belongs to the shards"]),
        ({"replicationFactor": 3.0}, ["replicationFactor", "got 3.0"]),
        ([], ["JSON object", "[]"]),
        ("x" * 1000, ["JSON object", "..."]),
    ],
)
def test_a_mistake_is_refused_with_field_limit_and_value(document, words):
    with pytest.raises(InvalidPolicy) as caught:
        parse_policy("x", document, 3)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "x" * 65, "x\n"])
def test_a_wrong_name_is_refused(name):
    with pytest.raises(InvalidName):
        parse_policy(name, {}, 3)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([AckLevel.PRIMARY, AckLevel.QUORUM]),
    st.sampled_from([None, ReadLevel.LATEST, ReadLevel.LINEARIZABLE]),
    st.none() | st.integers(1, TTL_LIMIT_MS),
    st.integers(1, 1 << 20),
    st.builds(LossWindow, *[st.none() | st.integers(1, limit) for limit in WINDOW_LIMITS.values()]),
    st.sampled_from(OnExceeded),
    st.builds(Limits, *[st.integers(*LIMIT_RANGES[name]) for name in Limits.__struct_fields__]),
    st.sampled_from(Eviction),
)
def test_a_document_reads_back(ack, read_level, ttl_ms, max_bytes, window, on_exceeded, limits, eviction):
    rest = {"limits": limits, "eviction": eviction}
    namespace = Namespace("x", 0, ack, read_level, ttl_ms, max_bytes, window, on_exceeded, **rest)
    parsed = parse_policy("x", policy_document(namespace), 3)
    check_namespace(parsed)
    assert parsed.reads_at == namespace.reads_at
    assert replace(parsed, read_level=None) == replace(namespace, read_level=None)
    assert parse_policy("x", policy_document(parsed), 3) == parsed, "written back, it is no change"
