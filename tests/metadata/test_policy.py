"""Policy documents: every mistake named, every policy read back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from raftcache.commands.policy import WINDOW_LIMITS, LossWindow, Namespace, OnExceeded
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
    }
    parsed = parse_policy("x", {**document, "replicationFactor": 3}, 3)
    window = LossWindow(None, 5, 1 << 40)
    last = (window, OnExceeded.WAIT, True, 60_000, 10)
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
)
def test_a_document_reads_back_to_the_same_policy(ack, read_level, ttl_ms, max_bytes, window, on_exceeded):
    namespace = Namespace("x", 0, ack, read_level, ttl_ms, max_bytes, window, on_exceeded)
    parsed = parse_policy("x", policy_document(namespace), 3)
    check_namespace(parsed)
    assert parsed.reads_at == namespace.reads_at
    assert replace(parsed, read_level=None) == replace(namespace, read_level=None)
    assert parse_policy("x", policy_document(parsed), 3) == parsed, "written back, it is no change"
